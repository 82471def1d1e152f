package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	v1 "nowserving/messages/nowserving/v1"
)

// Whoever sees whose a finished ticket was makes an entry, whichever way; the
// tickets in line and at desks are the work itself.
func TestAuditOfLooksIntoQueues(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	customer := `{"customer":{"name":"Lovelace"}}`
	live, done, nobodys := e.ticket("a", customer), e.ticket("a", customer), e.ticket("a")
	const tickets = "/queues/a/tickets"
	for _, id := range []string{done, nobodys} {
		e.ok(call{method: "POST", path: tickets + "/" + id + "/call"})
		e.ok(call{method: "POST", path: tickets + "/" + id + "/complete"})
	}
	look := func(as, path string) {
		t.Helper()
		e.ok(call{as: as, method: "GET", path: tickets + path})
	}
	const entries = "action=history.read"
	for _, path := range []string{"/" + live, "/" + live + "/trail", "/" + nobodys, "/" + nobodys + "/trail", "", "?state=waiting", "?state=no_show"} {
		look("attendant", path)
	}
	look("viewer", "/"+done)
	look("viewer", "?state=completed")
	if got := e.actions(entries); got != "" {
		t.Fatalf("the log has %s", got)
	}
	for _, path := range []string{"/" + done, "/" + done + "/trail", "?state=completed&limit=1", "?state=completed", "?state=completed"} {
		look("attendant", path)
	}
	look("integration", "/"+done)
	looked := e.audited(entries)
	text, err := json.Marshal(looked)
	if err != nil || len(looked) != 4 || strings.Contains(string(text), "Lovelace") {
		t.Fatalf("%s, %v", text, err)
	}
	for i, want := range []struct {
		who  Level
		what map[string]any
	}{{Attendant, map[string]any{"ticket": done}}, {Attendant, map[string]any{"state": "completed", "tickets": 1.0}}, {Attendant, map[string]any{"state": "completed", "tickets": 2.0}}, {Integration, map[string]any{"ticket": done}}} {
		details := looked[i]["details"].(map[string]any)
		if looked[i]["target"] != "a" || looked[i]["user"] != e.id(want.who) || looked[i]["address"] != "127.0.0.1" || len(details) != len(want.what) {
			t.Errorf("%v, want %v", looked[i], want)
		}
		for name, value := range want.what {
			if details[name] != value {
				t.Errorf("%v, want %v", looked[i], want)
			}
		}
	}
	// Who asks again and again makes an entry now and then.
	for range 4 {
		e.skew.Add(int64(lookEvery))
		look("attendant", "/"+done)
	}
	if n := len(e.audited(entries)); n != 6 {
		t.Errorf("%d entries", n)
	}
	// A queue goes on while nothing can be written.
	e.skew.Add(int64(2 * lookEvery))
	if err := e.dir.Close(); err != nil {
		t.Fatal(err)
	}
	look("supervisor", "/"+done)
	if waiting := e.gateway.options.Audit.waiting; len(waiting) != 1 || waiting[0].Action != "history.read" {
		t.Errorf("%v waits", waiting)
	}
}

// What has passed is personal history whoever replays it: a screen that comes
// back in a moment goes on with its work, one that asks for more makes an entry.
func TestAuditOfReplays(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	e.queue("a")
	e.enqueue("a")
	epoch := e.join(Attendant).subscribe("a").str("epoch")
	follow := func(as Level, since int) {
		t.Helper()
		p := e.join(as)
		if f := p.subscribe("a", "since", since, "epoch", epoch); f.str("type") != "resumed" {
			t.Fatalf("%v", f)
		}
		p.want("event")
	}
	const entries = "action=history.read"
	follow(Attendant, 1)
	e.skew.Add(int64(lookBack + time.Second))
	follow(Viewer, 1)
	p := e.join(Attendant)
	p.subscribe("a") // a snapshot shows no history
	if f := p.subscribe("a", "since", 2, "epoch", epoch); f.str("type") != "resumed" {
		t.Fatalf("%v", f)
	}
	if got := e.actions(entries); got != "" || e.gateway.options.Audit.late() != 0 {
		t.Fatalf("the log has %s", got)
	}
	follow(Attendant, 1)
	follow(Attendant, 1)
	follow(Attendant, 0)
	w := e.watch("supervisor", &v1.WatchRequest{Queue: "a", Since: proto.Uint64(1), Epoch: epoch})
	w.resumed()
	w.event()
	e.gateway.options.Audit.catchUp(t.Context())
	want := []string{e.id(Attendant) + " 1", e.id(Attendant) + " 0", e.id(Supervisor) + " 1"}
	var got []string
	for _, entry := range e.audited(entries) {
		got = append(got, fmt.Sprint(entry["user"], " ", entry["details"].(map[string]any)["since"]))
		if entry["target"] != "a" || entry["address"] != "127.0.0.1" {
			t.Errorf("%v", entry)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
