package actors_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

// requests are keyed enqueues whose operation and service are their place.
func requests(from, to int) []*messages.Command {
	var all []*messages.Command
	for i := from; i < to; i++ {
		c := enqueue()
		c.Op = binary.BigEndian.AppendUint64(make([]byte, 8), uint64(i)+1)
		c.By, c.Keyed, c.Fingerprints = "rabbitmq", true, []uint64{uint64(i)}
		c.GetEnqueue().Service = fmt.Sprint(i)
		all = append(all, c)
	}
	return all
}

func capacity(n uint32) *messages.Command {
	return &messages.Command{Action: &messages.Command_Configure{Configure: &messages.Configure{
		Fields: uint32(queue.FieldCapacity), Config: &messages.Config{Capacity: n},
	}}}
}

func codes(answers []*messages.Answer) string {
	var all []string
	for _, a := range answers {
		switch {
		case a.Replayed:
			all = append(all, "replayed")
		case a.Problem == nil:
			all = append(all, "ok")
		default:
			all = append(all, a.Problem.Code)
		}
	}
	return strings.Join(all, " ")
}

func TestBatchStopsWhereARequestMayBeTakenLater(t *testing.T) {
	t.Parallel()
	n, _ := faultyNode(t)
	n.do(t, "a", create(1))
	n.do(t, "a", capacity(3))
	for _, c := range []struct {
		from, to int
		pastFull bool
		want     string
	}{
		{0, 2, false, "ok ok"},
		{0, 6, false, "replayed replayed ok queue_full unavailable unavailable"},
		{0, 6, true, "replayed replayed replayed queue_full queue_full queue_full"},
	} {
		if got := codes(n.queues.Enqueue(context.Background(), "a", requests(c.from, c.to), c.pastFull)); got != c.want {
			t.Errorf("%d to %d: %s, want %s", c.from, c.to, got, c.want)
		}
	}
	n.do(t, "a", capacity(5)) // that it is full would be said before that it is closed
	n.do(t, "a", setStatus(messages.Status_STATUS_CLOSED))
	if got := codes(n.queues.Enqueue(context.Background(), "a", requests(2, 5), false)); got != "replayed queue_closed queue_closed" {
		t.Error(got)
	}
	if got := codes(n.queues.Enqueue(context.Background(), "none", requests(0, 2), false)); got != "queue_not_found queue_not_found" {
		t.Error(got)
	}
	move := &messages.Command{Op: randomOp(), Action: &messages.Command_CallNext{CallNext: &messages.CallNext{}}}
	if got := codes(n.queues.Enqueue(context.Background(), "a", []*messages.Command{move}, false)); got != "outcome_unknown" {
		t.Error(got)
	}
}

// Whatever fails meanwhile, who sends a window again from its first request that
// was not accepted gets every request into the line once, in order.
func TestBatchKeepsOrderThroughFailures(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			n, f := faultyNode(t)
			n.do(t, "a", create(1_000))
			n.do(t, "a", capacity(15))
			keepOrder(t, n, f, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func keepOrder(t *testing.T, n *node, f *faulty, random *rand.Rand) {
	const total = 600
	for next, tries := 0, 0; next < total; tries++ {
		if tries > 5_000 {
			t.Fatalf("only %d of %d were accepted", next, total)
		}
		if random.IntN(3) == 0 {
			f.fail(fault{written: random.IntN(2) == 0, err: []error{queue.ErrUnknown, queue.ErrUnavailable, queue.ErrFenced}[random.IntN(3)]})
		}
		freed := make(chan struct{})
		calls := random.IntN(20)
		go func() { // there is room, now and then
			defer close(freed)
			for range calls {
				n.try("a", callNext())
			}
		}()
		answers := n.queues.Enqueue(context.Background(), "a", requests(next, min(next+1+random.IntN(40), total)), false)
		for i, a := range answers {
			if a.Problem != nil {
				for _, later := range answers[i:] {
					if later.Problem == nil {
						t.Fatalf("accepted behind a refusal: %s", codes(answers))
					}
				}
				break
			}
			next++
		}
		<-freed
	}
	events, err := actors.ReadJournal(context.Background(), f.Journal, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	line := 0
	for _, e := range events {
		if e.Kind == messages.EventKind_EVENT_KIND_TICKET_ENQUEUED {
			if e.Ticket.Service != fmt.Sprint(line) {
				t.Fatalf("ticket %d of the line is request %s", line, e.Ticket.Service)
			}
			line++
		}
	}
	if line != total {
		t.Fatalf("%d tickets", line)
	}
}

// What has waited for long in a process, which may have been paused, is not
// decided any more: somebody else may have settled it since.
func TestBatchIsNotDecidedLate(t *testing.T) {
	t.Parallel()
	n, f := faultyNode(t)
	n.do(t, "a", create(1))
	late := make(chan struct{})
	f.fail(fault{err: queue.ErrUnavailable, before: func() { <-late }})
	timer := time.AfterFunc(actors.BatchWithin+100*time.Millisecond, func() { close(late) })
	defer timer.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 2*actors.BatchWithin)
	defer cancel()
	if got := codes(n.queues.Enqueue(ctx, "a", requests(0, 2), false)); got != "unavailable unavailable" {
		t.Error(got)
	}
	if waiting := n.describe("a").Waiting; waiting != 0 {
		t.Errorf("%d tickets", waiting)
	}
	if got := codes(n.queues.Enqueue(ctx, "a", requests(0, 2), false)); got != "ok ok" {
		t.Error(got)
	}
}
