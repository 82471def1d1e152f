package gateway

import (
	"context"
	"sync"
	"time"
)

// Bounds of ending attempts late. A database that is slow needs more time than a
// login can wait for it.
const (
	maxUnended   = 1_000
	endersAtOnce = 4
	lateWithin   = 10 * time.Second
	lateAgain    = time.Second
)

// lateEnd is an attempt that has not failed and counts as if it had.
type lateEnd struct {
	attempt string
	since   time.Time
}

// endLater leaves the end of an attempt that has not failed to EndLogins. Where
// too many wait it goes on counting as failed.
func (a *Auth) endLater(attempt string) {
	select {
	case a.unended <- lateEnd{attempt, time.Now()}:
	default:
	}
}

// EndLogins ends the attempts to log in whose end could not be counted, until
// ctx is over. It gives nil.
func (g *Gateway) EndLogins(ctx context.Context) error {
	var enders sync.WaitGroup
	for range endersAtOnce {
		enders.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case late := <-g.auth.unended:
					g.auth.endLate(ctx, late)
				}
			}
		})
	}
	enders.Wait()
	return nil
}

// endLate tries for as long as the attempt counts. It waits first: what was cut
// off may still be on its way into the database.
func (a *Auth) endLate(ctx context.Context, late lateEnd) {
	timer := time.NewTimer(time.Until(late.since.Add(lateAgain)))
	defer timer.Stop()
	for time.Since(late.since) < ThrottleWindow {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		try, cancel := context.WithTimeout(ctx, lateWithin)
		err := a.attempts.End(try, late.attempt, false)
		cancel()
		if err == nil {
			return
		}
		timer.Reset(lateAgain)
	}
}
