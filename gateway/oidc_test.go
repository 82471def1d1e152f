package gateway

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"nowserving/gateway/oidctest"
)

func stateKeys(letters string) (keys []TokenKey) {
	for _, letter := range letters {
		keys = append(keys, TokenKey{ID: string(letter), Bytes: bytes.Repeat([]byte{byte(letter)}, 32)})
	}
	return keys
}

func TestFlowIsSealed(t *testing.T) {
	t.Parallel()
	f := flow{State: "s", Nonce: "n", Verifier: "v", Redirect: "r", Until: 7}
	sealed, err := newSignIn(&OIDC{StateKeys: stateKeys("ab")}).seal(f)
	if err != nil || strings.Contains(sealed, "s") && len(sealed) < 60 {
		t.Fatal(sealed, err)
	}
	for letters, want := range map[string]bool{"ab": true, "ba": true, "b": false} {
		if got, ok := newSignIn(&OIDC{StateKeys: stateKeys(letters)}).open(sealed); ok != want || ok && got != f {
			t.Errorf("keys %s: %+v, %v", letters, got, ok)
		}
	}
	s := newSignIn(&OIDC{StateKeys: stateKeys("a")})
	for _, bad := range []string{"", "x", "!", sealed[1:], sealed[:len(sealed)-4], "A" + sealed[1:], sealed[:30] + "AAAA" + sealed[34:]} {
		if _, ok := s.open(bad); ok && bad != sealed {
			t.Errorf("%q opens", bad)
		}
	}
}

// Each of the secrets of a flow is needed, by whoever checks it.
func TestFlowsSecretsAreChecked(t *testing.T) {
	t.Parallel()
	provider := oidctest.Start(t, "queues", "secret", oidctest.User{ID: "ann", Name: "Ann", Groups: []string{"it"}})
	claims, err := ParseClaimMap("groups; it = viewer a")
	if err != nil {
		t.Fatal(err)
	}
	var seen ForeignUser
	e := start(t, func(o *Options) {
		o.OIDC = &OIDC{Issuer: provider.Issuer, ClientID: "queues", ClientSecret: "secret", Map: claims, StateKeys: stateKeys("a"),
			SignIn: func(_ context.Context, who ForeignUser) (User, error) {
				seen = who
				return User{ID: who.Subject, Level: who.Level}, nil
			}}
	})
	provider.Allow(e.url + callbackPath)
	e.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s := e.gateway.signIn
	begin := func() (flow, *browser, *url.URL) {
		t.Helper()
		b := e.browser()
		b.header = http.Header{"Sec-Fetch-Site": {"cross-site"}}
		r := b.do("GET", "/auth/oidc", "")
		k := b.cookies[flowCookie]
		if r.status != http.StatusSeeOther || k == nil || !k.HttpOnly || k.SameSite != http.SameSiteLaxMode {
			t.Fatalf("%d, %v", r.status, k)
		}
		f, ok := s.open(k.Value)
		if !ok {
			t.Fatal("the cookie does not open")
		}
		return f, b, provider.Approve(t, r.header.Get("Location"), "ann")
	}
	for name, spoil := range map[string]func(*flow){
		"nonce": func(f *flow) { f.Nonce = "another" }, "verifier": func(f *flow) { f.Verifier = oauth2.GenerateVerifier() },
		"redirect": func(f *flow) { f.Redirect += "x" }, "nothing": func(*flow) {},
	} {
		f, _, at := begin()
		spoil(&f)
		who, err := s.identify(t.Context(), f, at.Query().Get("code"), e.now)
		if name == "nothing" && (err != nil || who.Level != Viewer || who.Issuer != provider.Issuer || who.Subject != "ann") || name != "nothing" && err == nil {
			t.Errorf("another %s: %+v, %v", name, who, err)
		}
	}
	end := func(b *browser, at *url.URL) string {
		return b.do("GET", strings.TrimPrefix(at.Path, "/api/v1")+"?"+at.RawQuery, "").header.Get("Location")
	}
	_, b, at := begin()
	e.skew.Add(int64(flowLife))
	if got := end(b, at); got != "/#sign-in=again" || len(b.cookies) != 0 {
		t.Errorf("too late: %s, %v", got, b.cookies)
	}
	_, b, at = begin()
	if got := end(b, at); got != "/#sign-in=done" || b.cookies[accessCookie] == nil || b.cookies[accessCookie].SameSite != http.SameSiteStrictMode || seen.Subject != "ann" {
		t.Errorf("%s, %v", got, b.cookies)
	}
	if got := e.audited(""); len(got) != 1 || got[0]["action"] != "login.oidc" || got[0]["user"] != "ann" || got[0]["target"] != "ann" {
		t.Errorf("the audit log has %v", got)
	}
}

func TestClaimMap(t *testing.T) {
	t.Parallel()
	m, err := ParseClaimMap(" groups ; cn=desk, ou=x = attendant passports visas;it=admin; it = viewer ;all = supervisor *")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		claim  any
		level  Level
		queues string
	}{
		{"it", Admin, "*"}, {[]any{"all", "it"}, Admin, "*"}, {[]any{7, "all"}, Supervisor, "*"}, {"cn=desk, ou=x", Attendant, "passports visas"},
		{nil, "", ""}, {"IT", "", ""}, {[]any{}, "", ""}, {7, "", ""}, {map[string]any{"it": true}, "", ""},
	} {
		if level, queues := m.find(map[string]any{"groups": c.claim, "other": "it"}); level != c.level || strings.Join(queues, " ") != c.queues {
			t.Errorf("%v: %s %v", c.claim, level, queues)
		}
	}
}
