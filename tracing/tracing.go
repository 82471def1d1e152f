// Package tracing is what the rooms have in common of traces: how a span's ids
// cross from one to the next, and how they come into logs.
//
// A request is part of a trace where it is sampled, and is told on only then, so
// that whoever is told of none does nothing. Who makes spans is handed a
// trace.Tracer, which is nil where there are no traces.
package tracing

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Parent is the header of W3C's Trace Context. The other one, tracestate, is text
// of whoever sends it, and goes nowhere.
const Parent = "traceparent"

var format propagation.TraceContext

// Sampled tells whether a context's span is.
func Sampled(ctx context.Context) bool { return trace.SpanContextFromContext(ctx).IsSampled() }

// Text is the sampled span of a context as a traceparent; empty where there is none.
func Text(ctx context.Context) string {
	if !Sampled(ctx) {
		return ""
	}
	carrier := propagation.MapCarrier{}
	format.Inject(ctx, carrier)
	return carrier[Parent]
}

// From gives a context whose span is one of somewhere else, and whether that is a
// sound one.
func From(ctx context.Context, parent string) (context.Context, bool) {
	if parent == "" {
		return ctx, false
	}
	there := format.Extract(ctx, propagation.MapCarrier{Parent: parent})
	return there, there != ctx
}

// End ends a span, failed where something failed. What failed is a code or a few
// words of this program's own: the text of an error may hold anything.
func End(span trace.Span, failed string) {
	if failed != "" {
		span.SetStatus(codes.Error, failed)
	}
	span.End()
}
