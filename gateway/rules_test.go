package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// items gives a member that is a list of objects.
func (r *reply) items(name string) (list []map[string]any) {
	all, _ := r.json[name].([]any)
	for _, item := range all {
		list = append(list, item.(map[string]any))
	}
	return list
}

func rulesBody(rules string, more ...string) string {
	return `{"items":[` + rules + `]` + strings.Join(more, "") + `}`
}

const vipRule = `{"name":"VIP","when":"has(request.payload.vip) && request.payload.vip","action":"take","queue":"b","priority":9}`

func TestRulesAreKept(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	e.queue("b")
	r := e.get("/queues/a/rules")
	if string(r.body) != `{"revision":0,"items":[]}` || r.header.Get("ETag") != `"1"` {
		t.Fatalf("%s %s", r.body, r.header.Get("ETag"))
	}
	body := rulesBody(vipRule + `,{"name":"<&>","when":"request.priority < 1 && true","action":"refuse","queue":null,"priority":null}` +
		`,{"name":"P","when":"true","action":"take","priority":"request.priority > 3 ? 4 : 5"}`)
	put := e.ok(call{as: "supervisor", method: "PUT", path: "/queues/a/rules", body: body})
	revision := put.json["revision"].(float64)
	if revision < 1 || put.header.Get("ETag") != `"1"` || !strings.Contains(string(put.body), `"name":"<&>"`) {
		t.Fatalf("%s", put.body)
	}
	if r := e.get("/queues/a/rules"); string(r.body) != string(put.body) {
		t.Fatalf("%s", r.body)
	}
	// What was read can be saved, and changes nothing.
	if again := e.ok(call{method: "PUT", path: "/queues/a/rules", body: string(put.body)}); string(again.body) != string(put.body) {
		t.Fatalf("%s", again.body)
	}
	e.do(call{method: "PUT", path: "/queues/a/rules", body: rulesBody("", `,"revision":0`)}).want(412, "version_mismatch")
	e.do(call{method: "PUT", path: "/queues/a/rules", body: rulesBody(""), ifMatch: `"7"`}).want(412, "version_mismatch")
	e.do(call{method: "PUT", path: "/queues/a/rules", body: rulesBody(""), ifMatch: `7`}).want(422, "invalid")
	e.ok(call{method: "PUT", path: "/queues/a/rules", body: rulesBody("", fmt.Sprintf(`,"revision":%v`, revision)), ifMatch: `"1"`})
	if r := e.get("/queues/a/rules"); len(r.items("items")) != 0 || r.json["revision"].(float64) <= revision {
		t.Fatalf("%s", r.body)
	}
	if e.version("a") != 1 {
		t.Error("rules made an event")
	}
	// They end with the queue.
	e.ok(call{method: "PUT", path: "/queues/a/rules", body: rulesBody(vipRule)})
	e.ok(call{method: "DELETE", path: "/queues/a"})
	e.get("/queues/a/rules").want(404, "queue_not_found")
	e.queue("a")
	if r := e.get("/queues/a/rules"); len(r.items("items")) != 0 {
		t.Fatalf("%s", r.body)
	}
}

func TestRulesAreChecked(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	e.queue("c")
	rule := func(more string) string { return `{"name":"r","when":"true","action":"take"` + more + `}` }
	var list []string
	for i := range 51 {
		list = append(list, strings.Replace(rule(""), `"r"`, fmt.Sprintf(`"r%d"`, i), 1))
	}
	many := strings.Join(list, ",")
	for body, fields := range map[string]string{
		``: "items", `{}`: "items", `{"items":null}`: "items", `{"items":{}}`: "items", `{"items":[1]}`: "items[0]", `{"items":[{}]}`: "items[0].name items[0].when items[0].action",
		rulesBody(rule("") + "," + rule("")): "items[1].name", rulesBody(many): "items",
		rulesBody(rule(`,"x":1`)):                          "items[0].x",
		rulesBody(rule(`,"queue":"Bad Queue"`)):            "items[0].queue",
		rulesBody(rule(`,"queue":"none"`)):                 "items[0].queue",
		rulesBody(rule(`,"queue":""`)):                     "items[0].queue",
		rulesBody(rule(`,"priority":10`)):                  "items[0].priority",
		rulesBody(rule(`,"priority":-1`)):                  "items[0].priority",
		rulesBody(rule(`,"priority":"'x'"`)):               "items[0].priority",
		rulesBody(rule(`,"priority":true`)):                "items[0].priority",
		rulesBody(rule(``), `,"revision":-1`):              "revision",
		rulesBody(rule(``), `,"next":null`):                "next",
		rulesBody(`{"name":"","when":"","action":"drop"}`): "items[0].name items[0].when items[0].action",
		rulesBody(`{"name":"r","when":"request.prority > 1","action":"take"},{"name":"s","when":"1","action":"take","priority":"("}`): "items[0].when items[1].when items[1].priority",
		rulesBody(`{"name":"r","when":"` + strings.Repeat("x", 2049) + `","action":"take"}`):                                          "items[0].when",
		rulesBody(`{"name":"r","when":"true","action":"refuse","priority":1}`):                                                        "items[0].action",
		rulesBody(`{"name":"r\u0000","when":"true","action":"take"}`):                                                                 "items[0].name",
	} {
		r := e.do(call{method: "PUT", path: "/queues/a/rules", body: body})
		if r.want(422, "invalid"); r.fields() != fields {
			t.Errorf("%.100s complains of %q, want %q", body, r.fields(), fields)
		}
	}
	e.do(call{method: "PUT", path: "/queues/a/rules", body: `[`}).want(422, "invalid")
	e.do(call{method: "PUT", path: "/queues/a/rules", body: rulesBody(`{"name":"` + strings.Repeat("x", 66_000) + `"}`)}).want(413, "too_large")
	// A queue that the user may not see is none for it.
	into := rulesBody(rule(`,"queue":"c"`))
	e.ok(call{method: "PUT", path: "/queues/a/rules", body: into})
	if r := e.do(call{as: "supervisor", method: "PUT", path: "/queues/a/rules", body: into}); r.want(422, "invalid").fields() != "items[0].queue" {
		t.Errorf("%s", r.body)
	}
	for _, c := range []call{{method: "GET"}, {method: "PUT", body: `[`}, {method: "POST", path: "/test", body: `[`}} {
		c.path = "/queues/a/rules" + c.path
		for _, as := range []string{"attendant", "integration", "viewer"} {
			c.as = as
			e.do(c).want(403, "forbidden")
		}
		c.as = "-"
		e.do(c).want(401, "unauthenticated")
		c.as, c.path = "supervisor", strings.Replace(c.path, "/a/", "/c/", 1)
		e.do(c).want(404, "queue_not_found")
		c.as, c.path = "admin", strings.Replace(c.path, "/c/", "/none/", 1)
		e.do(c).want(404, "queue_not_found")
	}
}

// What filters sees a change that any node has made, and goes on with what it
// knows while the store is away.
func TestRulebookFollows(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	e.queue("b")
	other := NewRulebook(ruleStore{e.dir}, e.gateway.log)
	request := &ServiceRequest{Queue: "a", Body: json.RawMessage(`{"queue":"a","payload":{"vip":true}}`)}
	if _, err := other.Route(t.Context(), request); err == nil {
		t.Fatal("decided without having read the rules")
	}
	known := uint64(0)
	follow := func() {
		t.Helper()
		if err := other.follow(t.Context(), &known); err != nil {
			t.Fatal(err)
		}
	}
	follow()
	routed := func(want string) {
		t.Helper()
		r, err := other.Route(t.Context(), request)
		priority := -1
		if r.Priority != nil {
			priority = *r.Priority
		}
		if got := fmt.Sprint(r.Refused, " ", r.Rule, " ", r.Queue, " ", priority); err != nil || got != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
	routed("false  a -1")
	e.ok(call{method: "PUT", path: "/queues/a/rules", body: rulesBody(vipRule)})
	follow()
	routed("false VIP b 9")
	e.ok(call{method: "PUT", path: "/queues/a/rules", body: rulesBody(`{"name":"x","when":"request.payload.none","action":"take"}`)})
	follow()
	routed("true x (it asks for something that the message does not have; has() tells)  -1")
	if err := e.dir.Close(); err != nil {
		t.Fatal(err)
	}
	if err := other.follow(t.Context(), &known); err == nil {
		t.Fatal("the store is not away")
	}
	routed("true x (it asks for something that the message does not have; has() tells)  -1")
	// Rules that an older version took and this one does not must not hold up the queue.
	other.learn(RuleRow{Queue: "a", Revision: known + 1, Rules: json.RawMessage(`[{"when":"gone()"}]`)})
	routed("true the rules of the queue cannot be used by this version  -1")
	other.learn(RuleRow{Queue: "a", Revision: known + 2, Rules: json.RawMessage(`[]`)})
	routed("false  a -1")
}

// Run notices within two seconds, and says once that it cannot.
func TestRulebookRuns(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	book := e.gateway.options.Rules
	done := make(chan error)
	go func() { done <- book.Run(t.Context()) }()
	_, err := e.dir.PutRules(t.Context(), directoryRules("a", `[{"name":"no","when":"true","action":"refuse","queue":null,"priority":null}]`), nil)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		if r, err := book.Route(t.Context(), &ServiceRequest{Queue: "a", Body: json.RawMessage(`{}`)}); err == nil && r.Refused {
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("noticed after %s", took)
			}
			return
		} else if time.Since(began) > 20*time.Second {
			t.Fatal("the change is never noticed", r, err)
		}
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	e.queue("b")
	e.ok(call{method: "PUT", path: "/queues/a/rules", body: rulesBody(vipRule)})
	outcomes := func(body string) (list []string) {
		t.Helper()
		r := e.ok(call{as: "supervisor", method: "POST", path: "/queues/a/rules/test", body: body})
		if r.header.Get("ETag") != `"1"` {
			t.Errorf("ETag %s", r.header.Get("ETag"))
		}
		for _, o := range r.items("items") {
			list = append(list, fmt.Sprint(o["outcome"], " ", o["rule"], " ", o["queue"], " ", o["priority"], " ", o["code"]))
		}
		return list
	}
	messages := `"messages":[{"body":{"queue":"x","payload":{"vip":true}}},{"body":{"priority":3},"headers":{"t":[1,{"u":null}]},"message_id":"m"},{"body":{"priority":30}},{"body":{"payload":{"vip":1}}}]`
	for body, want := range map[string]string{
		`{` + messages + `}`:                      "taken VIP b 9 <nil>|taken <nil> a 3 <nil>|refused <nil> <nil> <nil> invalid|refused VIP <nil> <nil> filtered",
		`{"items":[],"limit":2,` + messages + `}`: "taken <nil> a 0 <nil>|taken <nil> a 3 <nil>",
		`{"items":[{"name":"h","when":"headers.?t[0] == optional.of(1)","action":"refuse"}],` + messages + `}`:           "taken <nil> a 0 <nil>|refused h <nil> <nil> filtered|refused <nil> <nil> <nil> invalid|taken <nil> a 0 <nil>",
		`{"items":[{"name":"e","when":"message_id == 'm'","action":"take","priority":"10"}],"limit":2,` + messages + `}`: "taken <nil> a 0 <nil>|refused e <nil> <nil> filtered",
		`{"messages":[]}`: "",
	} {
		if got := strings.Join(outcomes(body), "|"); got != want {
			t.Errorf("%s:\n%s, want\n%s", body, got, want)
		}
	}
	for body, fields := range map[string]string{
		`{}`: "messages", `{"messages":[],"dead_letters":true}`: "messages dead_letters", `{"dead_letters":true}`: "dead_letters",
		`{"messages":[{}]}`: "messages[0].body", `{"messages":[{"body":{},"headers":1,"x":2}]}`: "messages[0].headers messages[0].x",
		`{"messages":[],"limit":0}`: "limit", `{"messages":[],"items":[{"name":"a","when":"1","action":"take"}]}`: "items[0].when",
		`{"messages":[],"items":[{"name":"a","when":"true","action":"take","queue":"none"}]}`: "items[0].queue",
	} {
		if r := e.do(call{method: "POST", path: "/queues/a/rules/test", body: body}); r.want(422, "invalid").fields() != fields {
			t.Errorf("%s complains of %q, want %q", body, r.fields(), fields)
		}
	}
}
