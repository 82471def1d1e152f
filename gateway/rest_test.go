package gateway

import (
	"fmt"
	"strings"
	"testing"
)

// The whole way of a ticket, each answer held against openapi.yaml.
func TestTicketsWay(t *testing.T) {
	t.Parallel()
	e := start(t)
	made := e.queue("a", `,"name":"Passports","capacity":3,"services":["P","V"]`)
	if made.header.Get("Location") != "/api/v1/queues/a" || made.header.Get("ETag") != `"1"` || made.str("prefix") != "A" {
		t.Fatalf("the new queue: %v %s", made.header, made.body)
	}
	id := e.ticket("a", `{"service":"P","priority":2,"customer":{"name":"Ada \"Q\" Marsh"},"payload":{"b":[1, 2.50],"a":null}}`)
	path := "/queues/a/tickets/" + id
	got := e.ok(call{method: "GET", path: path})
	for _, part := range []string{
		`"number":"A001"`, `"position":1`, `"source":"rest"`, `"visit":"` + id + `"`,
		`"customer":{"name":"Ada \"Q\" Marsh","phone":null,"email":null,"ref":null}`, `"payload":{"b":[1, 2.50],"a":null}`,
	} {
		if !strings.Contains(string(got.body), part) {
			t.Errorf("the ticket lacks %s: %s", part, got.body)
		}
	}
	version := 2
	step := func(method, path, body, state string) *reply {
		t.Helper()
		r := e.ok(call{as: "attendant", method: method, path: path, body: body})
		version++
		if r.header.Get("ETag") != fmt.Sprintf(`"%d"`, version) {
			t.Errorf("%s %s: ETag %s, want version %d", method, path, r.header.Get("ETag"), version)
		}
		if r.str("state") != state {
			t.Errorf("%s %s: state %q, want %q", method, path, r.str("state"), state)
		}
		return r
	}
	step("POST", path+"/move", `{"position":1}`, "waiting")
	step("PATCH", path, `{"service":null,"priority":9,"customer":{"phone":"1"}}`, "waiting")
	step("POST", "/queues/a/call-next", `{"desk":"4"}`, "called")
	step("POST", path+"/recall", ``, "called")
	step("POST", path+"/start", `{}`, "serving")
	step("POST", path+"/hold", ``, "held")
	step("POST", path+"/requeue", ``, "waiting")
	step("POST", path+"/call", `{"desk":"4"}`, "called")
	step("POST", path+"/no-show", ``, "no_show")
	step("POST", path+"/requeue", `{"position":1}`, "waiting")
	step("POST", path+"/call", ``, "called")
	done := step("POST", path+"/complete", `{"outcome":"issued"}`, "completed")
	if done.str("outcome") != "issued" || done.str("started_at") != done.str("called_at") {
		t.Errorf("completed: %s", done.body)
	}
	step("POST", path+"/requeue", ``, "waiting")
	step("DELETE", path+"?reason=left%20early", ``, "removed")

	e.queue("b")
	other := e.ticket("a", `{"payload":"p"}`)
	moved := e.ok(call{method: "POST", path: "/queues/a/tickets/" + other + "/transfer", body: `{"queue":"b"}`})
	if moved.str("queue") != "b" || moved.str("transferred_from") != other || moved.str("payload") != "p" || moved.header.Get("ETag") != fmt.Sprintf(`"%d"`, version+2) {
		t.Errorf("transferred: %v %s", moved.header, moved.body)
	}
	// A transferred ticket's visit is another's id; sealing has to know.
	patched := e.ok(call{method: "PATCH", path: "/queues/b/tickets/" + moved.str("id"), body: `{"customer":{"ref":"R"},"payload":[1]}`})
	if !strings.Contains(string(patched.body), `"ref":"R"`) || !strings.Contains(string(patched.body), `"payload":[1]`) {
		t.Errorf("patched: %s", patched.body)
	}
	again := e.ok(call{method: "GET", path: "/queues/b/tickets/" + moved.str("id")})
	if !strings.Contains(string(again.body), `"ref":"R"`) {
		t.Errorf("read again: %s", again.body)
	}
	if r := e.do(call{method: "POST", path: "/queues/a/call-next"}); r.status != 204 || len(r.body) > 0 {
		t.Errorf("call-next of nobody: %d %s", r.status, r.body)
	}
	e.do(call{method: "DELETE", path: "/queues/b"}).want(409, "queue_not_empty")
	e.ok(call{method: "DELETE", path: "/queues/b/tickets/" + moved.str("id")})
	if r := e.do(call{method: "DELETE", path: "/queues/b"}); r.status != 204 {
		t.Errorf("delete: %d %s", r.status, r.body)
	}
	e.get("/queues/b").want(404, "queue_not_found")
	e.do(call{method: "DELETE", path: "/queues/b"}).want(404, "queue_not_found")
	if strings.Contains(e.log.String(), "Marsh") {
		t.Error("a customer's name is in the log")
	}
}

func TestQueueConfiguration(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"capacity":5,"target_wait_seconds":60`)
	e.do(call{method: "POST", path: "/queues", body: `{"id":"a"}`}).want(409, "queue_exists")
	r := e.ok(call{as: "supervisor", method: "PATCH", path: "/queues/a", body: `{"capacity":null,"public":true,"services":["x"]}`})
	if r.json["capacity"] != nil || r.json["public"] != true || r.json["target_wait_seconds"] != 60.0 || r.str("name") != "a" {
		t.Errorf("configured: %s", r.body)
	}
	for _, status := range []string{"paused", "paused", "closed", "open"} {
		if r := e.ok(call{as: "supervisor", method: "PATCH", path: "/queues/a", body: `{"status":"` + status + `"}`}); r.str("status") != status {
			t.Errorf("status: %s", r.body)
		}
	}
	if v := e.version("a"); v != 6 {
		t.Errorf("version %v, want 6", v)
	}
	bad := map[string]string{
		`{"status":"open","name":"x"}`: "status", `{"status":"shut"}`: "status", `{"status":null}`: "status",
		`{"id":"x"}`: "id", `{"capacity":0}`: "capacity", `{"capacity":10000001}`: "capacity", `{"capacity":"5"}`: "capacity",
		`{"max_active":0}`: "max_active", `{"max_active":null}`: "max_active", `{"name":""}`: "name", `{"name":null}`: "name",
		`{"prefix":"ABCDE"}`: "prefix", `{"prefix":"Ä"}`: "prefix", `{"timezone":"Mars/Base"}`: "timezone", `{"timezone":"Local"}`: "timezone",
		`{"services":["a","a"]}`: "services[1]", `{"services":"a"}`: "services", `{"services":[null]}`: "services",
		`{"public":"yes"}`: "public", `{"target_wait_seconds":1.5}`: "target_wait_seconds",
	}
	for body, field := range bad {
		r := e.do(call{method: "PATCH", path: "/queues/a", body: body}).want(422, "invalid")
		if r.fields() != field {
			t.Errorf("%s: complains of %q, want %q", body, r.fields(), field)
		}
		if strings.Contains(body, "status") || strings.Contains(body, `"id"`) {
			continue
		}
		e.do(call{method: "POST", path: "/queues", body: `{"id":"n",` + body[1:]}).want(422, "invalid")
	}
	e.do(call{method: "PATCH", path: "/queues/a"}).want(422, "invalid")
	e.do(call{method: "POST", path: "/queues", body: `{}`}).want(422, "invalid")
	e.do(call{method: "POST", path: "/queues", body: `{"id":"Nope"}`}).want(422, "invalid")
	if v := e.version("a"); v != 6 {
		t.Errorf("a refused change raised the version to %v", v)
	}
	if r := e.queue("n", `,"prefix":""`); r.str("prefix") != "" {
		t.Errorf("no prefix: %s", r.body)
	}
	if r := e.queue("m"); r.str("prefix") != "B" {
		t.Errorf("the next prefix: %s", r.body)
	}
}

func TestQueueList(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, id := range []string{"a", "b", "c", "d"} {
		e.queue(id)
	}
	ids := func(as, path string) (string, string) {
		r := e.ok(call{as: as, method: "GET", path: path})
		var out []string
		for _, item := range r.json["items"].([]any) {
			out = append(out, item.(map[string]any)["id"].(string))
		}
		next, _ := r.json["next"].(string)
		return strings.Join(out, " "), next
	}
	if got, next := ids("viewer", "/queues"); got != "a b" || next != "" {
		t.Errorf("the viewer sees %q, next %q", got, next)
	}
	got, next := ids("admin", "/queues?limit=3")
	if got != "a b c" || next == "" {
		t.Errorf("the first page: %q", got)
	}
	if got, next = ids("admin", "/queues?limit=3&after="+next); got != "d" || next != "" {
		t.Errorf("the second page: %q, next %q", got, next)
	}
	if got, next = ids("admin", "/queues?limit=4"); got != "a b c d" || next != "" {
		t.Errorf("a page that is just full: %q, next %q", got, next)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "limit=", "limit=1&limit=2", "after=", "after=%21", "after=YWJj", "after=cTpBQg"} {
		e.get("/queues?"+query).want(422, "invalid")
	}
}

func TestTicketList(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"max_active":10`)
	var ids []string
	for range 5 {
		ids = append(ids, e.ticket("a"))
	}
	for range 2 {
		e.ok(call{method: "POST", path: "/queues/a/call-next"})
	}
	e.ok(call{method: "POST", path: "/queues/a/tickets/" + ids[1] + "/hold"})
	numbers := func(query string) (string, string) {
		t.Helper()
		r := e.ok(call{as: "viewer", method: "GET", path: "/queues/a/tickets" + query})
		if r.header.Get("ETag") != `"9"` {
			t.Errorf("ETag %s", r.header.Get("ETag"))
		}
		var out []string
		for _, item := range r.json["items"].([]any) {
			out = append(out, item.(map[string]any)["number"].(string)[3:])
		}
		next, _ := r.json["next"].(string)
		return strings.Join(out, " "), next
	}
	for query, want := range map[string]string{
		"": "3 4 5 1 2", "?state=waiting": "3 4 5", "?state=held": "2", "?state=called": "1", "?state=completed": "",
		"?number=A004": "4", "?number=nope": "", "?state=called&number=A004": "",
	} {
		if got, next := numbers(query); got != want || next != "" {
			t.Errorf("%q: %q, next %q, want %q", query, got, next, want)
		}
	}
	var all []string
	for query := "?limit=2"; ; {
		got, next := numbers(query)
		all = append(all, got)
		if next == "" {
			break
		}
		query = "?limit=2&after=" + next
	}
	if got := strings.Join(all, "|"); got != "3 4|5 1|2" {
		t.Errorf("pages: %q", got)
	}
	_, next := numbers("?limit=1")
	for _, query := range []string{"limit=0", "state=lost", "state=", "number=", "after=" + next[1:], "state=held&after=" + next, "after=AAAA", "number=%ff"} {
		e.get("/queues/a/tickets?"+query).want(422, "invalid")
		e.get("/queues/zzz/tickets?"+query).want(404, "queue_not_found")
	}
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	e := start(t)
	create := call{method: "POST", path: "/queues", body: `{"id":"a"}`, key: "c"}
	e.ok(create)
	if r := e.ok(create); r.status != 201 || r.header.Get("Idempotent-Replayed") != "true" || r.header.Get("ETag") != `"1"` {
		t.Errorf("a queue made twice: %d %v", r.status, r.header)
	}
	e.do(call{method: "POST", path: "/queues", body: `{"id":"a","prefix":"A"}`, key: "c"}).want(422, "idempotency_key_reused")

	enqueue := call{method: "POST", path: "/queues/a/tickets", key: "k 1",
		body: `{"service":"S","payload":{"x":1,"y":[true]},"customer":{"name":"N","ref":null}}`}
	first := e.ok(enqueue)
	e.passivate() // what is remembered is remembered after any end of a grain
	enqueue.body = ` { "customer":{"name":"\u004e"}, "priority":0, "payload":{"y":[ true ],"x":1},"service":"S" } `
	enqueue.ifMatch = `"1"` // a replay comes before it
	second := e.ok(enqueue)
	if string(first.body) != string(second.body) || second.status != 201 || second.header.Get("Idempotent-Replayed") != "true" ||
		first.header.Get("Idempotent-Replayed") != "" || first.header.Get("Location") != second.header.Get("Location") {
		t.Errorf("replayed: %d %v\n%s\n%s", second.status, second.header, first.body, second.body)
	}
	enqueue.body = `{"service":"S","payload":{"x":2,"y":[true]},"customer":{"name":"N"}}`
	e.do(enqueue).want(422, "idempotency_key_reused")
	enqueue.as = "attendant" // another user's key is another key
	enqueue.ifMatch = ""
	e.ok(enqueue)
	call1 := call{method: "POST", path: "/queues/a/call-next", key: "k 1"}
	e.do(call1).want(422, "idempotency_key_reused")

	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"closed"}`, key: "s"})
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"closed"}`, key: "s"})
	refused := call{method: "POST", path: "/queues/a/tickets", key: "later"}
	e.do(refused).want(409, "queue_closed")
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"open"}`})
	if r := e.ok(refused); r.header.Get("Idempotent-Replayed") != "" { // a refusal is not remembered
		t.Error("a refusal was remembered")
	}
	if v := e.version("a"); v != 6 {
		t.Errorf("version %v, want 6", v)
	}
	long := strings.Repeat("k", 128)
	e.ok(call{method: "POST", path: "/queues/a/tickets", key: long})
	for _, key := range []string{long + "k", "tab\there", "ümlaut"} {
		if r := e.do(call{method: "POST", path: "/queues/a/tickets", key: key}).want(422, "invalid"); r.fields() != "Idempotency-Key" {
			t.Errorf("key %q: %s", key, r.body)
		}
	}
	e.ok(call{method: "POST", path: "/queues", body: `{"id":"gone"}`})
	del := call{method: "DELETE", path: "/queues/gone", key: "d"}
	e.ok(del)
	if r := e.ok(del); r.status != 204 || r.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("deleted twice: %d %v", r.status, r.header)
	}
}

func TestIfMatch(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	e.do(call{method: "POST", path: "/queues/a/tickets", ifMatch: `"2"`}).want(412, "version_mismatch")
	e.ok(call{method: "POST", path: "/queues/a/tickets", ifMatch: `"1"`})
	for _, tag := range []string{"1", `W/"1"`, `"1", "2"`, "*", `""`, `"x"`, `"+1"`, `"99999999999999999999"`} {
		if r := e.do(call{method: "POST", path: "/queues/a/tickets", ifMatch: tag}).want(422, "invalid"); r.fields() != "If-Match" {
			t.Errorf("%s: %s", tag, r.body)
		}
	}
	e.do(call{method: "DELETE", path: "/queues/a", ifMatch: `"1"`}).want(412, "version_mismatch")
	e.do(call{method: "PATCH", path: "/queues/a", ifMatch: `"1"`, body: `{"name":"x"}`}).want(412, "version_mismatch")
}
