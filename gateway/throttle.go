package gateway

import (
	"container/list"
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Bounds of failed logins; the contract's.
const (
	ThrottleWindow    = 15 * time.Minute
	FailuresOfEmail   = 10
	FailuresOfAddress = 100
	// maxThrottled bounds the memory of each of the two; the one that was
	// touched least recently is forgotten first.
	maxThrottled = 50_000
)

// throttle counts failed logins, by e-mail address and by network address. It
// knows both by hashes only.
type throttle struct {
	emails, addresses *failures
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{
		emails: newFailures(now, FailuresOfEmail), addresses: newFailures(now, FailuresOfAddress),
	}
}

// begin waits until the attempt may be made and gives the function to end it
// with; where it may not be made, how long that stays so.
func (t *throttle) begin(ctx context.Context, email string, from netip.Addr) (end func(failed bool), wait time.Duration, err error) {
	endEmail, wait, err := t.emails.begin(ctx, sha256.Sum256([]byte(strings.ToLower(strings.TrimSpace(email)))))
	if endEmail == nil {
		return nil, wait, err
	}
	endAddress, wait, err := t.addresses.begin(ctx, sha256.Sum256([]byte(network(from))))
	if endAddress == nil {
		endEmail(false)
		return nil, wait, err
	}
	return func(failed bool) { endEmail(failed); endAddress(failed) }, 0, nil
}

// Login is what an Attempts says of a login: exactly one of the three.
type Login struct {
	Attempt string
	Wait    time.Duration // so many have failed that none may be made for so long
	Busy    bool          // so many are under way that it must wait for them
	// Of one that may be made: it is the last one for a while, should it fail and
	// all fail that are under way.
	LastOfEmail, LastOfAddress bool
}

// Attempts counts failed logins over all nodes.
type Attempts interface {
	// Begin says with an error which attempt may be under way nevertheless.
	Begin(ctx context.Context, email, address string) (Login, error)
	// End ends an attempt; one that is not kept any more is no error.
	End(ctx context.Context, attempt string, failed bool) error
}

const (
	// attemptsWithin bounds one look at what other nodes count. Where it cannot be
	// known, this node's own count is what holds.
	attemptsWithin = time.Second
	attemptsAgain  = 50 * time.Millisecond
)

// beginEverywhere is begin over all nodes. login says whether it is the last one.
func (a *Auth) beginEverywhere(ctx context.Context, email string, from netip.Addr) (login Login, end func(failed bool), err error) {
	for {
		look, cancel := context.WithTimeout(ctx, attemptsWithin)
		login, err = a.attempts.Begin(look, email, network(from))
		cancel()
		switch {
		case err != nil:
			a.log.WarnContext(ctx, "failed logins are counted by this node alone for now", "error", err)
			if login.Attempt != "" {
				a.endLater(login.Attempt)
			}
			return Login{}, func(bool) {}, nil
		case login.Wait > 0:
			return login, nil, nil
		case !login.Busy:
			return login, func(failed bool) { a.endEverywhere(login.Attempt, failed) }, nil
		}
		// Those who came at once give way to each other; they must not come at once again.
		timer := time.NewTimer(attemptsAgain/2 + rand.N(attemptsAgain)) //nolint:gosec // jitter is no secret
		select {
		case <-ctx.Done():
			timer.Stop()
			return Login{}, nil, ctx.Err()
		case <-timer.C:
		}
	}
}

// endEverywhere has its own time: a client that goes away must not be one that
// has not failed. What cannot be written counts as failed, until it is written
// that it has not.
func (a *Auth) endEverywhere(attempt string, failed bool) {
	ctx, cancel := context.WithTimeout(context.Background(), attemptsWithin)
	defer cancel()
	err := a.attempts.End(ctx, attempt, failed)
	if err == nil {
		return
	}
	a.log.Info("the end of a login was not counted; it counts as failed for now", "error", err)
	if !failed {
		a.endLater(attempt)
	}
}

// network is what counts as one address: of IPv6 the 64 bits that one customer
// of a provider has at least.
func network(a netip.Addr) string {
	if a.Is6() && !a.Is4In6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.Unmap().String()
}

type throttleKey = [sha256.Size]byte

// failures counts, for each key, those of the last window.
type failures struct {
	now   func() time.Time
	limit int

	mu     sync.Mutex
	counts map[throttleKey]*list.Element
	recent *list.List // of *counted, least recently touched first
}

type counted struct {
	key      throttleKey
	at       []time.Time // of the failures, oldest first
	underway int
	ended    chan struct{} // closed when an attempt that was under way has ended
}

func newFailures(now func() time.Time, limit int) *failures {
	return &failures{now: now, limit: limit, counts: make(map[throttleKey]*list.Element), recent: list.New()}
}

// begin lets no more attempts run at once than may still fail, so that many at
// the same moment are counted like as many one after the other. end is nil
// where the limit is reached, or ctx is over.
func (f *failures) begin(ctx context.Context, key throttleKey) (end func(failed bool), wait time.Duration, err error) {
	for {
		f.mu.Lock()
		c, now := f.touch(key), f.now()
		for len(c.at) > 0 && !c.at[0].Add(ThrottleWindow).After(now) {
			c.at = c.at[1:]
		}
		if len(c.at) >= f.limit {
			wait := c.at[0].Add(ThrottleWindow).Sub(now)
			f.mu.Unlock()
			return nil, wait, nil
		}
		if len(c.at)+c.underway < f.limit {
			c.underway++
			f.mu.Unlock()
			return func(failed bool) { f.end(c, failed) }, 0, nil
		}
		ended := c.ended
		f.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

func (f *failures) end(c *counted, failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.underway--
	if failed {
		c.at = append(c.at, f.now())
	}
	close(c.ended)
	c.ended = make(chan struct{})
}

// touch gives the count of a key, made where there is none.
func (f *failures) touch(key throttleKey) *counted {
	if e, ok := f.counts[key]; ok {
		f.recent.MoveToBack(e)
		return e.Value.(*counted)
	}
	if len(f.counts) >= maxThrottled {
		oldest := f.recent.Front()
		delete(f.counts, f.recent.Remove(oldest).(*counted).key)
	}
	c := &counted{key: key, ended: make(chan struct{})}
	f.counts[key] = f.recent.PushBack(c)
	return c
}
