package gateway

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// sluggish begins attempts whose beginning or end is not heard of while it is slow.
type sluggish struct {
	Attempts
	cutBegin, cutEnd atomic.Bool
	ended            chan string
}

func (s *sluggish) Begin(ctx context.Context, email, address string) (Login, error) {
	l, err := s.Attempts.Begin(ctx, email, address)
	if err == nil && s.cutBegin.Load() {
		return Login{Attempt: l.Attempt}, context.DeadlineExceeded
	}
	return l, err
}

func (s *sluggish) End(ctx context.Context, attempt string, failed bool) error {
	if s.cutEnd.Load() {
		return errors.New("slow")
	}
	err := s.Attempts.End(ctx, attempt, failed)
	if err == nil && !failed {
		s.ended <- attempt
	}
	return err
}

// Who logs in while the count of all nodes is slow does not count as failed.
func TestLoginsWhileTheCountIsSlow(t *testing.T) {
	t.Parallel()
	slow := &sluggish{ended: make(chan string, 2*FailuresOfEmail)}
	e := start(t, func(o *Options) { slow.Attempts, o.Attempts = o.Attempts, slow })
	e.addLogin("ann@example.org")
	slow.cutEnd.Store(true)
	for i := range FailuresOfEmail {
		slow.cutBegin.Store(i%2 == 0)
		e.login("ann@example.org", password).want(200, "")
	}
	slow.cutBegin.Store(false)
	slow.cutEnd.Store(false)
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- e.gateway.EndLogins(ctx) }()
	for n := range FailuresOfEmail {
		select {
		case <-slow.ended:
		case <-time.After(2 * time.Minute):
			t.Fatalf("%d were ended", n)
		}
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
	l, err := attempts{e.dir}.Begin(t.Context(), "ann@example.org", "elsewhere")
	if err != nil || l.Attempt == "" || l.LastOfEmail {
		t.Errorf("%+v, %v", l, err)
	}
}
