package gateway

import (
	"fmt"
	"strings"
	"testing"

	"nowserving/gateway/rabbit"
)

func (r *reply) letterIDs() (ids []string) {
	for _, l := range r.items("items") {
		ids = append(ids, l["id"].(string))
	}
	return ids
}

func (r *reply) bodies() string {
	var all []string
	for _, l := range r.items("items") {
		all = append(all, fmt.Sprint(l["message_id"]))
	}
	return strings.Join(all, " ")
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	broker := newRabbit(t)
	e := start(t, broker.options)
	e.queue("a")
	e.queue("b")
	e.queue("c")
	if r := e.get("/dead-letters"); string(r.body) != `{"items":[],"next":null,"total":0}` {
		t.Fatalf("%s", r.body)
	}
	broker.bury("m1", "a", "filtered", `{"queue":"a","priority":2,"payload":{"vip":true}}`)
	broker.bury("m2", "c", "queue_full", `{"queue":"c"}`)
	broker.bury("m3", "", "invalid", "\xff{")
	broker.bury("m4", "a", "invalid", `{"queue":"a","priority":20}`)
	broker.bury("m5", "a", "too_large", `"`+strings.Repeat("x", 70_000)+`"`)

	all := e.get("/dead-letters")
	if all.bodies() != "m1 m2 m3 m4 m5" || all.json["total"] != 5.0 {
		t.Fatalf("%s", all.body)
	}
	first, odd, long := all.items("items")[0], all.items("items")[2], all.items("items")[4]
	if first["queue"] != "a" || first["code"] != "filtered" || first["detail"] != "why" || first["at"] != "2026-11-22T10:00:00.000Z" ||
		first["body"].(map[string]any)["priority"] != 2.0 || first["body_base64"] != nil || first["content_type"] != nil {
		t.Errorf("%v", first)
	}
	if odd["queue"] != nil || odd["body"] != nil || odd["body_base64"] != "/3s=" {
		t.Errorf("%v", odd)
	}
	if long["body"] != nil || long["body_base64"] != nil || long["body_bytes"] != 70_002.0 {
		t.Errorf("%v", long)
	}
	list := func(as, query string) *reply {
		t.Helper()
		return e.do(call{as: as, method: "GET", path: "/dead-letters" + query})
	}
	for query, want := range map[string]string{
		"?queue=a": "m1 m4 m5", "?code=invalid": "m3 m4", "?queue=a&code=invalid": "m4", "?queue=b": "", "?queue=zz": "",
	} {
		if got := list("", query).want(200, "").bodies(); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	own := list("supervisor", "?limit=2").want(200, "")
	if own.bodies() != "m1 m4" || own.json["total"] != nil {
		t.Errorf("%s", own.body)
	}
	if rest := list("supervisor", "?limit=2&after="+own.str("next")); rest.bodies() != "m5" || rest.json["next"] != nil {
		t.Errorf("%s", rest.body)
	}
	list("supervisor", "?queue=c").want(404, "queue_not_found")
	for _, query := range []string{"?queue=B", "?limit=0", "?after=x", "?code=", "?queue="} {
		list("", query).want(422, "invalid")
	}

	// Sent again or deleted by those whose queue it is.
	ids := all.letterIDs()
	path := func(i int) string { return "/dead-letters/" + ids[i] }
	for _, as := range []string{"attendant", "integration", "viewer"} {
		list(as, "").want(403, "forbidden")
		e.do(call{as: as, method: "DELETE", path: path(0)}).want(403, "forbidden")
		e.do(call{as: as, method: "POST", path: path(0) + "/resend"}).want(403, "forbidden")
		e.do(call{as: as, method: "POST", path: "/dead-letters/resend", body: `{}`}).want(403, "forbidden")
	}
	e.do(call{as: "-", method: "GET", path: "/dead-letters"}).want(401, "unauthenticated")
	for _, i := range []int{1, 2} {
		e.do(call{as: "supervisor", method: "DELETE", path: path(i)}).want(404, "not_found")
		e.do(call{as: "supervisor", method: "POST", path: path(i) + "/resend"}).want(404, "not_found")
	}
	e.do(call{method: "DELETE", path: "/dead-letters/x"}).want(404, "not_found")
	for _, body := range []string{``, `{}`, `{"ids":[]}`, `{"ids":["x"]}`, `{"ids":[1]}`, `{"ids":["` + ids[0] + `"],"x":1}`} {
		e.do(call{method: "POST", path: "/dead-letters/resend", body: body}).want(422, "invalid")
	}
	r := e.ok(call{as: "supervisor", method: "POST", path: "/dead-letters/resend", body: fmt.Sprintf(`{"ids":[%q,%q]}`, ids[0], ids[1])})
	if string(r.body) != fmt.Sprintf(`{"resent":[%q],"missing":[%q]}`, ids[0], ids[1]) {
		t.Errorf("%s", r.body)
	}
	e.do(call{as: "supervisor", method: "POST", path: path(3) + "/resend"}).want(204, "")
	e.do(call{method: "DELETE", path: path(2)}).want(204, "")
	e.do(call{method: "DELETE", path: path(2)}).want(404, "not_found")
	if left := list("", ""); left.bodies() != "m2 m5" {
		t.Errorf("%s", left.body)
	}
	for query, want := range map[string]string{
		"action=dead_letters.resent":  "dead_letters.resent " + ids[0] + ", dead_letters.resent " + ids[3],
		"action=dead_letters.deleted": "dead_letters.deleted " + ids[2],
		"target=b":                    "queue.created b, dead_letters.read b",
	} {
		if got := e.actions(query); got != want {
			t.Errorf("the audit log has %s, want %s", got, want)
		}
	}
	ch, err := broker.session().Channel()
	if err != nil {
		t.Fatal(err)
	}
	requests, err := ch.Consume(rabbit.Requests, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"m1", "m4"} {
		if d := <-requests; d.MessageId != want || d.Headers[rabbit.HeaderError] != nil {
			t.Errorf("%s %v", d.MessageId, d.Headers)
		}
	}
}

// The dead letters of the queue are what a dry run is held against.
func TestDryRunOverDeadLetters(t *testing.T) {
	t.Parallel()
	broker := newRabbit(t)
	e := start(t, broker.options)
	e.queue("a")
	e.queue("b")
	broker.bury("m1", "a", "filtered", `{"queue":"a","priority":2,"payload":{"vip":true}}`)
	broker.bury("m2", "b", "filtered", `{"queue":"b"}`)
	broker.bury("m3", "a", "invalid", `{"queue":"a","priority":20}`)
	r := e.ok(call{as: "supervisor", method: "POST", path: "/queues/a/rules/test", body: `{"items":[` + vipRule + `],"dead_letters":true}`})
	if entries := e.actions("action=dead_letters.read"); entries != "dead_letters.read a" {
		t.Errorf("the log has %s", entries)
	}
	var got []string
	for _, o := range r.items("items") {
		got = append(got, fmt.Sprint(o["message_id"], " ", o["dead_letter"] != nil, " ", o["outcome"], " ", o["queue"], " ", o["priority"], " ", o["code"]))
	}
	if fmt.Sprint(got) != "[m1 true taken b 9 <nil> m3 true refused <nil> <nil> invalid]" {
		t.Errorf("%s", r.body)
	}
	if e.get("/dead-letters").bodies() != "m1 m2 m3" {
		t.Error("the dry run changed something")
	}
}

// Without RabbitMQ there are none; where it is away, that is said.
func TestDeadLettersWithoutRabbitMQ(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.get("/dead-letters").want(404, "not_found")
	e.do(call{as: "viewer", method: "GET", path: "/dead-letters"}).want(403, "forbidden")
	conn, err := rabbit.New(rabbit.Options{URL: "amqp://127.0.0.1:1/", Name: "test", Log: e.gateway.log})
	if err != nil {
		t.Fatal(err)
	}
	e = start(t, (&withRabbit{t, conn}).options) // it does not run, so it is never up
	e.queue("a")
	const id = "/dead-letters/0123456789abcdef0123456789abcdef"
	for _, c := range []call{
		{method: "GET", path: "/dead-letters"}, {method: "DELETE", path: id}, {method: "POST", path: id + "/resend"},
		{method: "POST", path: "/queues/a/rules/test", body: `{"dead_letters":true}`},
	} {
		if r := e.do(c).want(503, "unavailable"); r.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: no Retry-After", c.method, c.path)
		}
	}
}
