// Package filter decides by expressions which requests a queue takes, into
// which queue and with which priority. The expressions are CEL; each is checked
// and its cost bounded before it is kept, and bounded again whenever it runs.
// The package does no I/O and keeps no state.
package filter

import "encoding/json"

// Bounds of one queue's rules.
const (
	MaxRules      = 50
	MaxName       = 100   // characters
	MaxExpression = 2_048 // characters
	MaxPriority   = 9
	// MaxCost is what one expression may cost, in units of very roughly 100 ns,
	// and up to ten times that where an expression is written to take long.
	// MaxTotalCost is what all rules may cost one message.
	MaxCost      = 5_000
	MaxTotalCost = 10_000
	// MaxPattern is the size of a regular expression's program, in instructions,
	// and MaxMatched the length in bytes of a text that is held against one.
	MaxPattern = 100
	MaxMatched = 4_096
	// MaxNesting is how many loops (all, exists, map, filter) stand within one another.
	MaxNesting = 2
)

// Action is what a rule does with a message that it is about.
type Action string

// The actions.
const (
	Take   Action = "take"
	Refuse Action = "refuse"
)

// Rule is one rule. The first one whose When is true decides.
type Rule struct {
	Name   string
	When   string // an expression of type bool
	Action Action
	// Queue takes the request instead of the one that it names; empty for none.
	Queue string
	// Priority is an expression of type int; empty leaves the request's own.
	Priority string
}

// Request is what a message asks for. What it leaves out is nil.
type Request struct {
	Queue    string
	Service  *string
	Priority *int64
	Customer *Customer
	Payload  json.RawMessage // valid JSON
}

// Customer is who a request is for.
type Customer struct {
	Name  *string `json:"name"`
	Phone *string `json:"phone"`
	Email *string `json:"email"`
	Ref   *string `json:"ref"`
}

// Message is what the expressions are about.
type Message struct {
	Request    Request
	Headers    map[string]any
	RoutingKey string
	MessageID  string
	// Type and Source are a CloudEvent's; empty for a plain message.
	Type, Source string
}

// Decision is what the rules make of a message.
type Decision struct {
	Refused bool
	// Rule is the one that decided; empty where none did.
	Rule string
	// Failed says why the rule could not be evaluated, which refuses the message;
	// empty where it could. It holds nothing of the message.
	Failed string
	// Queue takes the request. Priority is nil where it keeps its own.
	Queue    string
	Priority *int
}

// Fault is what is wrong with a rule.
type Fault struct {
	Rule    int    // its index
	Field   string // when or priority
	Message string
}
