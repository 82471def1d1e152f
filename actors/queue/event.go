package queue

// Kind is what happened in an event.
type Kind uint8

// The kinds of events. QueueDeleted is the last event of an epoch; outside it
// is shown as "gone", not as an event.
const (
	TicketEnqueued Kind = iota + 1
	TicketMoved
	TicketRemoved
	TicketCalled
	TicketRecalled
	TicketStarted
	TicketCompleted
	TicketHeld
	TicketNoShow
	TicketRequeued
	TicketTransferred
	TicketUpdated
	QueueConfigured
	QueueOpened
	QueuePausedEvent
	QueueClosedEvent
	QueueDeleted
)

var kindNames = [...]string{"",
	"ticket.enqueued", "ticket.moved", "ticket.removed", "ticket.called", "ticket.recalled",
	"ticket.started", "ticket.completed", "ticket.held", "ticket.no_show", "ticket.requeued",
	"ticket.transferred", "ticket.updated",
	"queue.configured", "queue.opened", "queue.paused", "queue.closed", "queue.deleted",
}

// String gives the event's name in the contract.
func (k Kind) String() string { return kindNames[k] }

// OfTicket tells a ticket's event from a queue's.
func (k Kind) OfTicket() bool { return k >= TicketEnqueued && k <= TicketUpdated }

// Valid tells whether k is one of the kinds above.
func (k Kind) Valid() bool { return k >= TicketEnqueued && k <= QueueDeleted }

// Event is one accepted command's whole effect. It says what became of it
// rather than what was asked (the ticket as it is now and its position), so
// that applying needs no rule, and a reader of the journal needs no state.
type Event struct {
	Version uint64
	Epoch   string // the history that the event belongs to
	At      Time   // never earlier than the event before
	By      string // user id; empty for the public
	Kind    Kind

	// Of a ticket's event: the whole ticket after it, and its position
	// (1 is next to be called; 0 where it does not wait).
	Ticket   *Ticket
	Position int
	// Of an enqueue that issued a number: the service day (yyyymmdd) and the
	// sequence within it. Zero for a ticket that was transferred in.
	Day int32
	Seq uint64

	// Of a queue's event: what it is now.
	Config          *Config
	Status          Status
	Waiting, Active int

	// Op names the command. Keyed ones are remembered, with the fingerprint
	// of what was asked.
	Op          OpID
	Keyed       bool
	Fingerprint uint64
	// Again: it came without a key, and had been sent before. That first sending
	// may still come.
	Again bool
	// Erases: the ticket was emptied of its person (see Erase). Nobody is to be
	// shown the events before it any more.
	Erases bool
}
