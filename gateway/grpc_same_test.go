package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"nowserving/actors/queue"
	"nowserving/messages"
	v1 "nowserving/messages/nowserving/v1"
)

// asREST is a message of the API as REST would say it.
func asREST(t testing.TB, m proto.Message) map[string]any {
	t.Helper()
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true, UseEnumNumbers: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	for name, value := range out {
		switch text, _ := value.(string); {
		case strings.HasSuffix(name, "_at") && value != nil:
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				t.Error(err)
			}
			out[name] = string(appendTime(nil, at.UnixMilli()))
			out[name] = strings.Trim(out[name].(string), `"`)
		case name == "payload" && text != "":
			var payload any
			if err := json.Unmarshal([]byte(text), &payload); err != nil {
				t.Error(err)
			}
			out[name] = payload
		case name == "version": // 64 bits are texts in protobuf's JSON
			var n float64
			_, _ = fmt.Sscan(text, &n)
			out[name] = n
		case value == "" && name != "prefix",
			value == 0.0 && (name == "position" || name == "capacity" || name == "target_wait_seconds" || name == "retention_days"):
			out[name] = nil
		}
	}
	if customer, ok := out["customer"].(map[string]any); ok {
		for name, value := range customer {
			if value == "" {
				customer[name] = nil
			}
		}
	}
	switch m := m.(type) {
	case *v1.Ticket:
		out["state"], out["source"] = queue.TicketState(m.State).String(), queue.Source(m.Source).String()
	case *v1.Queue:
		out["status"] = queue.Status(m.Status).String()
	}
	return out
}

// sameAsREST fails the test where a message and REST's answer say different things.
func sameAsREST(t testing.TB, m proto.Message, rest *reply) {
	t.Helper()
	got, err := json.Marshal(asREST(t, m))
	want, _ := json.Marshal(rest.json)
	if err != nil || string(got) != string(want) {
		t.Errorf("gRPC says %s\nREST says  %s", got, want)
	}
}

// A ticket and a queue say the same over gRPC as over REST, to each level.
func TestGRPCShowsWhatRESTShows(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	e.queue("a", `,"name":"Post","capacity":7,"target_wait_seconds":300,"max_active":3,"timezone":"Europe/Berlin","services":["x","y"],"retention_days":9,"public":true`)
	e.queue("b")
	body := `{"service":"x","priority":4,"customer":{"name":"Ada","ref":"7"},"payload":{"a":[1.50,null,"ü"]}}`
	first, second := e.ticket("a", body), e.ticket("a", `{}`)
	e.ok(call{method: "POST", path: "/queues/a/tickets/" + first + "/call", body: `{"desk":"1"}`})
	e.ok(call{method: "POST", path: "/queues/a/tickets/" + first + "/start"})
	e.ok(call{method: "POST", path: "/queues/a/tickets/" + first + "/complete", body: `{"outcome":"done"}`})
	e.ok(call{method: "DELETE", path: "/queues/a/tickets/" + second + "?reason=left"})
	third := e.ticket("a", body)
	moved := e.ok(call{method: "POST", path: "/queues/a/tickets/" + third + "/transfer", body: `{"queue":"b"}`}).str("id")
	fourth := e.ticket("a", body)
	for _, who := range []string{"admin", "viewer"} {
		for at, queue := range map[string]string{first: "a", second: "a", third: "a", moved: "b", fourth: "a"} {
			got := must[*v1.GetTicketResponse](t)(e.GetTicket(e.as(who), &v1.GetTicketRequest{Queue: queue, Ticket: at}))
			rest := e.ok(call{as: who, method: "GET", path: "/queues/" + queue + "/tickets/" + at})
			sameAsREST(t, got.Ticket, rest)
			if tag := fmt.Sprintf("%q", fmt.Sprint(got.Version)); tag != rest.header.Get("ETag") {
				t.Errorf("version %d, over REST %s", got.Version, rest.header.Get("ETag"))
			}
			if hidden := got.Ticket.Customer == nil && got.Ticket.Payload == ""; hidden != (who == "viewer" || at == second) {
				t.Errorf("as %s: %v", who, got.Ticket)
			}
		}
	}
	for _, id := range []string{"a", "b"} {
		got := must[*v1.GetQueueResponse](t)(e.GetQueue(e.as("admin"), &v1.GetQueueRequest{Queue: id}))
		sameAsREST(t, got.Queue, e.ok(call{method: "GET", path: "/queues/" + id}))
	}
}

// The numbers of the API's enums are those that nodes speak, and their names the contract's.
func TestGRPCEnumsAreTheQueues(t *testing.T) {
	t.Parallel()
	for api, own := range map[protoreflect.EnumDescriptor]protoreflect.EnumDescriptor{
		v1.TicketState(0).Descriptor(): messages.TicketState(0).Descriptor(), v1.Source(0).Descriptor(): messages.Source(0).Descriptor(),
		v1.Status(0).Descriptor(): messages.Status(0).Descriptor(), v1.EventKind(0).Descriptor(): messages.EventKind(0).Descriptor(),
	} {
		for i := range own.Values().Len() {
			value := own.Values().Get(i)
			if value.Name() == "EVENT_KIND_QUEUE_DELETED" { // which is Gone
				continue
			}
			if same := api.Values().ByNumber(value.Number()); same == nil || same.Name() != value.Name() {
				t.Errorf("%s is %v in the API", value.Name(), same)
			}
		}
	}
}

// Both ways in share keys: what one has done, the other answers with.
func TestGRPCSharesKeysWithREST(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	e.queue("a")
	e.queue("b")
	body := `{"service":"x","priority":2,"customer":{"name":"Ada"},"payload":{"a": 1.0}}`
	same := func(name, key string, rest call, do func(ctx context.Context, key string) (*v1.TicketResponse, error)) {
		t.Helper()
		rest.key, rest.method = key, cmp.Or(rest.method, "POST")
		first := e.ok(rest)
		got, err := do(e.as("admin"), key)
		if err != nil || !got.Replayed || got.Ticket.Id != first.str("id") || fmt.Sprintf("%q", fmt.Sprint(got.Version)) != first.header.Get("ETag") {
			t.Errorf("%s: REST %s, then gRPC %v, %v", name, first.body, got, err)
		}
		done, err := do(e.as("admin"), "g"+key)
		if name == "enqueue" { // the others cannot be done twice
			rest.key = "g" + key
			if again := e.ok(rest); err != nil || again.header.Get("Idempotent-Replayed") != "true" || again.str("id") != done.Ticket.Id || done.Ticket.Source != v1.Source_SOURCE_GRPC {
				t.Errorf("gRPC %v, %v, then REST %s", done, err, again.body)
			}
		}
	}
	same("enqueue", "1", call{path: "/queues/a/tickets", body: body}, func(ctx context.Context, key string) (*v1.TicketResponse, error) {
		return e.Enqueue(ctx, &v1.EnqueueRequest{Queue: "a", IdempotencyKey: key, Service: "x", Priority: 2, Customer: &v1.Customer{Name: "Ada"}, Payload: `{"a":1.0}`})
	})
	_, err := e.Enqueue(e.as("admin"), &v1.EnqueueRequest{Queue: "a", IdempotencyKey: "1", Service: "y"})
	wantRefusal(t, err, codes.InvalidArgument, "idempotency_key_reused")
	if got, err := e.Enqueue(e.as("attendant"), &v1.EnqueueRequest{Queue: "a", IdempotencyKey: "1", Service: "y"}); err != nil || got.Replayed {
		t.Errorf("another user's: %v, %v", got, err)
	}
	id := e.ticket("a")
	at := "/queues/a/tickets/" + id
	same("update", "2", call{method: "PATCH", path: at, body: `{"service":null,"customer":null,"payload":null,"priority":0}`}, func(ctx context.Context, key string) (*v1.TicketResponse, error) {
		return e.Update(ctx, &v1.UpdateRequest{Queue: "a", Ticket: id, IdempotencyKey: key, Service: proto.String(""), Customer: &v1.Customer{}, Payload: proto.String("null"), Priority: proto.Uint32(0)})
	})
	same("move", "3", call{path: at + "/move", body: `{"position":1}`}, func(ctx context.Context, key string) (*v1.TicketResponse, error) {
		return e.Move(ctx, &v1.MoveRequest{Queue: "a", Ticket: id, IdempotencyKey: key, To: &v1.MoveRequest_Position{Position: 1}})
	})
	same("call", "4", call{path: at + "/call", body: `{"desk":"7"}`}, func(ctx context.Context, key string) (*v1.TicketResponse, error) {
		return e.Call(ctx, &v1.CallRequest{Queue: "a", Ticket: id, IdempotencyKey: key, Desk: "7"})
	})
	same("requeue", "5", call{path: at + "/requeue"}, func(ctx context.Context, key string) (*v1.TicketResponse, error) {
		return e.Requeue(ctx, &v1.RequeueRequest{Queue: "a", Ticket: id, IdempotencyKey: key, Position: proto.Int64(1)})
	})
	same("transfer", "6", call{path: at + "/transfer", body: `{"queue":"b"}`}, func(ctx context.Context, key string) (*v1.TicketResponse, error) {
		return e.Transfer(ctx, &v1.TransferRequest{Queue: "a", Ticket: id, IdempotencyKey: key, ToQueue: "b"})
	})
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"capacity":null,"services":[],"name":"N"}`, key: "7"})
	if got, err := e.ConfigureQueue(e.as("admin"), &v1.ConfigureQueueRequest{
		Queue: "a", IdempotencyKey: "7", Capacity: proto.Uint32(0), Services: &v1.Services{}, Name: proto.String("N"),
	}); err != nil || !got.Replayed {
		t.Errorf("configure: %v, %v", got, err)
	}
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"paused"}`, key: "8"})
	if got, err := e.ConfigureQueue(e.as("admin"), &v1.ConfigureQueueRequest{Queue: "a", IdempotencyKey: "8", Status: v1.Status_STATUS_PAUSED}); err != nil || !got.Replayed || got.Queue.Status != v1.Status_STATUS_PAUSED {
		t.Errorf("pause: %v, %v", got, err)
	}
}
