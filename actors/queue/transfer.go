package queue

// A transfer is two events in two queues. The target first keeps a place, in
// memory only; the source's event is the decision; the target's follows and is
// sent until it has been taken. The old ticket's id names the transfer.

// keepPlaceFor bounds how long a place is kept for a transfer whose source is
// not heard of again.
const keepPlaceFor Time = 15 * 1000

// Transfer sends a ticket to another queue, where it becomes NewID.
type Transfer struct {
	Ticket TicketID
	To     ID
	NewID  TicketID
}

var errTransferToItself = &Error{Code: Invalid, Detail: "A ticket cannot be transferred to the queue that it is in.",
	Fields: []FieldError{{"queue", "must be another queue"}}}

func (a *Transfer) subject() TicketID { return a.Ticket }

func (a *Transfer) validate() error {
	if !a.To.Valid() {
		return ErrQueueNotFound
	}
	return nil
}

func (a *Transfer) decide(s *State, c *Command) (*Event, error) {
	t := *s.slots[a.Ticket].ticket
	if err := mustBe(&t, Waiting, Called, Serving); err != nil {
		return nil, err
	}
	t.State, t.FinishedAt = Transferred, s.now(c)
	t.TransferredTo, t.TransferQueue = a.NewID, a.To
	return ticketEvent(TicketTransferred, t, 0), nil
}

// KeepPlace holds a place in the line for the transfer of the ticket old, so
// that its arrival cannot overshoot the capacity. It is neither an event nor
// remembered by a new activation; it lapses by itself.
func (s *State) KeepPlace(old TicketID, now Time) error {
	now = max(now, s.lastAt)
	if !s.exists {
		return ErrQueueNotFound
	}
	for id, until := range s.places {
		if until <= now {
			delete(s.places, id)
		}
	}
	if _, kept := s.places[old]; kept {
		s.places[old] = now + keepPlaceFor
		return nil
	}
	if err := s.room(now); err != nil {
		return err
	}
	if s.status == Closed {
		return ErrQueueClosed
	}
	if s.places == nil {
		s.places = make(map[TicketID]Time)
	}
	s.places[old] = now + keepPlaceFor
	return nil
}

// FreePlace gives a kept place up.
func (s *State) FreePlace(old TicketID) { delete(s.places, old) }

// Arrive takes the new ticket of a transfer. Its command must be keyed by
// ArrivalOp, which is remembered for 30 days: a source that was down for less
// may send again without harm. Since the transfer is decided, a queue that has
// been closed meanwhile takes it; one that lost its kept place and is full
// refuses, and the source tries again.
type Arrive struct{ Old *Ticket }

func (*Arrive) subject() TicketID { return TicketID{} }

func (a *Arrive) decide(s *State, c *Command) (*Event, error) {
	old, now := a.Old, s.now(c)
	if until, kept := s.places[old.ID]; !kept || until <= now {
		if err := s.room(now); err != nil {
			return nil, err
		}
	}
	t := &Ticket{
		ID: old.TransferredTo, Visit: old.Visit, Number: old.Number, State: Waiting, Priority: old.Priority,
		Source: old.Source, Service: old.Service, Customer: old.Customer, Payload: old.Payload, Index: old.Index,
		EnqueuedBy: old.EnqueuedBy, EnqueuedAt: now, TransferredFrom: old.ID,
	}
	return &Event{Kind: TicketEnqueued, Ticket: t, Position: s.waiting().newcomer(t.Priority) + 1}, nil
}

// ArrivalOp names the arrival of the ticket that old became.
func ArrivalOp(old *Ticket) OpID { return OpID(old.TransferredTo) }
