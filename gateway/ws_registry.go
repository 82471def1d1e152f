package gateway

import (
	"context"
	"sync"
	"time"

	"nowserving/actors"
)

// What the registry watches, all from one goroutine for every session.
const (
	watchEvery  = 250 * time.Millisecond
	pingEvery   = 25 * time.Second
	authWithin  = 5 * time.Second
	maxSessions = 50_000
	pingSlots   = int(pingEvery / watchEvery) // pings are spread: each tick has its share of the sessions
	expiryTicks = int(time.Second / watchEvery)
)

// Sessions that are sent away come back elsewhere, and each takes a login and
// snapshots there: many at once would be a burden.
const (
	leaveEach   = time.Millisecond
	leaveWithin = 5 * time.Second
	leaveTick   = 10 * time.Millisecond
)

// registry knows the node's sessions, and ends those whose time is over.
type registry struct {
	stop    context.CancelFunc
	stopped chan struct{}

	mu      sync.Mutex
	slots   [pingSlots]map[*liveSession]struct{}
	strange map[*liveSession]struct{} // not logged in yet
	count   int
	next    int
	aside   bool          // no more sessions for now
	closing bool          // no more sessions for good
	empty   chan struct{} // closed when the last session has left a closing registry
}

func newRegistry() *registry {
	ctx, cancel := context.WithCancel(context.Background())
	r := &registry{stop: cancel, stopped: make(chan struct{}), strange: make(map[*liveSession]struct{}), empty: make(chan struct{})}
	for i := range r.slots {
		r.slots[i] = make(map[*liveSession]struct{})
	}
	go r.watch(ctx)
	return r
}

// full tells whether no more sessions may come.
func (r *registry) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closing || r.aside || r.count >= maxSessions
}

// add is false where the node is leaving, or stands aside.
func (r *registry) add(s *liveSession) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing || r.aside {
		return false
	}
	s.slot = r.next
	r.next = (r.next + 1) % pingSlots
	r.slots[s.slot][s] = struct{}{}
	r.strange[s] = struct{}{}
	r.count++
	return true
}

func (r *registry) loggedIn(s *liveSession) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.strange, s)
}

func (r *registry) remove(s *liveSession) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.slots[s.slot], s)
	delete(r.strange, s)
	r.count--
	if r.closing && r.count == 0 {
		close(r.empty)
	}
}

func (r *registry) watch(ctx context.Context) {
	defer close(r.stopped)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			r.look(n, now)
		}
	}
}

// look is one tick. Handing a message to a session never blocks.
func (r *registry) look(n int, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.slots[n%pingSlots] {
		s.out.Ping()
	}
	for s := range r.strange {
		if now.Sub(s.opened) >= authWithin {
			delete(r.strange, s)
			s.out.Close(closeNoAuth, "No auth frame came in time.")
		}
	}
	if n%expiryTicks != 0 {
		return
	}
	for _, slot := range r.slots {
		for s := range slot {
			if ends := s.expires.Load(); ends != 0 && now.UnixMilli() >= ends {
				s.expires.Store(0)
				s.endNow("The token has ended.")
			}
		}
	}
}

// endVoid closes the sessions of those whose access has ended.
func (r *registry) endVoid(over *ended) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.each(func(s *liveSession) {
		if who := s.user.Load(); who != nil && over.has(who) && s.user.CompareAndSwap(who, nil) {
			s.endNow(loginEnded)
		}
	})
}

// leave takes no more sessions and sends those that are there away.
func (r *registry) leave(ctx context.Context) { sendAway(ctx, r.shut()) }

// standAside does the same for as long as there is a reason.
func (r *registry) standAside(ctx context.Context, aside bool) {
	r.mu.Lock()
	r.aside = aside
	var all []*liveSession
	if aside {
		all = r.all()
	}
	r.mu.Unlock()
	sendAway(ctx, all)
}

// sendAway closes sessions with 1012, spread over a time that grows with their
// number, until ctx is over. Each is served until its turn comes.
func sendAway[S interface{ sendAway() }](ctx context.Context, all []S) {
	spread := min(time.Duration(len(all))*leaveEach, leaveWithin)
	tick := time.NewTicker(leaveTick)
	defer tick.Stop()
	began := time.Now()
	for told := 0; ; {
		due := len(all)
		if since := time.Since(began) + leaveTick; since < spread {
			due = int(int64(due) * int64(since) / int64(spread))
		}
		for ; told < due; told++ {
			all[told].sendAway()
		}
		if told == len(all) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// shut takes no more sessions, and gives those that are there, in no order.
func (r *registry) shut() []*liveSession {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closing && r.count == 0 {
		close(r.empty)
	}
	r.closing = true
	return r.all()
}

// all gives the sessions, in no order. The caller holds the mutex.
func (r *registry) all() []*liveSession {
	all := make([]*liveSession, 0, r.count)
	r.each(func(s *liveSession) { all = append(all, s) })
	return all
}

// close ends all sessions and waits for them until ctx is over; those that
// have not left by then are cut.
func (r *registry) close(ctx context.Context) {
	r.stop()
	<-r.stopped
	for _, s := range r.shut() {
		s.out.Close(actors.CloseGoingAway, leaving)
	}
	select {
	case <-r.empty:
		return
	case <-ctx.Done():
	}
	r.mu.Lock()
	r.each(func(s *liveSession) { s.in.cut() })
	r.mu.Unlock()
	<-r.empty // a handler without its connection ends within the bound of a command
}

func (r *registry) each(f func(*liveSession)) {
	for _, slot := range r.slots {
		for s := range slot {
			f(s)
		}
	}
}
