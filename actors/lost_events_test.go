package actors_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

// olderCopy is the store as it was when it had the first entries of a queue.
func olderCopy(t *testing.T, j actors.Journal, id string, first int, owner queue.OwnerID) actors.Journal {
	t.Helper()
	ctx := t.Context()
	entries, err := j.Read(ctx, id, 0, first)
	if err != nil || len(entries) != first {
		t.Fatal(len(entries), err)
	}
	older := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = older.Close() })
	if _, err := older.Claim(ctx, id, owner); err != nil {
		t.Fatal(err)
	}
	prev := queue.OpID{}
	for _, e := range entries {
		if err := appendTo(older, id, owner, prev, e); err != nil {
			t.Fatal(err)
		}
		prev = e.Op
	}
	return older
}

// A store that comes back without its last events does not have their versions
// and numbers given out again: a new epoch begins above them.
func TestLostEventsBeginANewEpoch(t *testing.T) {
	t.Parallel()
	n, f := faultyNode(t)
	n.do(t, "a", create(1))
	for range 3 {
		n.do(t, "a", enqueue())
	}
	before := n.describe("a")
	f.Journal = olderCopy(t, f.Journal, "a", 2, queue.OwnerID{1})
	a := n.do(t, "a", enqueue())
	after := n.describe("a")
	if after.Epoch == before.Epoch || a.Version != before.Version+queue.EpochGap+1 || a.Event.Epoch != after.Epoch {
		t.Fatalf("version %d in epoch %s after version %d in epoch %s", a.Version, a.Event.Epoch, before.Version, before.Epoch)
	}
	if a.Event.Ticket.Number != "A502" || after.Waiting != 2 {
		t.Fatalf("number %s, %d waiting", a.Event.Ticket.Number, after.Waiting)
	}
	n.passivate(t)
	if v := n.describe("a"); v.Problem != nil || v.Epoch != after.Epoch || v.Version != a.Version || v.Waiting != 2 {
		t.Fatalf("loaded again: %v", v)
	}
}

// A node that starts over a store that has lost events learns it from what is
// known elsewhere.
func TestLossIsFoundAcrossARestart(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	first := startNode(t, j)
	first.do(t, "a", create(1))
	first.do(t, "a", enqueue())
	epoch := first.describe("a").Epoch
	next := startNode(t, j, func(d *actors.GrainDeps) {
		d.Known = func(context.Context, string) (uint64, error) { return 40, nil }
	})
	a := next.do(t, "a", enqueue())
	if a.Version != 41+queue.EpochGap || a.Event.Epoch == epoch || a.Event.Ticket.Number != "A502" {
		t.Fatalf("version %d, epoch %s, number %s", a.Version, a.Event.Epoch, a.Event.Ticket.Number)
	}
}

// A queue whose whole journal is gone is made anew above all that was known of
// it, and is found there again.
func TestQueueMadeAnewAfterItsJournalIsGone(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	n := startNode(t, j, func(d *actors.GrainDeps) {
		d.Known = func(context.Context, string) (uint64, error) { return 700, nil }
	})
	if a := n.try("a", enqueue()); a.Problem == nil || a.Problem.Code != string(queue.QueueNotFound) {
		t.Fatalf("before it is made anew: %v", a)
	}
	if a := n.do(t, "a", create(1)); a.Version != 700+queue.EpochGap {
		t.Fatalf("made at version %d", a.Version)
	}
	if a := n.do(t, "a", enqueue()); a.Version != 701+queue.EpochGap || a.Event.Ticket.Number != "A701" {
		t.Fatalf("version %d, number %s", a.Version, a.Event.Ticket.Number)
	}
	n.passivate(t)
	if v := n.describe("a"); v.Version != 701+queue.EpochGap || v.Waiting != 1 {
		t.Fatalf("loaded again: %v", v)
	}
}

// A journal that ends before what was followed of it is waited for without a
// failure, told of once, and followed on from its new epoch.
func TestFollowerOfAJournalThatLostEvents(t *testing.T) {
	t.Parallel()
	j, s, log := ownJournal(t), newSink(), new(said)
	s.at["a"] = 4
	h := newHistory(t, j, "a")
	h.add(t, 2)
	f, _ := followLogging(t, j, s, log.log())
	for _, heard := range []uint64{5, 6} { // what was heard of and is lost
		f.Note("a", heard)
		for end := time.Now().Add(patience); f.Behind() > 0 || !strings.Contains(log.String(), "lost events that were followed"); runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("%d events are waited for; it said %s", f.Behind(), log)
			}
		}
	}
	if known := f.Known("a"); known != 4 {
		t.Errorf("version %d is known", known)
	}
	data, err := actors.EncodeRecord(&messages.Entry{Epoch: "two", Events: []*messages.Event{{Version: 7, Kind: messages.EventKind_EVENT_KIND_QUEUE_CONFIGURED}}})
	if err != nil {
		t.Fatal(err)
	}
	h.append(t, data, 7)
	f.Note("a", 7)
	s.await(t, 7, "a")
	s.holds(t, "a", 7, 7)
	if text := log.String(); strings.Count(text, "level=") != 1 {
		t.Errorf("it said %s", text)
	}
}

// A queue whose journal has lost events is looked at although nobody asks for it.
func TestSweepFindsLostEvents(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	for id, at := range map[string]uint64{"short": 4, "whole": 2, "new": 0} {
		s.at[id] = at
		newHistory(t, j, id).add(t, 2)
	}
	looked := make(chan string)
	_, stop := follow(t, j, s, func(f *actors.JournalFollower) {
		f.SweepEvery(time.Millisecond)
		f.WhereShort(func(id string) { looked <- id })
	})
	for range 3 { // as long as it is short
		if id := <-looked; id != "short" {
			t.Errorf("looked at the queue %q", id)
		}
	}
	go func() {
		for range looked {
		}
	}()
	stop()
	close(looked)
}

// What other nodes have told of is known, whether the queue is followed or not.
func TestHeardVersionsAreKnown(t *testing.T) {
	t.Parallel()
	j := ownJournal(t)
	n := startNode(t, j)
	for _, version := range []uint64{9, 8} {
		n.feeds.Heard(&messages.News{Versions: map[string]uint64{"a": version}})
	}
	if known := n.feeds.Known("a"); known != 9 {
		t.Errorf("version %d is known", known)
	}
	if known := n.feeds.Known("b"); known != 0 {
		t.Errorf("version %d is known of a queue that nobody told of", known)
	}
}
