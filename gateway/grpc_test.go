package gateway

import (
	"context"
	"errors"
	"net"
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
	"google.golang.org/protobuf/proto"

	"nowserving/actors/queue"
	"nowserving/messages"
	v1 "nowserving/messages/nowserving/v1"
)

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
		case <-s.let:
		}
		if ctx.Err() != nil {
			return &messages.Answer{Problem: &messages.Problem{Code: string(queue.OutcomeUnknown)}}
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
	began := time.Now()
	short, cancel := context.WithTimeout(incoming, 3*time.Second) // in which it certainly is under way
	defer cancel()
	if r := wantRefusal(t, unary(short), codes.DeadlineExceeded, "outcome_unknown"); !r.retry {
		t.Errorf("%+v", r)
	}
	if took := time.Since(began); took >= commandTimeout {
		t.Errorf("it was waited for %s", took)
	}
	if n := e.waiting("a"); n != 1 {
		t.Errorf("%d wait", n)
	}
	in.IdempotencyKey = "other"
	<-short.Done() // which another timer tells the call of
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
	gone, leave := context.WithCancel(incoming)
	defer leave()
	ended := make(chan error, 1)
	go func() {
		_, err := e.server.unary(gone, &v1.CreateQueueRequest{Id: "b"}, &grpc.UnaryServerInfo{FullMethod: queuesMethods + "CreateQueue"}, func(ctx context.Context, in any) (any, error) {
			return queuesService{}.CreateQueue(ctx, in.(*v1.CreateQueueRequest))
		})
		ended <- err
	}()
	e.awaits("the queue is there", func() bool { return e.do(call{method: "GET", path: "/queues/b"}).status == 200 })
	leave()
	close(slow.let)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := e.ConfigureQueue(e.as("admin"), &v1.ConfigureQueueRequest{Queue: "b", Name: proto.String("B")}); err != nil {
		t.Error(err)
	}
	e.awaits("the acts are recorded", func() bool {
		audit := string(e.ok(call{method: "GET", path: "/audit?target=b"}).body)
		return strings.Contains(audit, `"queue.created"`) && strings.Contains(audit, `"version":1`) &&
			strings.Contains(audit, `"queue.configured"`) && strings.Contains(audit, `"address":"127.0.0.1"`)
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
		ctx := t.Context()
		defer e.server.settle(&ctx, "m", &err)
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
	accepted := make(chan net.Conn)
	accept := func() {
		conn, err := c.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- conn
	}
	for range 3 {
		go accept()
		dialTCP(t, ln.Addr().String())
		conn := <-accepted
		if n := c.inside.Load(); n != maxGRPCConnections {
			t.Errorf("%d are inside", n)
		}
		_, _ = conn.Close(), conn.Close()
		if n := c.inside.Load(); n != maxGRPCConnections-1 {
			t.Errorf("%d are inside", n)
		}
	}
	c.inside.Store(maxGRPCConnections)
	go accept()
	refused := dialTCP(t, ln.Addr().String())
	if _, err := refused.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one too many was let in: %v", err)
	}
	c.inside.Add(-1)
	dialTCP(t, ln.Addr().String())
	_ = (<-accepted).Close()
}
