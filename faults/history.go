// Package faults holds a running system against what it told its clients: a
// load of many clients who write down all that they ask and are answered, links
// that can be cut, and a checker that replays the queues' journals through a
// second, simple model and compares. It imports nothing of the program but the
// format of its journal.
//
// The suite itself stands in the root's faults_*_test.go: it runs real nodes.
package faults

import (
	"sync"
	"time"
)

// Outcome is what a client may believe of an operation.
type Outcome uint8

// The outcomes.
const (
	// Unknown: it has happened once or not at all.
	Unknown Outcome = iota
	// Accepted: it has happened, exactly once, at the version it was told.
	Accepted
	// Refused: it has certainly not happened.
	Refused
)

// Ticket is what the checker compares of a ticket, by the contract's names.
type Ticket struct {
	ID, Number, State, Service, Source string
	Attendant, Desk, Reason, Outcome   string
	Priority, Position                 int
	Calls                              int
	TransferredFrom                    string `json:"transferred_from"`
	TransferredTo                      string `json:"transferred_to"`
}

// Op is one command of one client, through all of its attempts.
type Op struct {
	Client, Queue string
	// Command is its name in the contract's WebSocket table.
	Command string
	// What it asks: Ticket is its subject, Target where a transfer goes.
	Ticket, Target     string
	Position, Priority int
	// Mark is unlike that of any other operation, and stands in the event that
	// the operation makes: as service, desk, reason or outcome. Empty for
	// commands that leave no such trace.
	Mark string
	// Key is the Idempotency-Key; without one it is sent once.
	Key string

	// From the first sending to the last answer, since the history began.
	Sent, Answered time.Duration
	Outcome        Outcome
	Status         int
	Code           string
	Version        uint64
	Told           Ticket
	Attempts       int
	Replayed       bool
}

// Read is a queue's lists as one client was shown them at one version.
type Read struct {
	Queue          string
	Sent, Answered time.Duration
	Version        uint64
	// Waiting in line order, and the first ones only unless Whole.
	Waiting []string
	// States of all that is in the lists, and priorities; only where Whole.
	States     map[string]string
	Priorities map[string]int
	Whole      bool
}

// Item is one thing that a follower of a queue was sent, or sent itself.
type Item struct {
	// Kind is subscribe (with the version and epoch it gave), snapshot,
	// resumed, event or gone.
	Kind    string
	Version uint64
	Epoch   string
	// Of an event.
	Event, Ticket, Number, State string
	Position                     int
	// Of a snapshot: ids.
	Waiting, Active, Held []string
}

// Stream is what one follower was sent of one queue, through all of its sessions.
type Stream struct {
	Follower, Queue string
	Items           []Item
}

// Request is a message that was published to RabbitMQ and confirmed. Requests
// stand in a history in the order of their first publishing.
type Request struct {
	Queue, ID, Mark string
	// Poison can never succeed, and belongs among the dead letters.
	Poison bool
}

// History is all that the clients know. Its methods are safe for concurrent use.
type History struct {
	began time.Time

	mu       sync.Mutex
	Ops      []*Op
	Reads    []*Read
	Streams  []*Stream
	Requests []Request
	// Dead are the message ids of dead letters.
	Dead []string
}

// NewHistory begins one.
func NewHistory() *History { return &History{began: time.Now()} }

// Now is the time since the history began.
func (h *History) Now() time.Duration { return time.Since(h.began) }

func (h *History) addOp(o *Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Ops = append(h.Ops, o)
}

func (h *History) addRead(r *Read) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Reads = append(h.Reads, r)
}

func (h *History) addStream(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Streams = append(h.Streams, s)
}

func (h *History) addRequests(r ...Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Requests = append(h.Requests, r...)
}
