package gateway

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"nowserving/actors/queue"
	v1 "nowserving/messages/nowserving/v1"
	"nowserving/tracing"
)

// lateTracer is the gateway's, for grains that are made known before there is one.
type lateTracer struct {
	embedded.Tracer
	env *env
}

func (l lateTracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	return l.env.gateway.options.Tracer.Start(ctx, name, options...)
}

// recorder has the spans that have ended.
type recorder struct {
	t        testing.TB
	exported *tracetest.InMemoryExporter
}

// recorded has an env make spans of a part of its requests.
func recorded(t testing.TB, ratio float64) (*recorder, func(*Options)) {
	r := &recorder{t, tracetest.NewInMemoryExporter()}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(r.exported), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))))
	return r, func(o *Options) { o.Tracer = provider.Tracer("test") }
}

func (r *recorder) named(name string) *tracetest.SpanStub {
	for _, s := range r.exported.GetSpans() {
		if s.Name == name {
			return &s
		}
	}
	return nil
}

// await waits for a span; a grain's come some time after its answer.
func (r *recorder) await(e *env, name string) *tracetest.SpanStub {
	r.t.Helper()
	e.eventually("there is a span "+name, func() bool { return r.named(name) != nil })
	return r.named(name)
}

func attributeOf(s *tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

// under fails the test where a span is no part of another one.
func under(t testing.TB, child, parent *tracetest.SpanStub) {
	t.Helper()
	if child.Parent.SpanID() != parent.SpanContext.SpanID() || child.SpanContext.TraceID() != parent.SpanContext.TraceID() {
		t.Errorf("%s is no part of %s", child.Name, parent.Name)
	}
}

const (
	foreignTrace = "0af7651916cd43dd8448eb211c80319c"
	foreignSpan  = "b7ad6b7169203331"
	toldTrace    = "00-" + foreignTrace + "-" + foreignSpan + "-01"
)

func TestRequestIsATraceDownToItsAppend(t *testing.T) {
	t.Parallel()
	spans, traced := recorded(t, 1)
	e := start(t, traced)
	e.queue("a")
	id := e.ticket("a")
	request := spans.await(e, "POST /api/v1/queues/:queue/tickets")
	decide := spans.await(e, "decide enqueue")
	e.eventually("there are two appends", func() bool {
		return len(slices.DeleteFunc(spans.exported.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name != "append" })) == 2
	})
	var committed *tracetest.SpanStub
	for _, s := range spans.exported.GetSpans() {
		if s.Name == "append" && s.SpanContext.TraceID() == request.SpanContext.TraceID() {
			committed = &s
		}
	}
	if committed == nil {
		t.Fatal("the append is no part of the request's trace")
	}
	if request.Parent.IsValid() || request.SpanKind != trace.SpanKindServer {
		t.Errorf("%+v", request)
	}
	under(t, decide, request)
	under(t, committed, request)
	if decide.EndTime.After(committed.EndTime) || decide.StartTime.Before(request.StartTime) || committed.EndTime.Before(decide.EndTime) {
		t.Error("the times of the spans do not follow each other")
	}
	for s, want := range map[*tracetest.SpanStub]map[string]string{
		request: {"http.request.method": "POST", "http.route": "/api/v1/queues/:queue/tickets", "http.response.status_code": "201", "nowserving.queue": "a"},
		decide:  {"nowserving.queue": "a", "nowserving.command": "enqueue", "nowserving.ticket": id},
		committed: {"nowserving.queue": "a", "nowserving.version": "2", "nowserving.batch.requests": "1",
			"nowserving.batch.events": "1"},
	} {
		for key, value := range want {
			if got := attributeOf(s, key); got != value {
				t.Errorf("%s: %s is %q, want %q", s.Name, key, got, value)
			}
		}
	}
	if len(committed.Events) != 1 || committed.Events[0].Time.Before(committed.StartTime) {
		t.Errorf("%+v", committed.Events)
	}
	// A refusal is a span with its code, and no failure of the node's.
	e.do(call{method: "POST", path: "/queues/a/tickets/" + id + "/recall"}).want(409, "ticket_not_active")
	refused := spans.await(e, "POST /api/v1/queues/:queue/tickets/:ticket/recall")
	if attributeOf(refused, "nowserving.code") != "ticket_not_active" || refused.Status.Description != "" {
		t.Errorf("%+v", refused)
	}
	under(t, spans.await(e, "confirm"), refused)
	if s := spans.await(e, "decide recall"); attributeOf(s, "nowserving.code") != "ticket_not_active" {
		t.Errorf("%+v", s)
	}
}

// Of what callers say of traces, only what those who are logged in say counts.
func TestStrangersChooseNoTrace(t *testing.T) {
	t.Parallel()
	header := http.Header{"Traceparent": {toldTrace}, "Tracestate": {"vendor=secret"}}
	spans, never := recorded(t, 0)
	e := start(t, never)
	e.queue("a", `,"public":true`)
	e.ok(call{as: "-", method: "GET", path: "/public/queues/a", header: header})
	e.do(call{as: "-", method: "GET", path: "/queues/a", header: header}).want(401, "unauthenticated")
	e.ok(call{method: "GET", path: "/queues/a", header: header})
	own := spans.await(e, "GET /api/v1/queues/:queue")
	if own.SpanContext.TraceID().String() != foreignTrace || own.Parent.SpanID().String() != foreignSpan {
		t.Errorf("who is logged in is followed elsewhere: %+v", own.SpanContext)
	}
	for _, s := range spans.exported.GetSpans() {
		if s.Name != own.Name && s.Parent.SpanID() != own.SpanContext.SpanID() {
			t.Errorf("a stranger had %s sampled", s.Name)
		}
	}
	all, always := recorded(t, 1)
	e = start(t, always)
	e.queue("a", `,"public":true`)
	e.ok(call{as: "-", method: "GET", path: "/public/queues/a", header: header})
	public := all.await(e, "GET /api/v1/public/queues/:queue")
	if public.Parent.IsValid() || public.SpanContext.TraceID().String() == foreignTrace || len(public.Links) != 1 ||
		public.Links[0].SpanContext.SpanID().String() != foreignSpan || public.Links[0].SpanContext.TraceState().Len() != 0 {
		t.Errorf("a stranger's trace is no link: %+v", public)
	}
}

// Who meets a fault of this side is told the trace, sampled or not, and the log has it too.
func TestFaultsBearTheirTrace(t *testing.T) {
	t.Parallel()
	_, never := recorded(t, 0)
	var said bytes.Buffer
	e := start(t, never, func(o *Options) {
		o.Queues = silent{queue.OutcomeUnknown}
		o.Log = slog.New(tracing.Handler{Handler: slog.NewTextHandler(&locked{w: &said}, nil)})
	})
	r := e.do(call{method: "POST", path: "/queues/a/tickets"}).want(503, "outcome_unknown")
	id := r.str("trace_id")
	if len(id) != 32 {
		t.Fatalf("the trace is %q: %s", id, r.body)
	}
	if !strings.Contains(said.String(), "trace_id="+id) {
		t.Errorf("the log does not know of %s:\n%s", id, &said)
	}
	if again := e.do(call{method: "POST", path: "/queues/a/tickets"}).want(503, "outcome_unknown"); again.str("trace_id") == id {
		t.Error("two requests share a trace")
	}
	if r := e.do(call{as: "-", method: "GET", path: "/me"}).want(401, "unauthenticated"); r.str("trace_id") != "" {
		t.Errorf("%s", r.body)
	}
	without := start(t, func(o *Options) { o.Queues = silent{queue.OutcomeUnknown} })
	if r := without.do(call{method: "POST", path: "/queues/a/tickets"}).want(503, "outcome_unknown"); r.str("trace_id") != "" {
		t.Errorf("%s", r.body)
	}
}

func TestCallsAndFramesAreTraced(t *testing.T) {
	t.Parallel()
	spans, traced := recorded(t, 1)
	e := startCalls(t, traced)
	e.queue("a")
	ctx := metadata.AppendToOutgoingContext(e.as("attendant"), tracing.Parent, toldTrace)
	must[*v1.TicketResponse](t)(e.Enqueue(ctx, &v1.EnqueueRequest{Queue: "a"}))
	grpcCall := spans.await(e.env, "nowserving.v1.Queues/Enqueue")
	if grpcCall.SpanContext.TraceID().String() != foreignTrace || attributeOf(grpcCall, "rpc.response.status_code") != "OK" {
		t.Errorf("%+v", grpcCall)
	}
	under(t, spans.await(e.env, "decide enqueue"), grpcCall)
	_, err := e.Recall(e.as("attendant"), &v1.RecallRequest{Queue: "a", Ticket: newTestID().String()})
	wantRefusal(t, err, codes.NotFound, "ticket_not_found")
	if s := spans.await(e.env, "nowserving.v1.Queues/Recall"); attributeOf(s, "nowserving.code") != "ticket_not_found" || attributeOf(s, "rpc.response.status_code") != "NotFound" {
		t.Errorf("%+v", s)
	}
	p := e.join(Attendant)
	if f := p.command("a", "call_next", map[string]any{"desk": "1"}); f["ok"] != true {
		t.Fatalf("%v", f)
	}
	under(t, spans.await(e.env, "decide call_next"), spans.await(e.env, "websocket call_next"))
	p.ask(map[string]any{"type": "command", "id": "c", "queue": "a", "command": "invented"})
	spans.await(e.env, "websocket unknown")
}

// A request from RabbitMQ goes on with the trace of whoever sent it.
func TestDeliveriesGoOnWithTheirTrace(t *testing.T) {
	t.Parallel()
	spans, traced := recorded(t, 0)
	d := startDrain(t, traced)
	d.queue("a")
	other := strings.ReplaceAll(toldTrace, foreignTrace, strings.Repeat("ab", 16))
	third := strings.ReplaceAll(toldTrace, foreignTrace, strings.Repeat("cd", 16))
	d.request("1", "a") // not sampled
	d.publish(amqp.Publishing{MessageId: "2", Headers: amqp.Table{"traceparent": toldTrace}, Body: []byte(`{"queue":"a"}`)})
	d.publish(amqp.Publishing{
		ContentType: "application/cloudevents+json",
		Body:        []byte(`{"specversion":"1.0","id":"3","source":"s","type":"t","traceparent":"` + other + `","tracestate":7,"data":{"queue":"a"}}`),
	})
	d.publish(amqp.Publishing{
		Headers: amqp.Table{"cloudEvents:specversion": "1.0", "cloudEvents:id": "4", "cloudEvents:source": "s", "cloudEvents:type": "t", "cloudEvents:traceparent": third},
		Body:    []byte(`{"queue":"nowhere"}`),
	})
	d.services("a", 3)
	d.buried()
	for _, want := range []struct{ parent, result, code string }{{toldTrace, "accepted", ""}, {other, "accepted", ""}, {third, "dead", "queue_not_found"}} {
		var delivery *tracetest.SpanStub
		d.eventually("the delivery's span has ended", func() bool {
			for _, s := range spans.exported.GetSpans() {
				if s.Name == "process nowserving.requests" && strings.Contains(want.parent, s.SpanContext.TraceID().String()) {
					delivery = &s
				}
			}
			return delivery != nil
		})
		if delivery.Parent.SpanID().String() != foreignSpan || delivery.SpanKind != trace.SpanKindConsumer ||
			attributeOf(delivery, "nowserving.result") != want.result || attributeOf(delivery, "nowserving.code") != want.code {
			t.Errorf("%+v", delivery)
		}
		for _, name := range []string{"decide enqueue", "append"} {
			if want.result == "dead" {
				continue
			}
			d.eventually("its command has a span "+name, func() bool {
				return slices.ContainsFunc(spans.exported.GetSpans(), func(s tracetest.SpanStub) bool {
					return s.Name == name && s.Parent.SpanID() == delivery.SpanContext.SpanID()
				})
			})
		}
	}
	for _, s := range spans.exported.GetSpans() {
		if !strings.Contains(toldTrace+other+third, s.SpanContext.TraceID().String()) {
			t.Errorf("%s was sampled, and nobody asked for it", s.Name)
		}
	}
}

// Nothing that a customer, a user or a client has said stands in a span.
func TestSpansHoldNothingPersonal(t *testing.T) {
	t.Parallel()
	const sentinel = "Zz9sentinel"
	spans, traced := recorded(t, 1)
	e := startLive(t, traced)
	e.noCheck.Store(true)
	e.queue("a", `,"public":true,"name":"`+sentinel+`"`)
	e.queue("b")
	person := `{"customer":{"name":"` + sentinel + `","phone":"+49301` + sentinel + `","email":"` + sentinel + `@example.org","ref":"` + sentinel +
		`"},"payload":{"x":"` + sentinel + `"},"service":"` + sentinel + `"}`
	id := e.ok(call{method: "POST", path: "/queues/a/tickets", body: person, key: sentinel}).str("id")
	e.ok(call{method: "POST", path: "/queues/a/tickets", body: person, key: sentinel})
	e.ok(call{method: "PATCH", path: "/queues/a/tickets/" + id, body: person})
	e.do(call{method: "POST", path: "/queues/a/tickets", body: `{"` + sentinel + `":1}`})
	e.do(call{method: "GET", path: "/queues/" + sentinel + "/tickets?number=" + sentinel})
	e.do(call{method: "GET", path: "/" + sentinel})
	e.do(call{as: "-", method: "POST", path: "/auth/login", body: `{"email":"` + sentinel + `@example.org","password":"` + sentinel + `"}`})
	e.do(call{method: "POST", path: "/users", body: `{"email":"` + sentinel + `@example.org","level":"viewer","name":"` + sentinel + `"}`})
	token := e.ok(call{as: "-", method: "POST", path: "/public/queues/a/tickets", body: person}).str("token")
	e.ok(call{as: "-", method: "DELETE", path: "/public/tickets/" + token})
	e.ok(call{method: "POST", path: "/queues/a/call-next", body: `{"desk":"` + sentinel + `"}`})
	e.ok(call{method: "POST", path: "/queues/a/tickets/" + id + "/transfer", body: `{"queue":"b"}`})
	e.do(call{method: "DELETE", path: "/queues/b/tickets/" + id + "?reason=" + sentinel})
	p := e.join(Admin)
	p.command("a", "enqueue", map[string]any{"customer": map[string]any{"name": sentinel}, "payload": sentinel})
	p.ask(map[string]any{"type": "command", "id": sentinel, "queue": "a", "command": sentinel, "idempotency_key": sentinel})
	spans.await(e.env, "websocket unknown")
	spans.await(e.env, "decide arrive") // of the transfer, in its trace
	secrets := []string{strings.ToLower(sentinel), strings.ToLower(token), "@example.org", "bearer"}
	e.tokens.Range(func(_, access any) bool {
		secrets = append(secrets, strings.ToLower(access.(string)))
		return true
	})
	all := spans.exported.GetSpans()
	if len(all) < 30 {
		t.Fatalf("%d spans", len(all))
	}
	for _, s := range all {
		text := strings.ToLower(s.Name + " " + s.Status.Description + " " + s.SpanContext.TraceState().String() + fmt.Sprint(emitted(s.Attributes)))
		for _, event := range s.Events {
			text += strings.ToLower(event.Name + fmt.Sprint(emitted(event.Attributes)))
		}
		for _, link := range s.Links {
			text += strings.ToLower(link.SpanContext.TraceState().String() + fmt.Sprint(emitted(link.Attributes)))
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%q stands in %s", secret, text)
			}
		}
	}
}

func emitted(attributes []attribute.KeyValue) (text []string) {
	for _, a := range attributes {
		text = append(text, string(a.Key)+"="+a.Value.String())
	}
	return text
}
