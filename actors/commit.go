package actors

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// committed goes on when a version is durable that it waits for, after an append
// that failed, or when nothing is under way any more.
func (g *grain) committed(m *committed) {
	switch {
	case m.committer != g.committer:
		// Its state was thrown away while the append was under way.
		if m.err != nil {
			for _, it := range m.items {
				g.refuseSent(it, queue.ErrUnavailableNow)
			}
		}
		return
	case m.err != nil:
		g.appendFailed(m)
		return
	}
	for _, it := range m.items {
		if it.event != nil && it.event.Kind == queue.TicketTransferred {
			g.deliver(it.event.Ticket, it)
		}
	}
	if g.image != nil && g.image.Version <= m.durable {
		g.saveSnapshot()
	}
}

func (g *grain) appendFailed(m *committed) {
	switch {
	case errors.Is(m.err, queue.ErrFenced):
		g.noteFenced()
		g.Trouble.Fenced.Add(1)
		g.log.Info("the queue was claimed elsewhere; its state is loaded again", "version", m.durable)
	case errors.Is(m.err, queue.ErrGap):
		g.Trouble.Gaps.Add(1)
		g.log.ErrorContext(tracedIn(m.items), "the store has lost or gained events of the queue", "version", m.durable, "error", m.err)
	case errors.Is(m.err, queue.ErrUnavailable):
		g.Trouble.Unavailable.Add(1)
		g.warn(tracedIn(m.items), "the journal takes nothing of the queue", m.err)
	default:
		g.Trouble.Unknown.Add(1)
		g.warn(tracedIn(m.items), "it is not known whether the journal took an append of the queue", m.err)
	}
	g.reset(m.items)
}

// certainlyNot tells of an append's error whether it did not happen for sure. An
// append is sent once, so one that does not fit was not taken before either.
func certainlyNot(err error) bool {
	return errors.Is(err, queue.ErrUnavailable) || errors.Is(err, queue.ErrFenced) || errors.Is(err, queue.ErrGap)
}

// replay answers with the event that the operation made the first time, as the
// journal has it.
func (g *grainContext) replay(it *item) {
	ctx, cancel := context.WithTimeout(it.traced.in(g.ctx), journalTimeout)
	defer cancel()
	m, err := readEvent(ctx, g.Journal, string(g.id), it.replayOf)
	if err != nil {
		g.Log.WarnContext(ctx, "an earlier answer cannot be read", "queue", string(g.id), "version", it.replayOf, "error", err)
		g.refuse(it, queue.ErrOutcomeUnknown)
		return
	}
	answer := &messages.Answer{Event: m, Version: m.Version, Replayed: it.replayed()}
	if m.Kind == messages.EventKind_EVENT_KIND_TICKET_TRANSFERRED {
		if answer.Arrival, err = g.arrivalOf(ctx, m); err != nil {
			g.refuse(it, queue.ErrOutcomeUnknown)
			return
		}
	}
	g.respond(it.sender, answer)
}

// replayed tells whether the answer is given for the second time, as far as the
// client knows: one who gave no key has sent the command once.
func (it *item) replayed() bool {
	return it.replayOf != 0 && it.request.(*messages.Command).Keyed
}

// arrivalOf gives the event that a transfer made in its target. Right after a
// node was lost the target may have to be loaded first, as its source had.
func (g *grainContext) arrivalOf(ctx context.Context, transferred *messages.Event) (*messages.Event, error) {
	old, err := TicketFromMessage(transferred.Ticket)
	if err != nil {
		return nil, err
	}
	for backoff := arrivalBackoff; ; backoff *= 2 {
		arrival, err := g.arrive(ctx, old, transferred.By)
		if err == nil {
			return arrival, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(backoff):
		}
	}
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
// state is large, so that its cost per event does not grow. Each time is a
// little different, so that queues of the same load do not all write at once.
func (g *grain) snapshotDue() bool {
	after := max(snapshotEvery, g.state.Size())
	return !g.snapshotting && g.image == nil && g.sinceSnapshot >= after+int(g.jitter*float64(after))
}

// newJitter is between 0 and a third.
func newJitter() float64 {
	return rand.Float64() / 3 //nolint:gosec // nobody gains by guessing when a snapshot is due
}

// capture takes the image of a snapshot, to be saved when its version is durable.
func (g *grain) capture() {
	g.image, g.trimTo = g.state.Image(), g.state.TrimTo()
	g.sinceSnapshot, g.forgotten, g.jitter = 0, false, newJitter()
	g.committer.tellAt(g.image.Version)
}

// saveSnapshot writes the image down, beside the actor.
func (g *grain) saveSnapshot() {
	img, trimTo, owner := g.image, g.trimTo, g.committer.owner
	g.image, g.snapshotting = nil, true
	go func() {
		g.saving <- struct{}{}
		defer func() { <-g.saving }()
		ctx, cancel := context.WithTimeout(g.ctx, snapshotTimeout)
		defer cancel()
		followed, err := g.Followed(ctx, string(g.id))
		if err != nil {
			g.Log.Warn("it cannot be known how far a journal was followed; it is not trimmed", "queue", string(g.id), "error", err)
			followed = 0
		}
		trimTo = min(trimTo, followed)
		s, err := encodeSnapshot(img)
		if err == nil {
			err = g.Journal.SaveSnapshot(ctx, string(g.id), owner, s, trimTo)
		}
		g.tell(&snapshotSaved{version: img.Version, trimmedTo: trimTo, followed: followed, err: err})
	}()
}

func (g *grain) snapshotSaved(m *snapshotSaved) {
	g.snapshotting = false
	if g.state != nil {
		g.backlog.follow(m.followed)
	}
	if m.err != nil && !errors.Is(m.err, queue.ErrFenced) {
		g.log.Warn("a snapshot was not saved", "error", m.err)
	}
	g.purged(m)
}
