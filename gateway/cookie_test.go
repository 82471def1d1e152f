package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// browser is what a browser keeps and sends.
type browser struct {
	e       *env
	cookies map[string]*http.Cookie
	header  http.Header // of every request, but what a request has itself
}

func (e *env) browser() *browser {
	return &browser{e: e, cookies: make(map[string]*http.Cookie), header: http.Header{
		"X-Requested-With": {"nowserving"}, "Sec-Fetch-Site": {"same-origin"},
	}}
}

func (b *browser) cookie() string {
	var all []string
	for _, k := range b.cookies {
		all = append(all, k.Name+"="+k.Value)
	}
	return strings.Join(all, "; ")
}

// do sends a request; a header without a value is left out.
func (b *browser) do(method, path, body string, header ...string) *reply {
	b.e.t.Helper()
	h := b.header.Clone()
	for i := 0; i < len(header); i += 2 {
		h.Del(header[i])
		if header[i+1] != "" {
			h.Set(header[i], header[i+1])
		}
	}
	if len(b.cookies) > 0 {
		h.Set("Cookie", b.cookie())
	}
	r := b.e.do(call{as: "-", method: method, path: path, body: body, header: h})
	for _, k := range (&http.Response{Header: r.header}).Cookies() {
		if b.cookies[k.Name] = k; !k.Expires.IsZero() {
			delete(b.cookies, k.Name)
		}
	}
	return r
}

func (b *browser) login(email string) *reply {
	b.e.t.Helper()
	return b.do("POST", "/auth/login", fmt.Sprintf(`{"email":%q,"password":%q,"cookie":true}`, email, password))
}

func TestCookieLogin(t *testing.T) {
	t.Parallel()
	e := start(t)
	id := e.addLogin("ann@example.org")
	b := e.browser()
	r := b.login("ann@example.org").want(200, "")
	if r.json["access_token"] != nil || r.json["refresh_token"] != nil || strings.Contains(string(r.body), "rt_") || r.str("token_type") != "Cookie" {
		t.Errorf("%s", r.body)
	}
	if len(b.cookies) != 2 {
		t.Fatalf("%v", r.header["Set-Cookie"])
	}
	for _, k := range b.cookies {
		if !k.HttpOnly || k.SameSite != http.SameSiteStrictMode || k.Path != "/" || k.Domain != "" || k.Secure || k.MaxAge != 0 || !k.Expires.IsZero() {
			t.Errorf("%v", k)
		}
	}
	if me := b.do("GET", "/me", "").want(200, ""); me.str("id") != id {
		t.Errorf("%s", me.body)
	}

	old := *b
	old.cookies = map[string]*http.Cookie{}
	for name, k := range b.cookies {
		old.cookies[name] = k
	}
	if r := b.do("POST", "/auth/refresh", `{"cookie":true}`).want(200, ""); strings.Contains(string(r.body), "rt_") {
		t.Errorf("%s", r.body)
	}
	if b.cookie() == old.cookie() {
		t.Error("the cookies are the old ones")
	}
	// Another page of the same browser that has not got the new ones yet.
	old.do("POST", "/auth/refresh", `{"cookie":true}`).want(503, "unavailable")
	b.do("POST", "/auth/refresh", `{"cookie":true}`).want(200, "")
	b.do("GET", "/me", "").want(200, "")

	e.skew.Add(int64(accessLife))
	b.do("GET", "/me", "").want(401, "token_expired")
	b.do("POST", "/auth/refresh", `{"cookie":true}`).want(200, "")
	kept := b.cookie()
	if r := b.do("POST", "/auth/logout", ""); r.status != 204 || len(b.cookies) != 0 {
		t.Errorf("%d: %v", r.status, b.cookies)
	}
	e.do(call{as: "-", method: "GET", path: "/me", header: http.Header{"Cookie": {kept}}}).want(401, "unauthenticated")

	// Much later the old one is a stolen one, and takes all with it.
	b.login("ann@example.org").want(200, "")
	stolen := b.cookies[refreshCookie]
	b.do("POST", "/auth/refresh", `{"cookie":true}`).want(200, "")
	e.skew.Add(int64(refreshGrace))
	thief := e.browser()
	thief.cookies[refreshCookie] = stolen
	if thief.do("POST", "/auth/refresh", `{"cookie":true}`).want(401, "unauthenticated"); len(thief.cookies) != 0 {
		t.Errorf("what is of no use is kept: %v", thief.cookies)
	}
	b.do("POST", "/auth/refresh", `{"cookie":true}`).want(401, "unauthenticated")

	// Outside cookies there is no grace.
	s := e.login("ann@example.org", password).str("refresh_token")
	e.refresh(s).want(200, "")
	e.refresh(s).want(401, "unauthenticated")

	e.browser().do("POST", "/auth/refresh", `{"cookie":true}`).want(401, "unauthenticated")
	for _, body := range []string{`{"cookie":false}`, `{"cookie":1}`, `{"cookie":true,"refresh_token":"x"}`} {
		b.do("POST", "/auth/refresh", body).want(422, "invalid")
	}
}

// What another site's page has a browser send is refused, though the cookie is good.
func TestCookieNeedsAPageOfThisHost(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.AllowedOrigins = []string{"https://desk.example.org"} })
	e.addLogin("ann@example.org")
	b := e.browser()
	b.login("ann@example.org").want(200, "")
	e.queue("a")
	for _, c := range []struct {
		name         string
		header       []string
		read, change bool
	}{
		{"this host", nil, true, true},
		{"this host, with its origin", []string{"Origin", e.url}, true, true},
		{"an allowed origin", []string{"Origin", "https://desk.example.org", "Sec-Fetch-Site", "same-site"}, true, true},
		{"no browser of today", []string{"Sec-Fetch-Site", ""}, true, true},
		{"a form of this host, or a link", []string{"X-Requested-With", ""}, true, false},
		{"an address that was typed in", []string{"Sec-Fetch-Site", "none", "X-Requested-With", ""}, true, false},
		{"another site", []string{"Sec-Fetch-Site", "cross-site"}, false, false},
		{"a sister host", []string{"Sec-Fetch-Site", "same-site"}, false, false},
		{"another origin", []string{"Origin", "https://evil.example"}, false, false},
		{"another port", []string{"Origin", e.url + "1"}, false, false},
		{"no origin", []string{"Origin", "null"}, false, false},
	} {
		for path, want := range map[string]bool{"GET /queues/a": c.read, "POST /queues/a/tickets": c.change, "POST /auth/refresh": c.change, "POST /auth/login": c.change} {
			method, path, _ := strings.Cut(path, " ")
			body := map[string]string{"/auth/refresh": `{"cookie":true}`, "/auth/login": fmt.Sprintf(`{"email":"ann@example.org","password":%q,"cookie":true}`, password)}[path]
			if r := b.do(method, path, body, c.header...); want && r.status >= 300 || !want && (r.status != 403 || r.code() != "forbidden") {
				t.Errorf("%s: %s %s: %d %s", c.name, method, path, r.status, r.body)
			}
		}
	}
	// A header of one's own logs in as ever, whatever the cookies say.
	e.do(call{method: "POST", path: "/queues/a/tickets", header: http.Header{"Cookie": {b.cookie()}, "Sec-Fetch-Site": {"cross-site"}}}).want(201, "")
	e.do(call{as: "-", method: "GET", path: "/queues/a", header: http.Header{"Cookie": {b.cookie()}, "Authorization": {"Bearer x"}}}).want(401, "unauthenticated")
}

// Over HTTPS, cookies are of a kind that nobody but this host can set.
func TestCookiesOverHTTPS(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	e.addLogin("ann@example.org")
	b := e.browser()
	b.login("ann@example.org").want(200, "")
	plain := b.cookie()
	b.cookies = make(map[string]*http.Cookie)
	b.header.Set("X-Forwarded-Proto", "https")
	b.login("ann@example.org").want(200, "")
	if len(b.cookies) != 2 {
		t.Fatalf("%v", b.cookies)
	}
	for _, k := range b.cookies {
		if !k.Secure || !k.HttpOnly || !strings.HasPrefix(k.Name, "__Host-") || k.Path != "/" {
			t.Errorf("%v", k)
		}
	}
	b.do("GET", "/me", "").want(200, "")
	b.do("POST", "/auth/refresh", `{"cookie":true}`).want(200, "")
	if r := b.do("POST", "/auth/logout", ""); r.status != 204 || len(b.cookies) != 0 {
		t.Errorf("%d: %v", r.status, b.cookies)
	}
	e.do(call{as: "-", method: "GET", path: "/me", header: http.Header{"Cookie": {plain}, "X-Forwarded-Proto": {"https"}}}).want(401, "unauthenticated")

	// Anybody else's word for HTTPS is not believed.
	e = start(t)
	e.addLogin("ann@example.org")
	b = e.browser()
	b.header.Set("X-Forwarded-Proto", "https")
	b.login("ann@example.org").want(200, "")
	for _, k := range b.cookies {
		if k.Secure {
			t.Errorf("%v", k)
		}
	}
}

func TestLiveCookie(t *testing.T) {
	e := startLive(t, func(o *Options) { o.AllowedOrigins = []string{"https://desk.example.org"} })
	e.addLogin("ann@example.org")
	b := e.browser()
	b.login("ann@example.org").want(200, "")
	for _, origin := range []string{"http://" + e.addr, "https://desk.example.org"} {
		p, _ := e.connect(http.Header{"Origin": {origin}, "Cookie": {b.cookie()}})
		if f := p.want("ready"); f.sub("user").str("email") != "ann@example.org" {
			t.Errorf("%v", f)
		}
	}
	if _, status := e.connect(http.Header{"Origin": {"https://evil.example"}, "Cookie": {b.cookie()}}); status != http.StatusForbidden {
		t.Errorf("another origin: %d", status)
	}
	p, _ := e.connect(http.Header{"Cookie": {b.cookie()}}) // no browser: its cookie says nothing
	p.send(map[string]any{"type": "auth", "token": e.token(Admin)})
	if f := p.want("ready"); f.sub("user").str("email") != "admin@example.org" {
		t.Errorf("%v", f)
	}
	p = e.page("?auth=frame", b.cookie()) // one whose user wants to be somebody else here
	p.send(map[string]any{"type": "auth", "token": e.token(Viewer)})
	if f := p.want("ready"); f.sub("user").str("email") != "viewer@example.org" {
		t.Errorf("%v", f)
	}
	e.queue("p", `,"public":true`)
	p = e.page("?auth=frame", b.cookie())
	p.send(map[string]any{"type": "auth", "token": e.checkIn("p")})
	if f := p.want("ready"); f["user"] != nil {
		t.Errorf("%v", f)
	}
	p.want("ticket")
	if r := e.do(call{as: "-", method: "GET", path: "/ws?auth=cookie", header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"MDEyMzQ1Njc4OWFiY2RlZg=="},
	}}).want(422, "invalid"); r.fields() != "auth" {
		t.Errorf("%s", r.body)
	}
	live, _ := e.connect(http.Header{"Origin": {"http://" + e.addr}, "Cookie": {b.cookie()}})
	live.want("ready")
	kept := b.cookie()
	if r := b.do("POST", "/auth/logout", ""); r.status != 204 {
		t.Fatal(r.status)
	}
	if code := live.closed(); code != 4401 {
		t.Errorf("closed with %d", code)
	}
	p, _ = e.connect(http.Header{"Origin": {"http://" + e.addr}, "Cookie": {kept}})
	if code := p.closed(); code != 4401 {
		t.Errorf("closed with %d", code)
	}
}
