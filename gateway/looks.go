package gateway

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

const (
	// lookEvery: a client that asks for the same again and again, as one that waits
	// for something does, makes an entry in a minute or two.
	lookEvery = time.Minute
	maxLooks  = 50_000 // that are remembered; then all are forgotten, and make an entry each
)

// looks remembers who has looked at what lately.
type looks struct {
	now func() time.Time

	mu    sync.Mutex
	since time.Time
	// Of this minute and the one before.
	fresh, stale map[look]struct{}
}

type look struct{ user, key, queue, what string }

// first tells whether a look is the first one for a while.
func (l *looks) first(seen look) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch age := l.now().Sub(l.since); {
	case l.fresh == nil, age >= 2*lookEvery, age < 0:
		l.fresh, l.stale, l.since = make(map[look]struct{}), nil, l.now()
	case age >= lookEvery, len(l.fresh) >= maxLooks:
		l.fresh, l.stale, l.since = make(map[look]struct{}), l.fresh, l.now()
	}
	_, fresh := l.fresh[seen]
	_, stale := l.stale[seen]
	if fresh || stale {
		return false
	}
	l.fresh[seen] = struct{}{}
	return true
}

// auditLook records a look at finished tickets in a queue that remembers them, by
// somebody who sees whose they were; what names the ticket, or the list. Tickets
// that are in the line or served are the work itself. While the log cannot be
// written, a queue goes on: the entry waits as those of its commands do.
func (g *Gateway) auditLook(ctx context.Context, who *Principal, from netip.Addr, queueID, what string, details map[string]any, tickets []*messages.Placed) {
	personal := func(p *messages.Placed) bool {
		t := p.Ticket
		return queue.TicketState(t.State).Finished() && len(t.Customer)+len(t.Payload) > 0
	}
	if !who.full() || !slices.ContainsFunc(tickets, personal) || !g.looks.first(look{who.UserID, who.keyID, queueID, what}) {
		return
	}
	g.options.Audit.keep(ctx, g.options.Audit.entry(who, from, "history.read", queueID, details))
}

// lookBack is how old an event may be that a session which comes back is sent, and
// still belong to the work that a lost connection has interrupted.
const lookBack = time.Minute

// auditReplay is for subscriptions that resume: it records a look at what a queue
// has been through, by somebody who sees whose tickets they were. Who follows it
// live, or comes back in a moment, does their work, and makes no entry.
func (g *Gateway) auditReplay(who *Principal, from netip.Addr, sub actors.Subscription) actors.Subscription {
	if !sub.Resume || !who.full() {
		return sub
	}
	sub.First = func(e *messages.Event) {
		since := strconv.FormatUint(sub.Since, 10)
		if g.looks.now().UnixMilli()-e.At <= lookBack.Milliseconds() || !g.looks.first(look{who.UserID, who.keyID, sub.Queue, "since " + since}) {
			return
		}
		// The stream does not wait for the database.
		g.options.Audit.later(g.options.Audit.entry(who, from, "history.read", sub.Queue, map[string]any{"since": sub.Since}))
	}
	return sub
}
