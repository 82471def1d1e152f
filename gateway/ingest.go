package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
	"nowserving/tracing"
)

// rabbitmq is the one user that all requests from RabbitMQ are; no user of the
// directory has this id, for theirs are UUIDs.
var rabbitmq = &Principal{UserID: "rabbitmq", Name: "RabbitMQ", Level: Integration, Queues: []string{"*"}}

// ingested is a delivery that names a queue.
type ingested struct {
	g       *Gateway
	request ServiceRequest
	span    trace.Span
	key     string
	command *messages.Command
}

// OpenDelivery decodes a message from RabbitMQ, or says why it cannot be one.
func (g *Gateway) OpenDelivery(d *actors.Delivery) (actors.Request, *messages.Problem) {
	e, p := openEnvelope(d)
	if p == nil && len(e.body) > maxBody {
		p = newProblem(codeTooLarge, "The body is over 65,536 bytes.")
	}
	if p != nil {
		return nil, wireProblem(p)
	}
	f := &faults{}
	o := f.parse(e.body)
	o.require("queue")
	name := o.text("queue", 1, maxNamed, false)
	if p := f.problem(); p != nil {
		return nil, wireProblem(p)
	}
	if !rabbitmq.sees(*name) {
		return nil, wireProblem(refused(queue.ErrQueueNotFound))
	}
	r := &ingested{g: g, key: d.MessageID, request: ServiceRequest{
		Queue: *name, Body: e.body, MessageID: d.MessageID, RoutingKey: d.RoutingKey, Headers: d.Headers,
		Type: e.kind, Source: e.source,
	}}
	if r.key == "" && e.id != "" {
		r.key, r.request.MessageID = e.key(), e.id
	}
	_, r.span = g.beginDelivery(d, e)
	if r.key == "" {
		// For itself: known again when this node tries once more, but not when
		// it is delivered once more.
		r.key = uuid.NewString()
	}
	return r, nil
}

// Queue is the one that the request names.
func (r *ingested) Queue() string { return r.request.Queue }

// Settled ends the request's span.
func (r *ingested) Settled(result string, p *messages.Problem) {
	endDelivery(r.span, r.request.Queue, result, p)
}

// Command holds the request against the bounds of the contract and the rules
// of its queue.
func (r *ingested) Command(ctx context.Context) (*messages.Command, *messages.Problem, error) {
	ctx = trace.ContextWithSpan(ctx, r.span)
	if r.command == nil {
		b, p := r.g.build(ctx, "enqueue", r.request.Queue, r.request.Body, rabbitmq, queue.FromAMQP, "", commandMeta{key: &r.key})
		switch {
		case p == nil:
			r.command = b.message
			r.command.Trace = tracing.Text(ctx)
		case p.Code == codeInternal || p.Code == string(queue.Unavailable):
			return nil, nil, p
		default:
			return nil, wireProblem(p), nil
		}
	}
	if r.g.options.Filter == nil {
		return r.command, nil, nil
	}
	route, err := r.g.options.Filter.Route(ctx, &r.request)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("the rules of the queue: %w", err)
	case route.Refused:
		return nil, wireProblem(newProblem(actors.CodeFiltered, filteredBy(route.Rule))), nil
	case route.Queue != "" && !rabbitmq.sees(route.Queue):
		return nil, wireProblem(refused(queue.ErrQueueNotFound)), nil
	case route.Priority != nil && (*route.Priority < 0 || *route.Priority > queue.MaxPriority):
		return nil, nil, errors.New("a rule gives a priority that is out of range")
	}
	// The fingerprint is of what was asked: a duplicate that other rules route
	// in another way is still a duplicate.
	if route.Queue != "" {
		r.command.Queue = route.Queue
	}
	if route.Priority != nil {
		r.command.GetEnqueue().Priority = uint32(*route.Priority)
	}
	return r.command, nil, nil
}

// wireProblem is a problem as nodes say it to each other.
func wireProblem(p *problem) *messages.Problem {
	m := &messages.Problem{Code: p.Code, Detail: p.Detail}
	for _, f := range p.Fields {
		m.Fields = append(m.Fields, &messages.FieldError{Field: f.Field, Message: f.Message})
	}
	return m
}
