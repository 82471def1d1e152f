package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"nowserving/gateway/oidctest"
	"nowserving/persistence/directory"
)

// surfer is a browser: it keeps cookies, and follows no redirect by itself.
type surfer struct {
	t testing.TB
	http.Client
}

func newSurfer(t testing.TB) *surfer {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &surfer{t, http.Client{Jar: jar, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	t.Cleanup(s.CloseIdleConnections)
	return s
}

// goes gives the status of an address and where it sends the browser.
func (s *surfer) goes(address string) (status int, location, body string) {
	s.t.Helper()
	response, err := s.Get(address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("Location"), string(text)
}

// signsIn goes the whole way and gives the word with which it ends.
func (s *surfer) signsIn(node string, provider *oidctest.Provider, user string) string {
	s.t.Helper()
	_, there, _ := s.goes(node + "/api/v1/auth/oidc")
	_, end, _ := s.goes(provider.Approve(s.t, there, user).String())
	return end
}

func (s *surfer) me(node string) (int, string) {
	status, _, body := s.goes(node + "/api/v1/me")
	return status, body
}

// Users of a provider come in with what is mapped to their groups there, and
// nobody else does.
func TestSignInAtAProvider(t *testing.T) {
	t.Parallel()
	provider := oidctest.Start(t, "queues", "a secret",
		oidctest.User{ID: "ann", Name: "Ann", Email: "ann@example.org", Verified: true, Groups: []string{"everybody", "cn=desk, ou=town hall"}},
		oidctest.User{ID: "eve", Name: "Eve", Email: defaultAdmin, Verified: true, Groups: []string{"leads"}},
		oidctest.User{ID: "joe", Name: "Joe", Email: "joe@example.org", Groups: []string{"leads", "it"}},
		oidctest.User{ID: "ida", Groups: []string{"it"}},
		oidctest.User{ID: "bob", Name: "Bob", Groups: []string{"everybody"}})
	dir := t.TempDir()
	p := startNode(t, dir, "--oidc-issuer", provider.Issuer, "--oidc-client-id", "queues", "--oidc-client-secret", "a secret",
		"--oidc-map", "groups; it = admin; cn=desk, ou=town hall = attendant passports visas; leads = supervisor *")
	provider.Allow(p.url + "/api/v1/auth/oidc/callback")
	if got := get(t, p.url+"/api/v1/auth").body; got != `{"password":true,"oidc":true}` {
		t.Error(got)
	}

	ann := newSurfer(t)
	if end := ann.signsIn(p.url, provider, "ann"); end != "/#sign-in=done" {
		t.Fatal(end)
	}
	status, me := ann.me(p.url)
	if status != 200 || !strings.Contains(me, `"email":"ann@example.org","name":"Ann`) || !strings.Contains(me, `"level":"attendant","queues":["passports","visas"]`) {
		t.Errorf("%d %s", status, me)
	}
	again := newSurfer(t)
	again.signsIn(p.url, provider, "ann")
	if _, second := again.me(p.url); second != me {
		t.Errorf("%s, and the second time %s", me, second)
	}

	// An address that is somebody's here does not make one that user, nor does one
	// that nobody has verified count.
	for user, level := range map[string]string{"eve": "supervisor", "joe": "admin"} {
		s := newSurfer(t)
		s.signsIn(p.url, provider, user)
		if status, me := s.me(p.url); status != 200 || !strings.Contains(me, "@oidc.invalid") || !strings.Contains(me, `"level":"`+level+`","queues":["*"]`) {
			t.Errorf("%s: %d %s", user, status, me)
		}
	}
	admin(t, p.url)
	bob := newSurfer(t)
	if end := bob.signsIn(p.url, provider, "bob"); end != "/#sign-in=forbidden" {
		t.Error(end)
	}
	if status, _ := bob.me(p.url); status != http.StatusUnauthorized {
		t.Error(status)
	}

	// Another group at the provider: the next sign-in ends what was given before.
	provider.Put(oidctest.User{ID: "ann", Name: "Ann", Groups: []string{"leads"}})
	newSurfer(t).signsIn(p.url, provider, "ann")
	eventually(t, "the old access has ended", func() bool { status, _ := ann.me(p.url); return status == http.StatusUnauthorized })
	sup := newSurfer(t)
	sup.signsIn(p.url, provider, "ann")
	if _, me := sup.me(p.url); !strings.Contains(me, `"level":"supervisor"`) {
		t.Error(me)
	}
	provider.Put(oidctest.User{ID: "joe", Groups: []string{"leads"}}) // the same queues, and less to do in them
	joe := newSurfer(t)
	joe.signsIn(p.url, provider, "joe")
	if _, me := joe.me(p.url); !strings.Contains(me, `"level":"supervisor"`) {
		t.Error(me)
	}
	provider.Put(oidctest.User{ID: "ann"})
	if end := newSurfer(t).signsIn(p.url, provider, "ann"); end != "/#sign-in=forbidden" {
		t.Error(end)
	}
	eventually(t, "all access has ended", func() bool { status, _ := sup.me(p.url); return status == http.StatusUnauthorized })

	// One who is disabled here stays out.
	d, err := directory.Open(t.Context(), directory.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for action, want := range map[string]int{"user.created": 1, "user.changed": 1, "login.oidc": 4, "login.turned_away": 1} {
		kept, _, err := d.ListAudit(t.Context(), directory.AuditFilter{Action: action, Target: foreignID(provider.Issuer, "ann")}, nil, 10)
		if err != nil || len(kept) != want {
			t.Errorf("%s: %d entries, want %d, %v", action, len(kept), want, err)
		}
	}
	yes := true
	if _, err := d.UpdateUser(t.Context(), foreignID(provider.Issuer, "eve"), directory.UserPatch{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	if end := newSurfer(t).signsIn(p.url, provider, "eve"); end != "/#sign-in=forbidden" {
		t.Error(end)
	}

	// The last admin stays one, and does not come in as what it is at the provider.
	ida := newSurfer(t)
	ida.signsIn(p.url, provider, "ida")
	first := admin(t, p.url)
	first.must(t, p.url, http.MethodPatch, "/users/"+first.must(t, p.url, http.MethodGet, "/me", "").str(t, "id"), `{"disabled":true}`)
	if status, me := ida.me(p.url); status != 200 || !strings.Contains(me, `"level":"admin"`) {
		t.Fatalf("%d %s", status, me)
	}
	provider.Put(oidctest.User{ID: "ida", Groups: []string{"leads"}})
	if end := newSurfer(t).signsIn(p.url, provider, "ida"); end != "/#sign-in=forbidden" {
		t.Error(end)
	}
	eventually(t, "its access has ended", func() bool { status, _ := ida.me(p.url); return status == http.StatusUnauthorized })
	for _, secret := range []string{"a secret", "ann@example.org", "joe@example.org"} {
		if strings.Contains(p.log(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

// What comes back is taken once, in the browser that was sent, and in time.
func TestSignInIsBoundToItsBrowser(t *testing.T) {
	t.Parallel()
	provider := oidctest.Start(t, "queues", "secret", oidctest.User{ID: "ann", Groups: []string{"it"}})
	p := startNode(t, t.TempDir(), "--oidc-issuer", provider.Issuer, "--oidc-client-id", "queues", "--oidc-client-secret", "secret", "--oidc-map", "groups; it=viewer")
	provider.Allow(p.url + "/api/v1/auth/oidc/callback")
	begin := func(s *surfer) *url.URL {
		_, there, _ := s.goes(p.url + "/api/v1/auth/oidc")
		asked, err := url.Parse(there)
		if err != nil {
			t.Fatal(err)
		}
		q := asked.Query()
		if q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) < 43 || len(q.Get("state")) < 26 || len(q.Get("nonce")) < 26 || q.Get("response_type") != "code" {
			t.Fatalf("%s", there)
		}
		return provider.Approve(t, there, "ann")
	}
	ends := func(s *surfer, at *url.URL, word string) {
		t.Helper()
		if _, end, _ := s.goes(at.String()); end != "/#sign-in="+word {
			t.Errorf("%s, want %s", end, word)
		}
		if status, me := s.me(p.url); word != "done" && status != http.StatusUnauthorized {
			t.Errorf("%s: %s", word, me)
		}
	}
	victim, thief := newSurfer(t), newSurfer(t)
	at := begin(thief)
	ends(victim, at, "again") // who is sent there by a link
	ends(thief, at, "done")
	ends(newSurfer(t), at, "again")

	s := newSurfer(t)
	at = begin(s)
	q := at.Query()
	q.Set("state", "x"+q.Get("state"))
	other := *at
	other.RawQuery = q.Encode()
	ends(s, &other, "again")
	ends(s, at, "again") // the cookie was good for one try

	s = newSurfer(t)
	first := begin(s).Query().Get("code")
	at = begin(s) // another flow, whose state is right and whose verifier and nonce are not the code's
	q = at.Query()
	q.Set("code", first)
	at.RawQuery = q.Encode()
	ends(s, at, "refused")

	s = newSurfer(t)
	at = begin(s)
	at.RawQuery = url.Values{"error": {"access_denied"}, "state": at.Query()["state"]}.Encode()
	ends(s, at, "refused")
}

// A provider that is away takes nobody's password login, and is found when it is back.
func TestProviderThatIsAway(t *testing.T) {
	t.Parallel()
	p := startNode(t, t.TempDir(), "--oidc-issuer", "http://127.0.0.1:1", "--oidc-client-id", "queues", "--oidc-map", "groups; it=viewer")
	began := time.Now()
	if _, end, _ := newSurfer(t).goes(p.url + "/api/v1/auth/oidc"); end != "/#sign-in=unavailable" || time.Since(began) > patience/2 {
		t.Errorf("%s after %s", end, time.Since(began))
	}
	admin(t, p.url)
	without := startNode(t, t.TempDir())
	if status, _, _ := newSurfer(t).goes(without.url + "/api/v1/auth/oidc"); status != http.StatusNotFound {
		t.Error(status)
	}
}

func TestOIDCSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, says string }{
		{"--oidc-issuer http://login.example.org --oidc-client-id a --oidc-map g;x=admin", "https://"},
		{"--oidc-issuer nonsense", "--oidc-issuer"},
		{"--oidc-client-id a", "--oidc-issuer"},
		{"--oidc-issuer https://login.example.org", "--oidc-client-id"},
		{"--oidc-issuer https://login.example.org --oidc-client-id a", "--oidc-map"},
		{"--oidc-map groups", "--oidc-map"}, {"--oidc-map g;admin", "--oidc-map"}, {"--oidc-map g;x=root", "root"}, {"--oidc-map g;x=", "--oidc-map"},
		{"--oidc-map ;x=admin", "--oidc-map"},
	} {
		_, err := readConfig(strings.Fields(c.args), func(string) string { return "" })
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
}
