package actors_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

// eventually tries until it holds, for as long as a test waits.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// A journal is trimmed no further than the slowest sink has followed it.
func TestJournalIsTrimmedBehindItsSinks(t *testing.T) {
	t.Parallel()
	j, slow, quick := ownJournal(t), newSink(), newSink()
	const first, all = 700, queue.ResumeWindow + 3_000
	var ahead atomic.Int64 // what is of the last minute is kept in any case
	n := startNode(t, j, func(d *actors.GrainDeps) {
		d.Followed = func(ctx context.Context, id string) (uint64, error) { return actors.Followed(ctx, id, slow, quick) }
		d.Now = func() queue.Time { return queue.Time(time.Now().UnixMilli() + ahead.Load()) }
	})
	n.do(t, "a", create(1))
	slow.at["a"], quick.at["a"] = first, all
	kept := func() uint64 {
		n.passivate(t) // which writes a snapshot
		v, err := j.Versions(t.Context(), []string{"a"})
		if err != nil {
			t.Fatal(err)
		}
		for after := range v[0] { // the oldest that can be read
			if _, err := j.Read(t.Context(), "a", after, 1); err == nil {
				return after
			}
		}
		return v[0]
	}
	makeEvents(t, n, "a", all-1)
	if at := kept(); at != 0 {
		t.Fatalf("the journal begins behind %d, and all of it is new", at)
	}
	ahead.Store(120_000)
	makeEvents(t, n, "a", 300)
	if at := kept(); at == 0 || at > first {
		t.Fatalf("the journal begins behind %d, and a sink has only %d", at, first)
	}
	slow.mu.Lock()
	slow.at["a"], quick.at["a"] = all, all+300
	slow.mu.Unlock()
	makeEvents(t, n, "a", 300)
	if at := kept(); at <= first || at > all+600-queue.ResumeWindow {
		t.Fatalf("the journal begins behind %d, with everybody at %d", at, all)
	}
}

// makeEvents makes so many events in a queue, quickly.
func makeEvents(t testing.TB, n *node, id string, count int) {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(count))
	done := make(chan error, 32)
	for range cap(done) {
		go func() {
			for left.Add(-1) >= 0 {
				if a := n.try(id, setStatus(messages.Status_STATUS_OPEN)); a.Problem != nil {
					done <- errors.New(a.Problem.Code)
					return
				}
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// A queue whose events are not followed goes on up to a bound; there it is
// unavailable for whatever makes events, loses nothing, and goes on by itself
// when they have been followed.
func TestQueueWaitsForThoseWhoFollowIt(t *testing.T) {
	t.Parallel()
	for name, bound := range map[string]actors.Unfollowed{
		"events": {Events: 50, Bytes: 1 << 30},
		"bytes":  {Events: 1 << 30, Bytes: 50 * 300},
	} {
		t.Run(name, func(t *testing.T) {
			j, s := ownJournal(t), newSink()
			var down atomic.Bool
			n := startNode(t, j, func(d *actors.GrainDeps) {
				d.MaxUnfollowed = bound
				d.Followed = func(ctx context.Context, id string) (uint64, error) {
					if down.Load() {
						return 0, errDown
					}
					return actors.Followed(ctx, id, s)
				}
			})
			n.do(t, "a", create(1))
			n.do(t, "b", create(1))
			keyed := enqueue()
			keyed.Keyed, keyed.Fingerprints, keyed.Op = true, []uint64{1}, randomOp()
			first := n.do(t, "a", keyed)
			moved := n.do(t, "b", enqueue()).Event.Ticket.Id
			for range 49 {
				n.do(t, "a", enqueue())
			}
			for i, c := range []*messages.Command{enqueue(), callNext(), setStatus(messages.Status_STATUS_PAUSED)} {
				if a := n.try("a", c); a.Problem == nil || a.Problem.Code != string(queue.Unavailable) {
					t.Fatalf("command %d beyond the bound was answered %v", i, a)
				}
			}
			if a := n.try("b", transfer(moved, "a")); a.Problem == nil || a.Problem.Code != string(queue.Unavailable) {
				t.Fatalf("a transfer to the queue was answered %v", a)
			}
			// What makes no event is answered as ever.
			if v := n.describe("a"); v.Problem != nil || v.Version != 51 {
				t.Fatalf("a read was answered %v", v)
			}
			if a := n.do(t, "a", keyed); !a.Replayed || a.Version != first.Version {
				t.Fatalf("a key's second use was answered %v", a)
			}
			if a := n.try("a", &messages.Command{Action: &messages.Command_Recall{Recall: &messages.Recall{Ticket: first.Event.Ticket.Id}}}); a.Problem == nil || a.Problem.Code != string(queue.TicketNotActive) {
				t.Fatalf("a refusal became %v", a)
			}
			// Loaded again it has not forgotten.
			if name == "events" {
				n.passivate(t)
				if a := n.try("a", enqueue()); a.Problem == nil {
					t.Fatal("a queue that was loaded again takes more")
				}
			}
			// While the checkpoints cannot be read, nothing changes.
			down.Store(true)
			if a := n.try("a", enqueue()); a.Problem == nil {
				t.Fatal("the bound was forgotten")
			}
			down.Store(false)
			follow(t, j, s)
			eventually(t, "the queue goes on", func() bool { return n.try("a", enqueue()).Problem == nil })
			n.do(t, "b", transfer(moved, "a"))
			journalEvents(t, j, "a") // without a gap
		})
	}
}

// With sinks that keep up nobody is ever refused, however small the bound.
func TestQueueThatIsFollowedIsNeverRefused(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	f, _ := follow(t, j, s)
	n := startNode(t, j, func(d *actors.GrainDeps) {
		d.Committed = f.Note
		d.MaxUnfollowed = actors.Unfollowed{Events: 20_000, Bytes: 1 << 30}
		d.Followed = func(ctx context.Context, id string) (uint64, error) { return actors.Followed(ctx, id, s) }
	})
	n.do(t, "a", create(1))
	for made := uint64(10_000); made <= 30_000; made += 10_000 { // a sink that is busy for a while is none that does not keep up
		makeEvents(t, n, "a", 10_000)
		s.await(t, made+1, "a")
	}
	s.holds(t, "a", 1, 30_001)
}

// A queue of which the store has lost every event is made again above them all:
// its followers would take the events for known ones otherwise.
func TestQueueMadeAgainAfterItsJournalWasLost(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	s.at["a"] = 70
	n := startNode(t, j, func(d *actors.GrainDeps) {
		d.Known = func(ctx context.Context, id string) (uint64, error) { return actors.Followed(ctx, id, s) }
	})
	if a := n.do(t, "a", create(1)); a.Version != 70+queue.EpochGap {
		t.Fatalf("it begins at version %d", a.Version)
	}
	n.do(t, "a", enqueue())
	n.passivate(t)
	if v := n.describe("a"); v.Problem != nil || v.Version != 71+queue.EpochGap || v.Waiting != 1 {
		t.Fatalf("loaded again: %v", v)
	}
	follow(t, j, s)
	s.await(t, 71+queue.EpochGap, "a")
	if got := s.of("a"); !slices.Equal(got, []uint64{70 + queue.EpochGap, 71 + queue.EpochGap}) {
		t.Fatalf("the sink was given %v", got)
	}
}
