package load

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// subBits gives 64 buckets to each power of two: a quantile is at most 1/64 (1.6 %) above the true value.
const (
	subBits = 6
	maxBits = 40 // values of 2^40 ns (18 minutes) and more share the last bucket
)

// Histogram counts durations in logarithmic buckets. It is safe for concurrent use; recording is one atomic add and,
// rarely, a new maximum.
type Histogram struct {
	counts [(maxBits - subBits + 1) << subBits]atomic.Uint64
	max    atomic.Int64
}

func bucket(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	if v >= 1<<maxBits {
		v = 1<<maxBits - 1
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift << subBits) + int(v>>shift)
}

// upper is the largest value that falls into bucket i.
func upper(i int) int64 {
	if i < 2<<subBits {
		return int64(i)
	}
	shift := i>>subBits - 1
	return int64(i-shift<<subBits+1)<<shift - 1
}

// Record counts one duration; a negative one counts as zero.
func (h *Histogram) Record(d time.Duration) {
	v := max(int64(d), 0)
	h.counts[bucket(uint64(v))].Add(1)
	for {
		old := h.max.Load()
		if v <= old || h.max.CompareAndSwap(old, v) {
			return
		}
	}
}

// Merge adds all that o has counted.
func (h *Histogram) Merge(o *Histogram) {
	for i := range o.counts {
		if n := o.counts[i].Load(); n > 0 {
			h.counts[i].Add(n)
		}
	}
	h.max.Store(max(h.max.Load(), o.max.Load()))
}

// Count is the number of recorded durations.
func (h *Histogram) Count() uint64 {
	var n uint64
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// Max is the longest recorded duration, exactly.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }

// Quantile is the nearest-rank quantile q (0 to 1), rounded up to its bucket's end.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := uint64(q*float64(total) + 0.999999)
	rank = min(max(rank, 1), total)
	var seen uint64
	for i := range h.counts {
		seen += h.counts[i].Load()
		if seen >= rank {
			return time.Duration(min(upper(i), h.max.Load()))
		}
	}
	return h.Max()
}
