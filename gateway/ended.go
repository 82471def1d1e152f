package gateway

import (
	"context"
	"sync"
	"time"
)

// Access may end before its token does: by a logout, another password, level or
// list of queues, or because the user is disabled or deleted. The directory
// counts such changes, and every node reads on from those that it knows.
const (
	// followEvery is well below the two seconds in which access must have ended.
	followEvery = 500 * time.Millisecond
	followPage  = 1000
	// rememberFor is how long it is remembered at least that access has ended: the
	// life of a token, and as much again, for the clock of the node that made it
	// may be ahead.
	rememberFor = 2 * accessLife
	// maxEnded bounds what is remembered in each half; there cannot be as many
	// honest logouts in the life of a token.
	maxEnded = 200_000
	// cutWithin is what a client has to take what it was sent before its access
	// ended; then the connection is cut.
	cutWithin = time.Second
)

// AccessChange ends access tokens: a user's that bear a lower epoch or, where
// UserID is empty, those of a login, which its refresh tokens' family names.
type AccessChange struct {
	Revision uint64
	UserID   string
	Epoch    int64
	Family   string
}

// ended knows what access was ended in the life of a token. It has two halves:
// when the newer one has been kept for long enough, the older one is forgotten.
type ended struct {
	mu           sync.RWMutex
	newer, older endings
	turned       time.Time
	known        uint64 // revision; LearnAccess's own
}

type endings struct {
	users    map[string]int64 // the lowest epoch that is not void
	families map[string]struct{}
}

func newEndings() endings {
	return endings{users: make(map[string]int64), families: make(map[string]struct{})}
}

func newEnded(now time.Time) *ended {
	return &ended{newer: newEndings(), older: newEndings(), turned: now}
}

// has tells whether somebody's access has ended.
func (e *ended) has(who *Principal) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, half := range []endings{e.newer, e.older} {
		if _, over := half.families[who.family]; over || who.epoch < half.users[who.UserID] {
			return true
		}
	}
	return false
}

func (e *ended) add(now time.Time, changes ...AccessChange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range changes {
		if now.Sub(e.turned) > rememberFor || len(e.newer.users)+len(e.newer.families) >= maxEnded {
			e.newer, e.older, e.turned = newEndings(), e.newer, now
		}
		if c.UserID == "" {
			e.newer.families[c.Family] = struct{}{}
		} else {
			e.newer.users[c.UserID] = max(c.Epoch, e.newer.users[c.UserID])
		}
	}
}

func (e *ended) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.newer, e.older = newEndings(), newEndings()
}

// LearnAccess reads what access has ended since it was called last. Whoever
// serves calls it once before, and FollowAccess from then on.
func (g *Gateway) LearnAccess(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	a := g.auth
	for {
		changes, reached, err := a.directory.AccessChanges(ctx, a.ended.known, followPage)
		if err != nil {
			return err
		}
		if reached < a.ended.known {
			a.log.Error("the directory was set back; every login is checked anew", "known", a.ended.known, "reached", reached)
			a.ended.known = 0
			a.seen.forget()
			a.ended.forget() // epochs come again
			continue
		}
		if len(changes) > 0 {
			a.ended.add(a.now(), changes...)
			a.ended.known = changes[len(changes)-1].Revision
			if g.live != nil { // page by page: the next one may not come
				g.live.registry.endVoid(a.ended)
			}
			if g.options.GRPC != nil {
				g.options.GRPC.watches.endVoid(a.ended)
			}
		}
		if len(changes) < followPage {
			a.ended.known = max(a.ended.known, reached)
			return nil
		}
	}
}

// FollowAccess ends access here that was ended anywhere, until ctx is over. While
// the directory is away what is known holds, and tokens end by themselves. It
// gives nil.
func (g *Gateway) FollowAccess(ctx context.Context) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-tick.C:
		case <-g.auth.changed:
		case <-ctx.Done():
			return nil
		}
		err := g.LearnAccess(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			g.log.Warn("it cannot be read whose access has ended; tokens hold until they end by themselves", "error", err)
		case err == nil && failing:
			g.log.Info("it can be read again whose access has ended")
		}
		failing = err != nil
	}
}

// accessChanged has a change that was made on this node noticed at once.
func (a *Auth) accessChanged() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}
