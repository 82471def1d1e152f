package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/persistence/directory"
)

// peopleOf is what main's adapter is, and carries erasures out at once.
type peopleOf struct{ e *env }

func (p peopleOf) AddErasure(ctx context.Context, e Erasure) error {
	if err := p.e.dir.AddErasure(ctx, directory.Erasure(e)); err != nil {
		return err
	}
	rows, err := p.e.dir.EmptyHistory(ctx, e.Tags)
	if e.Visit != nil {
		rows, err = p.e.dir.EmptyVisit(ctx, e.Visit)
	}
	if err != nil {
		return err
	}
	tickets, err := actors.NewEraser(p.e.queues, p.e.journal).Erase(ctx, actors.Person{Tags: e.Tags, Visit: e.Visit}, e.MadeBy)
	if err != nil {
		return err
	}
	return errors.Join(p.e.dir.AdvanceErasure(ctx, e.ID, rows, int64(tickets), true), p.e.dir.EndErasure(ctx, e.ID))
}

func (p peopleOf) Erasure(ctx context.Context, id string) (Erasure, error) {
	e, err := p.e.dir.Erasure(ctx, id)
	return Erasure(e), adapted(err)
}

func (p peopleOf) HistoryOfPerson(ctx context.Context, tags [][]byte, limit int) (rows []HistoryRow, err error) {
	found, err := p.e.dir.HistoryOfPerson(ctx, tags, limit)
	for _, row := range found {
		rows = append(rows, HistoryRow{string(row.Queue), actors.TicketToMessage(row.Ticket)})
	}
	return rows, err
}

func (p peopleOf) HistoryOf(ctx context.Context, ticket [16]byte) (HistoryRow, error) {
	row, err := p.e.dir.HistoryOf(ctx, ticket)
	if err != nil {
		return HistoryRow{}, adapted(err)
	}
	return HistoryRow{string(row.Queue), actors.TicketToMessage(row.Ticket)}, nil
}

// kept is what an export says, in short.
func (e *env) kept(body string) string {
	e.t.Helper()
	var said []string
	for _, item := range e.ok(call{method: "POST", path: "/exports", body: body}).json["items"].([]any) {
		ticket, trail := item.(map[string]any)["ticket"].(map[string]any), item.(map[string]any)["trail"].([]any)
		customer, _ := ticket["customer"].(map[string]any)
		said = append(said, fmt.Sprintf("%s %s of %v after %d", ticket["queue"], ticket["state"], customer["name"], len(trail)))
	}
	return strings.Join(said, ", ")
}

// A ticket whose person is told of in its payload alone is erased by its visit.
func TestErasureOfAVisit(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	id, other := e.ticket("a", `{"payload":{"name":"Ada Marsh"}}`), e.ticket("a", `{"payload":{"name":"Bob"}}`)
	visit := e.get("/queues/a/tickets/" + id).str("visit")
	done := past(1)
	done.Visit = queue.TicketID(ticketID(visit))
	done.Payload = e.gateway.sealer.Seal("gone", sealedPayload, done.Visit, []byte(`{"name":"Ada"}`))
	e.finish("gone", done, past(2))
	for _, body := range []string{`{"visit":"x"}`, `{"visit":"` + visit + `","ref":"1"}`, `{"visit":null}`, `{"ticket":"` + id + `"}`} {
		e.do(call{method: "POST", path: "/erasures", body: body}).want(422, "invalid")
	}
	e.do(call{method: "POST", path: "/exports", body: `{"visit":"` + visit + `"}`}).want(422, "invalid")
	made := e.do(call{method: "POST", path: "/erasures", body: `{"visit":"` + visit + `"}`}).want(201, "")
	if made.str("status") != "done" || made.json["tickets"] != 1.0 || made.json["history"] != 1.0 {
		t.Errorf("%s", made.body)
	}
	if e.get("/queues/a/tickets/" + id).json["payload"] != nil || e.get("/queues/a/tickets/" + other).json["payload"] == nil {
		t.Error("the wrong one is erased")
	}
	if row := e.get("/history/" + idText(done.ID[:])).json["ticket"].(map[string]any); row["payload"] != nil {
		t.Errorf("the history has %v", row)
	}
	if entry := e.audited("action=person.erased")[0]; entry["details"].(map[string]any)["visit"] != visit {
		t.Errorf("%v", entry)
	}
}

func TestExportAndErasureOfAPerson(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"max_active":9`)
	e.queue("b")
	const ada = `{"customer":{"name":"Ada","phone":"+49 30 1234","email":"Ada@Example.org","ref":"C-7"},"payload":{"wish":"quiet"}}`
	waiting := e.ticket("a", ada)
	called := e.ticket("a", `{"customer":{"name":"Ada L.","phone":"0049 30 12 34"}}`)
	e.ok(call{method: "POST", path: "/queues/a/tickets/" + called + "/call", body: `{}`})
	e.ticket("b", `{"customer":{"name":"Bob","email":"bob@example.org","ref":"c-7"}}`)
	done := past(1)
	done.Index = e.gateway.indexOf([]byte(`{"email":"ada@example.org"}`))
	done.Customer = e.gateway.sealer.Seal("gone", sealedCustomer, done.Visit, []byte(`{"name":"A. Marsh","phone":null,"email":"ada@example.org","ref":null}`))
	done.Trail = []queue.Step{{Version: 3, At: done.FinishedAt, Kind: queue.TicketCompleted, By: "ann"}}
	e.finish("gone", done)

	for _, c := range []struct{ body, want string }{
		{`{"email":" ADA@example.org"}`, "gone completed of A. Marsh after 1, a waiting of Ada after 1"},
		{`{"phone":"+49 (0)30 1234"}`, "a waiting of Ada after 1, a called of Ada L. after 2"},
		{`{"ref":"C-7","phone":null}`, "a waiting of Ada after 1"},
		{`{"ref":"c-7"}`, "b waiting of Bob after 1"},
		{`{"ref":"nobody"}`, ""},
	} {
		if got := e.kept(c.body); got != c.want {
			t.Errorf("of %s is kept %q, want %q", c.body, got, c.want)
		}
	}
	trailed := e.ok(call{as: "supervisor", method: "GET", path: "/queues/a/tickets/" + called})
	if trailed.str("state") != "called" {
		t.Fatal(trailed)
	}

	made := e.do(call{method: "POST", path: "/erasures", body: `{"phone":"0049301234"}`}).want(201, "")
	if made.str("status") != "done" || made.json["tickets"] != 2.0 || made.json["history"] != 0.0 || made.str("made_by") != e.id(Admin) {
		t.Errorf("the erasure is %s", made.body)
	}
	again := e.ok(call{method: "GET", path: made.header.Get("Location")})
	if string(again.body) != string(made.body) {
		t.Errorf("asked for it is %s, want %s", again.body, made.body)
	}
	for _, id := range []string{waiting, called} {
		ticket := e.get("/queues/a/tickets/" + id)
		if ticket.json["customer"] != nil || ticket.json["payload"] != nil {
			t.Errorf("the ticket is left with %s", ticket.body)
		}
	}
	if first := e.get("/queues/a/tickets?state=waiting").json["items"].([]any); len(first) != 1 {
		t.Errorf("%d wait", len(first))
	}
	if got := e.kept(`{"email":"ada@example.org"}`); got != "gone completed of A. Marsh after 1" {
		t.Errorf("by e-mail is kept %s", got)
	}
	if made = e.ok(call{method: "POST", path: "/erasures", body: `{"email":"ada@example.org"}`}); made.json["history"] != 1.0 {
		t.Errorf("the second erasure is %s", made.body)
	}
	if got := e.kept(`{"email":"ada@example.org"}`) + e.kept(`{"ref":"C-7"}`); got != "" {
		t.Errorf("in the end is kept %s", got)
	}
	if got := e.kept(`{"ref":"c-7"}`); got == "" {
		t.Error("somebody else is erased")
	}
	log := e.actions("action=person.erased")
	if want := 2; strings.Count(log, "person.erased") != want || !strings.Contains(log, made.str("id")) {
		t.Errorf("the audit log has %s", log)
	}
	entries, err := json.Marshal(e.audited(""))
	if err != nil || strings.Contains(string(entries), "1234") || strings.Contains(strings.ToLower(string(entries)), "ada@") {
		t.Errorf("the audit log tells who: %s, %v", entries, err)
	}
	if strings.Count(e.actions("action=person.exported"), "person.exported") != 9 {
		t.Errorf("exports in the audit log: %s", e.actions("action=person.exported"))
	}
}

func TestPersonIsAskedForByOneThing(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, path := range []string{"/erasures", "/exports"} {
		for body, fields := range map[string]string{
			``: "phone", `{}`: "phone", `{"phone":null}`: "phone", `{"phone":" "}`: "phone", `{"ref":""}`: "ref phone",
			`{"phone":"1","ref":"2"}`: "phone", `{"name":"Ada"}`: "name phone", `{"email":7}`: "email phone",
			`{"phone":"` + strings.Repeat("1", 41) + `"}`: "phone phone",
		} {
			if got := e.do(call{method: "POST", path: path, body: body}).want(422, "invalid").fields(); got != fields {
				t.Errorf("%s: complains of %s, want %s", body, got, fields)
			}
		}
		e.do(call{method: "POST", path: path, body: `[`}).want(422, "invalid")
		for _, level := range []Level{Supervisor, Attendant, Integration, Viewer} {
			e.do(call{as: string(level), method: "POST", path: path, body: `{"phone":"1"}`}).want(403, "forbidden")
		}
	}
	e.do(call{as: "supervisor", method: "GET", path: "/erasures/x"}).want(403, "forbidden")
	e.do(call{method: "GET", path: "/erasures/x"}).want(404, "not_found")
	if got := e.actions("action=person.erased"); got != "" {
		t.Errorf("the audit log has %s", got)
	}
}

func TestHistoryOfATicket(t *testing.T) {
	t.Parallel()
	e := start(t)
	done, elsewhere := past(1), past(2)
	done.Trail = []queue.Step{{Version: 2, At: done.EnqueuedAt, Kind: queue.TicketEnqueued}, {Version: 9, At: done.FinishedAt, Kind: queue.TicketCompleted, By: "ann"}}
	e.finish("a", done)
	e.finish("foreign", elsewhere)
	id, other := idText(done.ID[:]), idText(elsewhere.ID[:])
	got := e.ok(call{as: "supervisor", method: "GET", path: "/history/" + id})
	trail, _ := json.Marshal(got.json["trail"])
	if got.json["ticket"].(map[string]any)["number"] != "A001" || !strings.Contains(string(trail), `"by":"ann","event":"ticket.completed"`) ||
		!strings.Contains(string(trail), `"by":null,"event":"ticket.enqueued","version":2`) {
		t.Errorf("the ticket is %s", got.body)
	}
	e.ok(call{method: "GET", path: "/history/" + other})
	e.do(call{as: "supervisor", method: "GET", path: "/history/" + other}).want(404, "ticket_not_found")
	e.do(call{method: "GET", path: "/history/nonsense"}).want(404, "ticket_not_found")
	e.do(call{method: "GET", path: "/history/01900f6e-5b1c-7c3a-9f0e-2d4b6a8c0e12"}).want(404, "ticket_not_found")
	for _, level := range []Level{Attendant, Integration, Viewer} {
		e.do(call{as: string(level), method: "GET", path: "/history/" + id}).want(403, "forbidden")
	}
	if got := e.actions("action=history.read"); got != "history.read a, history.read foreign" {
		t.Errorf("the audit log has %s", got)
	}
	if entry := e.audited("action=history.read&target=a"); fmt.Sprint(entry[0]["details"]) != "map[ticket:"+id+"]" {
		t.Errorf("the entry is %v", entry)
	}
}
