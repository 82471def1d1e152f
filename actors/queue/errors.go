package queue

// Code is a refusal's name in the contract.
type Code string

// Every refusal that a queue itself makes.
const (
	QueueNotFound        Code = "queue_not_found"
	TicketNotFound       Code = "ticket_not_found"
	QueueExists          Code = "queue_exists"
	QueueNotEmpty        Code = "queue_not_empty"
	QueueClosed          Code = "queue_closed"
	QueueFull            Code = "queue_full"
	QueuePaused          Code = "queue_paused"
	AttendantBusy        Code = "attendant_busy"
	DeskTaken            Code = "desk_taken"
	TicketNotWaiting     Code = "ticket_not_waiting"
	TicketNotActive      Code = "ticket_not_active"
	TicketFinished       Code = "ticket_finished"
	Invalid              Code = "invalid"
	PositionOutOfRange   Code = "position_out_of_range"
	VersionMismatch      Code = "version_mismatch"
	IdempotencyKeyReused Code = "idempotency_key_reused"
	Forbidden            Code = "forbidden"
	// Unavailable: certainly nothing happened. The shell around the queue says it,
	// and the queue of what it can do in a moment.
	Unavailable Code = "unavailable"
	// OutcomeUnknown: it may have happened. The shell says it, and the queue of
	// what is sent again when too much has come since to be remembered.
	OutcomeUnknown Code = "outcome_unknown"
)

// FieldError says what is wrong with one field of a command.
type FieldError struct{ Field, Message string }

// Error is a refusal: a code for programs and a sentence for people. It holds
// no customer data.
type Error struct {
	Code   Code
	Detail string
	Fields []FieldError
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// Is makes errors.Is compare refusals by code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// The refusals. Each makes no event.
var (
	ErrQueueNotFound      = &Error{Code: QueueNotFound, Detail: "There is no such queue."}
	ErrTicketNotFound     = &Error{Code: TicketNotFound, Detail: "There is no such ticket in this queue."}
	ErrQueueExists        = &Error{Code: QueueExists, Detail: "A queue with this id exists already."}
	ErrQueueNotEmpty      = &Error{Code: QueueNotEmpty, Detail: "Tickets still wait, are held or are being served in this queue."}
	ErrQueueClosed        = &Error{Code: QueueClosed, Detail: "The queue is closed; nobody may join it."}
	ErrQueueFull          = &Error{Code: QueueFull, Detail: "The queue has as many waiting tickets as it may."}
	ErrQueuePaused        = &Error{Code: QueuePaused, Detail: "The queue is paused; nobody is called."}
	ErrAttendantBusy      = &Error{Code: AttendantBusy, Detail: "You have as many active tickets as this queue allows. Finish one first."}
	ErrDeskTaken          = &Error{Code: DeskTaken, Detail: "Another attendant is serving at this desk."}
	ErrTicketNotWaiting   = &Error{Code: TicketNotWaiting, Detail: "The ticket is not waiting."}
	ErrTicketNotActive    = &Error{Code: TicketNotActive, Detail: "The ticket's state does not allow this."}
	ErrTicketFinished     = &Error{Code: TicketFinished, Detail: "The ticket is finished."}
	ErrPositionOutOfRange = &Error{Code: PositionOutOfRange, Detail: "The line has no such position."}
	ErrVersionMismatch    = &Error{Code: VersionMismatch, Detail: "The queue has moved on since the version named in If-Match."}
	ErrKeyReused          = &Error{Code: IdempotencyKeyReused, Detail: "This Idempotency-Key was used with another command."}
	ErrForbidden          = &Error{Code: Forbidden, Detail: "You may only change what you enqueued yourself."}
	ErrUnavailableNow     = &Error{Code: Unavailable, Detail: "The queue cannot be reached just now. Nothing was changed."}
	// ErrOutOfService: the queue's journal is damaged. It stays so until somebody
	// repairs it.
	ErrOutOfService   = &Error{Code: Unavailable, Detail: "The queue is out of service until its journal is repaired. Nothing was changed."}
	ErrInTransit      = &Error{Code: Unavailable, Detail: "The ticket is on its way to another queue. Nothing was changed."}
	ErrNotFollowed    = &Error{Code: Unavailable, Detail: "Too many events of the queue wait for what must have them. Nothing was changed."}
	ErrOutcomeUnknown = &Error{Code: OutcomeUnknown, Detail: "It is not known whether this happened. Retry with the same Idempotency-Key."}
)
