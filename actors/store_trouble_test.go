package actors_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

// unclaimed is a journal that lets itself be claimed, or not.
type unclaimed struct {
	actors.Journal
	refuses atomic.Bool
}

func (u *unclaimed) Claim(ctx context.Context, id string, owner queue.OwnerID) (queue.Head, error) {
	if u.refuses.Load() {
		return queue.Head{}, queue.ErrUnavailable
	}
	return u.Journal.Claim(ctx, id, owner)
}

// Of a command whose append failed while the queue cannot be loaded again it is
// said whether it may have happened, also of one whose append was handed over
// behind the one that failed.
func TestFailedAppendsAreToldApart(t *testing.T) {
	t.Parallel()
	no, perhaps := queue.Unavailable, queue.OutcomeUnknown
	type counts struct{ fenced, gaps, unavailable, unknown uint64 }
	for _, c := range []struct {
		first, second error
		want          [2]queue.Code
		counted       counts
	}{
		{queue.ErrUnavailable, queue.ErrUnavailable, [2]queue.Code{no, no}, counts{unavailable: 1}},
		{queue.ErrUnavailable, queue.ErrGap, [2]queue.Code{no, no}, counts{unavailable: 1}},
		{queue.ErrGap, queue.ErrGap, [2]queue.Code{no, no}, counts{gaps: 1}},
		{queue.ErrFenced, queue.ErrFenced, [2]queue.Code{no, no}, counts{fenced: 1}},
		{queue.ErrUnknown, queue.ErrUnavailable, [2]queue.Code{perhaps, no}, counts{unknown: 1}},
		{queue.ErrUnknown, queue.ErrUnknown, [2]queue.Code{perhaps, perhaps}, counts{unknown: 1}},
		{queue.ErrUnknown, nil, [2]queue.Code{perhaps, perhaps}, counts{unknown: 1}},
	} {
		t.Run(fmt.Sprint(c.first, ", then ", c.second), func(t *testing.T) {
			t.Parallel()
			j := sqliteJournal(t, t.TempDir())
			t.Cleanup(func() { _ = j.Close() })
			u, trouble := &unclaimed{Journal: j}, new(actors.Trouble)
			f := &faulty{Journal: u}
			n := startNode(t, f, func(d *actors.GrainDeps) { d.Trouble = trouble })
			n.do(t, "a", create(1))
			entered, leave := make(chan struct{}), make(chan struct{})
			f.fail(
				fault{err: c.first, written: c.second == nil, before: func() { close(entered); <-leave }},
				fault{err: c.second},
			)
			var answers [2]chan *messages.Answer
			for i := range answers {
				answers[i] = make(chan *messages.Answer, 1)
				go func() { answers[i] <- n.try("a", enqueue()) }()
				if i == 0 {
					<-entered
				}
			}
			f.awaitAppends(t, 3) // the queue's creation is one
			u.refuses.Store(true)
			close(leave)
			for i, want := range c.want {
				if a := <-answers[i]; a.Problem == nil || a.Problem.Code != string(want) {
					t.Errorf("command %d was answered %v, want %s", i+1, a, want)
				}
			}
			counted := counts{trouble.Fenced.Load(), trouble.Gaps.Load(), trouble.Unavailable.Load(), trouble.Unknown.Load()}
			if counted != c.counted {
				t.Errorf("counted %v, want %v", counted, c.counted)
			}
		})
	}
}

// A read, too, finds out that the store has lost events, although its owner
// stands there as before: what it shows stands in the new epoch.
func TestReadFindsLostEvents(t *testing.T) {
	t.Parallel()
	trouble := new(actors.Trouble)
	n, f := faultyNode(t, func(d *actors.GrainDeps) { d.Trouble = trouble })
	n.do(t, "a", create(1))
	for range 3 {
		n.do(t, "a", enqueue())
	}
	before := n.describe("a")
	f.Journal = olderCopy(t, f.Journal, "a", 2, f.owner.Load().(queue.OwnerID))
	after := n.describe("a")
	if after.Problem != nil || after.Epoch == before.Epoch || after.Version != before.Version+queue.EpochGap || after.Waiting != 1 {
		t.Fatalf("%v after %v", after, before)
	}
	if got := trouble.Epochs.Load(); got != 1 {
		t.Errorf("%d epochs were counted", got)
	}
}

// Queues that are out of service are counted as long as they are.
func TestDamagedQueuesAreCounted(t *testing.T) {
	t.Parallel()
	trouble := new(actors.Trouble)
	n, f := faultyNode(t, func(d *actors.GrainDeps) { d.Trouble = trouble })
	whole := f.Journal
	n.do(t, "a", create(1))
	damaged := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = damaged.Close() })
	owner := queue.OwnerID{1}
	if _, err := damaged.Claim(t.Context(), "a", owner); err != nil {
		t.Fatal(err)
	}
	if err := appendTo(damaged, "a", owner, queue.OpID{}, queue.Entry{First: 1, Last: 1, Op: queue.OpID{2}, Data: []byte("garbage")}); err != nil {
		t.Fatal(err)
	}
	await := func(want int64, ask func() bool) {
		t.Helper()
		for end := time.Now().Add(patience); !ask() || trouble.Damaged.Load() != want; {
			if time.Now().After(end) {
				t.Fatalf("%d damaged queues, want %d", trouble.Damaged.Load(), want)
			}
		}
	}
	f.Journal = damaged
	await(1, func() bool { return n.describe("a").Problem != nil })
	f.Journal = whole
	await(0, func() bool { return n.describe("a").Problem == nil })
	f.Journal = damaged
	await(1, func() bool { return n.describe("a").Problem != nil })
	n.passivate(t)
	await(0, func() bool { return true })
}
