package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"nowserving/actors/queue"
	"nowserving/messages"
)

const noTicket = "01900f6e-5b1c-7c3a-9f0e-2d4b6a8c0e12"

// Everything that can be wrong with a text: each is refused with its code, and
// nothing changes.
func TestBadInput(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	id := e.ticket("a")
	before := e.version("a")
	deep := func(n int) string { return `{"payload":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	big := func(n int) string { return `{"payload":"` + strings.Repeat("x", n-2) + `"}` }
	enqueue := []struct{ body, code, fields string }{
		{`{"servis":"P"}`, "invalid", "servis"},
		{`{"Service":"P"}`, "invalid", "Service"}, // names have one case
		{`{"id":"` + noTicket + `"}`, "invalid", "id"},
		{`{"ticket":"` + noTicket + `"}`, "invalid", "ticket"},
		{`{"service":1}`, "invalid", "service"},
		{`{"service":["P"]}`, "invalid", "service"},
		{`{"service":"` + strings.Repeat("é", 101) + `"}`, "invalid", "service"},
		{`{"service":"a\u0000b"}`, "invalid", "service"},
		{"{\"service\":\"\xff\"}", "invalid", ""},
		{"{\"payload\":\"\xc3\x28\"}", "invalid", ""},
		{`{"service":"\ud800"}`, "invalid", "service"},
		{`{"service":"P","service":"P"}`, "invalid", "service"},
		{`{"priority":10}`, "invalid", "priority"},
		{`{"priority":-1}`, "invalid", "priority"},
		{`{"priority":1e400}`, "invalid", "priority"},
		{`{"priority":99999999999999999999}`, "invalid", "priority"},
		{`{"priority":1.5}`, "invalid", "priority"},
		{`{"priority":"1"}`, "invalid", "priority"},
		{`{"priority":true}`, "invalid", "priority"},
		{`{"priority":null}`, "invalid", "priority"},
		{`{"customer":"Ada"}`, "invalid", "customer"},
		{`{"customer":{"name":1,"fax":"2","phone":"` + strings.Repeat("1", 41) + `"}}`, "invalid", "customer.name customer.phone customer.fax"},
		{`{"customer":{"name":"a","name":"b"}}`, "invalid", "customer.name"},
		{`{"priority":10,"x":1,"service":2}`, "invalid", "service priority x"},
		{`[]`, "invalid", ""}, {`null`, "invalid", ""}, {`"x"`, "invalid", ""}, {`3`, "invalid", ""},
		{`{`, "invalid", ""}, {`{"service":}`, "invalid", ""}, {`{} {}`, "invalid", ""}, {`{}x`, "invalid", ""}, {`{'a':1}`, "invalid", ""},
		{`{"payload":NaN}`, "invalid", ""}, {"\ufeff{}", "invalid", ""}, {" ", "", ""},
		{deep(32), "invalid", ""}, {deep(5000), "invalid", ""}, {deep(31), "", ""},
		{big(16_385), "too_large", ""}, {big(16_384), "", ""},
		{`{"priority":10,` + big(16_385)[1:], "invalid", "priority"}, // malformed goes before too large
		{`{"payload":"` + strings.Repeat("x", 64<<10) + `"}`, "too_large", ""},
		{`{"payload":"` + strings.Repeat("x", 400<<10) + `"}`, "too_large", ""},
	}
	accepted := 0.0
	for _, c := range enqueue {
		r := e.do(call{method: "POST", path: "/queues/a/tickets", body: c.body})
		if c.code == "" {
			r.want(201, "")
			accepted++
			continue
		}
		status := 422
		if c.code == "too_large" {
			status = 413
		}
		if r.want(status, c.code); r.fields() != c.fields {
			t.Errorf("%.60s complains of %q, want %q", c.body, r.fields(), c.fields)
		}
	}
	for _, c := range []struct{ path, body, code, fields string }{
		{"/move", ``, "invalid", ""}, {"/move", `{}`, "invalid", "position"}, {"/move", `{"position":1,"before":"` + id + `"}`, "invalid", "position"},
		{"/move", `{"before":"x"}`, "invalid", "before"}, {"/move", `{"before":null}`, "invalid", "before"},
		{"/move", `{"position":"1"}`, "invalid", "position"}, {"/move", `{"position":0}`, "position_out_of_range", ""},
		{"/move", `{"position":-5}`, "position_out_of_range", ""}, {"/move", `{"position":1e30}`, "position_out_of_range", ""},
		{"/move", `{"position":99}`, "position_out_of_range", ""}, {"/move", `{"after":"00000000-0000-0000-0000-000000000000"}`, "invalid", "after"},
		{"/call", `{"desk":""}`, "invalid", "desk"}, {"/call", `{"desk":"` + strings.Repeat("d", 51) + `"}`, "invalid", "desk"},
		{"/call", `{"desk":4}`, "invalid", "desk"}, {"/recall", `{"x":1}`, "invalid", "x"},
		{"/complete", `{"outcome":"` + strings.Repeat("o", 101) + `"}`, "invalid", "outcome"},
		{"/transfer", `{}`, "invalid", "queue"}, {"/transfer", `{"queue":"A B"}`, "invalid", "queue"}, {"/transfer", ``, "invalid", ""},
		{"/transfer", `{"queue":"a"}`, "invalid", "queue"},
		{"/requeue", `{"position":{}}`, "invalid", "position"},
	} {
		if r := e.do(call{method: "POST", path: "/queues/a/tickets/" + id + c.path, body: c.body}).want(422, c.code); r.fields() != c.fields {
			t.Errorf("%s %s complains of %q, want %q", c.path, c.body, r.fields(), c.fields)
		}
	}
	path := "/queues/a/tickets/" + id
	e.do(call{method: "PATCH", path: path}).want(422, "invalid")
	e.do(call{method: "PATCH", path: path, body: `{"state":"called"}`}).want(422, "invalid")
	e.do(call{method: "PATCH", path: path, body: big(16_385)}).want(413, "too_large")
	e.do(call{method: "DELETE", path: path + "?reason=" + strings.Repeat("r", 501)}).want(422, "invalid")
	e.do(call{method: "DELETE", path: path + "?reason=%ff"}).want(422, "invalid")
	e.do(call{method: "POST", path: "/auth/logout", body: `{"x":1}`}).want(422, "invalid")
	if after := e.version("a"); after != before+accepted {
		t.Errorf("the version went from %v to %v with %v accepted", before, after, accepted)
	}
}

// A body that comes in chunks is bounded like any other. Past what the server
// reads of it at all, it is refused as too large whoever sends it.
func TestChunkedBodies(t *testing.T) {
	t.Parallel()
	e := startLive(t)
	e.queue("a")
	for size, want := range map[int]string{10: "", 70 << 10: "too_large", 300 << 10: "too_large", 2 << 20: "too_large"} {
		body := struct{ io.Reader }{strings.NewReader(`{"payload":"` + strings.Repeat("x", size) + `"}`)} // its length is not seen
		r, err := http.NewRequest("POST", "http://"+e.addr+"/api/v1/queues/a/tickets", body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+e.token(Admin))
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Errorf("%d: %v", size, err)
			continue
		}
		var p struct {
			Code string `json:"code"`
		}
		err = json.NewDecoder(response.Body).Decode(&p)
		_ = response.Body.Close()
		if accepted := response.StatusCode == 201; err != nil || accepted != (want == "") || p.Code != want {
			t.Errorf("%d: %d %q %v", size, response.StatusCode, p.Code, err)
		}
	}
	if v := e.version("a"); v != 2 {
		t.Errorf("version %v, want 2", v)
	}
}

// Each refusal goes before those that the contract names after it.
func TestOrderOfRefusals(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"capacity":1`)
	e.queue("c") // nobody but the admin sees it
	id := e.ticket("a")
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"closed"}`})
	bad, large := `{"x":1}`, `{"payload":"`+strings.Repeat("x", 70<<10)+`"}`
	cases := []struct {
		call   call
		status int
		code   string
	}{
		{call{as: "-", method: "POST", path: "/queues/zzz/tickets", body: large}, 401, "unauthenticated"},
		{call{as: "-", method: "POST", path: "/queues/zzz/tickets", body: strings.Repeat("x", 300<<10)}, 401, "unauthenticated"},
		{call{as: "viewer", method: "POST", path: "/queues/c/tickets", body: large}, 404, "queue_not_found"},
		{call{as: "viewer", method: "POST", path: "/queues/b/tickets", body: bad}, 404, "queue_not_found"}, // its own, but not there
		{call{method: "POST", path: "/queues/zzz/tickets", body: bad}, 404, "queue_not_found"},
		{call{method: "POST", path: "/queues/zzz/tickets", body: large}, 404, "queue_not_found"},
		{call{method: "POST", path: "/queues/UPPER/tickets", body: bad}, 404, "queue_not_found"},
		{call{method: "POST", path: "/queues/zzz/tickets/nonsense/call", body: bad}, 404, "queue_not_found"},
		{call{method: "POST", path: "/queues/a/tickets/nonsense/call", body: bad}, 404, "ticket_not_found"},
		{call{method: "POST", path: "/queues/a/tickets/" + uuid.Nil.String() + "/call"}, 404, "ticket_not_found"},
		{call{method: "POST", path: "/queues/a/tickets/" + noTicket + "/call", body: bad}, 404, "ticket_not_found"},
		{call{as: "viewer", method: "POST", path: "/queues/a/tickets/" + noTicket + "/call", body: bad}, 404, "ticket_not_found"},
		{call{method: "PATCH", path: "/queues/a/tickets/" + noTicket, body: `{"payload":1}`}, 404, "ticket_not_found"},
		{call{as: "viewer", method: "POST", path: "/queues/a/tickets", body: large}, 403, "forbidden"},
		{call{as: "viewer", method: "POST", path: "/queues/a/tickets/" + id + "/call", body: bad}, 403, "forbidden"},
		{call{as: "attendant", method: "POST", path: "/queues", body: bad}, 403, "forbidden"},
		{call{as: "attendant", method: "DELETE", path: "/queues/b"}, 404, "queue_not_found"},
		{call{as: "attendant", method: "DELETE", path: "/queues/c"}, 404, "queue_not_found"},
		{call{as: "attendant", method: "DELETE", path: "/queues/a", ifMatch: "x"}, 403, "forbidden"},
		{call{as: "integration", method: "DELETE", path: "/queues/a/tickets/" + id}, 403, "forbidden"}, // not its own
		{call{as: "integration", method: "PATCH", path: "/queues/a/tickets/" + id, body: bad}, 403, "forbidden"},
		{call{as: "integration", method: "PATCH", path: "/queues/a/tickets/" + id, body: large}, 403, "forbidden"},
		{call{as: "integration", method: "DELETE", path: "/queues/a/tickets/" + id, ifMatch: "x"}, 403, "forbidden"},
		{call{method: "POST", path: "/queues/a/tickets", body: large, key: strings.Repeat("k", 129)}, 422, "invalid"},
		{call{method: "POST", path: "/queues/a/tickets", body: large, ifMatch: `"1"`}, 413, "too_large"},
		{call{method: "POST", path: "/queues/a/tickets", ifMatch: `"1"`}, 412, "version_mismatch"},
		{call{method: "POST", path: "/queues/a/tickets/" + id + "/start", ifMatch: `"1"`}, 412, "version_mismatch"},
		{call{method: "POST", path: "/queues/a/tickets/" + id + "/start"}, 409, "ticket_not_active"},
		{call{method: "POST", path: "/queues/a/tickets/" + id + "/move", body: `{"position":7}`}, 422, "position_out_of_range"},
		{call{method: "POST", path: "/queues/a/tickets/" + id + "/move", body: `{"before":"` + noTicket + `"}`}, 404, "ticket_not_found"},
		{call{method: "POST", path: "/queues/a/tickets"}, 409, "queue_full"}, // capacity, then status
		{call{as: "attendant", method: "POST", path: "/queues/a/tickets/" + id + "/transfer", body: `{"queue":"c"}`}, 404, "queue_not_found"},
		{call{method: "POST", path: "/queues/a/tickets/" + id + "/transfer", body: `{"queue":"zzz"}`}, 404, "queue_not_found"},
		{call{as: "attendant", method: "POST", path: "/queues/a/tickets/" + id + "/transfer", body: `{"queue":"c","x":1}`}, 422, "invalid"},
		{call{as: "attendant", method: "GET", path: "/queues/c"}, 404, "queue_not_found"},
		{call{as: "attendant", method: "GET", path: "/queues/c/tickets"}, 404, "queue_not_found"},
		{call{as: "attendant", method: "GET", path: "/queues/c/tickets/" + id}, 404, "queue_not_found"},
		{call{method: "GET", path: "/queues/a/tickets/nonsense"}, 404, "ticket_not_found"},
		{call{method: "GET", path: "/queues/zzz/tickets/nonsense"}, 404, "queue_not_found"},
		{call{method: "GET", path: "/queues/a/tickets/" + noTicket}, 404, "ticket_not_found"},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%s %s %s %d", c.call.as, c.call.method, c.call.path, c.status), func(t *testing.T) {
			e.do(c.call).want(c.status, c.code)
		})
	}
	if v := e.version("a"); v != 3 {
		t.Errorf("version %v, want 3", v)
	}
}

func TestViewersSeeNobody(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	id := e.ticket("a", `{"customer":{"name":"Ada"},"payload":1}`)
	for _, level := range levels {
		for _, path := range []string{"/queues/a/tickets/" + id, "/queues/a/tickets"} {
			r := e.ok(call{as: string(level), method: "GET", path: path})
			hidden := strings.Contains(string(r.body), `"customer":null,"payload":null`)
			if hidden != (level == Viewer) {
				t.Errorf("%s: %s", level, r.body)
			}
		}
	}
}

// What only a state or a bound of the queue refuses.
func TestConflicts(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"capacity":3`)
	first, second := e.ticket("a"), e.ticket("a")
	ticket := func(id, verb, as, body string) *reply {
		return e.do(call{as: as, method: "POST", path: "/queues/a/tickets/" + id + "/" + verb, body: body})
	}
	ticket(first, "call", "attendant", `{"desk":"1"}`).want(200, "")
	ticket(second, "call", "attendant", ``).want(409, "attendant_busy")
	ticket(second, "call", "supervisor", `{"desk":"1"}`).want(409, "desk_taken")
	ticket(first, "call", "supervisor", ``).want(409, "ticket_not_waiting")
	ticket(first, "start", "supervisor", ``).want(200, "")
	e.do(call{method: "DELETE", path: "/queues/a/tickets/" + first}).want(409, "ticket_not_waiting")
	ticket(first, "complete", "supervisor", ``).want(200, "")
	ticket(first, "start", "supervisor", ``).want(409, "ticket_finished")
	e.do(call{method: "PATCH", path: "/queues/a/tickets/" + first, body: `{}`}).want(409, "ticket_finished")
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"paused"}`})
	e.do(call{method: "POST", path: "/queues/a/call-next"}).want(409, "queue_paused")
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"closed"}`})
	e.do(call{method: "POST", path: "/queues/a/tickets"}).want(409, "queue_closed")
	e.skew.Add(int64(2 * time.Hour))
	for _, level := range levels { // their tokens have ended by now
		u, err := e.dir.UserByEmail(t.Context(), string(level)+"@example.org")
		if err != nil {
			t.Fatal(err)
		}
		s, err := e.gateway.auth.begin(t.Context(), userOf(u))
		if err != nil {
			t.Fatal(err)
		}
		e.tokens.Store(u.Email, s.access)
	}
	ticket(first, "requeue", "supervisor", ``).want(409, "ticket_finished")
}

func TestOddRequests(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, path := range []string{"/nothing", "/people", "/public/queues", "/queues/a/nothing", "/queues/", "/QUEUES"} {
		e.get(path).want(404, "not_found")
	}
	if r := e.do(call{method: "PUT", path: "/queues"}).want(405, "method_not_allowed"); r.header.Get("Allow") == "" {
		t.Error("a 405 does not say what is allowed")
	}
	e.do(call{as: "-", method: "GET", path: "/me"}).want(401, "unauthenticated")
	e.do(call{as: "-", method: "GET", path: "/livez"}).want(200, "")
	e.do(call{as: "-", method: "GET", path: "/readyz"}).want(200, "")
	for _, path := range []string{"/openapi.yaml", "/asyncapi.yaml"} {
		if r := e.do(call{as: "-", method: "GET", path: path}); r.status != 200 || r.header.Get("Content-Type") != "application/yaml" {
			t.Errorf("%s: %d %v", path, r.status, r.header)
		}
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) {
		o.Ready = func() Readiness { return Readiness{Status: "unavailable", Down: []string{"journal"}} }
	})
	e.do(call{as: "-", method: "GET", path: "/readyz"}).want(503, "")
}

// panics is a service whose reads panic.
type panics struct{ QueueService }

func (panics) Read(context.Context, *messages.Read) *messages.View { panic("the customer's name") }

func TestPanicIsAProblem(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.Queues = panics{o.Queues} })
	e.noCheck.Store(true)
	e.get("/queues/a").want(500, "internal")
	if log := e.log.String(); !strings.Contains(log, "panicked") || strings.Contains(log, "customer's name") {
		t.Errorf("logged: %s", log)
	}
}

// The table of routes and openapi.yaml name the same.
func TestRoutesAreThePromisedOnes(t *testing.T) {
	t.Parallel()
	e := start(t)
	doc, _ := promisedDocument(t)
	promisedCalls := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			promisedCalls[method+" "+path] = false
		}
	}
	for _, route := range e.gateway.App().GetRoutes(true) {
		ours := strings.HasPrefix(route.Path, "/api/") || strings.HasSuffix(route.Path, "z")
		if route.Method == http.MethodHead || !ours { // the rest are pages
			continue
		}
		path := strings.NewReplacer(":queue", "{queue}", ":ticket", "{ticket}", ":letter", "{letter}", ":token", "{token}", ":user", "{user}", ":key", "{key}", ":erasure", "{erasure}", ":webhook", "{webhook}", ":delivery", "{delivery}").Replace(route.Path)
		if _, ok := promisedCalls[route.Method+" "+path]; !ok {
			t.Errorf("%s %s is not in openapi.yaml", route.Method, path)
		}
		promisedCalls[route.Method+" "+path] = true
	}
	for name, there := range promisedCalls {
		if !there {
			t.Errorf("%s is promised and not served", name)
		}
	}
}

// Each code that a problem can have is promised, and each promised one is made
// here or by the queue.
func TestCodesAreThePromisedOnes(t *testing.T) {
	t.Parallel()
	doc, _ := promisedDocument(t)
	promisedCodes := map[string]bool{}
	for _, code := range doc.Components.Schemas["ErrorCode"].Value.Enum {
		promisedCodes[code.(string)] = true
	}
	for code := range problemKinds {
		if !promisedCodes[code] {
			t.Errorf("%s is not in openapi.yaml", code)
		}
		var p map[string]any
		if err := json.Unmarshal(appendProblem(nil, invalidAs(code)), &p); err != nil {
			t.Errorf("%s: %v", code, err)
		}
		delete(promisedCodes, code)
	}
	for code := range promisedCodes {
		t.Errorf("%s is promised and has no status", code)
	}
}

func invalidAs(code string) *problem {
	return &problem{Code: code, Detail: "\"\n", Fields: []queue.FieldError{{Field: "a", Message: "b"}, {Field: "c", Message: "d"}}}
}
