package actors

import (
	"context"
	"errors"
	"time"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// The shell of a transfer: the source asks the target to keep a place, appends
// ticket.transferred, and then sends the ticket until the target has it.

const (
	placeTimeout     = 3 * time.Second
	arrivalTimeout   = 5 * time.Second
	arrivalBackoff   = 50 * time.Millisecond
	arrivalBackoffTo = 30 * time.Second
	// answerTransferWithin bounds how long the one who asked waits for the arrival.
	answerTransferWithin = 8 * time.Second
)

type (
	placeKept struct {
		item    *item
		problem *messages.Problem
		err     error
	}
	delivered struct{ old queue.TicketID }
)

// askForPlace asks the target; the command is decided anew when it has answered.
// One that is sent again takes the place of its first sending, whose answer
// nobody waits for: were that decided later, a transfer that was refused might
// still be done.
func (g *grain) askForPlace(it *item, c *messages.Command) {
	if g.placing == nil {
		g.placing = make(map[queue.OpID]*item)
	}
	op, m := queue.OpID(c.Op), c.GetTransfer()
	if first := g.placing[op]; first != nil && c.Again {
		g.refuse(first, queue.ErrOutcomeUnknown)
		first.given = true
	}
	g.placing[op] = it
	go func() {
		ctx, cancel := context.WithTimeout(it.traced.in(g.ctx), placeTimeout)
		defer cancel()
		kept := &placeKept{item: it}
		answer, err := g.Request(ctx, QueueKind, m.To, &messages.KeepPlace{Queue: m.To, Old: m.Ticket})
		if a, ok := answer.(*messages.Answer); ok {
			kept.problem = a.Problem
		} else if err == nil {
			err = errors.New("the target gave no answer that can be understood")
		}
		kept.err = err
		g.tell(kept)
	}()
}

func (g *grain) placeKept(m *placeKept) {
	op := queue.OpID(m.item.request.(*messages.Command).Op)
	if g.placing[op] == m.item {
		delete(g.placing, op)
	}
	switch {
	case m.item.given:
	case m.err != nil || m.problem != nil && m.problem.Code == string(queue.OutcomeUnknown):
		g.refuse(m.item, queue.ErrUnavailableNow) // nothing was decided yet
	case m.problem != nil:
		g.respond(m.item.sender, &messages.Answer{Problem: m.problem})
	default:
		m.item.placed = true
		g.take(m.item)
	}
}

// freePlace gives a place up that a refused transfer does not need.
func (g *grain) freePlace(it *item) {
	if !it.placed {
		return
	}
	m := it.request.(*messages.Command).GetTransfer()
	go func() {
		ctx, cancel := context.WithTimeout(g.ctx, placeTimeout)
		defer cancel()
		// Should this be lost, the place lapses by itself.
		_, _ = g.Request(ctx, QueueKind, m.To, &messages.KeepPlace{Queue: m.To, Old: m.Ticket, Free: true})
	}()
}

// keepPlace is the target's side.
func (g *grain) keepPlace(m *messages.KeepPlace) *messages.Answer {
	if len(m.Old) != 16 {
		return g.refusal(&queue.Error{Code: queue.Invalid, Detail: "The transfer names no ticket."})
	}
	old := queue.TicketID(m.Old)
	if m.Free {
		g.state.FreePlace(old)
		return &messages.Answer{Version: g.state.Version()}
	}
	if !g.mayGrow() {
		return g.refusal(queue.ErrNotFollowed)
	}
	var refused *queue.Error
	if errors.As(g.state.KeepPlace(old, g.Now()), &refused) {
		return g.refusal(refused)
	}
	return &messages.Answer{Version: g.state.Version()}
}

// deliver sends a transferred ticket to its target until it has been taken. it
// is who waits for that, nil after a new start.
func (g *grain) deliver(old *queue.Ticket, it *item) {
	if g.deliveries[old.ID] {
		return
	}
	if g.deliveries == nil {
		g.deliveries = make(map[queue.TicketID]bool)
	}
	g.deliveries[old.ID] = true
	var source *messages.Event
	by := ""
	var trace *traced
	if it != nil {
		source, by, trace = eventToMessage(it.event), it.event.By, it.traced
	}
	go func() {
		waiting := it != nil
		began := time.Now()
		for backoff := arrivalBackoff; ; backoff = min(backoff*2, arrivalBackoffTo) {
			ctx, cancel := context.WithTimeout(trace.in(g.ctx), arrivalTimeout)
			arrival, err := g.arrive(ctx, old, by)
			cancel()
			if err == nil {
				if waiting {
					g.respond(it.sender, &messages.Answer{Event: source, Version: source.Version, Arrival: arrival})
				}
				g.tell(&delivered{old.ID})
				return
			}
			if waiting && time.Since(began)+backoff > answerTransferWithin {
				g.refuse(it, queue.ErrOutcomeUnknown)
				waiting = false
			}
			g.log.WarnContext(ctx, "a transferred ticket has not arrived yet", "target", old.TransferQueue, "error", err)
			select {
			case <-g.ctx.Done():
				if waiting {
					g.refuse(it, queue.ErrOutcomeUnknown)
				}
				return
			case <-time.After(backoff):
			}
		}
	}()
}

// arrive gives the event that the transfer made in the target, now or earlier.
func (g *grainContext) arrive(ctx context.Context, old *queue.Ticket, by string) (*messages.Event, error) {
	op := queue.ArrivalOp(old)
	target := string(old.TransferQueue)
	answer, err := g.Request(ctx, QueueKind, target, &messages.Command{
		Queue: target, By: by, Op: op[:], Keyed: true, Fingerprints: []uint64{0},
		Action: &messages.Command_Arrive{Arrive: &messages.Arrive{Old: TicketToMessage(old)}},
	})
	if err != nil {
		return nil, err
	}
	a, ok := answer.(*messages.Answer)
	switch {
	case !ok:
		return nil, errors.New("the target gave no answer that can be understood")
	case a.Problem != nil:
		return nil, errors.New(a.Problem.Code)
	}
	return a.Event, nil
}

func (g *grain) delivered(m *delivered) {
	delete(g.deliveries, m.old)
	if g.state != nil {
		g.state.Delivered(m.old)
		g.forgotten = true
	}
}

// answerOf is the answer to the command that made an event.
func answerOf(e *queue.Event) *messages.Answer {
	m := eventToMessage(e)
	return &messages.Answer{Event: m, Version: m.Version}
}
