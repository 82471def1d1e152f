package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// picky takes no entry of some actions, and none at all while it is away. It is
// away each time that it is asked for one that is unlucky.
type picky struct {
	AuditStore
	away    bool
	unlucky string
	never   map[string]bool
	taken   []string
}

func (p *picky) AddAudit(_ context.Context, e AuditEntry) error {
	switch {
	case p.away || e.Action == p.unlucky:
		return errors.New("away")
	case p.never[e.Action]:
		return fmt.Errorf("%w: too long", ErrRefused)
	}
	p.taken = append(p.taken, e.Action)
	return nil
}

// An entry that the store refuses for ever holds up no other, and is told of in
// the log; a store that is away refuses none.
func TestAuditEntryThatIsRefused(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	store := &picky{away: true, never: map[string]bool{"bad": true, "worse": true}}
	l := NewAuditLog(store, slog.New(slog.NewTextHandler(&said, nil)), time.Now)
	ctx := t.Context()
	for _, action := range []string{"bad", "worse", "a", "b"} {
		l.keep(ctx, AuditEntry{Action: action})
	}
	for range 50 { // for that long it is away
		l.catchUp(ctx)
	}
	if len(l.waiting) != 4 {
		t.Fatalf("%d entries wait", len(l.waiting))
	}
	store.away = false
	for range 4 {
		l.catchUp(ctx)
	}
	if got := strings.Join(store.taken, " "); got != "a b" && got != "b a" {
		t.Fatalf("taken are %s", got)
	}
	for range 20 { // nothing shows yet that it is their fault
		l.catchUp(ctx)
	}
	if strings.Contains(said.String(), "stands here alone") {
		t.Fatal(said.String())
	}
	for _, action := range strings.Split("c d e f g h", " ") {
		l.keep(ctx, AuditEntry{Action: action})
		for range 3 {
			l.catchUp(ctx)
		}
	}
	if got := strings.Join(store.taken[2:], " "); got != "c d e f g h" || len(l.waiting) != 0 {
		t.Fatalf("taken are %s, and %d wait", got, len(l.waiting))
	}
	l.keep(ctx, AuditEntry{Action: "bad"})
	l.keep(ctx, AuditEntry{Action: "last"})
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := l.Run(over); err != nil || store.taken[len(store.taken)-1] != "last" {
		t.Errorf("%v: taken are %v", err, store.taken)
	}
	for _, action := range []string{"bad", "worse"} {
		if n := strings.Count(said.String(), "for the store refuses it\" user=\"\" key=\"\" action="+action+" "); n != 1 {
			t.Errorf("%s is told of %d times: %s", action, n, said.String())
		}
	}
}

// An entry that meets a store that comes and goes at its worst waits on.
func TestAuditEntryThatIsUnlucky(t *testing.T) {
	t.Parallel()
	store := &picky{unlucky: "good"}
	l, ctx := NewAuditLog(store, slog.New(slog.DiscardHandler), time.Now), t.Context()
	l.keep(ctx, AuditEntry{Action: "good"})
	for range 5 * auditRefusals {
		l.keep(ctx, AuditEntry{Action: "other"})
		for range 3 {
			l.catchUp(ctx)
		}
	}
	store.unlucky = ""
	l.catchUp(ctx)
	if n := len(store.taken); n != 5*auditRefusals+1 || store.taken[n-1] != "good" {
		t.Errorf("taken are %v", store.taken)
	}
}

// It is recorded that somebody cannot log in for a while, or has been robbed of a
// refresh token; of addresses that are nobody's nothing is.
func TestAuditOfLogins(t *testing.T) {
	t.Parallel()
	e := start(t)
	ann := e.addLogin("ann@example.org")
	for range FailuresOfEmail + 2 {
		e.login("ann@example.org", "wrong")
		e.login("nobody@example.org", "wrong")
	}
	e.gateway.options.Audit.catchUp(t.Context())
	held := e.audited("action=login.held_back")
	if len(held) != 1 || held[0]["target"] != ann || held[0]["user"] != nil || held[0]["address"] != "127.0.0.1" {
		t.Errorf("%v", held)
	}
	for i := range FailuresOfAddress - 2*FailuresOfEmail - 1 { // without the work for them
		l, err := (attempts{e.dir}).Begin(t.Context(), fmt.Sprint(i), "127.0.0.1")
		if err != nil || l.Attempt == "" {
			t.Fatal(l, err)
		}
		if err := (attempts{e.dir}).End(t.Context(), l.Attempt, true); err != nil {
			t.Fatal(err)
		}
	}
	e.login("last@example.org", "wrong").want(401, "bad_credentials")
	e.login("last@example.org", "wrong").want(429, "too_many_attempts")
	e.gateway.options.Audit.catchUp(t.Context())
	if held = e.audited("action=login.held_back"); len(held) != 2 || held[1]["target"] != nil {
		t.Errorf("%v", held)
	}
	e.skew.Add(int64(ThrottleWindow))
	first := e.login("ann@example.org", password).want(200, "")
	e.refresh(first.str("refresh_token")).want(200, "")
	e.refresh(first.str("refresh_token")).want(401, "unauthenticated")
	e.refresh("rt_nonsense").want(401, "unauthenticated")
	e.skew.Store(0)
	if got := e.actions("action=login.reused"); got != "login.reused "+ann {
		t.Error(got)
	}
}
