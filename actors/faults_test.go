package actors_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

// An append whose answer was lost is neither doubled nor forgotten: the grain
// reads what became of it and answers that.
func TestLostAnswerOfAnAppend(t *testing.T) {
	t.Parallel()
	for _, written := range []bool{true, false} {
		t.Run(fmt.Sprintf("written=%v", written), func(t *testing.T) {
			n, f := faultyNode(t)
			n.do(t, "a", create(1))
			n.do(t, "a", enqueue())
			f.fail(fault{written: written, err: queue.ErrUnknown})
			a := n.do(t, "a", enqueue())
			if a.Version != 3 || a.Event.Ticket.Number != "A002" {
				t.Fatalf("answered version %d, ticket %s", a.Version, a.Event.Ticket.Number)
			}
			if v := n.describe("a"); v.Version != 3 || v.Waiting != 2 {
				t.Fatalf("the queue is at %d with %d waiting", v.Version, v.Waiting)
			}
		})
	}
}

// The same with a second append under way behind the one whose answer was lost:
// where the first one stands the second one may too, and where it does not, the
// second one cannot.
func TestLostAnswerWithAnAppendBehindIt(t *testing.T) {
	t.Parallel()
	for _, written := range []bool{true, false} {
		t.Run(fmt.Sprintf("written=%v", written), func(t *testing.T) {
			n, f := faultyNode(t)
			n.do(t, "a", create(1))
			entered, leave := make(chan struct{}), make(chan struct{})
			f.fail(fault{written: written, err: queue.ErrUnknown, before: func() { close(entered); <-leave }})
			answers := make(chan *messages.Answer, 2)
			go func() { answers <- n.try("a", enqueue()) }()
			<-entered
			go func() { answers <- n.try("a", enqueue()) }()
			f.awaitAppends(t, 3) // the queue's creation is one
			close(leave)
			versions := map[uint64]string{}
			for range 2 {
				a := <-answers
				if a.Problem != nil {
					t.Fatal(a.Problem)
				}
				versions[a.Version] = a.Event.Ticket.Number
			}
			if versions[2] != "A001" || versions[3] != "A002" {
				t.Fatalf("answered %v", versions)
			}
			if events := journalEvents(t, f.Journal, "a"); len(events) != 3 {
				t.Fatalf("%d events in the journal", len(events))
			}
		})
	}
}

// While nothing fails the appends of a queue follow each other: the fence
// refuses none, so the state is never loaded again.
func TestManyCallersOneClaim(t *testing.T) {
	t.Parallel()
	n, f := faultyNode(t)
	n.do(t, "a", create(1))
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for range 30 {
				if a := n.try("a", enqueue()); a.Problem != nil {
					t.Error(a.Problem)
				}
			}
		})
	}
	callers.Wait()
	if v := n.describe("a"); v.Waiting != 64*30 {
		t.Errorf("%d waiting", v.Waiting)
	}
	if claims := f.claims.Load(); claims != 1 {
		t.Errorf("the queue was claimed %d times", claims)
	}
}

// A read that was decided on top of an append that failed does not show it,
// although its own check of ownership succeeds.
func TestReadBehindAFailedAppend(t *testing.T) {
	t.Parallel()
	n, f := faultyNode(t)
	n.do(t, "a", create(1))
	entered, leave := make(chan struct{}), make(chan struct{})
	f.fail(fault{err: queue.ErrUnavailable, before: func() { close(entered); <-leave }}, fault{err: queue.ErrUnavailable})
	go func() { n.try("a", enqueue()) }()
	<-entered
	view := make(chan *messages.View, 1)
	go func() { view <- n.describe("a") }()
	select {
	case v := <-view:
		t.Fatalf("a read was answered with version %d before the append", v.Version)
	case <-time.After(50 * time.Millisecond):
	}
	close(leave)
	if v := <-view; v.Problem == nil && v.Waiting > 1 {
		t.Fatalf("%d waiting", v.Waiting)
	}
}

// The same for a transfer: whoever asked is told of the arrival, not left waiting.
func TestLostAnswerOfATransfer(t *testing.T) {
	t.Parallel()
	n, f := faultyNode(t)
	n.do(t, "a", create(1))
	n.do(t, "b", create(1))
	ticket := n.do(t, "a", enqueue()).Event.Ticket
	f.fail(fault{written: true, err: queue.ErrUnknown})
	a := n.do(t, "a", transfer(ticket.Id, "b"))
	if a.Version != 3 || a.Arrival == nil || a.Arrival.Ticket.Number != ticket.Number {
		t.Fatalf("the transfer was answered %v", a)
	}
	if v := n.describe("b"); v.Waiting != 1 || v.Version != 2 {
		t.Fatalf("the target has %d waiting at version %d", v.Waiting, v.Version)
	}
}

// A transfer that was decided when the queue had been loaded is delivered when
// it is durable, not before.
func TestTransferIsNotDeliveredBeforeItIsDurable(t *testing.T) {
	t.Parallel()
	n, f := faultyNode(t)
	n.do(t, "a", create(1))
	n.do(t, "b", create(1))
	ticket := n.do(t, "a", enqueue()).Event.Ticket
	entered, leave := make(chan struct{}), make(chan struct{})
	f.fail(fault{err: queue.ErrUnknown}, fault{before: func() { close(entered); <-leave }})
	answer := make(chan *messages.Answer, 1)
	go func() { answer <- n.try("a", transfer(ticket.Id, "b")) }()
	<-entered // it is decided for the second time, by a state that was loaded
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); runtime.Gosched() {
		if v := n.describe("b"); v.Waiting != 0 {
			t.Fatal("the ticket has arrived before its transfer is durable")
		}
	}
	close(leave)
	if a := <-answer; a.Problem != nil || a.Arrival == nil {
		t.Fatalf("the transfer was answered %v", a)
	}
	if v := n.describe("b"); v.Waiting != 1 || v.Version != 2 {
		t.Fatalf("the target has %d waiting at version %d", v.Waiting, v.Version)
	}
}

// While the store is away nothing is acknowledged; when it is back the queue
// goes on by itself.
func TestStoreAwayAndBack(t *testing.T) {
	t.Parallel()
	n, f := faultyNode(t)
	n.do(t, "a", create(1))
	f.fail(fault{err: queue.ErrUnavailable})
	// The claim still works here, so the grain loads again and retries by itself.
	if a := n.do(t, "a", enqueue()); a.Version != 2 {
		t.Fatalf("version %d after one refused append, want 2", a.Version)
	}
}

// Two activations of one queue, forced at once: the fence lets one write. Each
// answers only what it appended itself, or what it read after claiming anew.
func TestTwoActivationsAtOnce(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	nodes := []*node{startNode(t, j), startNode(t, j)}
	nodes[0].do(t, "a", create(1))
	const each = 100
	var mu sync.Mutex
	versions, numbers := map[uint64]int{}, map[string]int{}
	var wg sync.WaitGroup
	for _, n := range nodes {
		for range 4 {
			wg.Go(func() {
				for range each {
					a := n.try("a", enqueue())
					if a.Problem != nil {
						// Refusing is truthful; saying what did not happen is not.
						if a.Problem.Code != string(queue.Unavailable) && a.Problem.Code != string(queue.OutcomeUnknown) {
							t.Errorf("refused with %s", a.Problem.Code)
						}
						continue
					}
					mu.Lock()
					versions[a.Version]++
					numbers[a.Event.Ticket.Number]++
					mu.Unlock()
					// A read through this node shows what was acknowledged before it.
					if v := n.describe("a"); v.Problem == nil && v.Version < a.Version {
						t.Errorf("a read at version %d after version %d was acknowledged", v.Version, a.Version)
					}
				}
			})
		}
	}
	wg.Wait()
	for v, times := range versions {
		if times != 1 {
			t.Errorf("version %d was answered %d times", v, times)
		}
	}
	for number, times := range numbers {
		if times != 1 {
			t.Errorf("number %s was given %d times", number, times)
		}
	}
	if len(versions) < each {
		t.Errorf("only %d of %d commands were accepted", len(versions), 8*each)
	}
	events := journalEvents(t, j, "a")
	for v := range versions {
		if v > uint64(len(events)) || events[v-1].Version != v {
			t.Fatalf("version %d was acknowledged and is not in the journal", v)
		}
	}
}

// The stale one of two activations does not answer a read from its state.
func TestStaleActivationAnswersNoRead(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	old, young := startNode(t, j), startNode(t, j)
	old.do(t, "a", create(1))
	for i := range 20 {
		young.do(t, "a", enqueue())
		if v := old.describe("a"); v.Problem != nil || v.Waiting != uint32(2*i+1) {
			t.Fatalf("the old activation saw %d waiting (%v), want %d", v.Waiting, v.Problem, 2*i+1)
		}
		old.do(t, "a", enqueue())
	}
}

// meddled is a journal of which somebody else appends to a queue while it is read.
type meddled struct {
	actors.Journal
	times  atomic.Int64
	meddle func()
}

func (m *meddled) Read(ctx context.Context, id string, after uint64, most int) ([]queue.Entry, error) {
	if m.times.Add(-1) >= 0 {
		m.meddle()
	}
	return m.Journal.Read(ctx, id, after, most)
}

// An activation that is claimed over while it loads does not take the new
// events for damage: it loads again, and answers.
func TestClaimedOverWhileItLoads(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	other := startNode(t, j)
	other.do(t, "a", create(1))
	m := &meddled{Journal: j, meddle: func() { other.do(t, "a", enqueue()) }}
	n := startNode(t, m)
	m.times.Store(3)
	if v := n.describe("a"); v.Problem != nil || v.Waiting != 3 {
		t.Fatalf("%d waiting: %v", v.Waiting, v.Problem)
	}
	if a := n.do(t, "a", enqueue()); a.Version != 5 {
		t.Fatalf("version %d", a.Version)
	}
}

// What was decided on top of an append that failed is decided again, by the
// state as it then is.
func TestNothingDecidedAheadIsShown(t *testing.T) {
	t.Parallel()
	decided := make(chan struct{}, 100) // a command is given its time when it is decided
	n, f := faultyNode(t, func(d *actors.GrainDeps) {
		now := d.Now
		d.Now = func() queue.Time { decided <- struct{}{}; return now() }
	})
	other := startNode(t, f.Journal)
	n.do(t, "a", create(1))
	n.do(t, "a", enqueue())
	entered, leave := make(chan struct{}), make(chan struct{})
	f.fail(fault{before: func() { close(entered); <-leave }})
	first := make(chan *messages.Answer, 1)
	go func() { first <- n.try("a", enqueue()) }()
	<-entered
	// Meanwhile another activation pauses the queue, so that the append under
	// way will be fenced off; the call is decided before anybody here knows.
	other.do(t, "a", setStatus(messages.Status_STATUS_PAUSED))
	for len(decided) > 0 {
		<-decided
	}
	second := make(chan *messages.Answer, 1)
	go func() { second <- n.try("a", callNext()) }()
	<-decided
	view := make(chan *messages.View, 1)
	go func() { view <- n.describe("a") }()
	close(leave)
	a, b, v := <-first, <-second, <-view
	if a.Problem != nil || v.Problem != nil {
		t.Fatalf("refused: %v %v", a.Problem, v.Problem)
	}
	if b.Problem == nil || b.Problem.Code != string(queue.QueuePaused) {
		t.Fatalf("call-next in a paused queue: %v", b)
	}
	if v.Status != messages.Status_STATUS_PAUSED {
		t.Fatalf("a read shows the queue %s", v.Status)
	}
	events := journalEvents(t, n.journal, "a")
	if len(events) != 4 || a.Version != 4 {
		t.Fatalf("%d events, the enqueue was told version %d", len(events), a.Version)
	}
}

// A command that makes the grain panic is answered, is not tried again, and
// does not end the queue.
func TestPanicDoesNotEndTheQueue(t *testing.T) {
	t.Parallel()
	n, _ := faultyNode(t)
	n.do(t, "a", create(1))
	poison := enqueue()
	poison.By = "\xff" // no text that a record can hold; the gateway never sends it
	if a := n.try("a", poison); a.Problem == nil || a.Problem.Code != string(queue.OutcomeUnknown) {
		t.Fatalf("the poison was answered %v", a)
	}
	if a := n.do(t, "a", enqueue()); a.Version != 2 || a.Event.Ticket.Number != "A001" {
		t.Fatalf("after the panic: version %d, %s", a.Version, a.Event.Ticket.Number)
	}
}

// A damaged journal is not served, and says so as unavailable; the others are.
func TestDamagedJournalIsNotServed(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	n := startNode(t, j)
	n.do(t, "b", create(1))
	ctx := context.Background()
	owner := queue.OwnerID{1}
	if _, err := j.Claim(ctx, "a", owner); err != nil {
		t.Fatal(err)
	}
	if err := appendTo(j, "a", owner, queue.OpID{}, queue.Entry{First: 1, Last: 1, Op: queue.OpID{2}, Data: []byte("garbage")}); err != nil {
		t.Fatal(err)
	}
	if a := n.try("a", enqueue()); a.Problem == nil || a.Problem.Code != string(queue.Unavailable) {
		t.Fatalf("a damaged queue answered %v", a)
	}
	n.do(t, "b", enqueue())
}

func journalEvents(t testing.TB, j actors.Journal, id string) []*messages.Event {
	t.Helper()
	events, err := actors.ReadJournal(context.Background(), j, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if e.Version != uint64(i+1) {
			t.Fatalf("event %d of the journal has version %d", i+1, e.Version)
		}
	}
	return events
}
