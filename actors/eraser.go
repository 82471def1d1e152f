package actors

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// ErrNotErased: something is left of the person, which may pass: tickets are on
// their way, or events wait for those who must have them.
var ErrNotErased = errors.New("something is left of the person")

// erasePasses bounds how often all queues are gone through at once.
const erasePasses = 8

// Eraser erases people from queues, their journals and snapshots.
type Eraser struct {
	queues  *Queues
	journal Journal
}

// NewEraser makes one.
func NewEraser(queues *Queues, journal Journal) *Eraser { return &Eraser{queues, journal} }

// Erase empties every ticket, in any state and in every queue, whose index has
// one of the tags, and purges every journal that still holds one of them; it
// gives the number of tickets. It looks for the tags where they are kept rather
// than where they ought to be. It fails with ErrNotErased, and can be called
// again at any time.
//
// It is done when one pass over all queues finds nothing: a ticket that is
// transferred to a queue that was passed leaves its trace in the one that it
// came from, so the pass that meets that is not the last.
func (e *Eraser) Erase(ctx context.Context, tags [][]byte, by string) (tickets int, err error) {
	for range erasePasses {
		n, found, err := e.pass(ctx, tags, by)
		if tickets += n; err != nil || !found {
			return tickets, err
		}
	}
	return tickets, ErrNotErased
}

func (e *Eraser) pass(ctx context.Context, tags [][]byte, by string) (tickets int, found bool, err error) {
	for after := ""; ; {
		ids, err := e.journal.Queues(ctx, after, sweepPage)
		if err != nil || len(ids) == 0 {
			return tickets, found, err
		}
		after = ids[len(ids)-1]
		for _, id := range ids {
			n, met, err := e.queue(ctx, id, tags, by)
			tickets, found = tickets+n, found || met
			if err != nil {
				return tickets, found, fmt.Errorf("queue %s: %w", id, err)
			}
		}
	}
}

// queue goes through one queue.
func (e *Eraser) queue(ctx context.Context, id string, tags [][]byte, by string) (tickets int, found bool, err error) {
	held, err := e.holds(ctx, id, tags)
	if err != nil || !held { // then the queue has not got it either
		return 0, false, err
	}
	if tickets, err = e.empty(ctx, id, tags, by); err != nil {
		return tickets, true, err
	}
	if err := refusedBy(e.queues.Purge(ctx, id).Problem); err != nil {
		return tickets, true, err
	}
	if held, err = e.holds(ctx, id, tags); err == nil && held {
		err = ErrNotErased
	}
	return tickets, true, err
}

// empty empties the tickets that the queue has.
func (e *Eraser) empty(ctx context.Context, id string, tags [][]byte, by string) (tickets int, err error) {
	for {
		view := e.queues.Read(ctx, &messages.Read{Queue: id, Question: &messages.Read_Person{
			Person: &messages.ReadPerson{Tags: tags, Limit: maxPerson},
		}})
		if err := refusedBy(view.Problem); err != nil || len(view.Tickets) == 0 {
			return tickets, err
		}
		for _, placed := range view.Tickets {
			op := make([]byte, 16)
			_, _ = rand.Read(op) // never fails (crypto/rand)
			a := e.queues.Do(ctx, &messages.Command{
				Queue: id, By: by, Op: op, Action: &messages.Command_Erase{Erase: &messages.Erase{Ticket: placed.Ticket.Id}},
			})
			if err := refusedBy(a.Problem); err != nil {
				return tickets, err
			}
			tickets++
		}
	}
}

// refusedBy is nil too where the queue or the ticket has gone meanwhile.
func refusedBy(p *messages.Problem) error {
	switch p.GetCode() {
	case "", string(queue.QueueNotFound), string(queue.TicketNotFound):
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNotErased, p.Code)
}

// holds tells whether a tag stands anywhere in what is kept of a queue. A tag is
// as good as random, so what has its bytes is it.
func (e *Eraser) holds(ctx context.Context, id string, tags [][]byte) (bool, error) {
	snapshot, err := e.journal.LoadSnapshot(ctx, id)
	if err != nil && !errors.Is(err, queue.ErrNoSnapshot) {
		return false, err
	}
	if holdsAny(snapshot.Data, tags) {
		return true, nil
	}
	for after := uint64(0); ; {
		entries, err := e.journal.Read(ctx, id, after, readEntries)
		switch {
		case errors.Is(err, queue.ErrTrimmed):
			after, err = oldestKept(ctx, e.journal, id, after)
			if err != nil {
				return false, err
			}
			continue
		case err != nil:
			return false, err
		case len(entries) == 0:
			return false, nil
		}
		for _, entry := range entries {
			if holdsAny(entry.Data, tags) {
				return true, nil
			}
			after = entry.Last
		}
	}
}

func holdsAny(data []byte, tags [][]byte) bool {
	for _, tag := range tags {
		if bytes.Contains(data, tag) {
			return true
		}
	}
	return false
}
