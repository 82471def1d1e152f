package gateway

import (
	"container/list"
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// Bounds of what nobody has to log in for.
const (
	paceWindow = time.Minute
	// missesOfAddress bounds the asking for queues that are not there: each is
	// looked for in the journal.
	missesOfAddress = 300
	// renewalsOfAddress bounds the renewals of logins, good or not: each asks the
	// database. Thousands of people behind one address renew theirs four times an hour.
	renewalsOfAddress = 600
	// maxPaced bounds the addresses that are remembered; the one that was heard of
	// least recently is forgotten first.
	maxPaced = 50_000
)

// Pace counts over all nodes what network addresses do: it takes one more act of
// an address, unless it had so many within the window, or tells how long none is
// taken. Nil: this is the only node.
type Pace func(ctx context.Context, address string, limit int, window time.Duration) (wait time.Duration, err error)

// paceWithin bounds the asking. Where it cannot be known what an address did
// elsewhere, this node's own count is what holds.
const paceWithin = time.Second

// takeEverywhere is take over all nodes.
func (p *pace) takeEverywhere(ctx context.Context, all Pace, from netip.Addr, log *slog.Logger) time.Duration {
	if all == nil {
		return p.take(from)
	}
	// What others refuse is not counted here either, or who tries again and again
	// would have to wait for longer.
	if wait := p.wait(from); wait > 0 {
		return wait
	}
	ctx, cancel := context.WithTimeout(ctx, paceWithin)
	defer cancel()
	wait, err := all(ctx, network(from), p.limit, paceWindow)
	if err != nil {
		log.Warn("check-ins are counted by this node alone for now", "error", err)
		return p.take(from)
	}
	if wait == 0 {
		p.count(from)
	}
	return wait
}

// pace counts what each network address did within the last minute.
type pace struct {
	now   func() time.Time
	limit int

	mu     sync.Mutex
	of     map[string]*list.Element
	recent *list.List // of *paced, least recently touched first
}

type paced struct {
	address string
	at      []time.Time // oldest first
	last    time.Time
}

func newPace(now func() time.Time, limit int) *pace {
	return &pace{now: now, limit: limit, of: make(map[string]*list.Element), recent: list.New()}
}

// take counts one more act, or tells how long none may be done.
func (p *pace) take(from netip.Addr) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if wait := p.full(network(from), now); wait > 0 {
		return wait
	}
	p.add(network(from), now)
	return 0
}

// wait tells how long nothing may be done, without counting anything.
func (p *pace) wait(from netip.Addr) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.full(network(from), p.now())
}

// count counts an act that was done.
func (p *pace) count(from netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(network(from), p.now())
}

func (p *pace) full(address string, now time.Time) time.Duration {
	e, known := p.of[address]
	if !known {
		return 0
	}
	c := e.Value.(*paced)
	for len(c.at) > 0 && !c.at[0].Add(paceWindow).After(now) {
		c.at = c.at[1:]
	}
	if len(c.at) < p.limit {
		return 0
	}
	return c.at[0].Add(paceWindow).Sub(now)
}

// add also forgets those who have been silent for a minute, so that what is
// remembered is never more than what was done in one.
func (p *pace) add(address string, now time.Time) {
	e, known := p.of[address]
	if !known {
		e = p.recent.PushBack(&paced{address: address})
		p.of[address] = e
	}
	c := e.Value.(*paced)
	c.at, c.last = append(c.at, now), now
	p.recent.MoveToBack(e)
	for {
		oldest := p.recent.Front().Value.(*paced)
		if len(p.of) <= maxPaced && oldest.last.Add(paceWindow).After(now) {
			return
		}
		delete(p.of, oldest.address)
		p.recent.Remove(p.recent.Front())
	}
}
