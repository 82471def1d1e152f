package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// Who may do what, as the contract says it and not as the code does: every call
// of REST and gRPC and every frame of WebSocket, for every level, in a queue of the
// user's own and in one that is not. A route, a command or a method without a row
// fails.

const (
	everyone  = "admin supervisor attendant integration viewer"
	enqueuers = "admin supervisor attendant integration"
	operators = "admin supervisor attendant"
	leaders   = "admin supervisor"
	admins    = "admin"
)

// How a queue that the user may not see is refused.
type foreign int

const (
	hidden    foreign = iota // 404 queue_not_found, before the level is looked at
	after                    // 404 queue_not_found, to those whose level allows the call
	named                    // 422 invalid, as a field that names no queue, to those whose level allows the call
	letter                   // 404 not_found, to those whose level allows the call
	elsewhere                // 404 ticket_not_found, to those whose level allows the call
	missing                  // it is answered, without what is the queue's
	none                     // the call is about no queue
	open                     // the call needs no login
)

// access is one row. In path and body QUEUE is the queue, TICKET one of its
// tickets, LETTER one of its dead letters, NEW an id that nothing has. The user
// of a path is one that was made for the cell.
type access struct {
	call    string // method and route
	command string // the same over WebSocket; without call: not over REST
	rpc     string // the same over gRPC: a method, and its request without queue and ticket
	who     string
	foreign foreign
	ticket  string // what it is about: waiting, called, finished, or own, which the user enqueued
	path    string // other than the route's
	body    string
	answer  int // of an open call, where it is not 200
}

const ofTicket = "/api/v1/queues/:queue/tickets/:ticket"

var accesses = []access{
	{call: "GET /livez", foreign: open}, {call: "GET /readyz", foreign: open},
	{call: "GET /api/v1/openapi.yaml", foreign: open}, {call: "GET /api/v1/asyncapi.yaml", foreign: open},
	{call: "GET /api/v1/auth", foreign: open},
	{call: "GET /api/v1/auth/oidc", foreign: open, answer: 404}, // without a provider
	{call: "GET /api/v1/auth/oidc/callback", foreign: open, answer: 404},
	{call: "POST /api/v1/auth/login", foreign: open, body: `{"email":"x","password":"y"}`, answer: 401},
	{call: "POST /api/v1/auth/refresh", foreign: open, body: `{"refresh_token":"x"}`, answer: 401},
	{call: "GET /api/v1/auth", foreign: open},
	{call: "GET /api/v1/auth/oidc", foreign: open, answer: 404}, {call: "GET /api/v1/auth/oidc/callback", foreign: open, answer: 404}, // without a provider
	{call: "GET /api/v1/ws", foreign: open, answer: 426}, // it logs in by itself
	{call: "GET /api/v1/public/queues/:queue", foreign: open},
	{call: "POST /api/v1/public/queues/:queue/tickets", foreign: open, answer: 201},
	{call: "GET /api/v1/public/tickets/:token", foreign: open}, {call: "DELETE /api/v1/public/tickets/:token", foreign: open},

	{call: "POST /api/v1/auth/logout", who: everyone, foreign: none}, {call: "GET /api/v1/me", who: everyone, foreign: none},
	{call: "GET /api/v1/audit", who: admins, foreign: none},
	{call: "GET /api/v1/cluster", who: admins, foreign: none}, {call: "GET /api/v1/keys", who: admins, foreign: none},
	{call: "GET /api/v1/users", who: admins, foreign: none}, {call: "GET /api/v1/users/:user", who: admins, foreign: none},
	{call: "POST /api/v1/users", who: admins, foreign: none, body: `{"email":"new-NEW@example.org","level":"viewer","password":"7 otters on a raft"}`},
	{call: "PATCH /api/v1/users/:user", who: admins, foreign: none, body: `{"name":"x"}`},
	{call: "DELETE /api/v1/users/:user", who: admins, foreign: none},
	{call: "GET /api/v1/users/:user/keys", who: admins, foreign: none}, {call: "POST /api/v1/users/:user/keys", who: admins, foreign: none, body: `{"name":"x"}`},
	{call: "DELETE /api/v1/users/:user/keys/:key", who: admins, foreign: none},

	{call: "GET /api/v1/webhooks", who: admins, foreign: none}, {call: "POST /api/v1/webhooks", who: admins, foreign: none, body: `{"url":"https://example.org/NEW"}`},
	{call: "GET /api/v1/webhooks/:webhook", who: admins, foreign: none}, {call: "PATCH /api/v1/webhooks/:webhook", who: admins, foreign: none, body: `{"enabled":true}`},
	{call: "DELETE /api/v1/webhooks/:webhook", who: admins, foreign: none}, {call: "POST /api/v1/webhooks/:webhook/test", who: admins, foreign: none},
	{call: "POST /api/v1/webhooks/:webhook/secrets", who: admins, foreign: none}, {call: "DELETE /api/v1/webhooks/:webhook/secrets", who: admins, foreign: none},
	{call: "GET /api/v1/webhooks/:webhook/dead", who: admins, foreign: none}, {call: "POST /api/v1/webhooks/:webhook/dead/replay", who: admins, foreign: none},
	{call: "POST /api/v1/webhooks/:webhook/dead/:delivery/replay", who: admins, foreign: none},

	{call: "GET /api/v1/queues", rpc: "ListQueues", who: everyone, foreign: none},
	{call: "POST /api/v1/queues", rpc: `CreateQueue {"id":"NEW"}`, who: admins, foreign: none, body: `{"id":"NEW"}`},
	{call: "GET /api/v1/queues/:queue", rpc: "GetQueue", who: everyone},
	{call: "PATCH /api/v1/queues/:queue", rpc: `ConfigureQueue {"name":"x"}`, who: leaders, body: `{"name":"x"}`},
	{call: "PATCH /api/v1/queues/:queue", command: "open", rpc: `ConfigureQueue {"status":"STATUS_OPEN"}`, who: leaders, body: `{"status":"open"}`},
	{rpc: "Watch", who: everyone},
	{command: "pause", who: leaders}, {command: "close", who: leaders}, {command: "open", who: leaders},
	{call: "DELETE /api/v1/queues/:queue", rpc: "DeleteQueue", who: admins},
	{call: "GET /api/v1/queues/:queue/statistics", who: leaders}, {call: "GET /api/v1/overview", who: leaders, foreign: none},

	{call: "GET /api/v1/queues/:queue/tickets", rpc: "ListTickets", who: everyone}, {call: "GET " + ofTicket, rpc: "GetTicket", who: everyone, ticket: "waiting"},
	{call: "GET " + ofTicket + "/trail", who: enqueuers, ticket: "waiting"}, {call: "GET /api/v1/queues/:queue/attendants", who: operators},
	{call: "POST /api/v1/queues/:queue/tickets", rpc: "Enqueue", command: "enqueue", who: enqueuers},
	{call: "PATCH " + ofTicket, command: "update", rpc: `Update {"service":"x"}`, who: operators, ticket: "waiting", body: `{"service":"x"}`},
	{call: "PATCH " + ofTicket, command: "update", rpc: `Update {"service":"x"}`, who: enqueuers, ticket: "own", body: `{"service":"x"}`},
	{call: "DELETE " + ofTicket, command: "remove", rpc: "Remove", who: operators, ticket: "waiting"},
	{call: "DELETE " + ofTicket, command: "remove", rpc: "Remove", who: enqueuers, ticket: "own"},
	{call: "POST /api/v1/queues/:queue/call-next", rpc: "CallNext", command: "call_next", who: operators, ticket: "waiting"},
	{call: "POST " + ofTicket + "/move", rpc: `Move {"position":1}`, command: "move", who: operators, ticket: "own", body: `{"position":1}`},
	{call: "POST " + ofTicket + "/call", rpc: "Call", command: "call", who: operators, ticket: "own"},
	{call: "POST " + ofTicket + "/recall", rpc: "Recall", command: "recall", who: operators, ticket: "called"},
	{call: "POST " + ofTicket + "/start", rpc: "Start", command: "start", who: operators, ticket: "called"},
	{call: "POST " + ofTicket + "/complete", rpc: "Complete", command: "complete", who: operators, ticket: "called"},
	{call: "POST " + ofTicket + "/hold", rpc: "Hold", command: "hold", who: operators, ticket: "own"},
	{call: "POST " + ofTicket + "/no-show", rpc: "NoShow", command: "no_show", who: operators, ticket: "called"},
	{call: "POST " + ofTicket + "/requeue", rpc: "Requeue", command: "requeue", who: operators, ticket: "called"},
	{call: "POST " + ofTicket + "/transfer", command: "transfer", who: operators, rpc: `Transfer {"to_queue":"b"}`, ticket: "own", body: `{"queue":"b"}`},
	{call: "POST " + ofTicket + "/transfer", command: "transfer", who: operators, rpc: `Transfer {"to_queue":"QUEUE"}`, foreign: after, ticket: "waiting", path: "/queues/b/tickets/TICKET/transfer", body: `{"queue":"QUEUE"}`},

	{call: "GET /api/v1/history", who: leaders, foreign: none}, {call: "GET /api/v1/history", who: leaders, path: "/history?queue=QUEUE"},

	{call: "GET /api/v1/history/:ticket", who: leaders, foreign: elsewhere, ticket: "finished"},
	{call: "POST /api/v1/erasures", who: admins, foreign: none, body: `{"ref":"NEW"}`},
	{call: "GET /api/v1/erasures/:erasure", who: admins, foreign: none},
	{call: "POST /api/v1/exports", who: admins, foreign: none, body: `{"ref":"NEW"}`},

	{call: "GET /api/v1/queues/:queue/rules", who: leaders},
	{call: "PUT /api/v1/queues/:queue/rules", who: leaders, body: `{"items":[]}`},
	{call: "PUT /api/v1/queues/:queue/rules", who: leaders, foreign: named, path: "/queues/a/rules",
		body: `{"items":[{"name":"r","when":"true","action":"take","queue":"QUEUE"}]}`},
	{call: "POST /api/v1/queues/:queue/rules/test", who: leaders, body: `{"messages":[{"body":{}}]}`},
	{call: "GET /api/v1/dead-letters", who: leaders, foreign: none},
	{call: "GET /api/v1/dead-letters", who: leaders, foreign: after, path: "/dead-letters?queue=QUEUE"},
	{call: "POST /api/v1/dead-letters/resend", who: leaders, foreign: missing, body: `{"ids":["LETTER"]}`},
	{call: "POST /api/v1/dead-letters/:letter/resend", who: leaders, foreign: letter},
	{call: "DELETE /api/v1/dead-letters/:letter", who: leaders, foreign: letter},
}

// want is the status and code of a cell; 200 stands for all that succeeds.
func (a *access) want(level Level, foreign bool) (int, string) {
	allowed := slices.Contains(strings.Fields(a.who), string(level))
	switch away := foreign && level != Admin; {
	case level == nobody:
		return 401, "unauthenticated"
	case away && a.foreign == hidden:
		return 404, "queue_not_found"
	case !allowed:
		return 403, "forbidden"
	case away && a.foreign == after:
		return 404, "queue_not_found"
	case away && a.foreign == named:
		return 422, "invalid"
	case away && a.foreign == letter:
		return 404, "not_found"
	case away && a.foreign == elsewhere:
		return 404, "ticket_not_found"
	}
	return 200, ""
}

// matrix is what the cells are asked of.
type matrix struct {
	*liveEnv
	broker *withRabbit
	n      int
	last   string // webhook
}

// cell is one row for one level and one queue: a and b are everybody's, c is the admin's alone.
type cell struct {
	*access
	level Level
	queue string
}

// line is the queue that its ticket is in.
func (c cell) line() string {
	if strings.HasPrefix(c.path, "/queues/b/") {
		return "b"
	}
	return c.queue
}

// ticketOf makes the ticket that the cell is about, and gives its id.
func (m *matrix) ticketOf(c cell) string {
	m.t.Helper()
	switch c.ticket {
	case "":
		return ""
	case "finished":
		done := past(m.n)
		m.finish(c.queue, done)
		return idText(done.ID[:])
	}
	owner, path := "admin", "/queues/"+c.line()+"/tickets"
	if c.ticket == "own" && c.line() != "c" && c.level != Viewer && c.level != nobody {
		owner = string(c.level)
	}
	id := m.ok(call{as: owner, method: "POST", path: path}).str("id")
	if c.ticket == "called" {
		m.ok(call{method: "POST", path: path + "/" + id + "/call"})
	}
	return id
}

// fill puts what the cell is about in place of its names.
func (m *matrix) fill(c cell) *strings.Replacer {
	m.t.Helper()
	m.n++
	fresh, at, ticket, other := fmt.Sprintf("n%d", m.n), c.queue, m.ticketOf(c), ""
	user, hook, delivery := "", "", ""
	if strings.Contains(c.call, ":webhook") {
		_ = m.dir.DeleteWebhook(context.Background(), m.last) // there may be so many only
		hook = m.hook("http://127.0.0.1:1/")
		m.last = hook
	}
	switch {
	case strings.Contains(c.call, ":delivery"):
		delivery = m.bury(hook, 1)[0]
	case c.call == "DELETE /api/v1/webhooks/:webhook/secrets":
		m.ok(call{method: "POST", path: "/webhooks/" + hook + "/secrets"})
	}
	if strings.Contains(c.call, ":user") {
		user = m.addUser("of-"+fresh+"@example.org", Viewer, "a").ID
	}
	switch {
	case strings.Contains(c.call, "dead-letters/"):
		m.broker.bury(fresh, c.queue, "invalid", "{}")
		ids := m.get("/dead-letters?limit=1000").letterIDs()
		other = ids[len(ids)-1]
	case strings.HasSuffix(c.call, ":erasure"):
		other = m.ok(call{method: "POST", path: "/erasures", body: `{"ref":"x"}`}).str("id")
	case strings.HasSuffix(c.call, ":key"):
		other = m.ok(call{method: "POST", path: "/users/" + user + "/keys", body: `{}`}).str("id")
	case c.call == "DELETE /api/v1/queues/:queue" && c.level == Admin:
		m.queue(fresh)
		at = fresh
	}
	return strings.NewReplacer(":queue", at, "QUEUE", at, ":ticket", ticket, "TICKET", ticket, "NEW", fresh,
		":letter", other, "LETTER", other, ":erasure", other, ":user", user, ":key", other, ":webhook", hook, ":delivery", delivery)
}

func (m *matrix) ask(c cell) *reply {
	m.t.Helper()
	names := m.fill(c)
	method, path, _ := strings.Cut(c.call, " ")
	if c.path != "" {
		path = c.path
	}
	as := string(c.level)
	switch {
	case c.level == nobody:
		as = "-"
	case strings.HasSuffix(path, "/logout"): // with a login of its own
		as = fmt.Sprintf("n%d@example.org", m.n)
		m.addUser(as, c.level, "a", "b")
	}
	return m.do(call{as: as, method: method, path: names.Replace(path), body: names.Replace(c.body)})
}

func startMatrix(t *testing.T) *matrix {
	broker := newRabbit(t)
	m := &matrix{liveEnv: startLive(t, broker.options, func(o *Options) { o.CheckInRate = 1000 }), broker: broker}
	for _, id := range []string{"a", "b", "c", "p"} {
		m.queue(id, `,"max_active":1000,"public":true`)
	}
	return m
}

func TestAccessOverREST(t *testing.T) {
	t.Parallel()
	m := startMatrix(t)
	rows := map[string]bool{}
	for i := range accesses {
		a := &accesses[i]
		if a.call == "" {
			continue
		}
		rows[a.call] = true
		for _, level := range append([]Level{nobody}, levels...) {
			if a.foreign == open {
				m.askOpen(a, level)
				continue
			}
			for _, queue := range []string{"a", "c"} {
				if queue == "c" && a.foreign == none {
					continue
				}
				r := m.ask(cell{a, level, queue})
				status, code := a.want(level, queue == "c")
				if status == 200 && (r.status < 200 || r.status > 299) || status != 200 && r.status != status || r.code() != code {
					t.Errorf("%s %s in %s as %q: %d %s, want %d %s", a.call, a.path, queue, level, r.status, r.body, status, code)
				}
				if a.foreign == missing && r.status == 200 {
					if gone := strings.Contains(string(r.body), `"resent":[]`); gone != (queue == "c" && level != Admin) {
						t.Errorf("%s in %s as %q: %s", a.call, queue, level, r.body)
					}
				}
			}
		}
	}
	for _, route := range m.gateway.App().GetRoutes(true) {
		name := route.Method + " " + route.Path
		api := strings.HasPrefix(route.Path, "/api/") || strings.HasSuffix(route.Path, "z")
		if route.Method == http.MethodHead || !api { // the rest are pages
			continue
		}
		if !rows[name] {
			t.Errorf("%s has no row", name)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("%s has a row and no route", name)
	}
}

// askOpen asks what needs no login, which changes nothing.
func (m *matrix) askOpen(a *access, level Level) {
	m.t.Helper()
	token := ""
	if strings.Contains(a.call, ":token") {
		token = m.checkIn("p")
	}
	method, path, _ := strings.Cut(a.call, " ")
	as := string(level)
	if level == nobody {
		as = "-"
	}
	r := m.do(call{as: as, method: method, path: strings.NewReplacer(":queue", "p", ":token", token).Replace(path), body: a.body})
	if want := max(a.answer, 200); r.status != want && (a.answer != 0 || r.status != 200) {
		m.t.Errorf("%s as %q: %d %s, want %d", a.call, level, r.status, r.body, want)
	}
}

func TestAccessOverWebSocket(t *testing.T) {
	t.Parallel()
	m := startMatrix(t)
	rows := map[string]bool{}
	for _, level := range levels {
		p := m.join(level)
		for i := range accesses {
			a := &accesses[i]
			if a.command == "" {
				continue
			}
			rows[a.command] = true
			for _, queue := range []string{"a", "c"} {
				f := p.ask(m.frame(cell{a, level, queue}))
				status, code := a.want(level, queue == "c")
				if f["ok"] != (status == 200) || f.code() != code {
					t.Errorf("%s %s in %s as %s: %v, want %s", a.command, a.path, queue, level, f, code)
				}
			}
		}
		for _, queue := range []string{"a", "c"} { // every level follows its queues
			f := p.subscribe(queue)
			if sees := queue == "a" || level == Admin; sees != (f.str("type") == "snapshot") || !sees && f.code() != "queue_not_found" {
				t.Errorf("subscribe to %s as %s: %v", queue, level, f)
			}
			f = p.ask(frame{"type": "unsubscribe", "id": "u", "queue": queue})
			if sees := queue == "a" || level == Admin; f["ok"] != sees || !sees && f.code() != "queue_not_found" {
				t.Errorf("unsubscribe from %s as %s: %v", queue, level, f)
			}
		}
	}
	for name, spec := range commandSpecs {
		if there := !spec.noFrame && !spec.public; there != rows[name] {
			t.Errorf("%s is a command over WebSocket: %v, and has a row: %v", name, there, rows[name])
		}
		m.nobodys(name)
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("%s has a row and is no command", name)
	}
}

// frame is the cell as a command over WebSocket.
func (m *matrix) frame(c cell) string {
	names := m.fill(c)
	args := strings.TrimPrefix(c.body, "{")
	if args = strings.TrimSuffix(args, "}"); c.command == "open" {
		args = ""
	}
	if commandSpecs[c.command].ofTicket {
		args = strings.TrimPrefix(args+`,"ticket":"TICKET"`, ",")
	}
	return names.Replace(fmt.Sprintf(`{"type":"command","id":"1","queue":%q,"command":%q,"args":{%s}}`, c.line(), c.command, args))
}

// nobodys gives a command as somebody without a login, and as a ticket's holder.
func (m *matrix) nobodys(name string) {
	m.t.Helper()
	text := frame{"type": "command", "id": "1", "queue": "p", "command": name, "args": frame{"ticket": uuid.NewString()}}
	p := m.dial()
	p.send(text)
	if code := p.closed(); code != 4401 {
		m.t.Errorf("%s without a login: closed with %d", name, code)
	}
	holder, _ := m.hold(m.checkIn("p"))
	if f := holder.ask(text); f.code() != "forbidden" {
		m.t.Errorf("%s as a ticket's holder: %v", name, f)
	}
}
