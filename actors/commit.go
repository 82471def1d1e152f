package actors

import (
	"context"
	"errors"
	"fmt"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// batch is what one append makes durable, and all the answers that wait for it.
type batch struct {
	items  []*item
	events int
	bytes  int
	// image of the state right after the batch, where a snapshot is due.
	image *queue.Image
}

func (b *batch) add(it *item) {
	b.items = append(b.items, it)
	if it.event != nil {
		b.events++
		if t := it.event.Ticket; t != nil {
			b.bytes += len(t.Customer) + len(t.Payload)
		}
	}
}

// split takes off what one append may carry; the rest stays.
func (b *batch) split() (first, rest *batch) {
	if b.events <= maxBatchEvents && b.bytes <= maxBatchBytes {
		return b, nil
	}
	first, rest = &batch{}, &batch{}
	for i, it := range b.items {
		if first.events >= maxBatchEvents || first.bytes >= maxBatchBytes {
			for _, later := range b.items[i:] {
				rest.add(later)
			}
			return first, rest
		}
		first.add(it)
	}
	return first, nil
}

// commit sends the next batch on its way unless one is under way.
func (g *grain) commit() {
	if g.inflight != nil || g.next == nil || g.state == nil {
		return
	}
	g.inflight, g.next = g.next.split()
	if g.next == nil && g.snapshotDue(g.inflight.events) {
		g.inflight.image = g.state.Image()
	}
	go g.write(g.inflight, g.generation, g.owner, g.lastOp)
}

// write makes a batch durable, or, where it holds no events, checks that the
// queue is still ours; then it answers. It runs beside the actor and touches
// nothing of it that changes.
func (g *grain) write(b *batch, generation uint64, owner queue.OwnerID, prev queue.OpID) {
	ctx, cancel := context.WithTimeout(g.ctx, journalTimeout)
	defer cancel()
	events, err := g.append(ctx, b, owner, prev)
	g.system.Root.Send(g.self, &committed{generation: generation, batch: b, err: err})
	if err != nil {
		return // the actor asks again what the batch held
	}
	for _, it := range b.items {
		switch {
		case it.event != nil:
			m := events[0]
			events = events[1:]
			if m.Kind != messages.EventKind_EVENT_KIND_TICKET_TRANSFERRED {
				g.respond(it.sender, &messages.Answer{Event: m, Version: m.Version})
			}
		case it.replayOf != 0:
			go g.replay(it)
		default:
			g.respond(it.sender, it.answer)
		}
	}
}

// append gives the batch's events as they were written.
func (g *grain) append(ctx context.Context, b *batch, owner queue.OwnerID, prev queue.OpID) ([]*messages.Event, error) {
	if b.events == 0 {
		return nil, g.Journal.Owns(ctx, string(g.id), owner)
	}
	events := make([]*messages.Event, 0, b.events)
	for _, it := range b.items {
		if it.event != nil {
			events = append(events, eventToMessage(it.event))
		}
	}
	entry, err := encodeEntry(events)
	if err != nil {
		return nil, fmt.Errorf("encoding events: %w", err)
	}
	if err := g.Journal.Append(ctx, string(g.id), owner, prev, entry); err != nil {
		return nil, err
	}
	g.Committed(string(g.id), entry.Last)
	return events, nil
}

// committed goes on after an append.
func (g *grain) committed(m *committed) {
	if m.generation != g.generation {
		return
	}
	if m.err != nil {
		g.appendFailed(m.err)
		return
	}
	g.inflight = nil
	for _, it := range m.batch.items {
		if it.event == nil {
			continue
		}
		g.durable, g.lastOp = it.event.Version, it.event.Op
		if it.event.Kind == queue.TicketTransferred {
			g.deliver(it.event.Ticket, it)
		}
	}
	g.sinceSnapshot += m.batch.events
	if m.batch.image != nil {
		g.saveSnapshot(m.batch.image)
	}
}

func (g *grain) appendFailed(err error) {
	switch {
	case errors.Is(err, queue.ErrFenced):
		g.log.Info("the queue was claimed elsewhere; its state is loaded again", "version", g.durable)
	case errors.Is(err, queue.ErrGap):
		g.log.Error("the store has lost or gained events of the queue", "version", g.durable)
	default:
		g.log.Warn("the journal did not take an append", "version", g.durable, "error", err)
	}
	g.reset()
}

// replay answers with the event that the operation made the first time, as the
// journal has it.
func (g *grain) replay(it *item) {
	ctx, cancel := context.WithTimeout(g.ctx, journalTimeout)
	defer cancel()
	m, err := readEvent(ctx, g.Journal, string(g.id), it.replayOf)
	if err != nil {
		g.log.Warn("an earlier answer cannot be read", "version", it.replayOf, "error", err)
		g.answer(it, queue.ErrOutcomeUnknown)
		return
	}
	answer := &messages.Answer{Event: m, Version: m.Version, Replayed: true}
	if m.Kind == messages.EventKind_EVENT_KIND_TICKET_TRANSFERRED {
		old, err := ticketFromMessage(m.Ticket)
		if err != nil {
			g.answer(it, queue.ErrOutcomeUnknown)
			return
		}
		if answer.Arrival, err = g.arrive(ctx, old, m.By); err != nil {
			g.answer(it, queue.ErrOutcomeUnknown)
			return
		}
	}
	g.respond(it.sender, answer)
}

// readEvent reads one event of a queue's journal.
func readEvent(ctx context.Context, j Journal, id string, version uint64) (*messages.Event, error) {
	entries, err := j.Read(ctx, id, version-1, 1)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		events, err := decodeEntry(e)
		if err != nil {
			return nil, err
		}
		for _, ev := range events {
			if ev.Version == version {
				return ev, nil
			}
		}
	}
	return nil, queue.ErrTrimmed
}

// snapshotDue: the work of writing one is spread over as many events as the
// state is large, so that its cost per event does not grow.
func (g *grain) snapshotDue(events int) bool {
	return !g.snapshotting && events > 0 && g.sinceSnapshot+events >= max(snapshotEvery, g.state.Size()/3)
}

// saveSnapshot writes an image down beside the actor.
func (g *grain) saveSnapshot(img *queue.Image) {
	g.snapshotting, g.sinceSnapshot, g.forgotten = true, 0, false
	trimTo := min(g.state.TrimTo(), img.Version)
	owner, op := g.owner, g.lastOp
	go func() {
		ctx, cancel := context.WithTimeout(g.ctx, 12*journalTimeout) // a large one takes its time
		defer cancel()
		s, err := encodeSnapshot(img, op)
		if err == nil {
			err = g.Journal.SaveSnapshot(ctx, string(g.id), owner, s, trimTo)
		}
		g.system.Root.Send(g.self, &snapshotSaved{err: err})
	}()
}

func (g *grain) snapshotSaved(m *snapshotSaved) {
	g.snapshotting = false
	if m.err != nil && !errors.Is(m.err, queue.ErrFenced) {
		g.log.Warn("a snapshot was not saved", "error", m.err)
	}
}
