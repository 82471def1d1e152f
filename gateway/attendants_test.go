package gateway

import (
	"fmt"
	"strings"
	"testing"
)

// names gives those of a page of users, with their active tickets.
func (r *reply) names() string {
	r.t.Helper()
	var names []string
	for _, item := range r.json["items"].([]any) {
		user := item.(map[string]any)
		if _, tells := user["email"]; tells || user["id"] == "" {
			r.t.Errorf("%v", user)
		}
		names = append(names, fmt.Sprintf("%v %v", user["name"], user["active"]))
	}
	return strings.Join(names, ", ")
}

func TestAttendants(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"max_active":5`)
	e.queue("aa")
	e.addUser("ann@example.org", Attendant, "aa")
	e.addUser("all@example.org", Attendant, "*")
	gone := e.addUser("gone@example.org", Attendant, "a")
	e.ok(call{method: "PATCH", path: "/users/" + gone.ID, body: `{"disabled":true}`})
	for _, item := range e.get("/users").json["items"].([]any) {
		id, email := item.(map[string]any)["id"].(string), item.(map[string]any)["email"].(string)
		e.ok(call{method: "PATCH", path: "/users/" + id, body: `{"name":"` + strings.TrimSuffix(email, "@example.org") + `"}`})
	}
	for range 2 {
		e.ticket("a")
		e.ok(call{as: "attendant", method: "POST", path: "/queues/a/call-next"})
	}
	for as, want := range map[string]string{
		"supervisor": "admin 0, supervisor 0, attendant 2, all 0", "admin": "admin 0, supervisor 0, attendant 2, all 0",
		"attendant": "admin <nil>, supervisor <nil>, attendant <nil>, all <nil>",
	} {
		r := e.ok(call{as: as, method: "GET", path: "/queues/a/attendants"})
		if got := r.names(); got != want || r.json["next"] != nil || r.header.Get("ETag") != `"5"` {
			t.Errorf("%s: %s, want %s: %s", as, got, want, r.body)
		}
	}
	if got := e.get("/queues/aa/attendants").names(); got != "admin 0, ann 0, all 0" {
		t.Error(got)
	}
	var all []string
	for after := ""; ; {
		r := e.get("/queues/a/attendants?limit=3" + after)
		all = append(all, r.names())
		if after = "&after=" + r.str("next"); r.json["next"] == nil {
			break
		}
	}
	if got := strings.Join(all, " | "); got != "admin 0, supervisor 0, attendant 2 | all 0" {
		t.Error(got)
	}
	e.get("/queues/a/attendants?limit=4").want(200, "")
	e.get("/queues/a/attendants?limit=0").want(422, "invalid")
	e.get("/queues/a/attendants?after=x").want(422, "invalid")
	e.get("/queues/nope/attendants?after=x").want(404, "queue_not_found")
}

func TestTrail(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	id := e.ticket("a", `{"customer":{"name":"Ada Marsh"}}`)
	path := "/queues/a/tickets/" + id
	e.ok(call{as: "attendant", method: "POST", path: path + "/call"})
	trail := func(as string) (steps string) {
		r := e.ok(call{as: as, method: "GET", path: path + "/trail"})
		if ticket := e.ok(call{as: as, method: "GET", path: path}); fmt.Sprint(r.json["ticket"]) != fmt.Sprint(ticket.json) || r.header.Get("ETag") != ticket.header.Get("ETag") {
			t.Errorf("%s: %s, and %s", as, r.body, ticket.body)
		}
		for _, step := range r.json["trail"].([]any) {
			s := step.(map[string]any)
			steps += fmt.Sprintf("%v %v %v ", s["version"], s["event"], s["by"])
		}
		return steps
	}
	me := func(as string) string { return e.ok(call{as: as, method: "GET", path: "/me"}).str("id") }
	want := "2 ticket.enqueued " + me("admin") + " 3 ticket.called " + me("attendant") + " "
	for _, as := range []string{"attendant", "integration", "supervisor"} {
		if got := trail(as); got != want {
			t.Errorf("%s: %s, want %s", as, got, want)
		}
	}
	e.ok(call{method: "POST", path: path + "/complete"})
	if got := trail("attendant"); got != want+"4 ticket.completed "+me("admin")+" " {
		t.Error(got)
	}
	e.do(call{as: "viewer", method: "GET", path: path + "/trail"}).want(403, "forbidden")
	e.get("/queues/a/tickets/x/trail").want(404, "ticket_not_found")
	e.get("/queues/c/tickets/x/trail").want(404, "queue_not_found")
}
