package actors

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// ErrNotErased: something is left of the person, which may pass: tickets are on
// their way, or events wait for those who must have them.
var ErrNotErased = errors.New("something is left of the person")

// erasePasses bounds how often all queues are gone through at once.
const erasePasses = 8

// Person is who is erased: whoever is found by a tag, or else whose visit it was.
type Person struct {
	Tags  [][]byte
	Visit []byte // 16 bytes; empty: by tags
}

// Eraser erases people from queues, their journals and snapshots.
type Eraser struct {
	queues  *Queues
	journal Journal
}

// NewEraser makes one.
func NewEraser(queues *Queues, journal Journal) *Eraser { return &Eraser{queues, journal} }

// Erase empties every ticket, in any state and in every queue, whose index has
// one of the tags, or that is of the visit, and purges every journal that still
// holds one of them; it gives the number of tickets. It looks for them where they
// are kept rather than where they ought to be. It fails with ErrNotErased, and can be called
// again at any time.
//
// It is done when one pass over all queues finds nothing: a ticket that is
// transferred to a queue that was passed leaves its trace in the one that it
// came from, so the pass that meets that is not the last.
func (e *Eraser) Erase(ctx context.Context, who Person, by string) (tickets int, err error) {
	for range erasePasses {
		n, found, err := e.pass(ctx, who, by)
		if tickets += n; err != nil || !found {
			return tickets, err
		}
	}
	return tickets, ErrNotErased
}

func (e *Eraser) pass(ctx context.Context, who Person, by string) (tickets int, found bool, err error) {
	for after := ""; ; {
		ids, err := e.journal.Queues(ctx, after, sweepPage)
		if err != nil || len(ids) == 0 {
			return tickets, found, err
		}
		after = ids[len(ids)-1]
		for _, id := range ids {
			n, met, err := e.queue(ctx, id, who, by)
			tickets, found = tickets+n, found || met
			if err != nil {
				return tickets, found, fmt.Errorf("queue %s: %w", id, err)
			}
		}
	}
}

// queue goes through one queue.
func (e *Eraser) queue(ctx context.Context, id string, who Person, by string) (tickets int, found bool, err error) {
	held, err := e.holds(ctx, id, who)
	if err != nil || !held { // then the queue has not got it either
		return 0, false, err
	}
	if tickets, err = e.empty(ctx, id, who, by); err != nil {
		return tickets, true, err
	}
	if err := refusedBy(e.queues.Purge(ctx, id).Problem); err != nil {
		return tickets, true, err
	}
	if held, err = e.holds(ctx, id, who); err == nil && held {
		err = ErrNotErased
	}
	return tickets, true, err
}

// empty empties the tickets that the queue has.
func (e *Eraser) empty(ctx context.Context, id string, who Person, by string) (tickets int, err error) {
	for {
		view := e.queues.Read(ctx, &messages.Read{Queue: id, Question: &messages.Read_Person{
			Person: &messages.ReadPerson{Tags: who.Tags, Visit: who.Visit, Limit: maxPerson},
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

// holds tells whether something of the person stands anywhere in what is kept of
// a queue. A tag is as good as random, so what has its bytes is it; a visit's id
// stays where nothing personal is left, so what has it is looked into.
func (e *Eraser) holds(ctx context.Context, id string, who Person) (bool, error) {
	snapshot, err := e.journal.LoadSnapshot(ctx, id)
	if err != nil && !errors.Is(err, queue.ErrNoSnapshot) {
		return false, err
	}
	held, err := who.inSnapshot(snapshot.Data)
	if held || err != nil {
		return held, err
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
			if held, err := who.inEntry(entry); held || err != nil {
				return held, err
			}
			after = entry.Last
		}
	}
}

func (p Person) inSnapshot(data []byte) (bool, error) {
	if len(p.Visit) == 0 {
		return holdsAny(data, p.Tags), nil
	}
	if !bytes.Contains(data, p.Visit) {
		return false, nil
	}
	m := &messages.Snapshot{}
	if err := decodeRecord(data, m); err != nil {
		return false, err
	}
	return slices.ContainsFunc(m.Tickets, p.left) || slices.ContainsFunc(m.Outbox, p.left), nil
}

func (p Person) inEntry(entry queue.Entry) (bool, error) {
	if len(p.Visit) == 0 {
		return holdsAny(entry.Data, p.Tags), nil
	}
	if !bytes.Contains(entry.Data, p.Visit) {
		return false, nil
	}
	events, err := decodeEntry(entry)
	return slices.ContainsFunc(events, func(e *messages.Event) bool { return e.Ticket != nil && p.left(e.Ticket) }), err
}

// left tells whether something personal of the visit is left in a ticket.
func (p Person) left(t *messages.Ticket) bool {
	visit := t.Visit
	if len(visit) == 0 {
		visit = t.Id
	}
	return bytes.Equal(visit, p.Visit) && len(t.Customer)+len(t.Payload)+len(t.Index) > 0
}

func holdsAny(data []byte, tags [][]byte) bool {
	return slices.ContainsFunc(tags, func(tag []byte) bool { return bytes.Contains(data, tag) })
}
