package gateway

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

// What is opened as an object has the members that the standard library finds,
// and nothing else is opened.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		``, ` `, `{}`, `{"a":1}`, `{"a":{"b":[1,"}",{"c":null}]},"é":"\ud83d\ude00"}`, `{"a":1,"a":2}`, `{"a":1}x`, `[1]`, `{"\u0061":1}`,
		`{"a" : -1.5e3 , "b":[ ] }`, "{\"\xff\":1}", `{"a":"\ud800"}`, `{"":""}`, `{"a":"\\\""}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		wrong := &faults{}
		o := wrong.parse(slices.Clone(text))
		var want map[string]json.RawMessage
		if err := json.Unmarshal(text, &want); err != nil || wrong.refusal != nil {
			if err != nil && wrong.refusal == nil && len(bytes.TrimLeft(text, " \t\r\n")) > 0 {
				t.Fatalf("opened %q: %v", text, err)
			}
			if len(o.members) > 0 {
				t.Fatalf("%q has members", text)
			}
			return
		}
		if len(wrong.fields) > 0 { // a name that is given twice
			return
		}
		for name, raw := range want {
			m := o.find(name)
			if m == nil || !bytes.Equal(bytes.TrimSpace(raw), m.raw) {
				t.Fatalf("%q: member %q is %v, not %s", text, name, m, raw)
			}
		}
		if len(o.members) != len(want) {
			t.Fatalf("%q has %d members, not %d", text, len(o.members), len(want))
		}
	})
}

// Whatever the arguments of a command are, they make a message that a queue
// understands, or a refusal.
func FuzzCommand(f *testing.F) {
	e := start(f)
	ctx := f.Context()
	names := make([]string, 0, len(commandSpecs))
	for name := range commandSpecs {
		names = append(names, name)
	}
	slices.Sort(names)
	for i := range names {
		for _, args := range []string{
			`{}`, `{"desk":"1"}`, `{"ticket":"01980000-0000-7000-8000-000000000001"}`, `{"position":1}`, `{"queue":"b"}`, `{"outcome":"done"}`,
			`{"service":"x","priority":9,"customer":{"name":"A","phone":"1","email":"a@b","ref":"r"},"payload":{"k":[1]}}`,
			`{"id":"c","prefix":"C","capacity":1,"public":true,"target_wait_seconds":1,"max_active":1,"timezone":"UTC","services":["x"]}`,
		} {
			f.Add(uint8(i), []byte(args))
		}
	}
	admin := &Principal{UserID: uuid.NewString(), Level: Admin, Queues: []string{"*"}, ExpiresAt: time.Now().Add(time.Hour)}
	f.Fuzz(func(t *testing.T, which uint8, args []byte) {
		name := names[int(which)%len(names)]
		b, p := e.gateway.build(ctx, name, "a", args, admin, queue.FromREST, "01980000-0000-7000-8000-000000000001", commandMeta{})
		if (b == nil) == (p == nil) {
			t.Fatalf("%s %q: %v, %v", name, args, b, p)
		}
		if p != nil && (p.Code == codeInternal || p.Code == "") {
			t.Fatalf("%s %q: %v", name, args, p)
		}
	})
}

// A message from RabbitMQ is a request for a queue, or has a problem with which
// it is buried.
func FuzzDelivery(f *testing.F) {
	e := start(f)
	for _, body := range []string{
		`{"queue":"a"}`, `{"queue":"a","service":"x","priority":1,"customer":{"name":"A"},"payload":[1]}`, `{"queue":1}`, `{}`, `x`,
		`{"specversion":"1.0","id":"1","type":"t","source":"s","data":{"queue":"a"}}`,
		`{"specversion":"1.0","id":"1","type":"t","source":"s","data_base64":"eyJxdWV1ZSI6ImEifQ=="}`,
	} {
		for _, media := range []string{"application/json", "application/cloudevents+json; charset=utf-8", "application/cloudevents-batch+json", "\x00"} {
			f.Add(media, "m", "id", "1", []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, media, id, attribute, value string, body []byte) {
		d := &actors.Delivery{
			ContentType: media, MessageID: id, Body: body,
			Headers: amqp.Table{"cloudEvents:" + attribute: value, "x": int64(1)},
		}
		r, p := e.gateway.OpenDelivery(d)
		if (r == nil) == (p == nil) {
			t.Fatalf("%v, %v", r, p)
		}
		if p != nil {
			if p.Code == codeInternal || p.Code == "" {
				t.Fatalf("%v", p)
			}
			return
		}
		if !queue.ID(r.Queue()).Valid() {
			t.Fatalf("a request for the queue %q", r.Queue())
		}
		if c, p, err := r.Command(t.Context()); err != nil || (c == nil) == (p == nil) {
			t.Fatalf("%v, %v, %v", c, p, err)
		}
	})
}

// Nothing but a token that was issued is one.
func FuzzToken(f *testing.F) {
	e := start(f)
	ctx := f.Context()
	u, err := e.gateway.options.Directory.UserByEmail(ctx, "admin@example.org")
	if err != nil {
		f.Fatal(err)
	}
	good, err := e.gateway.auth.issue(u, "family")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good + "=")
	f.Add("eyJhbGciOiJub25lIn0." + good[bytes.IndexByte([]byte(good), '.')+1:])
	f.Add("a.b.c")
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		who, p := e.gateway.auth.Authenticate(ctx, token)
		if (who == nil) == (p == nil) {
			t.Fatalf("%v, %v", who, p)
		}
		if who != nil && token != good {
			t.Fatalf("%q is taken for a token", token)
		}
	})
}

// A cursor is one that a page can have given.
func FuzzCursors(f *testing.F) {
	states := []messages.TicketState{messages.TicketState_TICKET_STATE_WAITING, messages.TicketState_TICKET_STATE_HELD}
	id := uuid.New()
	f.Add(ticketCursor(&messages.ListCursor{State: states[0], Id: id[:]}))
	f.Add(queueCursor("a"))
	f.Add(historyCursor(&HistoryPlace{}))
	f.Add(letterCursorOf(DeadLetter{ID: "0123456789abcdef0123456789abcdef", At: time.UnixMilli(1)}))
	f.Add(auditCursor(&AuditPlace{At: time.UnixMilli(1), ID: id}))
	f.Add(userCursor(id.String()))
	f.Add(deliveryCursor(&Delivery{ID: "msg_0123456789abcdef0123456789abcdef", DiedAt: time.UnixMilli(1)}))
	f.Add("")
	f.Add("YQ") // each one's mark, and nothing behind it
	f.Add("dTo")
	f.Fuzz(func(t *testing.T, text string) {
		if c := parseTicketCursor(text, states); c != nil && (len(c.Id) != 16 || !slices.Contains(states, c.State)) {
			t.Fatalf("%v", c)
		}
		if id, ok := parseQueueCursor(text); ok && queueCursor(id) != text {
			t.Fatalf("%q is the cursor of %q", text, id)
		}
		if p := parseHistoryCursor(text); p != nil && historyCursor(p) != text {
			t.Fatalf("%q is the cursor of %v", text, p)
		}
		if k, ok := parseLetterCursor(text); ok && k.id == "" {
			t.Fatalf("%q is the cursor of no letter", text)
		}
		if p := parseAuditCursor(text); p != nil && auditCursor(p) != text {
			t.Fatalf("%q is the cursor of %v", text, p)
		}
		if id, ok := parseUserCursor(text); ok && userCursor(id) != text {
			t.Fatalf("%q is the cursor of %q", text, id)
		}
		if p := parseDeliveryCursor(text); p != nil && deliveryCursor(&Delivery{ID: p.ID, DiedAt: p.DiedAt}) != text {
			t.Fatalf("%q is the cursor of %v", text, p)
		}
	})
}

// A flow is one that was sealed here.
func FuzzFlow(f *testing.F) {
	s := newSignIn(&OIDC{StateKeys: stateKeys("ab")})
	known := flow{State: "s", Nonce: "n", Verifier: "v", Redirect: "r", Until: 7}
	sealed, err := s.seal(known)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:10])
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if got, ok := s.open(text); ok && got != known { // of this run or another one
			t.Fatalf("%q opens as %+v", text, got)
		}
	})
}
