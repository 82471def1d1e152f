package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"nowserving/persistence/directory"
)

// keyStore is what main's adapter is.
type keyStore struct{ d *directory.Directory }

func (a keyStore) KeyByHash(ctx context.Context, hash [32]byte) (APIKey, User, error) {
	k, u, err := a.d.KeyByHash(ctx, hash)
	return APIKey(k), userOf(u), adapted(err)
}

func (a keyStore) ListKeys(ctx context.Context, userID, after string, limit int) ([]APIKey, error) {
	found, err := a.d.ListKeys(ctx, userID, after, limit)
	list := make([]APIKey, len(found))
	for i, k := range found {
		list[i] = APIKey(k)
	}
	return list, adapted(err)
}

func (a keyStore) AddKey(ctx context.Context, k APIKey, e AuditEntry) (APIKey, error) {
	kept, err := a.d.AddKey(ctx, directory.APIKey(k), directory.AuditEntry(e))
	return APIKey(kept), adapted(err)
}

func (a keyStore) DropKey(ctx context.Context, userID, id string, e AuditEntry) error {
	return adapted(a.d.DropKey(ctx, userID, id, directory.AuditEntry(e)))
}

// key makes an API key of a user, whom calls then can be made as, and gives its id.
func (e *env) key(name, userID, body string) string {
	e.t.Helper()
	r := e.ok(call{method: "POST", path: "/users/" + userID + "/keys", body: body})
	if r.status != 201 || !strings.HasPrefix(r.str("key"), "nsk_") || len(r.str("key")) < 40 {
		e.t.Fatalf("%d %s", r.status, r.body)
	}
	e.tokens.Store(name+"@example.org", r.str("key"))
	return r.str("id")
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	e.queue("c")
	kiosk, board := e.id(Integration), e.id(Viewer)
	id := e.key("kiosk-key", kiosk, `{"name":"Kiosk 1"}`)
	other := e.key("board-key", board, "")
	path := "/users/" + kiosk + "/keys"

	// It is good for what its user may, and is told apart in the audit log.
	ticket := e.ok(call{as: "kiosk-key", method: "POST", path: "/queues/a/tickets", body: `{"customer":{"name":"Ada"}}`})
	e.do(call{as: "kiosk-key", method: "POST", path: "/queues/a/call-next"}).want(403, "forbidden")
	e.do(call{as: "kiosk-key", method: "GET", path: "/queues/c"}).want(404, "queue_not_found")
	e.do(call{as: "kiosk-key", method: "GET", path: "/users"}).want(403, "forbidden")
	if got := e.ok(call{as: "board-key", method: "GET", path: "/queues/a/tickets/" + ticket.str("id")}); got.json["customer"] != nil {
		t.Errorf("a viewer's key sees the customer: %s", got.body)
	}
	if me := e.do(call{as: "kiosk-key", method: "GET", path: "/me"}); me.str("id") != kiosk {
		t.Errorf("%s", me.body)
	}
	e.do(call{as: "kiosk-key", method: "POST", path: "/auth/logout"}).want(403, "forbidden")

	// It is shown once, and kept by its hash.
	secret, _ := e.tokens.Load("kiosk-key@example.org")
	list := e.get(path).want(200, "")
	items := list.json["items"].([]any)
	if len(items) != 1 || items[0].(map[string]any)["id"] != id || items[0].(map[string]any)["name"] != "Kiosk 1" || strings.Contains(string(list.body), "nsk_") {
		t.Errorf("%s", list.body)
	}
	e.do(call{method: "DELETE", path: path + "/" + other}).want(404, "not_found") // another user's
	e.do(call{method: "DELETE", path: path + "/" + id}).want(204, "")
	e.do(call{method: "DELETE", path: path + "/" + id}).want(404, "not_found")
	e.eventually("the key is good no more", func() bool {
		return e.do(call{as: "kiosk-key", method: "GET", path: "/me"}).status == 401
	})
	e.ok(call{as: "board-key", method: "GET", path: "/me"})
	if got := e.actions("target=" + id); got != "key.created "+id+", key.deleted "+id {
		t.Errorf("the audit log has %s", got)
	}
	if text, _ := json.Marshal(e.audited("")); strings.Contains(string(text), "Kiosk 1") || strings.Contains(string(text)+e.log.String(), secret.(string)) {
		t.Errorf("a log tells too much: %s %s", text, e.log)
	}
}

func TestAPIKeyPages(t *testing.T) {
	t.Parallel()
	e := start(t)
	path := "/users/" + e.id(Viewer) + "/keys"
	for i := range 5 {
		e.key("k", e.id(Viewer), fmt.Sprintf(`{"name":"%d"}`, i))
	}
	said := ""
	for after := ""; ; {
		page := e.get(path+"?limit=2"+after).want(200, "")
		for _, item := range page.json["items"].([]any) {
			said += item.(map[string]any)["name"].(string)
		}
		if page.json["next"] == nil {
			break
		}
		after = "&after=" + page.str("next")
	}
	if said != "01234" {
		t.Error(said)
	}
}

func TestAPIKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	e := start(t)
	path := "/users/" + e.id(Viewer) + "/keys"
	for body, fields := range map[string]string{
		`{"name":1}`: "name", `{"name":"` + strings.Repeat("n", 101) + `"}`: "name", `{"expires_at":"tomorrow"}`: "expires_at",
		`{"expires_at":"2020-01-01T00:00:00Z"}`: "expires_at", `{"key":"nsk_x"}`: "key", `{"name":"a\u0007"}`: "name",
	} {
		if r := e.do(call{method: "POST", path: path, body: body}).want(422, "invalid"); r.fields() != fields {
			t.Errorf("%s complains of %q, want %q", body, r.fields(), fields)
		}
	}
	for _, level := range levels {
		status, code := 201, ""
		if level != Integration && level != Viewer {
			status, code = 422, "invalid"
		}
		e.do(call{method: "POST", path: "/users/" + e.id(level) + "/keys"}).want(status, code)
	}
	for _, level := range levels[1:] {
		for _, method := range []string{"GET", "POST"} {
			e.do(call{as: string(level), method: method, path: path}).want(403, "forbidden")
		}
		e.do(call{as: string(level), method: "DELETE", path: path + "/x"}).want(403, "forbidden")
	}
	e.do(call{method: "POST", path: "/users/nobody/keys"}).want(404, "not_found")
	for range 99 {
		e.ok(call{method: "POST", path: path})
	}
	e.do(call{method: "POST", path: path}).want(422, "invalid")
	for _, key := range []string{"nsk_", "nsk_x", "nsk_" + strings.Repeat("A", 43), "nsk_" + strings.Repeat("A", 5000)} {
		e.tokens.Store("x@example.org", key)
		e.do(call{as: "x@example.org", method: "GET", path: "/me"}).want(401, "unauthenticated")
	}
}

// What a key is good for follows its user, and ends with it.
func TestAPIKeyFollowsItsUser(t *testing.T) {
	t.Parallel()
	e := startLive(t)
	e.queue("c")
	user := e.ok(call{method: "POST", path: "/users", body: `{"email":"k@example.org","level":"integration"}`}).str("id")
	e.key("key", user, `{"expires_at":"`+e.now().Add(20*time.Hour).Format(time.RFC3339)+`"}`)
	me := func(status int, code string) {
		t.Helper()
		e.eventually(fmt.Sprintf("the key is answered with %d %s", status, code), func() bool {
			r := e.do(call{as: "key", method: "GET", path: "/me"})
			return r.status == status && r.code() == code
		})
	}
	me(200, "")
	e.do(call{as: "key", method: "GET", path: "/queues/c"}).want(404, "queue_not_found")
	e.patch(user, `{"queues":["c"]}`).want(200, "")
	e.eventually("the key has the new queue", func() bool { return e.do(call{as: "key", method: "GET", path: "/queues/c"}).status == 200 })
	e.patch(user, `{"disabled":true}`).want(200, "")
	me(401, "unauthenticated")
	e.patch(user, `{"disabled":false}`).want(200, "")
	me(200, "")
	e.patch(user, `{"level":"attendant"}`).want(200, "") // such have no keys
	me(401, "unauthenticated")
	e.patch(user, `{"level":"viewer"}`).want(200, "")
	me(200, "")
	e.skew.Store(int64(21 * time.Hour))
	me(401, "token_expired")
	e.skew.Store(0)
	me(200, "")
	login := e.token(Admin)
	e.do(call{method: "DELETE", path: "/users/" + user}).want(204, "")
	me(401, "unauthenticated")
	if login != e.token(Admin) {
		t.Error("the admin was logged out")
	}
}

// A known key is good while the directory is away, for a time.
func TestAPIKeyWithoutTheDirectory(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	e.key("known", e.id(Integration), "")
	e.key("new", e.id(Integration), "")
	read := func(as string) *reply { t.Helper(); return e.do(call{as: as, method: "GET", path: "/queues/a"}) }
	read("known").want(200, "")
	e.gateway.auth.apiKeys = keysAway{}
	e.skew.Store(int64(keyRecheck + time.Second))
	read("known").want(200, "")
	read("new").want(503, "unavailable")
	e.skew.Store(int64(keyHolds + time.Second))
	read("known").want(401, "token_expired")
}

// Ended access is not remembered for as long as a key may live, so the directory
// is asked again before.
func TestAPIKeyIsAskedForAgain(t *testing.T) {
	t.Parallel()
	e := start(t)
	id := e.key("key", e.id(Viewer), "")
	e.ok(call{as: "key", method: "GET", path: "/me"})
	e.do(call{method: "DELETE", path: "/users/" + e.id(Viewer) + "/keys/" + id}).want(204, "")
	e.eventually("the key is good no more", func() bool { return e.do(call{as: "key", method: "GET", path: "/me"}).status == 401 })
	e.gateway.auth.ended.forget()
	e.skew.Store(int64(keyRecheck))
	e.do(call{as: "key", method: "GET", path: "/me"}).want(401, "unauthenticated")
}

type keysAway struct{ APIKeys }

func (keysAway) KeyByHash(context.Context, [32]byte) (APIKey, User, error) {
	return APIKey{}, User{}, errAway
}

// A key opens sessions, by header and by frame, which end with it.
func TestAPIKeyOverWebSocket(t *testing.T) {
	t.Parallel()
	e := startLive(t)
	e.queue("a")
	id := e.key("board", e.id(Viewer), "")
	key, _ := e.tokens.Load("board@example.org")
	byFrame := e.dial()
	byFrame.send(map[string]any{"type": "auth", "token": key})
	ready := byFrame.want("ready")
	if ends, err := time.Parse(time.RFC3339, ready.str("expires_at")); err != nil || ends.Sub(e.now()) < keyHolds-time.Minute || ends.Sub(e.now()) > keyHolds {
		t.Errorf("%v", ready)
	}
	byFrame.subscribe("a")
	byFrame.send(map[string]any{"type": "auth", "token": key}) // goes on for longer
	byFrame.want("ready")
	byHeader, status := e.connect(http.Header{"Authorization": {"Bearer " + key.(string)}})
	if byHeader == nil {
		t.Fatalf("the upgrade was refused with %d", status)
	}
	byHeader.want("ready")
	began := time.Now()
	e.do(call{method: "DELETE", path: "/users/" + e.id(Viewer) + "/keys/" + id}).want(204, "")
	for _, p := range []*peer{byFrame, byHeader} {
		if code := p.closed(); code != closeNotLoggedIn {
			t.Errorf("closed with %d", code)
		}
	}
	if took := time.Since(began); took > within {
		t.Errorf("access ended after %s", took)
	}
}
