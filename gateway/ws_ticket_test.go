package gateway

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// hold opens a session with a ticket's token.
func (e *liveEnv) hold(token string) (*peer, frame) {
	e.t.Helper()
	p := e.dial()
	p.send(frame{"type": "auth", "token": token})
	ready := p.want("ready")
	if user, there := ready["user"]; user != nil || !there || ready.str("session") == "" {
		e.t.Errorf("%v", ready)
	}
	return p, p.want("ticket").sub("data")
}

// until reads ticket frames until one is so, each of which must say something new.
func (p *peer) until(was frame, what string, is func(frame) bool) frame {
	p.t.Helper()
	for {
		f := p.want("ticket").sub("data")
		if fmt.Sprint(f) == fmt.Sprint(was) {
			p.t.Errorf("nothing new: %v", f)
		}
		if is(f) {
			return f
		}
		was = f
		p.t.Logf("%s: not yet: %v", what, f)
	}
}

func stands(state string, position int, desk string) func(frame) bool {
	return func(f frame) bool {
		return f.str("state") == state && f.num("position") == position && f.str("desk") == desk
	}
}

func TestTicketSession(t *testing.T) {
	e := startLive(t, func(o *Options) { o.CheckInRate = 1000 })
	e.queue("a", `,"public":true`)
	e.queue("b")
	ahead := e.ticket("a", person)
	token := e.checkIn("a", person)
	p, f := e.hold(token)
	if !stands("waiting", 2, "")(f) {
		t.Errorf("%v", f)
	}
	e.ok(call{method: "DELETE", path: "/queues/a/tickets/" + ahead})
	f = p.until(f, "the first", stands("waiting", 1, ""))
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"name":"Passports"}`}) // which is not the holder's to know
	e.ok(call{method: "POST", path: "/queues/a/call-next", body: `{"desk":"4"}`})
	f = p.until(f, "called", stands("called", 0, "4"))
	e.ok(call{method: "POST", path: "/queues/a/tickets/" + f.str("id") + "/recall"})
	f = p.until(f, "called again", func(f frame) bool { return f.num("calls") == 2 })
	e.ok(call{method: "POST", path: "/queues/a/tickets/" + f.str("id") + "/transfer", body: `{"queue":"b"}`})
	f = p.until(f, "in the other queue", func(f frame) bool { return f.str("queue") == "b" && stands("waiting", 1, "")(f) })
	e.ok(call{method: "POST", path: "/queues/b/tickets", body: `{"priority":9}`}) // somebody more urgent
	f = p.until(f, "the second", stands("waiting", 2, ""))
	e.ok(call{as: "-", method: "DELETE", path: "/public/tickets/" + token})
	f = p.until(f, "gone", stands("removed", 0, ""))
	e.ok(call{method: "POST", path: "/queues/b/tickets/" + f.str("id") + "/requeue"})
	p.until(f, "back", stands("waiting", 1, ""))
	for _, id := range []string{f.str("id"), e.ok(call{method: "GET", path: "/queues/b/tickets"}).json["items"].([]any)[1].(map[string]any)["id"].(string)} {
		e.ok(call{method: "DELETE", path: "/queues/b/tickets/" + id})
	}
	e.ok(call{method: "DELETE", path: "/queues/b"})
	if code := p.closed(); code != 4401 { // after frames that may still come
		t.Errorf("closed with %d", code)
	}
}

// What a holder may do in a session, which is next to nothing.
func TestTicketSessionIsForTheTicketAlone(t *testing.T) {
	e := startLive(t)
	e.queue("a", `,"public":true`)
	token, other := e.checkIn("a"), e.checkIn("a", `{}`)
	p, f := e.hold(token)
	for _, text := range []string{
		`{"type":"subscribe","id":"1","queue":"a"}`, `{"type":"unsubscribe","id":"1","queue":"a"}`,
		`{"type":"command","id":"1","queue":"a","command":"remove","args":{"ticket":"` + f.str("id") + `"}}`,
		`{"type":"command","id":"1","queue":"a","command":"leave","args":{"ticket":"` + f.str("id") + `"}}`,
		`{"type":"command","id":"1","queue":"a","command":"check_in"}`,
	} {
		if r := p.ask(text); r.code() != "forbidden" || r.str("id") != "1" {
			t.Errorf("%s: %v", text, r)
		}
	}
	if r := p.ask(`{"type":"nonsense","id":"1"}`); r.code() != "invalid" {
		t.Errorf("%v", r)
	}
	p.send(`{"type":"ping"}`)
	p.want("pong")
	p.send(frame{"type": "auth", "token": token})
	p.want("ready")
	for name, wrong := range map[string]string{"another ticket's": other, "a user's": e.token(Admin), "nobody's": token + "A"} {
		p, _ := e.hold(token)
		p.send(frame{"type": "auth", "token": wrong})
		if code := p.closed(); code != 4401 {
			t.Errorf("%s: closed with %d", name, code)
		}
	}
	user := e.join(Admin)
	user.send(frame{"type": "auth", "token": token})
	if code := user.closed(); code != 4401 {
		t.Errorf("a user with a ticket: closed with %d", code)
	}
	e.queue("c", `,"public":true`)
	gone := e.checkIn("c")
	e.ok(call{as: "-", method: "DELETE", path: "/public/tickets/" + gone})
	e.ok(call{method: "DELETE", path: "/queues/c"})
	for _, token := range []string{"tk_", token[:len(token)-1], gone} {
		p := e.dial()
		p.send(frame{"type": "auth", "token": token})
		if code := p.closed(); code != 4401 {
			t.Errorf("%s: closed with %d", token, code)
		}
	}
	if _, status := e.connect(http.Header{"Authorization": {"Bearer " + token}}); status != http.StatusUnauthorized {
		t.Errorf("in the header: %d", status)
	}
	if err := p.conn.WriteMessage(2, nil); err != nil {
		t.Fatal(err)
	}
	if code := p.closed(); code != 1003 {
		t.Errorf("a binary frame: closed with %d", code)
	}
	if log := e.log.String(); strings.Contains(log, token) {
		t.Errorf("the token is logged: %s", log)
	}
}

// One call after the other moves everybody; who waits is not told of each.
func TestTicketSessionCoalesces(t *testing.T) {
	e := startLive(t, func(o *Options) { o.CheckInRate = 1000 })
	e.queue("a", `,"public":true,"max_active":1000`)
	const ahead = 200
	for range ahead {
		e.enqueue("a")
	}
	p, f := e.hold(e.checkIn("a"))
	if f.num("position") != ahead+1 {
		t.Fatal(f)
	}
	began := time.Now()
	for range ahead {
		e.ok(call{method: "POST", path: "/queues/a/call-next"})
	}
	frames := 0
	for at := f.num("position"); at != 1; frames++ {
		now := p.want("ticket").sub("data").num("position")
		if now >= at {
			t.Errorf("from %d to %d", at, now)
		}
		at = now
	}
	if most := int(time.Since(began)/time.Second) + 2; frames > most {
		t.Errorf("%d frames in %v", frames, time.Since(began))
	}
}

func TestTicketSessionsAreBounded(t *testing.T) {
	e := startLive(t)
	e.queue("a", `,"public":true`)
	token := e.checkIn("a")
	const most = 16
	holder := func() *peer { // who is shown the ticket, and then watches it
		p, _ := e.hold(token)
		p.send(`{"type":"ping"}`)
		p.want("pong")
		return p
	}
	first := holder()
	for range most - 1 {
		holder()
	}
	p := e.dial()
	p.send(frame{"type": "auth", "token": token})
	if code := p.closed(); code != 1013 {
		t.Errorf("closed with %d", code)
	}
	e.hold(e.checkIn("a")) // another ticket's holder
	_ = first.conn.Close()
	for deadline := time.Now().Add(patience); !e.watches(token); { // once the first has left
		if time.Now().After(deadline) {
			t.Fatal("there is no room again")
		}
	}
}

// watches tells whether there is room for one more holder.
func (e *liveEnv) watches(token string) bool {
	p := e.dial()
	p.send(frame{"type": "auth", "token": token})
	p.want("ready")
	p.want("ticket")
	p.send(`{"type":"ping"}`)
	_, err := p.read()
	return err == nil
}

// A viewer's screen shows nobody, whichever way it looks.
func TestViewersSeeNobodyLive(t *testing.T) {
	e := startLive(t)
	e.queue("a", `,"max_active":9`)
	for range 1002 { // so that there are snapshot parts
		e.enqueue("a")
	}
	board, err := e.dir.UserByEmail(t.Context(), "viewer@example.org")
	if err != nil {
		t.Fatal(err)
	}
	display := e.dial() // by an API key, as a screen on the wall
	display.send(frame{"type": "auth", "token": e.ok(call{method: "POST", path: "/users/" + board.ID + "/keys", body: `{}`}).str("key")})
	display.want("ready")
	snapshot := display.subscribe("a")
	watching := e.join(Viewer)
	since, epoch := snapshot.num("version")-50, snapshot.str("epoch")
	looks := []frame{snapshot, display.want("snapshot_part"), watching.subscribe("a"), watching.want("snapshot_part")}
	resumed := e.join(Viewer)
	if f := resumed.subscribe("a", "since", since, "epoch", epoch); f.str("type") != "resumed" {
		t.Fatal(f)
	}
	for range 50 {
		looks = append(looks, resumed.want("event"))
	}
	id := e.ok(call{method: "POST", path: "/queues/a/call-next", body: `{"desk":"4"}`}).str("id")
	e.ok(call{method: "PATCH", path: "/queues/a/tickets/" + id, body: person})
	for range 2 {
		looks = append(looks, watching.want("event"), resumed.want("event"))
	}
	looks = append(looks, e.join(Viewer).subscribe("a"))
	for _, path := range []string{"/queues/a/tickets?limit=1000", "/queues/a/tickets?state=called", "/queues/a/tickets/" + id} {
		looks = append(looks, frame(e.ok(call{as: "viewer", method: "GET", path: path}).json))
	}
	for _, f := range looks {
		text := fmt.Sprint(f)
		if !strings.Contains(text, "customer:<nil>") || strings.Contains(text, "customer:map") || strings.Contains(text, "Ada") || strings.Contains(text, "documents") || strings.Contains(text, "secret") {
			t.Errorf("%.300s", text)
		}
	}
	for _, path := range []string{"/history", "/history?queue=a", "/queues/a/rules", "/queues/a/statistics", "/dead-letters"} {
		if r := e.do(call{as: "viewer", method: "GET", path: path}); r.status < 400 || bytes.Contains(r.body, []byte("Ada")) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}
