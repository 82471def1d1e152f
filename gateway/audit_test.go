package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"nowserving/actors/queue"
	"nowserving/persistence/directory"
)

// auditStore is what main's adapter is.
type auditStore struct{ d *directory.Directory }

func (a auditStore) AddAudit(ctx context.Context, e AuditEntry) error {
	return adapted(a.d.AddAudit(ctx, directory.AuditEntry(e)))
}

func (a auditStore) ListAudit(ctx context.Context, f AuditFilter, after *AuditPlace, limit int) ([]AuditEntry, *AuditPlace, error) {
	found, next, err := a.d.ListAudit(ctx, directory.AuditFilter(f), (*directory.AuditPlace)(after), limit)
	var entries []AuditEntry
	for _, e := range found {
		entries = append(entries, AuditEntry(e))
	}
	return entries, (*AuditPlace)(next), adapted(err)
}

// audited gives the entries that a query finds, the oldest first.
func (e *env) audited(query string) []map[string]any {
	e.t.Helper()
	var all []map[string]any
	for after := ""; ; {
		page := e.ok(call{method: "GET", path: "/audit?limit=3&" + query + after})
		for _, item := range page.json["items"].([]any) {
			all = append(all, item.(map[string]any))
		}
		if page.json["next"] == nil {
			slices.Reverse(all)
			return all
		}
		after = "&after=" + page.str("next")
	}
}

// actions are the acts that a query finds, in their order, with their targets.
func (e *env) actions(query string) string {
	e.t.Helper()
	var said []string
	for _, entry := range e.audited(query) {
		target, _ := entry["target"].(string)
		said = append(said, entry["action"].(string)+" "+target)
	}
	return strings.Join(said, ", ")
}

func (e *env) id(level Level) string {
	e.t.Helper()
	return e.ok(call{as: string(level), method: "GET", path: "/me"}).str("id")
}

func TestAuditOfQueuesAndHistory(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"capacity":7`)
	e.ok(call{method: "POST", path: "/queues", body: `{"id":"b"}`, key: "once"})
	e.ok(call{method: "POST", path: "/queues", body: `{"id":"b"}`, key: "once"}) // replayed: nothing was done
	e.do(call{method: "POST", path: "/queues", body: `{"id":"b"}`}).want(409, "queue_exists")
	e.do(call{as: "attendant", method: "DELETE", path: "/queues/b"}).want(403, "forbidden")
	e.ticket("a", `{"customer":{"name":"Lovelace"}}`)
	for _, body := range []string{`{"name":"Desk A"}`, `{"status":"paused"}`, `{"status":"closed"}`, `{"status":"open"}`} {
		e.ok(call{as: "supervisor", method: "PATCH", path: "/queues/a", body: body})
	}
	e.ok(call{method: "DELETE", path: "/queues/b"})
	e.ok(call{as: "supervisor", method: "PUT", path: "/queues/a/rules", body: `{"items":[{"name":"n","when":"true","action":"refuse"}]}`})
	e.ok(call{as: "supervisor", method: "GET", path: "/history?queue=a&outcome=Lovelace&attendant=Lovelace&from=2026-01-01T00:00:00Z"})
	e.do(call{method: "GET", path: "/history?attendant=" + e.id(Attendant), header: http.Header{"Accept": {"text/csv"}}}).want(200, "")
	e.get("/queues/a/statistics") // tells of nobody

	want := "queue.created a, queue.created b, queue.configured a, queue.paused a, queue.closed a, queue.opened a, queue.deleted b, " +
		"rules.replaced a, history.read a, history.exported "
	if got := e.actions(""); got != want {
		t.Errorf("the log has\n%s, want\n%s", got, want)
	}
	supervisor := e.id(Supervisor)
	if got := e.actions("user=" + supervisor + "&target=a&action=queue.paused"); got != "queue.paused a" {
		t.Errorf("of the supervisor: %s", got)
	}
	created := e.audited("action=queue.created")[0]
	config := created["details"].(map[string]any)["config"].(map[string]any)
	if created["user"] != e.id(Admin) || created["address"] != "127.0.0.1" || created["key"] != nil || config["capacity"] != 7.0 {
		t.Errorf("%v", created)
	}
	read := e.audited("action=history.read")[0]
	if text, _ := json.Marshal(e.audited("")); strings.Contains(string(text), "Lovelace") || strings.Contains(string(text), "example.org") {
		t.Errorf("the log tells of a person: %s", text)
	}
	if read["details"].(map[string]any)["from"] != "2026-01-01T00:00:00Z" {
		t.Errorf("%v", read)
	}
	if taken := e.audited("action=history.exported")[0]; taken["details"].(map[string]any)["attendant"] != e.id(Attendant) {
		t.Errorf("%v", taken)
	}
}

// The zone of an address is text that its sender chooses, of any length.
func TestAuditHasNoZones(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	e.ok(call{method: "POST", path: "/queues", body: `{"id":"a"}`, header: http.Header{"X-Forwarded-For": {"fe80::1%Lovelace" + strings.Repeat("e", 300)}}})
	if got := e.audited("")[0]["address"]; got != "fe80::1" {
		t.Errorf("%v", got)
	}
}

func TestAuditOfSessions(t *testing.T) {
	t.Parallel()
	e := startLive(t)
	e.queue("a")
	c := e.join(Supervisor)
	c.command("a", "pause", nil)
	c.command("a", "enqueue", nil)
	if got := e.audited("action=queue.paused"); len(got) != 1 || got[0]["user"] != e.id(Supervisor) || got[0]["address"] != "127.0.0.1" {
		t.Errorf("%v", got)
	}
	if got := e.actions(""); got != "queue.created a, queue.paused a" {
		t.Error(got)
	}
}

func TestAuditIsForAdmins(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, level := range levels[1:] {
		e.do(call{as: string(level), method: "GET", path: "/audit"}).want(403, "forbidden")
	}
	e.do(call{as: "-", method: "GET", path: "/audit"}).want(401, "unauthenticated")
	for query, field := range map[string]string{
		"limit=0": "limit", "after=x": "after", "user=": "user", "from=now": "from", "action=" + strings.Repeat("a", 65): "action",
	} {
		if r := e.get("/audit?"+query).want(422, "invalid"); r.fields() != field {
			t.Errorf("%s complains of %s", query, r.fields())
		}
	}
}

// gone is a store of the audit log that can be taken away.
type gone struct {
	AuditStore
	away atomic.Bool
}

func (g *gone) AddAudit(ctx context.Context, e AuditEntry) error {
	if g.away.Load() {
		return errAway
	}
	return g.AuditStore.AddAudit(ctx, e)
}

// While the log cannot be written nothing personal is shown; queues go on, and
// what was done to them is written when it can be, in its order.
func TestAuditAway(t *testing.T) {
	t.Parallel()
	store := &gone{}
	e := start(t, func(o *Options) {
		store.AuditStore = o.Audit.store
		o.Audit.store = store
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	store.away.Store(true)
	e.queue("a")
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"closed"}`})
	e.get("/history").want(503, "unavailable")
	if text := e.log.String(); !strings.Contains(text, "action=queue.closed target=a") {
		t.Errorf("the program's log does not have what waits: %s", text)
	}
	store.away.Store(false)
	go func() { ended <- e.gateway.options.Audit.Run(ctx) }()
	e.eventually("the log has both", func() bool { return e.actions("") == "queue.created a, queue.closed a" })
	store.away.Store(true)
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"open"}`})
	store.away.Store(false)
	cancel() // an end in order brings what waits into the store
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := e.actions("action=queue.opened"); got != "queue.opened a" {
		t.Errorf("after the end: %q", got)
	}
}

func TestAuditOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.Queues = silent{queue.OutcomeUnknown} })
	e.do(call{method: "PATCH", path: "/queues/a", body: `{"name":"x"}`}).want(503, "outcome_unknown")
	got := e.audited("")
	if len(got) != 1 || got[0]["action"] != "queue.configured" || got[0]["details"].(map[string]any)["outcome"] != "unknown" {
		t.Errorf("%v", got)
	}
}

func TestAuditWaitsWithinABound(t *testing.T) {
	t.Parallel()
	store := &gone{}
	store.away.Store(true)
	e := start(t, func(o *Options) { o.Audit.store = store })
	l := e.gateway.options.Audit
	who := &Principal{UserID: "u"}
	for range auditPending + 2 {
		l.keep(t.Context(), l.entry(who, netip.Addr{}, "x.y", "z", nil))
	}
	if n := len(l.waiting); n != auditPending {
		t.Errorf("%d entries wait, want %d", n, auditPending)
	}
}
