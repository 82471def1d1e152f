package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	fastws "github.com/fasthttp/websocket"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/argon2"

	"nowserving/persistence/directory"
)

// addLogin adds a user who has a password.
func (e *env) addLogin(email string) string {
	e.t.Helper()
	hash, err := directory.NewHasher().Hash(context.Background(), password)
	if err != nil {
		e.t.Fatal(err)
	}
	u, err := e.dir.CreateUser(context.Background(), directory.User{Email: email, Name: "Ann", Level: directory.Attendant, Queues: []string{"a"}, PasswordHash: hash})
	if err != nil {
		e.t.Fatal(err)
	}
	return u.ID
}

func (e *env) login(email, password string, header ...string) *reply {
	e.t.Helper()
	c := call{as: "-", method: "POST", path: "/auth/login", body: fmt.Sprintf(`{"email":%q,"password":%q}`, email, password), header: http.Header{}}
	for i := 0; i+1 < len(header); i += 2 {
		c.header.Set(header[i], header[i+1])
	}
	return e.do(c)
}

func (e *env) refresh(token string) *reply {
	e.t.Helper()
	return e.do(call{as: "-", method: "POST", path: "/auth/refresh", body: `{"refresh_token":"` + token + `"}`})
}

func TestLoginRefreshLogout(t *testing.T) {
	t.Parallel()
	e := start(t)
	id := e.addLogin("ann@example.org")
	first := e.login(" Ann@Example.ORG", password).want(200, "")
	e.tokens.Store("ann@example.org", first.str("access_token"))
	if me := e.ok(call{as: "ann@example.org", method: "GET", path: "/me"}); me.str("id") != id || me.str("email") != "ann@example.org" || me.str("level") != "attendant" {
		t.Errorf("me: %s", me.body)
	}
	second := e.refresh(first.str("refresh_token")).want(200, "")
	third := e.refresh(second.str("refresh_token")).want(200, "")
	e.refresh(second.str("refresh_token")).want(401, "unauthenticated")
	e.refresh(third.str("refresh_token")).want(401, "unauthenticated") // the family has ended
	again := e.login("ann@example.org", password).want(200, "")
	e.tokens.Store("ann@example.org", again.str("access_token"))
	if r := e.do(call{as: "ann@example.org", method: "POST", path: "/auth/logout"}); r.status != 204 {
		t.Errorf("logout: %d", r.status)
	}
	e.do(call{as: "ann@example.org", method: "GET", path: "/me"}).want(401, "unauthenticated")
	other := e.login("ann@example.org", password).want(200, "")
	e.tokens.Store("ann@example.org", other.str("access_token"))
	e.refresh(again.str("refresh_token")).want(401, "unauthenticated")
	e.refresh("rt_nonsense").want(401, "unauthenticated")
	for _, body := range []string{``, `{}`, `{"email":"a"}`, `{"email":1,"password":"x"}`, `{"email":"a","password":"b","x":1}`, `{"email":"","password":"b"}`} {
		e.do(call{as: "-", method: "POST", path: "/auth/login", body: body}).want(422, "invalid")
	}
	e.do(call{as: "-", method: "POST", path: "/auth/refresh", body: `{}`}).want(422, "invalid")
	e.skew.Add(int64(accessLife))
	e.do(call{as: "ann@example.org", method: "GET", path: "/me"}).want(401, "token_expired")
	if strings.Contains(e.log.String(), "ann@") {
		t.Error("an e-mail address is in the log")
	}
}

func TestFailedLoginsAreThrottled(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.addLogin("ann@example.org")
	for _, email := range []string{"ann@example.org", "nobody@example.org"} { // alike, whoever exists
		for range FailuresOfEmail {
			e.login(email, "wrong").want(401, "bad_credentials")
		}
		if r := e.login(strings.ToUpper(email), password).want(429, "too_many_attempts"); !strings.HasPrefix(r.header.Get("Retry-After"), "8") && r.header.Get("Retry-After") != "900" {
			t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
		}
	}
	e.skew.Add(int64(ThrottleWindow))
	e.login("ann@example.org", password).want(200, "")
}

func TestThrottleCountsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	now := time.Now()
	f := newFailures(func() time.Time { return now }, 2)
	end1, _, _ := f.begin(t.Context(), throttleKey{1})
	end2, _, _ := f.begin(t.Context(), throttleKey{1})
	late := make(chan bool)
	go func() {
		end, wait, err := f.begin(context.Background(), throttleKey{1})
		late <- end == nil && wait == ThrottleWindow && err == nil
	}()
	end1(true)
	end2(true)
	if !<-late {
		t.Error("a third attempt was let through")
	}
	for i := range maxThrottled + 10 {
		end, _, _ := f.begin(t.Context(), throttleKey{2, byte(i), byte(i >> 8), byte(i >> 16)})
		end(true)
	}
	if n := len(f.counts); n > maxThrottled {
		t.Errorf("%d keys are kept", n)
	}
}

func TestForwardedAddressIsBelievedFromProxiesOnly(t *testing.T) {
	t.Parallel()
	for proxies, want := range map[string]string{"": "127.0.0.1", "127.0.0.0/8": "9.9.9.9", "127.0.0.0/8,9.0.0.0/8": "1.1.1.1"} {
		e := start(t, func(o *Options) {
			for _, p := range strings.Split(proxies, ",") {
				if p != "" {
					o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix(p))
				}
			}
		})
		e.login("x@example.org", "wrong", "X-Forwarded-For", "8.8.8.8, 1.1.1.1, 9.9.9.9").want(401, "bad_credentials")
		counted := e.gateway.auth.throttle.addresses
		if _, ok := counted.counts[hashOf(want)]; !ok || len(counted.counts) != 1 {
			t.Errorf("trusting %q: the failure was not counted for %s", proxies, want)
		}
	}
	if network(netip.MustParseAddr("2001:db8::1")) != network(netip.MustParseAddr("2001:db8::2")) {
		t.Error("two addresses of one IPv6 network count apart")
	}
}

func hashOf(s string) throttleKey { return hashRefresh(s) }

func TestBadTokens(t *testing.T) {
	t.Parallel()
	e := start(t)
	u := e.addUser("bob@example.org", Viewer, "a")
	good, _ := e.tokens.Load("bob@example.org")
	key := (*e.gateway.auth.keys.now.Load())[0]
	sign := func(method jwt.SigningMethod, kid string, with any, change func(*claims)) string {
		now := e.now()
		c := claims{Level: Admin, Queues: []string{"*"}, RegisteredClaims: jwt.RegisteredClaims{
			Issuer: tokenIssuer, Subject: u.ID, ExpiresAt: jwt.NewNumericDate(now.Add(time.Minute))}}
		change(&c)
		token := jwt.NewWithClaims(method, c)
		token.Header["kid"] = kid
		s, err := token.SignedString(with)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	same := func(*claims) {}
	bad := map[string]string{
		"none":      sign(jwt.SigningMethodNone, key.ID, jwt.UnsafeAllowNoneSignatureType, same),
		"HS512":     sign(jwt.SigningMethodHS512, key.ID, key.Bytes, same),
		"other key": sign(jwt.SigningMethodHS256, key.ID, []byte("another key of some length, 32 b"), same),
		"other kid": sign(jwt.SigningMethodHS256, "nope", key.Bytes, same),
		"no expiry": sign(jwt.SigningMethodHS256, key.ID, key.Bytes, func(c *claims) { c.ExpiresAt = nil }),
		"issuer":    sign(jwt.SigningMethodHS256, key.ID, key.Bytes, func(c *claims) { c.Issuer = "x" }),
		"cut":       good.(string)[:len(good.(string))-2], "garbage": "a.b.c", "long": strings.Repeat("x", 5000),
	}
	for name, token := range bad {
		e.tokens.Store("bad@x", token)
		if r := e.do(call{as: "bad@x", method: "GET", path: "/me"}); r.code() != "unauthenticated" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	e.tokens.Store("bad@x", sign(jwt.SigningMethodHS256, key.ID, key.Bytes, func(c *claims) { c.ExpiresAt = jwt.NewNumericDate(e.now().Add(-time.Minute)) }))
	e.do(call{as: "bad@x", method: "GET", path: "/me"}).want(401, "token_expired")
	// What the directory says of a user counts for more than the token.
	e.tokens.Store("bad@x", sign(jwt.SigningMethodHS256, key.ID, key.Bytes, same))
	e.do(call{as: "bad@x", method: "POST", path: "/queues", body: `{"id":"a"}`}).want(403, "forbidden")
}

func TestManyQueuesFitAToken(t *testing.T) {
	t.Parallel()
	e := start(t)
	var queues []string
	for i := range 500 {
		queues = append(queues, fmt.Sprintf("a-queue-with-quite-a-long-name-%d", i))
	}
	e.queue(queues[499])
	e.addUser("many@example.org", Viewer, queues...)
	e.ok(call{as: "many@example.org", method: "GET", path: "/queues/" + queues[499]})
}

// A password that was hashed at lower costs is hashed anew when it is good, and
// nothing else changes.
func TestLoginRehashes(t *testing.T) {
	t.Parallel()
	e := start(t)
	const weak = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQxMjM0NTY3OA$"
	salt, err := base64.RawStdEncoding.DecodeString("c29tZXNhbHQxMjM0NTY3OA")
	if err != nil {
		t.Fatal(err)
	}
	old := weak + base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte(password), salt, 1, 64, 1, 32))
	user, err := e.dir.CreateUser(t.Context(), directory.User{Email: "ann@example.org", Level: directory.Viewer, PasswordHash: old})
	if err != nil {
		t.Fatal(err)
	}
	hash := func() string {
		t.Helper()
		u, err := e.dir.UserByID(t.Context(), user.ID)
		if err != nil {
			t.Fatal(err)
		}
		return u.PasswordHash
	}
	e.login("ann@example.org", "wrong").want(401, "bad_credentials")
	if hash() != old {
		t.Fatal("a wrong password was kept")
	}
	first := e.login("ann@example.org", password).want(200, "")
	anew := hash()
	if anew == old || directory.NewHasher().NeedsRehash(anew) {
		t.Fatal("it was not hashed anew")
	}
	e.refresh(first.str("refresh_token")).want(200, "") // the login goes on
	e.login("ann@example.org", password).want(200, "")
	if hash() != anew {
		t.Error("it was hashed once more")
	}
	if err := e.dir.RehashPassword(t.Context(), user.ID, old, "other"); err != nil || hash() != anew {
		t.Error("a hash of before comes back", err)
	}
}

// An address that renews logins without end is held up, and no other is.
func TestRenewalsAreBounded(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	refresh := func(from string) *reply {
		return e.do(call{as: "-", method: "POST", path: "/auth/refresh", body: `{"refresh_token":"x"}`, header: http.Header{"X-Forwarded-For": {from}}})
	}
	for range renewalsOfAddress {
		e.gateway.renewals.take(netip.MustParseAddr("192.0.2.1"))
	}
	if r := refresh("192.0.2.1").want(429, "rate_limited"); r.header.Get("Retry-After") == "" {
		t.Errorf("%v", r.header)
	}
	refresh("192.0.2.2").want(401, "unauthenticated")
	e.skew.Add(int64(paceWindow))
	refresh("192.0.2.1").want(401, "unauthenticated")
}

// Keys that come verify at once, keys that go take what they signed with them,
// whether or not it was seen before.
func TestTokenKeysChange(t *testing.T) {
	t.Parallel()
	e := startLive(t)
	e.queue("p", `,"public":true`)
	ring := func(ids ...string) (keys []TokenKey) {
		for _, id := range ids {
			keys = append(keys, TokenKey{ID: id, Bytes: bytes.Repeat([]byte(id[:1]), 32)})
		}
		return keys
	}
	use := func(ids ...string) {
		t.Helper()
		if err := e.gateway.UseTokenKeys(ring(ids...), ring(ids...), nil); err != nil {
			t.Fatal(err)
		}
	}
	login := func(key string) { // each with a token of its own
		t.Helper()
		user, err := e.dir.UserByEmail(t.Context(), "admin@example.org")
		if err != nil {
			t.Fatal(err)
		}
		s, err := e.gateway.auth.begin(t.Context(), userOf(user))
		if err != nil {
			t.Fatal(err)
		}
		e.tokens.Store(key, s.access)
	}
	me := func(as string, status int, code string) {
		t.Helper()
		e.do(call{as: as, method: "GET", path: "/me"}).want(status, code)
	}
	use("a")
	login("a@x")
	link := e.checkIn("p")
	me("a@x", 200, "")
	use("a", "b")
	me("a@x", 200, "")
	use("b", "a")
	login("b@x")
	live := e.dial()
	token, _ := e.tokens.Load("a@x")
	live.send(map[string]any{"type": "auth", "token": token})
	live.want("ready")
	me("a@x", 200, "")
	me("b@x", 200, "")
	if got := e.checkIn("p"); got == link {
		t.Error("one token for two tickets")
	}
	e.link(link).want(200, "")
	use("b")
	me("a@x", 401, "unauthenticated")
	me("b@x", 200, "")
	e.link(link).want(404, "ticket_not_found")
	if err := live.conn.WriteMessage(fastws.PongMessage, nil); err != nil { // as every client answers pings
		t.Fatal(err)
	}
	if code := live.closed(); code != 4401 {
		t.Errorf("closed with %d", code)
	}
	if err := e.gateway.UseTokenKeys(nil, ring("b"), nil); err == nil {
		t.Error("no key is taken for one")
	}
	me("b@x", 200, "")
}
