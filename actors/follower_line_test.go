package actors

import (
	"testing"
	"time"
)

// A queue that never rests is told of as no older than what is left of it.
func TestLineTellsSinceWhenItIsBehind(t *testing.T) {
	l := newNewsLine()
	is := func(events uint64, since time.Time) {
		t.Helper()
		if n, at := l.behind(); n != events || !at.Equal(since) {
			t.Errorf("%d events since %s, not %d since %s", n, at, events, since)
		}
	}
	is(0, time.Time{})
	l.note("a", 5)
	n := l.queues["a"]
	first, later := n.since, n.since.Add(time.Minute)
	if first.IsZero() {
		t.Fatal("it is not known since when")
	}
	l.locate(l.pick(1, later)[0], 0)
	l.note("a", 9)
	is(9, first)
	l.reached(n, 5)
	is(4, later)
	l.pick(1, later.Add(time.Minute))
	l.reached(n, 7)
	is(2, later)
	l.pick(1, later.Add(2*time.Minute))
	l.reached(n, 9)
	is(0, time.Time{})
}
