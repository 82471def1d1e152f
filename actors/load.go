package actors

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// readEntries bounds one read of the journal.
const readEntries = 512

// load claims the queue and reads its state, beside the actor.
func (g *grain) load() {
	if g.loading != nil {
		return
	}
	if g.Hosted != nil && !g.Hosted(string(g.id)) {
		g.sendOn()
		return
	}
	since := g.durable
	mustKnow := g.anySent()
	m := &loaded{owner: newOwner(), creating: g.creating()}
	g.loading = m
	wait := g.giveWay()
	go func() {
		select {
		case <-time.After(wait):
		case <-g.ctx.Done():
		}
		ctx, cancel := context.WithTimeout(g.ctx, loadTimeout)
		defer cancel()
		m.err = g.readState(ctx, m)
		if m.err == nil && mustKnow {
			m.err = g.readHappened(ctx, m, since)
		}
		g.tell(m)
	}()
}

// sendOn has whoever waits ask elsewhere: the queue was taken over by another
// node, and claiming it back would only make the two take it from each other.
func (g *grain) sendOn() {
	for _, it := range g.stash {
		if it.series == nil {
			g.respond(it.sender, g.Moved)
		} else if it.series.abandon() {
			g.respond(it.series.sender, g.Moved)
		}
	}
	g.stash = nil
}

// giveWay is how long to wait before the queue is claimed once more. Two
// activations that claim it from each other again and again would otherwise keep
// each other from ever loading it to the end.
func (g *grain) giveWay() time.Duration {
	if g.fenced < 2 {
		return 0
	}
	return rand.N(duelStep << min(g.fenced, maxDuelSteps)) //nolint:gosec // jitter is no secret
}

// noteFenced counts how often the queue was claimed elsewhere in a short time.
func (g *grain) noteFenced() {
	now := time.Now()
	if now.Sub(g.fencedAt) > duelOver {
		g.fenced = 0
	}
	g.fenced++
	g.fencedAt = now
}

// newEpoch goes on after events that were acknowledged are gone from the store.
// They cannot be brought back; what must not happen is that their versions and
// numbers come again as something else.
func (g *grain) newEpoch(known uint64) {
	g.log.Error("the store has lost acknowledged events of the queue; a new epoch begins",
		"version", known, "left", g.state.Version())
	g.Trouble.Epochs.Add(1)
	g.Trouble.Lost.Add(known - g.state.Version())
	var op queue.OpID
	_, _ = crand.Read(op[:])
	e := g.state.NewEpoch(known, crand.Text(), op, g.Now())
	if err := g.state.Apply(e); err != nil {
		panic(err) // it stands above and later than all that is left
	}
	g.committer.line(&item{event: e})
}

// creating tells whether somebody waits to create the queue.
func (g *grain) creating() bool {
	for _, it := range g.stash {
		if c, ok := it.request.(*messages.Command); ok && c.GetCreate() != nil {
			return true
		}
	}
	return false
}

func (g *grain) anySent() bool {
	for _, it := range g.stash {
		if it.sent {
			return true
		}
	}
	return false
}

// readState claims first: from then on nobody else appends, so that what is
// read is the whole truth until the next claim. A queue that never had an
// event is claimed by its creation only: asking for one must leave no trace.
func (g *grain) readState(ctx context.Context, m *loaded) error {
	id := string(g.id)
	known := g.ask(ctx, g.Known)
	if !m.creating {
		versions, err := g.Journal.Versions(ctx, []string{id})
		if err != nil {
			return err
		}
		if versions[0] == 0 {
			m.absent, m.known = true, (<-known).version
			return nil
		}
	}
	followed := g.ask(ctx, g.Followed)
	// Before the claim: what is known then cannot be above the claimed version,
	// unless events are lost, whatever others do meanwhile.
	elsewhere := <-known
	if m.known = elsewhere.version; elsewhere.err != nil {
		g.Log.Warn("it cannot be known whether the journal is whole", "queue", id, "error", elsewhere.err)
	}
	var err error
	if m.head, err = g.Journal.Claim(ctx, id, m.owner); err != nil {
		return err
	}
	m.state = queue.New(g.id)
	snapshot, err := g.Journal.LoadSnapshot(ctx, id)
	switch {
	case err == nil:
		if m.state, err = decodeSnapshot(snapshot); err != nil {
			return err
		}
	case !errors.Is(err, queue.ErrNoSnapshot):
		return err
	}
	err = readEvents(ctx, g.Journal, id, m.state.Version(), func(e *queue.Event) error {
		m.events++
		if err := m.state.Apply(e); err != nil {
			return fmt.Errorf("%w: %w", queue.ErrDamaged, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if m.state.Version() > m.head.Version {
		return fmt.Errorf("%w: while it was read", queue.ErrFenced)
	}
	if m.state.Version() != m.head.Version {
		return fmt.Errorf("%w: it ends at version %d, the journal at %d", queue.ErrDamaged, m.state.Version(), m.head.Version)
	}
	if sinks := <-followed; sinks.err == nil {
		m.followed = sinks.version
	} else {
		m.followed = m.head.Version // it is looked at again when it matters
	}
	return nil
}

// readHappened gathers the events that followed what was last known to be
// durable, to learn the fate of operations whose append was not answered.
func (g *grain) readHappened(ctx context.Context, m *loaded, since uint64) error {
	m.happened = make(map[queue.OpID]*queue.Event)
	err := readEvents(ctx, g.Journal, string(g.id), since, func(e *queue.Event) error {
		m.happened[e.Op] = e
		return nil
	})
	switch {
	case errors.Is(err, queue.ErrTrimmed):
		m.trimmed = true
		return nil
	case errors.Is(err, queue.ErrLost): // nothing is left of what followed
		return nil
	}
	return err
}

// readEvents calls fn for every event after a version, in order.
func readEvents(ctx context.Context, j Journal, id string, after uint64, fn func(*queue.Event) error) error {
	for {
		entries, err := j.Read(ctx, id, after, readEntries)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return nil
		}
		for _, entry := range entries {
			events, err := decodeEntry(entry)
			if err != nil {
				return err
			}
			for _, m := range events {
				if m.Version <= after {
					continue
				}
				e, err := eventFromMessage(m)
				if err != nil {
					return err
				}
				if err := fn(e); err != nil {
					return err
				}
			}
			after = entry.Last
		}
	}
}

// knownWithin bounds how long a load waits for what is known outside the
// journal: the queue is served without.
const knownWithin = time.Second

// outside is what is known of the queue outside its journal.
type outside struct {
	version uint64
	err     error
}

// ask asks beside whoever reads the journal, and answers in bounded time.
func (g *grain) ask(ctx context.Context, question func(context.Context, string) (uint64, error)) <-chan outside {
	answer := make(chan outside, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, knownWithin)
		defer cancel()
		version, err := question(ctx, string(g.id))
		answer <- outside{version, err}
	}()
	return answer
}

// loaded takes the new state up and goes through everything that waited.
func (g *grain) loaded(m *loaded) {
	if m != g.loading {
		return
	}
	g.loading = nil
	if m.absent {
		g.absent(max(g.durable, m.known))
		return
	}
	// Another activation that claims the queue meanwhile adds to what is read, or
	// trims it.
	meanwhile := errors.Is(m.err, queue.ErrFenced) || errors.Is(m.err, queue.ErrTrimmed) || errors.Is(m.err, queue.ErrLost)
	if meanwhile && g.reloads < maxReloads {
		g.reloads++
		g.noteFenced()
		g.load()
		return
	}
	g.reloads = 0
	if m.err != nil {
		g.loadFailed(m.err)
		return
	}
	g.warned = false
	g.setDamaged(false)
	g.known = max(g.durable, m.known)
	g.state, g.durable = m.state, m.head.Version
	g.committer = newCommitter(g.grainContext, m.owner, m.head)
	g.backlog.begin(g.MaxUnfollowed, m.followed, m.head.Version)
	switch {
	case m.head.Version >= g.known:
	case m.state.Exists():
		g.newEpoch(g.known)
	default: // see queue.Create
		g.Trouble.Lost.Add(g.known - m.head.Version)
		g.log.Error("the store has lost the queue's events; it can be made again above them", "version", g.known, "left", m.head.Version)
	}
	g.sinceSnapshot = m.events
	// Of what is durable: the transfers that are decided below are not yet.
	inTransit := m.state.Outbox()
	for len(g.stash) > 0 && g.state == m.state {
		it := g.stash[0]
		g.stash = g.stash[1:]
		g.resume(it, m)
	}
	// Last, so that a transfer somebody waits for is delivered in that one's name.
	for _, t := range inTransit {
		g.deliver(t, nil)
	}
}

// absent answers for a queue without any event, unless it is to be created by
// now.
func (g *grain) absent(known uint64) {
	g.setDamaged(false)
	if known > 0 && !g.warned {
		g.warned = true
		g.Trouble.Lost.Add(known)
		g.log.Error("the store has lost the whole journal of the queue; made again it begins above it", "version", known)
	}
	if g.creating() {
		g.load()
		return
	}
	for _, it := range g.stash {
		g.refuse(it, queue.ErrQueueNotFound)
	}
	g.stash = nil
}

// resume answers a request that waited for the state; for one whose append
// was not answered, what the journal says of it.
func (g *grain) resume(it *item, m *loaded) {
	if !it.sent {
		g.decide(it)
		return
	}
	e, happened := m.happened[it.event.Op]
	switch {
	case happened:
		it.event, it.sent = nil, false
		it.answer = g.happenedAnswer(e, it)
		if it.answer != nil {
			g.committer.line(it)
		}
	case m.trimmed:
		g.refuse(it, queue.ErrOutcomeUnknown)
	default:
		it.event, it.sent = nil, false
		g.decide(it)
	}
}

// happenedAnswer is nil where the answer waits for a transfer's arrival.
func (g *grain) happenedAnswer(e *queue.Event, it *item) any {
	if e.Kind == queue.TicketTransferred {
		it.event = e
		g.deliver(e.Ticket, it)
		return nil
	}
	return answerOf(e)
}

func (g *grain) loadFailed(err error) {
	g.Trouble.Loads.Add(1)
	if damaged := errors.Is(err, queue.ErrDamaged); !damaged {
		g.warn(tracedIn(g.stash), "the queue could not be loaded", err)
	} else if !g.damaged {
		g.log.ErrorContext(tracedIn(g.stash), "the queue's journal is damaged; the queue is not served", "error", err)
		g.setDamaged(true)
	}
	g.retryAt = time.Now().Add(loadBackoff)
	waited := g.stash
	g.stash = nil
	for _, it := range waited {
		g.refuseSent(it, g.whyNot())
	}
}

// whyNot is what a queue without its state says of itself.
func (g *grain) whyNot() *queue.Error {
	if g.damaged {
		return queue.ErrOutOfService
	}
	return queue.ErrUnavailableNow
}

// refuseSent says of a request that cannot be answered that it may have happened,
// or otherwise why it has not.
func (g *grainContext) refuseSent(it *item, otherwise *queue.Error) {
	if it.sent {
		g.refuse(it, queue.ErrOutcomeUnknown)
	} else {
		g.refuse(it, otherwise)
	}
}

// warn says it once until the queue has been loaded again: while a store is
// away, every request of every queue meets it.
func (g *grain) warn(ctx context.Context, what string, err error) {
	if !g.warned {
		g.warned = true
		g.log.WarnContext(ctx, what, "version", g.durable, "error", err)
	}
}

// setDamaged keeps count of the queues that are out of service.
func (g *grain) setDamaged(damaged bool) {
	if g.damaged != damaged {
		g.damaged = damaged
		if damaged {
			g.Trouble.Damaged.Add(1)
		} else {
			g.Trouble.Damaged.Add(-1)
		}
	}
}
