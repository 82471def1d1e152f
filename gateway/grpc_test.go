package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
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

// A refusal bears the code, the fields and the hint that REST gives.
func TestGRPCRefusals(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	e.queue("a")
	ctx, id := e.as("admin"), e.ticket("a")
	enqueue := func(in *v1.EnqueueRequest) error {
		in.Queue = "a"
		_, err := e.Enqueue(ctx, in)
		return err
	}
	_, err := e.Enqueue(ctx, &v1.EnqueueRequest{})
	wantRefusal(t, err, codes.NotFound, "queue_not_found")
	_, err = e.GetQueue(ctx, &v1.GetQueueRequest{})
	wantRefusal(t, err, codes.NotFound, "queue_not_found")
	_, err = e.CreateQueue(ctx, &v1.CreateQueueRequest{})
	wantRefusal(t, err, codes.InvalidArgument, "invalid")
	for _, payload := range []string{`{"a":`, `1,"priority":9`, "x", `"` + "\x00" + `"`} {
		r := wantRefusal(t, enqueue(&v1.EnqueueRequest{Payload: payload, Priority: 10, IdempotencyKey: strings.Repeat("k", 129)}), codes.InvalidArgument, "invalid")
		if r.fields != "payload idempotency_key priority" {
			t.Errorf("%q: %+v", payload, r)
		}
	}
	long := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	if err := enqueue(&v1.EnqueueRequest{Payload: long(maxPayload)}); err != nil {
		t.Error(err)
	}
	wantRefusal(t, enqueue(&v1.EnqueueRequest{Payload: long(maxPayload + 1)}), codes.InvalidArgument, "too_large")
	if r := refusalOf(enqueue(&v1.EnqueueRequest{Payload: long(maxBody)})); r.status != codes.ResourceExhausted {
		t.Errorf("%+v", r)
	}
	r := wantRefusal(t, enqueue(&v1.EnqueueRequest{Customer: &v1.Customer{Phone: strings.Repeat("1", 41)}}), codes.InvalidArgument, "invalid")
	if r.fields != "customer.phone" {
		t.Errorf("%+v", r)
	}
	_, err = e.Transfer(ctx, &v1.TransferRequest{Queue: "a", Ticket: id})
	if r := wantRefusal(t, err, codes.InvalidArgument, "invalid"); r.fields != "to_queue" {
		t.Errorf("%+v", r)
	}
	_, err = e.Move(ctx, &v1.MoveRequest{Queue: "a", Ticket: id})
	wantRefusal(t, err, codes.InvalidArgument, "invalid")
	_, err = e.Move(ctx, &v1.MoveRequest{Queue: "a", Ticket: id, To: &v1.MoveRequest_Position{}})
	wantRefusal(t, err, codes.OutOfRange, "position_out_of_range")
	_, err = e.Hold(ctx, &v1.HoldRequest{Queue: "a", Ticket: newTestID().String()})
	wantRefusal(t, err, codes.NotFound, "ticket_not_found")
	_, err = e.Start(ctx, &v1.StartRequest{Queue: "a", Ticket: id})
	if r := wantRefusal(t, err, codes.FailedPrecondition, "ticket_not_active"); r.text == "" || r.retry {
		t.Errorf("%+v", r)
	}
	_, err = e.ConfigureQueue(ctx, &v1.ConfigureQueueRequest{Queue: "a", Status: 9, Name: proto.String("x")})
	if r := wantRefusal(t, err, codes.InvalidArgument, "invalid"); !strings.HasPrefix(r.fields, "status") {
		t.Errorf("%+v", r)
	}
	_, err = e.ListTickets(ctx, &v1.ListTicketsRequest{Queue: "a", Limit: 1001, After: "x", State: 99})
	if r := wantRefusal(t, err, codes.InvalidArgument, "invalid"); r.fields != "limit state after" {
		t.Errorf("%+v", r)
	}
	_, err = e.ListQueues(ctx, &v1.ListQueuesRequest{Limit: 1001, After: "x"})
	wantRefusal(t, err, codes.InvalidArgument, "invalid")
	version := uint64(e.version("a"))
	if got, err := e.CallNext(ctx, &v1.CallNextRequest{Queue: "a", ExpectedVersion: &version}); err != nil || got.Version != version+1 || got.Ticket.Id != id {
		t.Errorf("%v, %v", got, err)
	}
	_, err = e.CallNext(ctx, &v1.CallNextRequest{Queue: "a", ExpectedVersion: &version})
	wantRefusal(t, err, codes.Aborted, "version_mismatch")
	twice := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer x")
	_, err = e.GetQueue(twice, &v1.GetQueueRequest{Queue: "a"})
	wantRefusal(t, err, codes.Unauthenticated, "unauthenticated")
	e.skew.Store(int64(accessLife))
	_, err = e.GetQueue(ctx, &v1.GetQueueRequest{Queue: "a"})
	wantRefusal(t, err, codes.Unauthenticated, "token_expired")
}

// docs/grpc.md has the status of each code, and no others.
func TestGRPCStatusesAreTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/grpc.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| (.*?) \\|").FindAllStringSubmatch(string(text), -1) {
		for _, code := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[2], -1) {
			documented[code[1]] = row[1]
		}
	}
	name := func(c codes.Code) string { // OutOfRange as OUT_OF_RANGE
		return strings.ToUpper(strings.TrimPrefix(regexp.MustCompile("[A-Z]").ReplaceAllString(c.String(), "_$0"), "_"))
	}
	rpc := map[string]codes.Code{codeTooSlow: codes.ResourceExhausted}
	for code, kind := range problemKinds {
		rpc[code] = kind.rpc
	}
	for _, never := range []string{ // of calls that gRPC does not have
		codeBadCredentials, codeTooManyAttempts, codeNotFound, codeMethodNotAllowed, codeUserExists, codeLastAdmin,
	} {
		delete(rpc, never)
	}
	for code, status := range rpc {
		if documented[code] != name(status) {
			t.Errorf("%s is %s, and documented as %q", code, name(status), documented[code])
		}
		delete(documented, code)
	}
	for code := range documented {
		t.Errorf("%s is documented and not there", code)
	}
}

// Lists have pages with cursors, and none that is too large for a client.
func TestGRPCLists(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	for _, id := range []string{"a", "b", "c"} {
		e.queue(id)
	}
	for who, want := range map[string]string{"admin": "a b c", "viewer": "a b"} {
		var ids []string
		for after := ""; ; {
			page := must[*v1.ListQueuesResponse](t)(e.ListQueues(e.as(who), &v1.ListQueuesRequest{Limit: 1, After: after}))
			for _, q := range page.Queues {
				ids = append(ids, q.Id)
				sameAsREST(t, q, e.ok(call{as: who, method: "GET", path: "/queues/" + q.Id}))
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s sees %s", who, got)
		}
	}
	const tickets = 400
	payload := []byte(`"` + strings.Repeat("x", maxPayload-2) + `"`)
	for range tickets {
		e.enqueueLong("a", payload)
	}
	e.ok(call{method: "POST", path: "/queues/a/call-next"})
	var positions, pages int
	for after := ""; ; {
		page := must[*v1.ListTicketsResponse](t)(e.ListTickets(e.as("admin"), &v1.ListTicketsRequest{Queue: "a", Limit: 1000, After: after}))
		pages++
		for _, ticket := range page.Tickets {
			if positions++; ticket.Position != uint32(positions) && (ticket.Position != 0 || positions != tickets) {
				t.Fatalf("ticket %d is at %d", positions, ticket.Position)
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if positions != tickets || pages < 3 {
		t.Errorf("%d tickets on %d pages", positions, pages)
	}
	called := must[*v1.ListTicketsResponse](t)(e.ListTickets(e.as("admin"), &v1.ListTicketsRequest{Queue: "a", State: v1.TicketState_TICKET_STATE_CALLED}))
	if len(called.Tickets) != 1 || called.Next != "" {
		t.Errorf("%d are called", len(called.Tickets))
	}
	byNumber := must[*v1.ListTicketsResponse](t)(e.ListTickets(e.as("admin"), &v1.ListTicketsRequest{Queue: "a", Number: called.Tickets[0].Number}))
	if len(byNumber.Tickets) != 1 || byNumber.Tickets[0].Id != called.Tickets[0].Id {
		t.Errorf("%d have the number", len(byNumber.Tickets))
	}
}

// tardy answers when it is let, or when nobody waits any more.
type tardy struct {
	QueueService
	on  atomic.Bool
	let chan struct{}
}

func (s *tardy) Do(ctx context.Context, c *messages.Command) *messages.Answer {
	a := s.QueueService.Do(context.WithoutCancel(ctx), c)
	if s.on.Load() {
		select {
		case <-ctx.Done():
			return &messages.Answer{Problem: &messages.Problem{Code: string(queue.OutcomeUnknown)}}
		case <-s.let:
		}
	}
	return a
}

// A deadline is obeyed: what was sent before it may have happened, and can be sent
// again with its key; what was not, has not.
func TestGRPCDeadlines(t *testing.T) {
	t.Parallel()
	slow := &tardy{let: make(chan struct{})}
	e := startCalls(t, func(o *Options) { slow.QueueService, o.Queues = o.Queues, slow })
	e.queue("a")
	in := &v1.EnqueueRequest{Queue: "a", IdempotencyKey: "k"}
	slow.on.Store(true)
	token, _ := e.tokens.Load("admin@example.org")
	incoming := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+token.(string)))
	unary := func(ctx context.Context) error { // without a client, who would not wait for the answer
		_, err := e.server.unary(ctx, in, &grpc.UnaryServerInfo{FullMethod: queuesMethods + "Enqueue"}, func(ctx context.Context, in any) (any, error) {
			return queuesService{}.Enqueue(ctx, in.(*v1.EnqueueRequest))
		})
		return err
	}
	short, cancel := context.WithTimeout(incoming, 100*time.Millisecond)
	defer cancel()
	if r := wantRefusal(t, unary(short), codes.DeadlineExceeded, "outcome_unknown"); !r.retry {
		t.Errorf("%+v", r)
	}
	if n := e.waiting("a"); n != 1 {
		t.Errorf("%d wait", n)
	}
	in.IdempotencyKey = "other"
	wantRefusal(t, unary(short), codes.DeadlineExceeded, "unavailable")
	if n := e.waiting("a"); n != 1 {
		t.Errorf("%d wait", n)
	}
	in.IdempotencyKey = "k"
	short, cancel = context.WithTimeout(e.as("admin"), 100*time.Millisecond)
	defer cancel()
	if _, err := e.Enqueue(short, in); refusalOf(err).status != codes.DeadlineExceeded {
		t.Error(err)
	}
	slow.on.Store(false)
	if got, err := e.Enqueue(e.as("admin"), in); err != nil || !got.Replayed || got.Ticket.Position != 1 || e.waiting("a") != 1 {
		t.Errorf("%v, %v", got, err)
	}

	// What came of an administrative act is known, even if its caller has gone.
	slow.on.Store(true)
	gone, leave := context.WithCancel(e.as("admin"))
	failed := make(chan error, 1)
	go func() {
		_, err := e.CreateQueue(gone, &v1.CreateQueueRequest{Id: "b"})
		failed <- err
	}()
	e.awaits("the queue is there", func() bool { return e.do(call{method: "GET", path: "/queues/b"}).status == 200 })
	leave()
	if err := <-failed; refusalOf(err).status != codes.Canceled {
		t.Error(err)
	}
	close(slow.let)
	e.awaits("the act is recorded", func() bool {
		audit := string(e.ok(call{method: "GET", path: "/audit?target=b"}).body)
		return strings.Contains(audit, `"queue.created"`) && strings.Contains(audit, `"version":1`) && strings.Contains(audit, `"address":"127.0.0.1"`)
	})
}

// Health says what /readyz says; it and reflection need no login.
func TestGRPCHealthAndReflection(t *testing.T) {
	t.Parallel()
	var status atomic.Value
	status.Store("starting")
	e := startCalls(t, func(o *Options) { o.Ready = func() Readiness { return Readiness{Status: status.Load().(string)} } })
	health := grpc_health_v1.NewHealthClient(e.conn)
	says := func(service string, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		e.awaits(want.String(), func() bool {
			is, err := health.Check(e.as("-"), &grpc_health_v1.HealthCheckRequest{Service: service})
			return err == nil && is.Status == want
		})
	}
	says("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	status.Store("ready")
	says("", grpc_health_v1.HealthCheckResponse_SERVING)
	says("nowserving.v1.Queues", grpc_health_v1.HealthCheckResponse_SERVING)
	status.Store("unavailable")
	says("nowserving.v1.Queues", grpc_health_v1.HealthCheckResponse_NOT_SERVING)

	stream, err := reflectionpb.NewServerReflectionClient(e.conn).ServerReflectionInfo(e.as("-"))
	if err == nil {
		err = stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "nowserving.v1.Queues"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	if found, err := stream.Recv(); err != nil || len(found.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("%v, %v", found, err)
	}
	// Neither that stream nor one of health keeps the server from ending.
	watch := must[grpc.ServerStreamingClient[grpc_health_v1.HealthCheckResponse]](t)(health.Watch(e.as("-"), &grpc_health_v1.HealthCheckRequest{}))
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.server.Shutdown(context.Background())
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the server does not end")
	}
}

// Before a gateway is open, and after a fault, callers are told so.
func TestGRPCWithoutGateway(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	e.queue("a")
	e.server.gateway.Store(nil)
	_, err := e.GetQueue(e.as("admin"), &v1.GetQueueRequest{Queue: "a"})
	if r := wantRefusal(t, err, codes.Unavailable, "unavailable"); !r.retry || r.text != "Not yet." {
		t.Errorf("%+v", r)
	}
	wantRefusal(t, e.watch("admin", &v1.WatchRequest{Queue: "a"}).ended(), codes.Unavailable, "unavailable")
	e.server.open(e.gateway)
	err = nil
	func() {
		defer e.server.settle(t.Context(), "m", &err)
		panic("secret")
	}()
	if r := wantRefusal(t, err, codes.Internal, "internal"); strings.Contains(r.text+e.log.String(), "secret") {
		t.Errorf("%+v %s", r, e.log)
	}
}

// Connections are bounded: one more is closed at once, and there is room again
// when one has ended.
func TestGRPCConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{Listener: ln}
	defer c.Close()
	c.inside.Store(maxGRPCConnections - 1)
	accepted := make(chan error)
	accept := func() { conn, err := c.Accept(); _ = conn.Close(); _ = conn.Close(); accepted <- err }
	for range 3 {
		go accept()
		conn := dialTCP(t, ln.Addr().String())
		if err := <-accepted; err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	c.inside.Store(maxGRPCConnections)
	go accept()
	refused := dialTCP(t, ln.Addr().String())
	if _, err := refused.Read(make([]byte, 1)); err == nil {
		t.Error("one too many was let in")
	}
	c.inside.Add(-1)
	dialTCP(t, ln.Addr().String())
	if err := <-accepted; err != nil {
		t.Error(err)
	}
}
