package gateway

import (
	"context"
	"encoding/json"
)

// ServiceRequest is a request that came from RabbitMQ, decoded but not held
// against any rule yet.
type ServiceRequest struct {
	Queue string
	// Body is the JSON object of the contract's fields, as it came; in a
	// CloudEvent its data.
	Body json.RawMessage
	// MessageID is the idempotency key; empty where there is none.
	MessageID  string
	RoutingKey string
	Headers    map[string]any
	// Type and Source are a CloudEvent's; empty for a plain message.
	Type, Source string
}

// Route is what the rules of a queue make of a request.
type Route struct {
	// Refused: it is dead-lettered with the code filtered. Rule names why.
	Refused bool
	Rule    string
	// Queue takes the request; Priority is another one than it bears, if not nil.
	Queue    string
	Priority *int
}

// RequestFilter decides by the rules of the queue that a request names. An
// error means that it cannot be decided now and has to be tried again.
type RequestFilter interface {
	Route(ctx context.Context, r *ServiceRequest) (Route, error)
}
