package cluster

import (
	"context"
	"errors"
	"net"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"nowserving/messages"
	"nowserving/tracing"
)

// traceAsk begins the span of a request to another node, where it is part of a
// trace. ended takes what the request ended with.
func (n *Node) traceAsk(ctx context.Context, to Member, key grainKey, pass bool) (_ context.Context, ended func(error)) {
	if n.options.Tracer == nil || !tracing.Sampled(ctx) {
		return ctx, func(error) {}
	}
	attributes := append(attributesOf(key), attribute.Bool("nowserving.passed_on", pass))
	if host, port, err := net.SplitHostPort(to.Addr); err == nil {
		number, _ := strconv.Atoi(port)
		attributes = append(attributes, attribute.String("server.address", host), attribute.Int("server.port", number))
	}
	ctx, span := n.options.Tracer.Start(ctx, "ask "+key.kind, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	return ctx, endOf(span)
}

// traceCall begins the span of a request of another node, where it is part of a
// trace, which goes on from what is given.
func (n *Node) traceCall(call *messages.GrainCall) (on string, ended func(error)) {
	ctx, sound := tracing.From(n.ctx, call.Trace)
	if n.options.Tracer == nil || !sound {
		return "", func(error) {}
	}
	ctx, span := n.options.Tracer.Start(ctx, "serve "+call.Kind, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attributesOf(grainKey{call.Kind, call.Identity})...))
	return tracing.Text(ctx), endOf(span)
}

func attributesOf(key grainKey) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("nowserving."+key.kind, key.identity)}
}

func endOf(span trace.Span) func(error) {
	return func(err error) {
		failed := ""
		switch {
		case errors.Is(err, errNotHere), errors.Is(err, ErrUndelivered):
			failed = "not delivered"
		case err != nil:
			failed = "no answer"
		}
		tracing.End(span, failed)
	}
}

// envelope bears the trace that a request is part of to its grain.
func (r *request) envelope() *actor.MessageEnvelope {
	return &actor.MessageEnvelope{Header: map[string]string{tracing.Parent: r.trace}, Message: r.message, Sender: r.pid}
}
