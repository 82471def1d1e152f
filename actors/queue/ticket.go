package queue

import "bytes"

// TicketID is a UUIDv7, made by the edge and handed in with the command.
type TicketID [16]byte

// IsZero tells a ticket id from its absence.
func (id TicketID) IsZero() bool { return id == TicketID{} }

// Time is a moment in milliseconds since 1970-01-01T00:00:00Z; zero is "never".
type Time int64

// Durations that the contract fixes, in milliseconds.
const (
	Hour Time = 60 * 60 * 1000
	Day  Time = 24 * Hour
)

// TicketState is where a ticket stands on its way.
type TicketState uint8

// The states of a ticket. The order is the order of an unfiltered list.
const (
	Waiting TicketState = iota + 1
	Called
	Serving
	Held
	Completed
	NoShow
	Removed
	Transferred
)

var ticketStateNames = [...]string{"", "waiting", "called", "serving", "held", "completed", "no_show", "removed", "transferred"}

// String gives the state's name in the contract.
func (s TicketState) String() string { return ticketStateNames[s] }

// ParseTicketState is the inverse of String; false for an unknown name.
func ParseTicketState(name string) (TicketState, bool) {
	for i, n := range ticketStateNames {
		if i > 0 && n == name {
			return TicketState(i), true
		}
	}
	return 0, false
}

// Active tells whether an attendant has the ticket at a desk.
func (s TicketState) Active() bool { return s == Called || s == Serving }

// Finished tells whether the ticket's way through this queue has ended.
func (s TicketState) Finished() bool { return s >= Completed }

// Source is the way by which a request came.
type Source uint8

// The sources of a ticket.
const (
	FromREST Source = iota + 1
	FromWebSocket
	FromAMQP
	FromGRPC
	FromPublic
)

var sourceNames = [...]string{"", "rest", "websocket", "amqp", "grpc", "public"}

// String gives the source's name in the contract.
func (s Source) String() string { return sourceNames[s] }

// ParseSource is the inverse of String; false for an unknown name.
func ParseSource(name string) (Source, bool) {
	for i, n := range sourceNames {
		if i > 0 && n == name {
			return Source(i), true
		}
	}
	return 0, false
}

// Ticket is one service request in one queue. A Ticket is never changed once
// it stands in a state: every event carries a new value, so that snapshots and
// readers can hold old ones without a lock or a copy.
type Ticket struct {
	ID       TicketID
	Visit    TicketID // id of the first ticket of this person's way
	Number   string   // what people read and hear: A042
	State    TicketState
	Priority uint8 // 0 to 9
	Source   Source
	Service  string
	// Customer and Payload are sealed at the edge; here they are opaque.
	Customer, Payload []byte
	// Index finds the tickets of one customer without showing who that is: a
	// tag of TagSize bytes for each thing that customers are found by, zeros
	// where this one has none. It is made at the edge and opaque here. Empty:
	// nothing finds the ticket.
	Index      []byte
	EnqueuedBy string // user id; empty for a public check-in
	Attendant  string // user id of who called last
	Desk       string
	Calls      uint32

	EnqueuedAt, CalledAt, StartedAt, FinishedAt Time

	TransferredFrom TicketID
	TransferredTo   TicketID
	TransferQueue   ID // where TransferredTo stands
	Reason, Outcome string

	// Trail are its events in this queue, the newest last: the first one and
	// the newest where there are more than MaxTrail.
	Trail []Step
}

// Step is one event of a ticket's way.
type Step struct {
	Version uint64
	At      Time
	Kind    Kind
	By      string // user id; empty for the public
}

// MaxTrail bounds a ticket's trail, which each of its events bears.
const MaxTrail = 64

// follow adds the step of an event to the trail.
func (t *Ticket) follow(e *Event) {
	kept := t.Trail
	trail := make([]Step, 0, min(len(kept), MaxTrail-1)+1) // the earlier one is shared
	if len(kept) == MaxTrail {
		trail, kept = append(trail, kept[0]), kept[2:]
	}
	t.Trail = append(append(trail, kept...), Step{e.Version, e.At, e.Kind, e.By})
}

// TagSize is the length of one tag in an index.
const TagSize = 16

// IsOf tells whether the ticket's index has one of some tags.
func (t *Ticket) IsOf(tags [][]byte) bool {
	for i := 0; i+TagSize <= len(t.Index); i += TagSize {
		for _, tag := range tags {
			if bytes.Equal(t.Index[i:i+TagSize], tag) {
				return true
			}
		}
	}
	return false
}
