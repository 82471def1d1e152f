package load

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsAreOrderedAndTight(t *testing.T) {
	last := -1
	for v := range uint64(1 << 20) {
		i := bucket(v)
		if i != last && i != last+1 {
			t.Fatalf("value %d jumps from bucket %d to %d", v, last, i)
		}
		last = i
		if u := upper(i); u < int64(v) || float64(u) > float64(v)*(1+1.0/64)+1 {
			t.Fatalf("value %d: upper end %d", v, u)
		}
	}
	if i := bucket(1 << 62); i >= len(Histogram{}.counts) {
		t.Fatalf("huge value falls out of the array: %d", i)
	}
}

func TestQuantilesAreWithinTwoPercent(t *testing.T) {
	var h Histogram
	rng := rand.New(rand.NewPCG(1, 2))
	all := make([]time.Duration, 100_000)
	for i := range all {
		all[i] = time.Duration(rng.ExpFloat64() * 3e6)
		h.Record(all[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.99, 0.999} {
		want, got := all[int(q*float64(len(all)))-1], h.Quantile(q)
		if got < want || float64(got) > 1.02*float64(want) {
			t.Errorf("q %v: got %v, want %v", q, got, want)
		}
	}
	if h.Max() != all[len(all)-1] || h.Quantile(1) != h.Max() {
		t.Errorf("max %v, want %v", h.Max(), all[len(all)-1])
	}
}
