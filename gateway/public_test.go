package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"nowserving/messages"
)

// checkIn checks in without a login and gives the token.
func (e *env) checkIn(queueID string, body ...string) string {
	e.t.Helper()
	return e.ok(call{as: "-", method: "POST", path: "/public/queues/" + queueID + "/tickets", body: strings.Join(body, "")}).str("token")
}

func (e *env) link(token string) *reply {
	e.t.Helper()
	return e.do(call{as: "-", method: "GET", path: "/public/tickets/" + token})
}

const person = `{"service":"P","customer":{"name":"Ada Marsh","phone":"020 7946"},"payload":{"secret":"Rosebud"}}`

func TestPublicWay(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"name":"Passports","public":true,"services":["P"]`)
	e.queue("b") // where the ticket goes, which is not public
	made := e.ok(call{as: "-", method: "POST", path: "/public/queues/a/tickets", body: person})
	token := made.str("token")
	if made.status != 201 || made.header.Get("Location") != "/api/v1/public/tickets/"+token || made.json["position"] != 1.0 {
		t.Fatalf("%v %s", made.header, made.body)
	}
	staff := e.get("/queues/a/tickets/" + made.str("id"))
	if staff.str("source") != "public" || !bytes.Contains(staff.body, []byte(`"name":"Ada Marsh"`)) || !bytes.Contains(staff.body, []byte(`{"secret":"Rosebud"}`)) {
		t.Errorf("staff see %s", staff.body)
	}
	other := e.checkIn("a")
	if r := e.link(other).want(200, ""); r.json["position"] != 2.0 || r.str("number") != "A002" {
		t.Errorf("%s", r.body)
	}
	look := func(want string) {
		t.Helper()
		if r := e.do(call{as: "-", method: "GET", path: "/public/queues/a"}).want(200, ""); string(r.body) != want {
			t.Errorf("the queue is %s, want %s", r.body, want)
		}
	}
	look(`{"id":"a","name":"Passports","status":"open","services":["P"],"waiting":2,"now_serving":[]}`)
	e.ok(call{method: "POST", path: "/queues/a/call-next", body: `{"desk":"4"}`})
	if r := e.link(token).want(200, ""); r.str("state") != "called" || r.str("desk") != "4" || r.json["position"] != nil {
		t.Errorf("%s", r.body)
	}
	e.skew.Add(int64(time.Second))
	e.ok(call{as: "supervisor", method: "POST", path: "/queues/a/call-next"})
	look(`{"id":"a","name":"Passports","status":"open","services":["P"],"waiting":0,"now_serving":[{"number":"A002","desk":null},{"number":"A001","desk":"4"}]}`)
	for range 2 { // into another queue and back
		e.ok(call{method: "POST", path: "/queues/a/tickets/" + e.link(token).str("id") + "/transfer", body: `{"queue":"b"}`})
		if r := e.link(token).want(200, ""); r.str("queue") != "b" || r.str("number") != "A001" || r.str("state") != "waiting" {
			t.Errorf("%s", r.body)
		}
		e.ok(call{method: "POST", path: "/queues/b/tickets/" + e.link(token).str("id") + "/transfer", body: `{"queue":"a"}`})
	}
	for range 2 { // sent again, the same answer
		r := e.do(call{as: "-", method: "DELETE", path: "/public/tickets/" + token, key: "5e2f0f6c-1d3b-4f0a-9a51-0c7b1b8f4a77"}).want(200, "")
		if r.str("state") != "removed" || r.str("queue") != "a" {
			t.Errorf("%s", r.body)
		}
	}
	e.do(call{as: "-", method: "DELETE", path: "/public/tickets/" + token}).want(409, "ticket_finished")
	if r := e.get("/queues/a/tickets/" + e.link(token).str("id")); r.str("reason") != "left" {
		t.Errorf("%s", r.body)
	}
	id := e.link(other).str("id")
	e.ok(call{as: "supervisor", method: "POST", path: "/queues/a/tickets/" + id + "/start"})
	e.do(call{as: "-", method: "DELETE", path: "/public/tickets/" + other}).want(409, "ticket_not_waiting")
}

// Nothing of a person is told without a login, whatever the answer is.
func TestPublicTellsNothing(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"public":true`)
	key := uuid.NewString()
	for range 2 {
		made := e.ok(call{as: "-", method: "POST", path: "/public/queues/a/tickets", body: person, key: key})
		token := made.str("token")
		e.ok(call{method: "POST", path: "/queues/a/call-next", body: `{"desk":"4"}`, key: "k"})
		for _, r := range []*reply{made, e.link(token), e.do(call{as: "-", method: "GET", path: "/public/queues/a"})} {
			for _, secret := range []string{"Ada Marsh", "020 7946", "Rosebud", "attendant", "priority", "visit"} {
				if bytes.Contains(r.body, []byte(secret)) {
					t.Errorf("%s is told: %s", secret, r.body)
				}
			}
			if r.header.Get("Cache-Control") != "no-store" {
				t.Errorf("cached: %v", r.header)
			}
		}
	}
	if strings.Contains(e.log.String(), "tk_") {
		t.Error("a token is logged")
	}
}

func TestPublicRefusals(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.CheckInRate = 1000 })
	e.queue("a", `,"public":true,"capacity":1`)
	e.queue("b")
	in := func(queueID, body, key string) *reply {
		t.Helper()
		return e.do(call{as: "-", method: "POST", path: "/public/queues/" + queueID + "/tickets", body: body, key: key})
	}
	for _, id := range []string{"b", "zzz", "UPPER"} { // not public, not there, no id
		e.do(call{as: "-", method: "GET", path: "/public/queues/" + id}).want(404, "queue_not_found")
		in(id, `{"x":1}`, "no uuid").want(404, "queue_not_found")
		e.do(call{method: "GET", path: "/public/queues/" + id}).want(404, "queue_not_found") // an admin's token changes nothing
	}
	for body, fields := range map[string]string{
		`{"priority":1}`: "priority", `{"ticket":"x"}`: "ticket", `{"service":1}`: "service", `{"customer":{"fax":"1"}}`: "customer.fax", `[]`: "",
	} {
		if r := in("a", body, "").want(422, "invalid"); r.fields() != fields {
			t.Errorf("%s complains of %q", body, r.fields())
		}
	}
	for _, tag := range []string{`"1"`, `"2"`, `x`} { // the version is none of theirs
		if r := e.do(call{as: "-", method: "POST", path: "/public/queues/a/tickets", ifMatch: tag}).want(422, "invalid"); r.fields() != "If-Match" {
			t.Errorf("complains of %q", r.fields())
		}
	}
	for _, key := range []string{"k", strings.Repeat("k", 36), uuid.Max.String(), uuid.Nil.String(), strings.ReplaceAll(uuid.NewString(), "-", "")} {
		if r := in("a", "", key).want(422, "invalid"); r.fields() != "Idempotency-Key" {
			t.Errorf("%q complains of %q", key, r.fields())
		}
	}
	in("a", `{"payload":"`+strings.Repeat("x", maxPayload)+`"}`, "").want(413, "too_large")
	in("a", `{"payload":"`+strings.Repeat("x", 70<<10)+`"}`, "").want(413, "too_large")
	key := uuid.NewString()
	first := in("a", person, key).want(201, "")
	again := in("a", person, key).want(201, "")
	if again.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" || !bytes.Equal(first.body, again.body) {
		t.Errorf("%s then %s", first.body, again.body)
	}
	in("a", `{}`, key).want(422, "idempotency_key_reused")
	in("a", "", "").want(409, "queue_full")
	for _, body := range []string{`{"status":"closed"}`, `{"capacity":null}`} {
		e.ok(call{method: "PATCH", path: "/queues/a", body: body})
	}
	in("a", "", "").want(409, "queue_closed")

	token := first.str("token")
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"public":false}`})
	in("a", "", "").want(404, "queue_not_found")
	e.link(token).want(200, "") // who is in line stays in line
	e.do(call{as: "-", method: "DELETE", path: "/public/tickets/" + token, key: "k"}).want(422, "invalid")
	e.do(call{method: "GET", path: "/me", header: http.Header{"Authorization": {"Bearer " + token}}, as: "-"}).want(401, "unauthenticated")
	e.ok(call{as: "-", method: "DELETE", path: "/public/tickets/" + token})
	e.ok(call{method: "DELETE", path: "/queues/a"})
	e.link(token).want(404, "ticket_not_found")
}

// Keys that two people may come upon give nobody another one's ticket; those
// that are random are good from wherever they are sent again.
func TestPublicKeysThatAreNotRandom(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) {
		o.CheckInRate = 1000
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	e.queue("a", `,"public":true`)
	in := func(from, key string) string {
		t.Helper()
		return e.ok(call{as: "-", method: "POST", path: "/public/queues/a/tickets", key: key, header: http.Header{"X-Forwarded-For": {from}}}).str("token")
	}
	for _, key := range []string{uuid.NewString(), strings.ToUpper(uuid.NewString()), uuid.Must(uuid.NewV7()).String()} {
		if in("192.0.2.1", key) != in("198.51.100.7", key) {
			t.Errorf("%s makes two tickets", key)
		}
	}
	v1, err := uuid.NewUUID()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		v1.String(), uuid.NewSHA1(uuid.NameSpaceURL, []byte("x")).String(), "00000000-0000-4000-8000-000000000001",
		"11111111-1111-4111-8111-111111111111", "3b241101-e2bb-4255-0caf-4136c566a962", "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
	} {
		if in("192.0.2.1", key) == in("198.51.100.7", key) {
			t.Errorf("%s gives one's ticket to another", key)
		}
		if first, again := in("192.0.2.1", key), in("192.0.2.1", key); first != again {
			t.Errorf("%s makes two tickets for one", key)
		}
	}
}

func TestTicketTokens(t *testing.T) {
	t.Parallel()
	key := func(b byte) TokenKey { return TokenKey{ID: string(b), Bytes: bytes.Repeat([]byte{b}, 32)} }
	links := func(keys ...TokenKey) *links {
		l, err := newLinks(keys)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	old, rotated, foreign := links(key('a')), links(key('b'), key('a')), links(key('c'))
	id := uuid.Must(uuid.NewV7())
	long := strings.Repeat("q", 63)
	token := old.seal(long, id[:])
	if token != old.seal(long, id[:]) || token == old.seal("q", id[:]) || token == rotated.seal(long, id[:]) || len(token) > maxLink {
		t.Error("tokens are not as they must be")
	}
	for name, l := range map[string]interface {
		open(string) (string, []byte, bool)
	}{"same": old, "rotated": rotated} {
		if q, ticket, ok := l.open(token); !ok || q != long || !bytes.Equal(ticket, id[:]) {
			t.Errorf("%s: %q %x %v", name, q, ticket, ok)
		}
	}
	if _, _, ok := foreign.open(token); ok {
		t.Error("another ring opens it")
	}
	raw, _ := base64.RawURLEncoding.DecodeString(token[len(linkPrefix):])
	elsewhere, _ := base64.RawURLEncoding.DecodeString(old.seal("q", id[:])[len(linkPrefix):])
	if bytes.Equal(raw[:12], elsewhere[:12]) {
		t.Error("a nonce is used twice")
	}
	if bytes.Contains(raw, id[:]) || bytes.Contains(raw, []byte("qqq")) {
		t.Error("a token can be read")
	}
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			if _, _, ok := old.open(linkPrefix + base64.RawURLEncoding.EncodeToString(raw)); ok {
				t.Fatalf("byte %d may change", i)
			}
			raw[i] ^= 1 << bit
		}
	}
	for _, bad := range []string{"", "tk_", token[:len(token)-1] + string(token[len(token)-1]+1), token[3:], token + "A", token[:len(token)-1], token + "\n", "tk_" + strings.Repeat("A", 40), "tk_" + strings.Repeat("A", 4096), token[:20] + "\r\n" + token[20:]} {
		if _, _, ok := old.open(bad); ok {
			t.Errorf("%q opens", bad)
		}
	}
	if _, err := newLinks(nil); err == nil {
		t.Error("no key is enough")
	}
}

func FuzzTicketToken(f *testing.F) {
	l, err := newLinks([]TokenKey{{Bytes: make([]byte, 32)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l.seal("a", make([]byte, 16)))
	f.Add("tk_AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		if q, ticket, ok := l.open(token); ok && l.seal(q, ticket) != token {
			t.Errorf("%q opens and was never made", token)
		}
	})
}

func TestCheckInRate(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) {
		o.CheckInRate, o.TrustedProxies = 3, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	e.queue("a", `,"public":true`)
	in := func(from, queueID, body string) *reply {
		t.Helper()
		return e.do(call{as: "-", method: "POST", path: "/public/queues/" + queueID + "/tickets", body: body, header: http.Header{"X-Forwarded-For": {from}}})
	}
	in("192.0.2.1", "a", "").want(201, "")
	e.skew.Add(int64(20 * time.Second))
	in("198.51.100.9, 192.0.2.1, 10.1.1.1", "a", "{").want(422, "invalid") // what is refused counts too
	in("192.0.2.1", "zzz", "").want(404, "queue_not_found")
	for range 3 { // before all else, and what is refused so does not count
		if r := in("203.0.113.7, 192.0.2.1", "zzz", "{").want(429, "rate_limited"); r.header.Get("Retry-After") != "40" {
			t.Errorf("Retry-After %s", r.header.Get("Retry-After"))
		}
	}
	in("192.0.2.2", "a", "").want(201, "") // somebody else
	for i := range 4 {
		want, code := 201, ""
		if i == 3 {
			want, code = 429, "rate_limited"
		}
		in(fmt.Sprintf("2001:db8:1:2::%d", i), "a", "").want(want, code) // one customer's network
	}
	in("2001:db8:1:3::1", "a", "").want(201, "")
	e.skew.Add(int64(40 * time.Second))
	in("192.0.2.1", "a", "").want(201, "")
	if r := in("192.0.2.1", "a", "").want(429, "rate_limited"); r.header.Get("Retry-After") != "20" {
		t.Errorf("Retry-After %s", r.header.Get("Retry-After"))
	}
}

// An address that is no trusted proxy's has no say in where it is.
func TestCheckInRateIsNotTalkedAway(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.CheckInRate = 1 })
	e.queue("a", `,"public":true`)
	for i, want := range []int{201, 429} {
		r := e.do(call{as: "-", method: "POST", path: "/public/queues/a/tickets", header: http.Header{"X-Forwarded-For": {"192.0.2." + strconv.Itoa(i)}}})
		if r.status != want {
			t.Errorf("%d: %d", i, r.status)
		}
	}
}

func TestPublicMisses(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"public":true`)
	for i := range missesOfAddress {
		e.gateway.misses.count(netip.MustParseAddr("127.0.0.1"))
		if i == 0 {
			e.do(call{as: "-", method: "GET", path: "/public/queues/a"}).want(200, "")
		}
	}
	e.do(call{as: "-", method: "GET", path: "/public/queues/a"}).want(429, "rate_limited")
	e.skew.Add(int64(time.Minute))
	e.do(call{as: "-", method: "GET", path: "/public/queues/zzz"}).want(404, "queue_not_found")
	if len(e.gateway.misses.of) != 1 || e.gateway.misses.recent.Front().Value.(*paced).at[0] != e.gateway.misses.recent.Front().Value.(*paced).last {
		t.Error("the miss was not counted, or the old ones are still there")
	}
}

func TestPaceIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0)
	p := newPace(func() time.Time { return now }, 2)
	address := func(i int) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
	}
	for i := range maxPaced + 10 {
		if p.take(address(i)) != 0 {
			t.Fatal(i)
		}
	}
	if len(p.of) != maxPaced || p.recent.Len() != maxPaced {
		t.Errorf("%d remembered", len(p.of))
	}
	now = now.Add(2 * paceWindow)
	p.take(address(0))
	if len(p.of) != 1 || p.recent.Len() != 1 {
		t.Errorf("%d remembered after a silence", len(p.of))
	}
}

// In the middle of a transfer a ticket is nowhere for a moment, and not lost.
func TestLinkInTransit(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.Queues = &midTransfer{QueueService: o.Queues} })
	token := e.gateway.links.Load().seal("a", bytes.Repeat([]byte{1}, 16))
	e.gateway.queues.(*midTransfer).left = 1
	e.link(token).want(503, "unavailable")
	e.gateway.queues.(*midTransfer).left = 0 // all that left has arrived, and the target has forgotten it
	e.link(token).want(404, "ticket_not_found")
}

// midTransfer is a queue a whose ticket has gone to b, which does not know it.
type midTransfer struct {
	QueueService
	left uint32
}

func (m *midTransfer) Read(_ context.Context, r *messages.Read) *messages.View {
	if r.Queue != "a" {
		return &messages.View{Problem: &messages.Problem{Code: "ticket_not_found"}}
	}
	return &messages.View{InTransit: m.left, Tickets: []*messages.Placed{{Ticket: &messages.Ticket{
		State: messages.TicketState_TICKET_STATE_TRANSFERRED, TransferQueue: "b", TransferredTo: bytes.Repeat([]byte{2}, 16),
	}}}}
}
