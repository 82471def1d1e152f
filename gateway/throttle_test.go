package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"nowserving/persistence/directory"
)

// watched counts how often a password is held against a hash.
type watched struct {
	Passwords
	checks atomic.Int32
	broken atomic.Bool
}

func (w *watched) Verify(ctx context.Context, hash, password string) (bool, error) {
	w.checks.Add(1)
	if w.broken.Load() {
		panic("broken")
	}
	return w.Passwords.Verify(ctx, hash, password)
}

// An answer, and the work for it, are the same whoever has the address: a user,
// one who is disabled, one who has no password, or nobody.
func TestLoginTellsNobodyWhoExists(t *testing.T) {
	t.Parallel()
	w := &watched{Passwords: directory.NewHasher()}
	e := start(t, func(o *Options) { o.Passwords = w })
	e.addLogin("ann@example.org")
	yes := true
	if _, err := e.dir.UpdateUser(t.Context(), e.addLogin("out@example.org"), directory.UserPatch{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	tries := []struct{ email, password string }{
		{"nobody@example.org", "wrong"}, {"ann@example.org", "wrong"}, {"viewer@example.org", "wrong"}, {"viewer@example.org", " "},
		{"out@example.org", "wrong"}, {"out@example.org", password}, {"not an address", "wrong"},
	}
	var first *reply
	for _, try := range tries {
		before := w.checks.Load()
		r := e.login(try.email, try.password).want(401, "bad_credentials")
		if n := w.checks.Load() - before; n != 1 {
			t.Errorf("%s: %d passwords were checked", try.email, n)
		}
		r.header.Del("Date")
		if first == nil {
			first = r
		}
		if !bytes.Equal(r.body, first.body) || fmt.Sprint(r.header) != fmt.Sprint(first.header) {
			t.Errorf("%s: %v %s, want %v %s", try.email, r.header, r.body, first.header, first.body)
		}
	}
	// Held back they are alike too, and nothing is checked any more.
	first = nil
	for _, email := range []string{"nobody@example.org", "ann@example.org", "out@example.org"} {
		for n := range FailuresOfEmail { // some of them have failed before
			if r := e.login(email, "wrong"); r.status != 401 && r.status != 429 {
				t.Fatalf("try %d: %d %s", n, r.status, r.body)
			}
		}
		before := w.checks.Load()
		r := e.login(email, password).want(429, "too_many_attempts")
		if w.checks.Load() != before || r.header.Get("Retry-After") == "" {
			t.Errorf("%s: a password was checked, or %v", email, r.header)
		}
		if first == nil {
			first = r
		}
		if !bytes.Equal(r.body, first.body) {
			t.Errorf("%s: %s, want %s", email, r.body, first.body)
		}
	}
}

// Many at once fail no oftener than one after the other.
func TestLoginsAtOnceAreThrottled(t *testing.T) {
	t.Parallel()
	w := &watched{Passwords: directory.NewHasher()}
	e := start(t, func(o *Options) { o.Passwords = w })
	e.addLogin("ann@example.org")
	var all sync.WaitGroup
	var refused, held atomic.Int32
	for range 3 * FailuresOfEmail {
		all.Go(func() {
			switch r := e.login("ann@example.org", "wrong"); r.status {
			case http.StatusUnauthorized:
				refused.Add(1)
			case http.StatusTooManyRequests:
				held.Add(1)
			default:
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	all.Wait()
	if refused.Load() != FailuresOfEmail || held.Load() != 2*FailuresOfEmail || w.checks.Load() != FailuresOfEmail {
		t.Errorf("%d were refused, %d held back, %d passwords checked", refused.Load(), held.Load(), w.checks.Load())
	}
}

// An address is held back whoever it tries to be, and another is not.
func TestAddressIsThrottled(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	e.addLogin("ann@example.org")
	for _, c := range []struct{ from, neighbour, other string }{
		{"192.0.2.1", "192.0.2.1", "192.0.2.2"}, {"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"},
	} {
		for i := range FailuresOfAddress - 1 { // as the login does it, without the work for it
			end, _, err := e.gateway.auth.throttle.begin(t.Context(), fmt.Sprint(c.from, i), netip.MustParseAddr(c.from))
			if end == nil {
				t.Fatal(i, err)
			}
			end(true)
		}
		e.login("ann@example.org", password, "X-Forwarded-For", c.from).want(200, "") // what is good does not count
		e.login("last"+c.from, "wrong", "X-Forwarded-For", c.from).want(401, "bad_credentials")
		if r := e.login("ann@example.org", password, "X-Forwarded-For", c.neighbour).want(429, "too_many_attempts"); r.header.Get("Retry-After") == "" {
			t.Errorf("%v", r.header)
		}
		e.login("ann@example.org", password, "X-Forwarded-For", c.other).want(200, "")
	}
	e.skew.Add(int64(ThrottleWindow))
	e.login("ann@example.org", password, "X-Forwarded-For", "192.0.2.1").want(200, "")
}

// Logins that succeed, or that break off here, do not hold anybody back.
func TestOnlyFailuresCount(t *testing.T) {
	t.Parallel()
	w := &watched{Passwords: directory.NewHasher()}
	e := start(t, func(o *Options) { o.Passwords = w })
	e.addLogin("ann@example.org")
	w.broken.Store(true)
	for range FailuresOfEmail + 1 {
		e.login("ann@example.org", password).want(500, "internal")
	}
	w.broken.Store(false)
	for range FailuresOfEmail + 1 {
		e.login("ann@example.org", password).want(200, "")
	}
}

// uncounted is a count of all nodes that cannot be had.
type uncounted struct{}

func (uncounted) Begin(context.Context, string, string) (Login, error) {
	return Login{}, errors.New("away")
}
func (uncounted) End(context.Context, string, bool) error { return errors.New("away") }

// What has failed on other nodes counts here.
func TestLoginsFailOverAllNodes(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.addLogin("ann@example.org")
	fail := func(email, address string) {
		t.Helper()
		l, err := attempts{e.dir}.Begin(t.Context(), email, address)
		if err != nil || l.Attempt == "" {
			t.Fatal(l, err)
		}
		if err := (attempts{e.dir}).End(t.Context(), l.Attempt, true); err != nil {
			t.Fatal(err)
		}
	}
	for range FailuresOfEmail - 1 {
		fail("ann@example.org", "elsewhere")
	}
	e.login("ann@example.org", password).want(200, "")
	e.login("ANN@example.org", "wrong").want(401, "bad_credentials")
	if wait := e.login("ann@example.org", password).want(429, "too_many_attempts").header.Get("Retry-After"); wait < "600" || wait > "900" {
		t.Errorf("%s", wait)
	}
	for i := range FailuresOfAddress - 1 {
		fail(fmt.Sprint(i), "127.0.0.1")
	}
	e.addLogin("bob@example.org")
	e.login("bob@example.org", password).want(429, "too_many_attempts")
	e.skew.Add(int64(ThrottleWindow))
	e.login("ann@example.org", password).want(200, "")
	e.login("bob@example.org", password).want(200, "")
}

// Where they cannot be counted, people can log in, and this node counts.
func TestLoginsWhileNobodyCounts(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.Attempts = uncounted{} })
	e.addLogin("ann@example.org")
	for range FailuresOfEmail {
		e.login("ann@example.org", password).want(200, "")
		e.login("ann@example.org", "wrong").want(401, "bad_credentials")
	}
	e.login("ann@example.org", password).want(429, "too_many_attempts")
}
