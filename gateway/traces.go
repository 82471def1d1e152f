package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
	"nowserving/tracing"
)

// Spans begin here, where requests come in. They bear ids, codes and the names of
// routes and commands, and nothing else that a client has sent.

// faultsEvery bounds how often the log tells of requests that could not be answered.
const faultsEvery = 100 * time.Millisecond

// traced makes a request a span. It is used where there is a Tracer.
func (g *Gateway) traced(c *fiber.Ctx) error {
	if !strings.HasPrefix(c.Path(), "/api/") {
		return c.Next()
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	ctx, given := tracing.From(c.UserContext(), c.Get(tracing.Parent))
	if given {
		// Who is not logged in must not choose which requests are sampled.
		if _, p := g.whoAsks(c); p != nil {
			stranger, _ := tracing.From(c.UserContext(), c.Get(tracing.Parent))
			options = append(options, trace.WithLinks(trace.LinkFromContext(stranger)))
			ctx = c.UserContext()
		}
	}
	ctx, span := g.options.Tracer.Start(ctx, c.Method(), options...)
	c.SetUserContext(ctx)
	code := ""
	if err := c.Next(); err != nil {
		var p *problem
		if errors.As(err, &p) {
			code = p.Code
		}
		_ = g.sendError(c, err) // it always can
	}
	status := c.Response().StatusCode()
	if span.IsRecording() {
		method, route := c.Method(), c.Route().Path
		if route == "/" { // no handler's: nothing is there
			span.SetAttributes(attribute.String("http.request.method", method))
		} else {
			span.SetName(method + " " + route)
			span.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route))
		}
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		setAbout(span, c.Params("queue"), code)
	}
	failed := ""
	if status >= http.StatusInternalServerError {
		failed = code
	}
	tracing.End(span, failed)
	return nil
}

// setAbout says of a span which queue it is about and what it was refused with.
// What is no queue's id may be anything.
func setAbout(span trace.Span, queueID, code string) {
	if queue.ID(queueID).Valid() {
		span.SetAttributes(attribute.String("nowserving.queue", queueID))
	}
	if code != "" {
		span.SetAttributes(attribute.String("nowserving.code", code))
	}
}

// begin makes a span of what comes in another way than over HTTP. Without a
// Tracer it is one that does nothing.
func (g *Gateway) begin(ctx context.Context, name string, kind trace.SpanKind) (context.Context, trace.Span) {
	if g.options.Tracer == nil {
		return ctx, trace.SpanFromContext(ctx)
	}
	return g.options.Tracer.Start(ctx, name, trace.WithSpanKind(kind))
}

// beginFrame makes a span of a command that came over WebSocket.
func (g *Gateway) beginFrame(ctx context.Context, command, queueID string) (context.Context, trace.Span) {
	if g.options.Tracer == nil {
		return ctx, trace.SpanFromContext(ctx)
	}
	if commandSpecs[command] == nil {
		command = "unknown"
	}
	ctx, span := g.begin(ctx, "websocket "+command, trace.SpanKindServer)
	if span.IsRecording() {
		setAbout(span, queueID, "")
	}
	return ctx, span
}

// beginCall makes a span of a call of somebody who is logged in.
func (g *Gateway) beginCall(ctx context.Context, method string) context.Context {
	if g.options.Tracer == nil {
		return ctx
	}
	md, _ := metadata.FromIncomingContext(ctx)
	ctx, _ = tracing.From(ctx, strings.Join(md.Get(tracing.Parent), ","))
	ctx, span := g.begin(ctx, strings.TrimPrefix(method, "/"), trace.SpanKindServer)
	span.SetAttributes(attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", strings.TrimPrefix(method, "/")))
	return ctx
}

// endCall ends the span of a call; one that has none has one that does nothing.
func endCall(ctx context.Context, code codes.Code, p *problem) {
	span := trace.SpanFromContext(ctx)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("rpc.response.status_code", code.String()))
	}
	endWith(span, p)
}

// endWith ends a span with what its request was refused with, if it was.
func endWith(span trace.Span, p *problem) {
	failed := ""
	if p != nil {
		setAbout(span, "", p.Code)
		if p.status() >= http.StatusInternalServerError {
			failed = p.Code
		}
	}
	tracing.End(span, failed)
}

// beginDelivery makes a span of a request from RabbitMQ: whoever may publish
// there is trusted with the trace that it names. The message's own header is of
// the way that it came; a CloudEvent's attribute is of where it was made.
func (g *Gateway) beginDelivery(d *actors.Delivery, e envelope) (context.Context, trace.Span) {
	ctx := context.Background()
	if g.options.Tracer == nil {
		return ctx, trace.SpanFromContext(ctx)
	}
	parent, _ := d.Headers[tracing.Parent].(string)
	on, given := tracing.From(ctx, parent)
	if !given {
		on, _ = tracing.From(ctx, e.traceParent)
	}
	ctx, span := g.begin(on, "process nowserving.requests", trace.SpanKindConsumer)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("messaging.system", "rabbitmq"), attribute.String("messaging.operation.type", "process"),
			attribute.String("messaging.destination.name", "nowserving.requests"), attribute.Bool("nowserving.redelivered", d.Again))
	}
	return ctx, span
}

// endDelivery ends it when the delivery is settled.
func endDelivery(span trace.Span, queueID, result string, p *messages.Problem) {
	if span.IsRecording() {
		setAbout(span, queueID, p.GetCode())
		span.SetAttributes(attribute.String("nowserving.result", result))
	}
	span.End()
}

// faultLog tells now and then of requests that could not be answered.
type faultLog struct{ last atomic.Int64 }

func (f *faultLog) due(now time.Time) bool {
	last := f.last.Load()
	return now.UnixMilli()-last >= faultsEvery.Milliseconds() && f.last.CompareAndSwap(last, now.UnixMilli())
}

// inTrace gives a problem of this side's the id of its request's trace, sampled or
// not, by which the log can be searched for whoever has met it.
func (g *Gateway) inTrace(ctx context.Context, p *problem) *problem {
	if p == nil || p.status() < http.StatusInternalServerError {
		return p
	}
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return p
	}
	if g.faults.due(time.Now()) {
		g.log.WarnContext(ctx, "a request could not be answered", "code", p.Code)
	}
	q := *p
	q.trace = span.TraceID().String()
	return &q
}
