package gateway

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
)

// A link is good for as long as its ticket is anywhere, also where the queue that
// made it has forgotten that it went on.
func TestLinkOutlivesItsQueuesMemory(t *testing.T) {
	t.Parallel()
	e := startLive(t)
	for _, id := range []string{"a", "b", "c"} {
		e.queue(id, `,"public":true`)
	}
	token := e.checkIn("a")
	history := func(from, id, to, next string) { // as the history has it
		t.Helper()
		e.finish(from, &queue.Ticket{
			ID: queue.TicketID(ticketID(id)), Visit: queue.TicketID(ticketID(id)), State: queue.Transferred, Source: queue.FromPublic,
			EnqueuedAt: 1, FinishedAt: 2, TransferQueue: queue.ID(to), TransferredTo: queue.TicketID(ticketID(next)),
		})
	}
	move := func(from, to string) (id, next string) {
		t.Helper()
		id = e.link(token).str("id")
		e.ok(call{method: "POST", path: "/queues/" + from + "/tickets/" + id + "/transfer", body: `{"queue":"` + to + `"}`})
		return id, e.link(token).str("id")
	}
	first, second := move("a", "b")
	_, third := move("b", "c")
	e.skew.Add(int64(25 * time.Hour))
	relogin := func() {
		t.Helper()
		user, err := e.dir.UserByEmail(context.Background(), "admin@example.org")
		if err != nil {
			t.Fatal(err)
		}
		s, err := e.gateway.auth.begin(context.Background(), userOf(user))
		if err != nil {
			t.Fatal(err)
		}
		e.tokens.Store("admin@example.org", s.access)
	}
	relogin()
	e.ticket("a") // an event, with which it forgets
	e.ticket("b")
	e.link(token).want(404, "ticket_not_found")
	history("a", first, "b", second)
	e.link(token).want(404, "ticket_not_found") // where it went from there is not known
	for range missesOfAddress {
		e.gateway.misses.count(netip.MustParseAddr("127.0.0.1"))
	}
	if r := e.link(token).want(429, "rate_limited"); r.header.Get("Retry-After") == "" {
		t.Error("not told when to come back")
	}
	hasty := e.dial()
	hasty.send(map[string]any{"type": "auth", "token": token})
	if code := hasty.closed(); code != int(actors.CloseGoingAway) {
		t.Errorf("closed with %d", code)
	}
	e.skew.Add(int64(time.Minute))
	history("b", second, "c", third)
	if r := e.link(token).want(200, ""); r.str("queue") != "c" || r.str("id") != third || r.json["position"] != 1.0 {
		t.Errorf("%s", r.body)
	}
	p := e.dial()
	p.send(map[string]any{"type": "auth", "token": token})
	p.want("ready")
	if f := p.want("ticket"); f.sub("ticket").str("queue") != "c" && f.sub("data").str("queue") != "c" {
		t.Errorf("%v", f)
	}
	e.ok(call{as: "-", method: "DELETE", path: "/public/tickets/" + token})
	if r := e.link(token).want(200, ""); r.str("state") != "removed" {
		t.Errorf("%s", r.body)
	}
}
