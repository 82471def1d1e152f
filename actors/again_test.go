package actors_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

// A command without a key whose answer was lost is sent again, to another
// activation over the same journal: it is done once, and answered as it would
// have been.
func TestSentAgainToAnotherActivation(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	first, second := startNode(t, j), startNode(t, j)
	first.do(t, "b", create(1))
	ticket := first.do(t, "b", enqueue()).Event.Ticket.Id
	for i, command := range []func() *messages.Command{
		func() *messages.Command { return create(9) },
		func() *messages.Command {
			return &messages.Command{Action: &messages.Command_Delete{Delete: &messages.Delete{}}}
		},
		func() *messages.Command { return create(9) },
		enqueue,
		callNext,
		func() *messages.Command { return capacity(7) },
		func() *messages.Command { return transfer(ticket, "b") },
		enqueue,
		callNext,
		func() *messages.Command {
			return &messages.Command{Action: &messages.Command_Complete{Complete: &messages.Complete{Ticket: ticket}}}
		},
	} {
		c := command()
		want := first.do(t, "a", c)
		for _, n := range []*node{second, first, second} {
			got := n.try("a", actors.Again(c).(*messages.Command))
			if !proto.Equal(got, want) {
				t.Fatalf("%d: sent again it is answered\n%v, want\n%v", i, got, want)
			}
		}
		if want.Event.Ticket != nil {
			ticket = want.Event.Ticket.Id
		}
		if events := journalEvents(t, j, "a"); len(events) != i+1 {
			t.Fatalf("%d events after %d commands", len(events), i+1)
		}
	}
	if events := journalEvents(t, j, "b"); len(events) != 3 {
		t.Errorf("%d events in the transfer's target", len(events))
	}
}

// The same while the first sending is under way still: its append stands
// already, or is refused since the queue was claimed. Both are answered the same.
func TestSentAgainWhileTheFirstIsUnderWay(t *testing.T) {
	t.Parallel()
	for _, written := range []bool{true, false} {
		t.Run(fmt.Sprintf("written=%v", written), func(t *testing.T) {
			t.Parallel()
			first, f := faultyNode(t)
			second := startNode(t, f.Journal)
			first.do(t, "a", create(9))
			first.do(t, "a", enqueue())
			first.do(t, "a", enqueue())
			entered, leave := make(chan struct{}), make(chan struct{})
			hold := func() { close(entered); <-leave }
			if written {
				f.fail(fault{written: true, err: queue.ErrUnknown, after: hold})
			} else {
				f.fail(fault{before: hold})
			}
			c := callNext()
			c.Op = randomOp()
			marked := actors.Again(c).(*messages.Command)
			answer := make(chan *messages.Answer, 1)
			go func() { answer <- first.try("a", c) }()
			<-entered
			again := second.try("a", marked)
			close(leave)
			a := <-answer
			if again.Problem != nil || a.Problem != nil || a.Version != again.Version || again.Version != 4 ||
				string(a.Event.Ticket.Id) != string(again.Event.Ticket.Id) || a.Replayed || again.Replayed {
				t.Fatalf("answered\n%v, the second time\n%v", a, again)
			}
			if events := journalEvents(t, f.Journal, "a"); len(events) != 4 {
				t.Fatalf("%d events", len(events))
			}
		})
	}
}

// A transfer that was sent again and refused is not done by its first sending,
// whose place in the target is kept only then.
func TestRefusedTransferIsNotDoneByItsFirstSending(t *testing.T) {
	t.Parallel()
	asked, leave := make(chan struct{}), make(chan struct{})
	var asks atomic.Int32
	n := startNode(t, ownJournal(t), func(d *actors.GrainDeps) {
		request := d.Request
		d.Request = func(ctx context.Context, kind, id string, m any) (any, error) {
			place, ok := m.(*messages.KeepPlace)
			if !ok || place.Free {
				return request(ctx, kind, id, m)
			}
			if asks.Add(1) > 1 {
				return &messages.Answer{Problem: &messages.Problem{Code: string(queue.QueueFull)}}, nil
			}
			answer, err := request(ctx, kind, id, m)
			close(asked)
			<-leave
			return answer, err
		}
	})
	n.do(t, "a", create(1))
	n.do(t, "b", create(1))
	ticket := n.do(t, "a", enqueue()).Event.Ticket.Id
	c := transfer(ticket, "b")
	c.Op = randomOp()
	first := make(chan *messages.Answer, 1)
	go func() { first <- n.try("a", c) }()
	<-asked
	if again := n.try("a", actors.Again(c).(*messages.Command)); again.Problem == nil || again.Problem.Code != string(queue.QueueFull) {
		t.Fatalf("sent again it is answered %v", again)
	}
	if a := <-first; a.Problem == nil || a.Problem.Code != string(queue.OutcomeUnknown) {
		t.Errorf("the first sending is answered %v", a)
	}
	close(leave)
	n.do(t, "a", enqueue()) // takes longer than the answer about the place
	if v := n.describe("b"); v.Waiting != 0 {
		t.Fatal("the transfer that was refused was done")
	}
	if v := n.describe("a"); v.Version != 3 || v.Waiting != 2 {
		t.Fatalf("%v", v)
	}
}

// The first sending may come last: to an activation that has lived through it
// all, to one that has read of it, and to one that began from a snapshot.
func TestFirstSendingComesLast(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	first, second := startNode(t, j), startNode(t, j)
	first.do(t, "a", create(9))
	c := enqueue()
	c.Op = randomOp()
	again := second.do(t, "a", actors.Again(c).(*messages.Command))
	for range 1_000 { // a snapshot is due when it is passivated
		second.do(t, "a", setStatus(messages.Status_STATUS_OPEN))
	}
	for i, n := range []*node{second, first, second} {
		if a := n.do(t, "a", c); !proto.Equal(a, again) {
			t.Errorf("%d: answered %v, want %v", i, a, again)
		}
	}
	second.passivate(t)
	if s, err := j.LoadSnapshot(t.Context(), "a"); err != nil || s.Version != 1_002 {
		t.Fatalf("a snapshot of version %d: %v", s.Version, err)
	}
	if a := second.do(t, "a", c); !proto.Equal(a, again) {
		t.Errorf("from a snapshot it is answered %v, want %v", a, again)
	}
	if v := second.describe("a"); v.Waiting != 1 || v.Version != 1_002 {
		t.Errorf("%d wait at version %d", v.Waiting, v.Version)
	}
}

// Whoever gave a key may be told that it was used before, and nobody else.
func TestOnlyKeysAreSaidToBeReplayed(t *testing.T) {
	t.Parallel()
	n, _ := faultyNode(t)
	n.do(t, "a", create(1))
	all := requests(0, 4)
	all[1].Keyed, all[1].Fingerprints = false, nil
	if got := codes(n.queues.Enqueue(t.Context(), "a", all, false)); got != "ok ok ok ok" {
		t.Fatal(got)
	}
	b := actors.Again(&messages.Batch{Queue: "a", Commands: all}).(*messages.Batch)
	if got := codes(n.queues.Enqueue(t.Context(), "a", b.Commands, false)); got != "replayed ok replayed replayed" {
		t.Error(got)
	}
	if v := n.describe("a"); v.Waiting != 4 {
		t.Errorf("%d wait", v.Waiting)
	}
}

// Behind a request of which nobody can know whether it was taken, none is taken.
// After a start from an old snapshot that is so for half a minute.
func TestBatchStopsAtAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	first := startNode(t, j)
	first.do(t, "a", create(1))
	first.passivate(t)
	ctx, owner := t.Context(), queue.OwnerID{1}
	if _, err := j.Claim(ctx, "a", owner); err != nil {
		t.Fatal(err)
	}
	data, err := actors.EncodeRecord(&messages.Snapshot{
		Id: "a", Version: 1, Epoch: "e", LastAt: time.Now().UnixMilli(), Exists: true, Status: messages.Status_STATUS_OPEN,
		Config: &messages.Config{Name: "a", MaxActive: 1, Timezone: "UTC"},
	})
	if err == nil {
		err = j.SaveSnapshot(ctx, "a", owner, queue.Snapshot{Version: 1, Data: data}, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	all := requests(0, 3)
	all[1].Keyed, all[1].Fingerprints, all[1].Again = false, nil, true
	n := startNode(t, j)
	for _, pastFull := range []bool{false, true} {
		if got := codes(n.queues.Enqueue(ctx, "a", all, pastFull)); !strings.HasSuffix(got, " outcome_unknown unavailable") {
			t.Error(got)
		}
	}
	if v := n.describe("a"); v.Waiting != 1 {
		t.Errorf("%d wait", v.Waiting)
	}
}

// Again changes nothing but what it says, and that in a copy.
func TestAgainIsACopy(t *testing.T) {
	t.Parallel()
	c := goldenCommand()
	b := &messages.Batch{Queue: "hall", PastFull: true, Commands: []*messages.Command{c}}
	if !proto.Equal(actors.Again(c).(*messages.Command), goldenCommandV2()) {
		t.Errorf("%v became %v", c, actors.Again(c))
	}
	want := &messages.Batch{Queue: "hall", PastFull: true, Commands: []*messages.Command{goldenCommandV2()}}
	if !proto.Equal(actors.Again(b).(*messages.Batch), want) {
		t.Errorf("%v became %v", b, actors.Again(b))
	}
	if c.Again {
		t.Error("the first sending was changed")
	}
	read := &messages.Read{Queue: "hall"}
	if actors.Again(read) != any(read) {
		t.Error("a read was changed")
	}
}
