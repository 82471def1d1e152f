package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"nowserving/actors/queue"
	"nowserving/gateway/webhook"
	"nowserving/messages"
	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

// webhookStore is what main's adapter is.
type webhookStore struct{ d *directory.Directory }

func (a webhookStore) ListWebhooks(ctx context.Context, after string, limit int) ([]Webhook, error) {
	found, err := a.d.ListWebhooks(ctx, after, limit)
	list := make([]Webhook, len(found))
	for i, w := range found {
		list[i] = Webhook(w)
	}
	return list, adapted(err)
}

func (a webhookStore) Webhook(ctx context.Context, id string) (Webhook, error) {
	w, err := a.d.Webhook(ctx, id)
	return Webhook(w), adapted(err)
}

func (a webhookStore) CreateWebhook(ctx context.Context, w Webhook, e AuditEntry) (Webhook, error) {
	kept, err := a.d.CreateWebhook(ctx, directory.Webhook(w), directory.AuditEntry(e))
	return Webhook(kept), adapted(err)
}

func (a webhookStore) UpdateWebhook(ctx context.Context, id string, p WebhookPatch, e AuditEntry) (Webhook, error) {
	w, err := a.d.UpdateWebhook(ctx, id, directory.WebhookPatch(p), directory.AuditEntry(e))
	return Webhook(w), adapted(err)
}

func (a webhookStore) DeleteWebhook(ctx context.Context, id string, e AuditEntry) error {
	return adapted(a.d.DeleteWebhook(ctx, id, directory.AuditEntry(e)))
}

func (a webhookStore) RotateWebhook(ctx context.Context, w Webhook, e AuditEntry) error {
	_, err := a.d.RotateWebhook(ctx, w.ID, w.Secret, w.OldUntil, directory.AuditEntry(e))
	return adapted(err)
}

func (a webhookStore) DropOldSecret(ctx context.Context, id string, e AuditEntry) error {
	return adapted(a.d.DropOldSecret(ctx, id, directory.AuditEntry(e)))
}

func (a webhookStore) DeadDeliveries(ctx context.Context, id string, after *DeliveryPlace, limit int) ([]Delivery, error) {
	found, err := a.d.DeadDeliveries(ctx, id, (*directory.DeliveryPlace)(after), limit)
	list := make([]Delivery, len(found))
	for i, one := range found {
		list[i] = Delivery(one)
	}
	return list, adapted(err)
}

func (a webhookStore) ReplayDeliveries(ctx context.Context, id string, deliveries []string, e AuditEntry) (int, error) {
	n, err := a.d.ReplayDeliveries(ctx, id, deliveries, directory.AuditEntry(e))
	return n, adapted(err)
}

type pinger struct{ *webhook.Sender }

func (p pinger) Ping(ctx context.Context, to Webhook, id string, body []byte) (int, string) {
	e := webhook.Endpoint{URL: to.URL, Secrets: []string{to.Secret}}
	if to.OldSecret != "" {
		e.Secrets = append(e.Secrets, to.OldSecret)
	}
	r := p.Send(ctx, e, id, body)
	return r.Status, r.Reason
}

// hook makes a webhook and gives its id.
func (e *env) hook(url string) string {
	e.t.Helper()
	return e.ok(call{method: "POST", path: "/webhooks", body: fmt.Sprintf(`{"url":%q}`, url)}).str("id")
}

// bury has so many events of a queue of their own die, one after the other, and
// gives the ids of their deliveries.
func (e *env) bury(hook string, n int) (ids []string) {
	e.t.Helper()
	ctx := context.Background()
	err := e.dir.TakeHistory(ctx, []directory.HistoryPart{{Queue: "of-" + hook[len(hook)-12:], Upto: uint64(n), Events: n, Event: func(i int) directory.WebhookEvent {
		return directory.WebhookEvent{Epoch: "e1", Version: uint64(i) + 1, Type: "ticket.called", Body: func() []byte { return []byte(`{"type":"ticket.called"}`) }}
	}}})
	if err != nil {
		e.t.Fatal(err)
	}
	_, due, err := e.dir.DueDeliveries(ctx, hook, n)
	if err != nil || len(due) != n {
		e.t.Fatal(due, err)
	}
	for i, one := range due {
		at := e.now().Add(time.Duration(i) * time.Millisecond)
		if err := e.dir.SettleDeliveries(ctx, hook, []directory.DeliveryOutcome{{ID: one.ID, At: at, Reason: "http_500"}}, false); err != nil {
			e.t.Fatal(err)
		}
		ids = append(ids, one.ID)
	}
	return ids
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	e := start(t)
	made := e.ok(call{method: "POST", path: "/webhooks", body: `{"url":"https://example.org/hunter2","description":"Ada's","queues":["a"],"events":["ticket.called","queue.closed"]}`})
	id := made.str("id")
	if made.status != 201 || !strings.HasPrefix(made.str("secret"), "whsec_") || made.header.Get("Location") != "/api/v1/webhooks/"+id || made.json["enabled"] != true {
		t.Fatalf("%d %s", made.status, made.body)
	}
	if _, err := standardwebhooks.NewWebhook(made.str("secret")); err != nil || len(made.str("secret")) != 50 {
		t.Errorf("the secret is none: %v", err)
	}
	got := e.get("/webhooks/"+id).want(200, "")
	if got.str("url") != "https://example.org/hunter2" || got.str("description") != "Ada's" || fmt.Sprint(got.json["queues"], got.json["events"]) != "[a] [ticket.called queue.closed]" {
		t.Errorf("%s", got.body)
	}
	changed := e.ok(call{method: "PATCH", path: "/webhooks/" + id, body: `{"url":"https://example.org/hunter3","enabled":false}`})
	if changed.str("url") != "https://example.org/hunter3" || changed.json["enabled"] != false || changed.str("description") != "Ada's" {
		t.Errorf("%s", changed.body)
	}
	next := e.ok(call{method: "POST", path: "/webhooks/" + id + "/secrets"})
	until, err := time.Parse(time.RFC3339, next.str("old_secret_until"))
	if left := until.Sub(e.now()); next.status != 201 || next.str("secret") == made.str("secret") || err != nil || left > 24*time.Hour || left < 23*time.Hour {
		t.Errorf("%d %s", next.status, next.body)
	}
	e.do(call{method: "DELETE", path: "/webhooks/" + id + "/secrets"}).want(204, "")
	e.do(call{method: "DELETE", path: "/webhooks/" + id + "/secrets"}).want(404, "not_found")
	for i := range 3 {
		e.hook(fmt.Sprintf("https://example.org/%d", i))
	}
	said, pages := "", 0
	for after := ""; ; pages++ {
		page := e.get("/webhooks?limit=2"+after).want(200, "")
		for _, item := range page.json["items"].([]any) {
			said += item.(map[string]any)["url"].(string)[len("https://example.org/"):] + " "
		}
		if strings.Contains(string(page.body), "whsec_") {
			t.Errorf("a list tells a secret: %s", page.body)
		}
		if page.json["next"] == nil {
			break
		}
		after = "&after=" + page.str("next")
	}
	if said != "hunter3 0 1 2 " || pages != 1 {
		t.Error(said, pages)
	}
	e.do(call{method: "DELETE", path: "/webhooks/" + id}).want(204, "")
	e.get("/webhooks/"+id).want(404, "not_found")
	if got := e.actions("target=" + id); got != strings.ReplaceAll("webhook.created ID, webhook.changed ID, webhook.secret_made ID, webhook.secret_dropped ID, webhook.deleted ID", "ID", id) {
		t.Errorf("the audit log has %s", got)
	}
	if text, _ := json.Marshal(e.audited("")); strings.Contains(string(text)+e.log.String(), "hunter") || strings.Contains(string(text)+e.log.String(), "whsec_") || strings.Contains(string(text), "Ada") {
		t.Errorf("a log tells too much: %s %s", text, e.log)
	}
}

func TestWebhooksThatAreRefused(t *testing.T) {
	t.Parallel()
	e := start(t)
	id := e.hook("https://example.org")
	for body, fields := range map[string]string{
		`{}`: "url", `{"url":null}`: "url", `{"url":"example.org"}`: "url", `{"url":"https://u:p@example.org"}`: "url", `{"url":"https://10.0.0.1"}`: "url",
		`{"url":"http://8.8.8.8"}`: "url", `{"url":"https://x","secret":"whsec_"}`: "secret", `{"url":"https://x","description":"a\u0007"}`: "description",
		`{"url":"https://x","queues":[]}`: "queues", `{"url":"https://x","queues":["*","a"]}`: "queues", `{"url":"https://x","queues":["A"]}`: "queues[0]",
		`{"url":"https://x","events":[]}`: "events", `{"url":"https://x","events":["ticket.sung"]}`: "events[0]", `{"url":"https://x","events":["*","ticket.called"]}`: "events[0]",
		`{"url":"https://x","events":["ticket.called","ticket.called"]}`: "events[1]", `{"url":"https://x","events":["queue.deleted"]}`: "events[0]", `{"url":"https://x","enabled":"yes"}`: "enabled",
	} {
		if r := e.do(call{method: "POST", path: "/webhooks", body: body}).want(422, "invalid"); r.fields() != fields {
			t.Errorf("%s complains of %q, want %q", body, r.fields(), fields)
		}
	}
	e.do(call{method: "PATCH", path: "/webhooks/" + id, body: `{}`}).want(422, "invalid")
	e.do(call{method: "POST", path: "/webhooks/" + id + "/test", body: `{"url":"x"}`}).want(422, "invalid")
	e.get("/webhooks/"+id+"/dead?after=x").want(422, "invalid")
	e.get("/webhooks/"+id+"/dead?limit=0").want(422, "invalid")
	for _, c := range []call{{method: "GET"}, {method: "PATCH", body: `{}`}, {method: "DELETE"}} {
		c.path = "/webhooks/nothing"
		e.do(c).want(404, "not_found")
		c.as = "supervisor"
		e.do(c).want(403, "forbidden")
	}
	for range 49 {
		e.hook("https://example.org")
	}
	e.do(call{method: "POST", path: "/webhooks", body: `{"url":"https://example.org"}`}).want(422, "invalid")
}

// What has a lost key can be changed as far as nothing has to be opened, and deleted.
func TestWebhookWhoseKeyIsLost(t *testing.T) {
	t.Parallel()
	e := start(t)
	other, err := seal.ParseRing("k2:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{8}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	d, err := directory.Open(t.Context(), directory.Options{Dir: e.files, Keys: other})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	_, err = d.CreateWebhook(t.Context(), directory.Webhook{ID: "w", URL: "https://example.org", Secret: newSecret(), Queues: []string{"*"}, Events: []string{"*"}, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	const path = "/webhooks/w"
	for _, c := range []call{{method: "PATCH", path: path, body: `{"url":"https://example.org/new"}`}, {method: "POST", path: path + "/secrets"}} {
		if r := e.do(c).want(422, "invalid"); !strings.Contains(r.str("detail"), "anew") {
			t.Errorf("%s", r.body)
		}
	}
	e.do(call{method: "DELETE", path: path + "/secrets"}).want(404, "not_found")
	if r := e.do(call{method: "PATCH", path: path, body: `{"enabled":false}`}).want(200, ""); r.json["enabled"] != false || r.json["url"] != nil {
		t.Errorf("%s", r.body)
	}
	e.do(call{method: "DELETE", path: path}).want(204, "")
}

// A ping shows whether a receiver takes what is sent, and says why not.
func TestWebhookPing(t *testing.T) {
	t.Parallel()
	e := start(t)
	secret, fails := "", atomic.Bool{}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		verifier, _ := standardwebhooks.NewWebhook(secret)
		if err := verifier.Verify(body, q.Header); err != nil || !strings.Contains(string(body), `{"type":"ping","timestamp":"`) {
			t.Errorf("%v: %s", err, body)
		}
		if fails.Load() {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	made := e.ok(call{method: "POST", path: "/webhooks", body: `{"url":"` + receiver.URL + `","enabled":false}`})
	secret = made.str("secret")
	ping := func(delivered bool, status any, reason any) {
		t.Helper()
		r := e.do(call{method: "POST", path: "/webhooks/" + made.str("id") + "/test"}).want(200, "")
		if r.json["delivered"] != delivered || r.json["status"] != status || r.json["reason"] != reason {
			t.Errorf("%s", r.body)
		}
	}
	ping(true, 200.0, nil)
	e.ok(call{method: "POST", path: "/webhooks/" + made.str("id") + "/secrets"})
	ping(true, 200.0, nil) // signed by the secret of before as well
	fails.Store(true)
	ping(false, 418.0, "http_418")
	receiver.Close()
	ping(false, nil, "connection_refused")
	if n := strings.Count(e.actions("target="+made.str("id")), "webhook.tested"); n != 4 {
		t.Errorf("%d pings are in the audit log", n)
	}
}

func TestDeadDeliveries(t *testing.T) {
	t.Parallel()
	e := start(t)
	id := e.hook("https://example.org")
	ids := e.bury(id, 5)
	path := "/webhooks/" + id
	if w := e.get(path); w.json["dead"] != 5.0 || w.json["waiting"] != 0.0 || w.str("last_failure") != "http_500" {
		t.Errorf("%s", w.body)
	}
	var seen []string
	for after := ""; ; {
		page := e.get(path+"/dead?limit=2"+after).want(200, "")
		for _, item := range page.json["items"].([]any) {
			d := item.(map[string]any)
			seen = append(seen, d["id"].(string))
			if d["reason"] != "http_500" || d["attempts"] != 1.0 || d["body"].(map[string]any)["type"] != "ticket.called" {
				t.Errorf("%v", d)
			}
		}
		if page.json["next"] == nil {
			break
		}
		after = "&after=" + page.str("next")
	}
	slices.Reverse(seen)
	if !slices.Equal(seen, ids) {
		t.Errorf("%v, want %v", seen, ids)
	}
	e.do(call{method: "POST", path: path + "/dead/" + ids[2] + "/replay"}).want(204, "")
	e.do(call{method: "POST", path: path + "/dead/" + ids[2] + "/replay"}).want(404, "not_found")
	if w := e.get(path); w.json["dead"] != 4.0 || w.json["waiting"] != 1.0 {
		t.Errorf("%s", w.body)
	}
	if r := e.do(call{method: "POST", path: path + "/dead/replay"}).want(200, ""); r.json["replayed"] != 4.0 {
		t.Errorf("%s", r.body)
	}
	if r := e.do(call{method: "POST", path: path + "/dead/replay"}).want(200, ""); r.json["replayed"] != 0.0 {
		t.Errorf("%s", r.body)
	}
	if got := e.actions("action=webhook.replayed"); strings.Count(got, id) != 2 {
		t.Errorf("the audit log has %s", got)
	}
}

// What a webhook is sent has no customer in it.
func TestWebhookBody(t *testing.T) {
	t.Parallel()
	id := newTestID()
	e := &messages.Event{
		Version: 7, Epoch: "e1", At: 1_700_000_000_000, By: "ann", Kind: messages.EventKind(queue.TicketCalled),
		Ticket: &messages.Ticket{Id: id[:], Number: "A042", State: messages.TicketState_TICKET_STATE_CALLED, Desk: "3", Customer: []byte("sealed"), Payload: []byte("sealed")},
	}
	var got map[string]any
	if err := json.Unmarshal(WebhookBody("post", e), &got); err != nil {
		t.Fatal(err)
	}
	data := got["data"].(map[string]any)
	ticket := data["data"].(map[string]any)
	if got["type"] != "ticket.called" || got["timestamp"] != "2023-11-14T22:13:20.000Z" || len(got) != 3 || data["queue"] != "post" || data["epoch"] != "e1" || data["version"] != 7.0 ||
		ticket["number"] != "A042" || ticket["customer"] != nil || ticket["payload"] != nil || ticket["desk"] != "3" {
		t.Errorf("%v", got)
	}
}
