package directory

import (
	"maps"
	"slices"
)

// tallyDense is up to how many seconds a tally counts in a list; it is the
// longest wait that is common.
const tallyDense = 4 * 60 * 60

// tally counts how often durations, in seconds, occurred.
type tally struct {
	dense []int64
	top   int // no duration from here on is in the list
	rest  map[int64]int64
	n     int64
	sum   int64
}

func newTally() *tally { return &tally{dense: make([]int64, tallyDense), rest: make(map[int64]int64)} }

func (t *tally) reset() {
	clear(t.dense[:t.top])
	clear(t.rest)
	t.top, t.n, t.sum = 0, 0, 0
}

func (t *tally) add(seconds, count int64) {
	if seconds < tallyDense {
		t.dense[seconds] += count
		t.top = max(t.top, int(seconds)+1)
	} else {
		t.rest[seconds] += count
	}
	t.n += count
	t.sum += seconds * count
}

func (t *tally) merge(other *tally) {
	for seconds, count := range other.dense[:other.top] {
		t.dense[seconds] += count
	}
	for seconds, count := range other.rest {
		t.rest[seconds] += count
	}
	t.top, t.n, t.sum = max(t.top, other.top), t.n+other.n, t.sum+other.sum
}

// each gives what occurred in ascending order, until told to stop.
func (t *tally) each(yield func(seconds, count int64) bool) {
	for seconds, count := range t.dense[:t.top] {
		if count > 0 && !yield(int64(seconds), count) {
			return
		}
	}
	for _, seconds := range slices.Sorted(maps.Keys(t.rest)) {
		if !yield(seconds, t.rest[seconds]) {
			return
		}
	}
}

// durations gives percentiles by nearest rank: the smallest duration that is
// not exceeded by the given share of all.
func (t *tally) durations() Durations {
	if t.n <= 0 {
		return Durations{}
	}
	d := Durations{Count: t.n, Mean: (t.sum + t.n/2) / t.n}
	ranks := [...]struct {
		rank int64
		to   *int64
	}{{(50*t.n + 99) / 100, &d.P50}, {(90*t.n + 99) / 100, &d.P90}, {(99*t.n + 99) / 100, &d.P99}}
	next, seen := 0, int64(0)
	for seconds, count := range t.each {
		for seen += count; seen >= ranks[next].rank; {
			*ranks[next].to = seconds
			if next++; next == len(ranks) {
				return d
			}
		}
	}
	return d
}

// within tells how many durations were not longer than a number of seconds.
func (t *tally) within(limit int64) (n int64) {
	for seconds, count := range t.each {
		if seconds > limit {
			break
		}
		n += count
	}
	return n
}
