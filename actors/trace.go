package actors

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"nowserving/actors/queue"
	"nowserving/messages"
	"nowserving/tracing"
)

// traced is what a grain notes of a request that is part of a trace; nil of any
// other. Its spans are made when it is answered, with the times that were noted,
// beside who decides and appends. A request has an append of its own, with the times
// of the batch that it shared: that stands in its trace where it is looked for,
// and a span of the batch with links to all that it carried would not.
type traced struct {
	ctx     context.Context // the span that it is a part of
	came    time.Time
	decided time.Time // lined up last
}

// traced is nil for a request that is part of no trace.
func (g *grain) traced(parent string) *traced {
	if parent == "" || g.Tracer == nil {
		return nil
	}
	ctx, sound := tracing.From(context.Background(), parent)
	if !sound {
		return nil
	}
	return &traced{ctx: ctx, came: time.Now()}
}

// parentOf is what came with a message of its trace.
func parentOf(ctx actor.Context) string {
	if header := ctx.MessageHeader(); header != nil {
		return header.Get(tracing.Parent)
	}
	return ""
}

func (t *traced) decide() {
	if t != nil {
		t.decided = time.Now()
	}
}

// in gives a context the span of which a request is a part.
func (t *traced) in(ctx context.Context) context.Context {
	if t == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, trace.SpanFromContext(t.ctx))
}

// tracedIn is the context of the first of some requests that is part of a trace,
// for a log line that is about all of them.
func tracedIn(items []*item) context.Context {
	for _, it := range items {
		if it.traced != nil {
			return it.traced.ctx
		}
	}
	return context.Background()
}

// trace makes the spans of what a batch has answered.
func (g *grainContext) trace(b *batch, now time.Time) {
	for _, it := range b.items {
		if it.traced == nil {
			continue
		}
		g.traceDecision(it, it.traced.decided, problemIn(it.answer))
		name := "append"
		if it.event == nil {
			name = "confirm" // that the queue is still this node's
		}
		_, span := g.Tracer.Start(it.traced.ctx, name, trace.WithTimestamp(it.traced.decided), trace.WithAttributes(
			g.queueAttribute(), attribute.Int("nowserving.batch.requests", len(b.items)),
			attribute.Int("nowserving.batch.events", b.events), attribute.Int("nowserving.batch.bytes", b.bytes)))
		if it.event != nil {
			span.SetAttributes(attribute.Int64("nowserving.version", int64(it.event.Version)))
		}
		span.AddEvent("sent to the journal", trace.WithTimestamp(b.began))
		span.End(trace.WithTimestamp(now))
	}
}

// traceRefusal makes the span of a request that the grain answers unasked of its state.
func (g *grainContext) traceRefusal(it *item, e *queue.Error) {
	if it.traced != nil {
		g.traceDecision(it, time.Now(), string(e.Code))
	}
}

func (g *grainContext) traceDecision(it *item, until time.Time, code string) {
	verb, what := nameOf(it.request)
	_, span := g.Tracer.Start(it.traced.ctx, verb+" "+what, trace.WithTimestamp(it.traced.came), trace.WithAttributes(
		g.queueAttribute(), attribute.String("nowserving.command", what)))
	if it.event != nil && it.event.Ticket != nil {
		span.SetAttributes(attribute.String("nowserving.ticket", uuid.UUID(it.event.Ticket.ID).String()))
	}
	if it.replayOf != 0 {
		span.SetAttributes(attribute.Bool("nowserving.replayed", true))
	}
	if code != "" {
		span.SetAttributes(attribute.String("nowserving.code", code))
	}
	span.End(trace.WithTimestamp(until))
}

func (g *grainContext) queueAttribute() attribute.KeyValue {
	return attribute.String("nowserving.queue", string(g.id))
}

// nameOf is what a request asks for, by its name in the messages.
func nameOf(request any) (verb, what string) {
	switch m := request.(type) {
	case *messages.Command:
		r := m.ProtoReflect()
		if action := r.WhichOneof(r.Descriptor().Oneofs().ByName("action")); action != nil {
			return "decide", string(action.Name())
		}
	case *messages.Read:
		r := m.ProtoReflect()
		if question := r.WhichOneof(r.Descriptor().Oneofs().ByName("question")); question != nil {
			return "read", string(question.Name())
		}
		return "read", "describe"
	case *messages.KeepPlace:
		return "decide", "keep_place"
	}
	return "decide", "other"
}

// problemIn is the code of a refusal; empty where an answer is none.
func problemIn(answer any) string {
	if a, ok := answer.(interface{ GetProblem() *messages.Problem }); ok {
		return a.GetProblem().GetCode()
	}
	return ""
}
