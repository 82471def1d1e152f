package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Times of the membership.
const (
	leaseTime = 3 * time.Second
	// A lease ends earlier for who holds it than for the others, whose clocks
	// may run a little faster.
	leaseMargin     = 300 * time.Millisecond
	beatEvery       = 300 * time.Millisecond
	leaseCallWithin = time.Second
	// To join it may take a connection first, and so some calls.
	joinWithin = 2 * leaseCallWithin
	// A member whose port refuses connections, and that has missed so many
	// beats, is gone. One that can renew its lease is there, whoever refuses.
	silentFor = 700 * time.Millisecond
)

// membership keeps this node a member, and knows who the others are. Without
// leases the node is alone, and always a member.
type membership struct {
	leases *leases
	log    *slog.Logger
	addr   string    // of this node
	began  time.Time // what until is counted from, by the monotonic clock
	// ended stops all that belongs to a life that is over.
	ended func(why error)
	// seen is told of every new view.
	seen func(*View)

	current atomic.Pointer[View]
	until   atomic.Int64 // nanoseconds after began; 0: not a member
	beats   chan struct{}

	mu         sync.Mutex // one change at a time
	self       Member
	over       bool // it has left for good
	life       atomic.Pointer[life]
	refreshing sync.Mutex
	refreshes  atomic.Uint64 // that were begun
}

// life is the time from a join to the end of its lease.
type life struct {
	name string
	over chan struct{}
}

func newMembership(self Member, l *leases, log *slog.Logger) *membership {
	m := &membership{
		leases: l, log: log, addr: self.Addr, self: self, began: time.Now(), beats: make(chan struct{}, 1),
		ended: func(error) {}, seen: func(*View) {},
	}
	if l == nil {
		m.self.Life = newLife()
		m.life.Store(&life{m.self.Life, make(chan struct{})})
		m.until.Store(int64(1<<63 - 1))
		m.current.Store(newView(1, []Member{m.self}))
		return m
	}
	m.current.Store(newView(0, nil))
	return m
}

func (m *membership) view() *View { return m.current.Load() }

// holds tells whether this node's lease is valid at this moment. A process
// that was paused finds it ended before anything else can happen.
func (m *membership) holds() bool { return int64(time.Since(m.began)) < m.until.Load() }

// run keeps the lease until ctx is over.
func (m *membership) run(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		m.beat(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-m.beats:
		}
	}
}

// hurry has the next beat come at once.
func (m *membership) hurry() {
	select {
	case m.beats <- struct{}{}:
	default:
	}
}

// beat joins, or renews the lease.
func (m *membership) beat(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return
	}
	if m.life.Load() != nil && !m.holds() {
		m.lapse(errors.New("it was not renewed in time"))
	}
	sent := time.Since(m.began)
	if m.life.Load() == nil {
		m.join(ctx, sent)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaseCallWithin)
	defer cancel()
	v, err := m.leases.renew(ctx, m.self)
	switch {
	case errors.Is(err, errNoMember):
		m.lapse(errors.New("it was taken away, or Redis has lost it"))
		m.hurry()
	case err == nil:
		m.until.Store(int64(sent + leaseTime - leaseMargin))
		m.see(v)
	case !m.holds():
		m.lapse(err)
	}
}

func (m *membership) join(ctx context.Context, sent time.Duration) {
	m.self.Life = newLife()
	ctx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	v, err := m.leases.join(ctx, m.self)
	if err != nil {
		return // it is said when the lease ends, and by /readyz
	}
	m.life.Store(&life{m.self.Life, make(chan struct{})})
	m.until.Store(int64(sent + leaseTime - leaseMargin))
	m.log.Info("joined the cluster", "addr", m.self.Addr, "life", m.self.Life, "members", len(v.Members))
	m.see(v)
}

// lapse ends a life: the others may have taken over all that was here.
func (m *membership) lapse(why error) {
	m.until.Store(0)
	over := m.life.Swap(nil)
	if over == nil {
		return
	}
	m.log.Warn("the node is not a member of the cluster any more; it joins again", "life", over.name, "reason", why)
	close(over.over)
	m.ended(why)
}

// see goes on with a view.
func (m *membership) see(v *View) {
	old := m.current.Load()
	if v.Number == old.Number {
		return
	}
	m.current.Store(v)
	close(old.changed)
	m.seen(v)
}

// refresh reads the view where another node is ahead of this one.
func (m *membership) refresh(ctx context.Context, number uint64) {
	if m.leases == nil || m.view().Number >= number {
		return
	}
	came := m.refreshes.Load()
	m.refreshing.Lock()
	defer m.refreshing.Unlock()
	if m.view().Number >= number || m.refreshes.Load() > came { // another one was tried meanwhile
		return
	}
	m.refreshes.Add(1)
	ctx, cancel := context.WithTimeout(ctx, leaseCallWithin)
	defer cancel()
	v, err := m.leases.view(ctx)
	if err != nil {
		return
	}
	m.seeNewer(v)
}

// evict takes a member's lease away that is dead, as far as can be told.
func (m *membership) evict(ctx context.Context, gone Member) {
	if m.leases == nil || !m.holds() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaseCallWithin)
	defer cancel()
	v, err := m.leases.evict(ctx, gone, silentFor)
	switch {
	case err == nil:
		m.log.Warn("a member is gone: its port refuses connections, and it is silent", "addr", gone.Addr, "life", gone.Life)
	case !errors.Is(err, errNoMember):
		return
	}
	m.seeNewer(v)
}

// seeNewer takes what was read beside the beats.
func (m *membership) seeNewer(v *View) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v.Number > m.view().Number {
		m.see(v)
	}
}

// leaving tells the others to take over what is here, and waits until they can
// know of it, the life is over, or ctx is.
func (m *membership) leaving(ctx context.Context) {
	m.mu.Lock()
	m.self.Leaving = true
	m.mu.Unlock()
	life := m.life.Load()
	if m.leases == nil || life == nil {
		return
	}
	m.hurry()
	for v := m.view(); !v.leaves(m.addr); v = m.view() {
		select {
		case <-v.changed:
		case <-life.over:
			return
		case <-ctx.Done():
			return
		}
	}
}

// left ends the membership for good.
func (m *membership) left(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	m.until.Store(0)
	if m.leases == nil || m.life.Swap(nil) == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaseCallWithin)
	defer cancel()
	if err := m.leases.leave(ctx, m.self); err != nil && !errors.Is(err, errNoMember) {
		m.log.Warn("the lease could not be given back; it ends by itself", "error", err)
	}
}
