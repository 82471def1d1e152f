package queue

// The actions on tickets. Each stands with all of its rules.

// ErrNobodyWaits is CallNext's answer where nobody waits: no refusal, no event.
var ErrNobodyWaits = &Error{Code: "nobody_waits", Detail: "Nobody waits."}

// Enqueue takes a request into the line, behind the last waiting ticket whose
// priority is its own or higher.
type Enqueue struct {
	ID                TicketID
	Priority          uint8
	Service           string
	Customer, Payload []byte
	Index             []byte // of Customer
	Source            Source
}

func (*Enqueue) subject() TicketID { return TicketID{} }

func (a *Enqueue) validate() error {
	var v validation
	if a.Priority > MaxPriority {
		v.add("priority", "must be 0 to 9")
	}
	v.text("service", a.Service, 0, MaxServiceLength)
	return v.err()
}

func (a *Enqueue) decide(s *State, c *Command) (*Event, error) {
	now := s.now(c)
	if err := s.room(now); err != nil {
		return nil, err
	}
	if s.status == Closed {
		return nil, ErrQueueClosed
	}
	day, seq, number := s.nextNumber(now)
	t := &Ticket{
		ID: a.ID, Visit: a.ID, Number: number, State: Waiting, Priority: a.Priority, Source: a.Source,
		Service: a.Service, Customer: a.Customer, Payload: a.Payload, Index: a.Index, EnqueuedBy: c.By, EnqueuedAt: now,
	}
	return &Event{
		Kind: TicketEnqueued, Ticket: t, Position: s.waiting().newcomer(a.Priority) + 1, Day: day, Seq: seq,
	}, nil
}

// Move puts a waiting ticket exactly at a position (1 is next), or right
// before or after another waiting ticket. Nothing else changes order.
// One of the three is set.
type Move struct {
	Ticket        TicketID
	Position      int
	Before, After TicketID
}

func (a *Move) subject() TicketID { return a.Ticket }

func (a *Move) decide(s *State, _ *Command) (*Event, error) {
	slot := s.slots[a.Ticket]
	if err := mustWait(slot.ticket); err != nil {
		return nil, err
	}
	position, err := a.target(s, s.position(slot))
	if err != nil {
		return nil, err
	}
	return ticketEvent(TicketMoved, *slot.ticket, position), nil
}

// target is the position asked for, counted with the ticket out of the line.
func (a *Move) target(s *State, own int) (int, error) {
	other := a.Before
	if other.IsZero() {
		other = a.After
	}
	switch {
	case other.IsZero():
		if a.Position < 1 || a.Position > s.Waiting() {
			return 0, ErrPositionOutOfRange
		}
		return a.Position, nil
	case other == a.Ticket:
		return own, nil
	}
	neighbour, ok := s.slots[other]
	if !ok {
		return 0, ErrTicketNotFound
	}
	if err := mustWait(neighbour.ticket); err != nil {
		return 0, err
	}
	position := s.position(neighbour)
	if position > own {
		position--
	}
	if !a.After.IsZero() {
		position++
	}
	return position, nil
}

// Remove takes a ticket out of the line for good.
type Remove struct {
	Ticket TicketID
	Reason string
}

func (a *Remove) subject() TicketID { return a.Ticket }

func (a *Remove) validate() error {
	var v validation
	v.text("reason", a.Reason, 0, MaxReasonLength)
	return v.err()
}

func (a *Remove) decide(s *State, c *Command) (*Event, error) {
	t := *s.slots[a.Ticket].ticket
	switch {
	case t.State.Finished():
		return nil, ErrTicketFinished
	case t.State == Serving:
		return nil, ErrTicketNotWaiting
	}
	t.State, t.FinishedAt, t.Reason = Removed, s.now(c), a.Reason
	return ticketEvent(TicketRemoved, t, 0), nil
}

// CallNext calls the ticket at position 1 to the user's desk.
type CallNext struct{ Desk string }

func (*CallNext) subject() TicketID { return TicketID{} }

func (a *CallNext) validate() error { return validDesk(a.Desk) }

func (a *CallNext) decide(s *State, c *Command) (*Event, error) {
	if err := s.mayCall(c.By, a.Desk); err != nil {
		return nil, err
	}
	if s.Waiting() == 0 {
		return nil, ErrNobodyWaits
	}
	return s.called(s.waiting().at(0).ticket, a.Desk, c), nil
}

// Call calls a certain waiting ticket to the user's desk.
type Call struct {
	Ticket TicketID
	Desk   string
}

func (a *Call) subject() TicketID { return a.Ticket }

func (a *Call) validate() error { return validDesk(a.Desk) }

func (a *Call) decide(s *State, c *Command) (*Event, error) {
	t := s.slots[a.Ticket].ticket
	if err := mustWait(t); err != nil {
		return nil, err
	}
	if err := s.mayCall(c.By, a.Desk); err != nil {
		return nil, err
	}
	return s.called(t, a.Desk, c), nil
}

// mayCall refuses an attendant who has enough to do, a desk at which somebody
// else serves, and a paused queue.
func (s *State) mayCall(attendant, desk string) error {
	if s.attendants[attendant] >= int(s.config.MaxActive) {
		return ErrAttendantBusy
	}
	if d, used := s.desks[desk]; used && desk != "" && d.attendant != attendant {
		return ErrDeskTaken
	}
	if s.status == Paused {
		return ErrQueuePaused
	}
	return nil
}

func (s *State) called(waiting *Ticket, desk string, c *Command) *Event {
	t := *waiting
	t.State, t.Attendant, t.Desk, t.CalledAt = Called, c.By, desk, s.now(c)
	t.Calls++
	return ticketEvent(TicketCalled, t, 0)
}

// Recall calls an active ticket once more.
type Recall struct{ Ticket TicketID }

func (a *Recall) subject() TicketID { return a.Ticket }

func (a *Recall) decide(s *State, _ *Command) (*Event, error) {
	t := *s.slots[a.Ticket].ticket
	if err := mustBe(&t, Called, Serving); err != nil {
		return nil, err
	}
	t.Calls++
	return ticketEvent(TicketRecalled, t, 0), nil
}

// Start begins to serve a called ticket.
type Start struct{ Ticket TicketID }

func (a *Start) subject() TicketID { return a.Ticket }

func (a *Start) decide(s *State, c *Command) (*Event, error) {
	t := *s.slots[a.Ticket].ticket
	if err := mustBe(&t, Called); err != nil {
		return nil, err
	}
	t.State, t.StartedAt = Serving, s.now(c)
	return ticketEvent(TicketStarted, t, 0), nil
}

// Complete ends the service of an active ticket. A called one that was never
// started counts as started when it was called.
type Complete struct {
	Ticket  TicketID
	Outcome string
}

func (a *Complete) subject() TicketID { return a.Ticket }

func (a *Complete) validate() error {
	var v validation
	v.text("outcome", a.Outcome, 0, MaxOutcomeLength)
	return v.err()
}

func (a *Complete) decide(s *State, c *Command) (*Event, error) {
	t := *s.slots[a.Ticket].ticket
	if err := mustBe(&t, Called, Serving); err != nil {
		return nil, err
	}
	if t.State == Called {
		t.StartedAt = t.CalledAt
	}
	t.State, t.FinishedAt, t.Outcome = Completed, s.now(c), a.Outcome
	return ticketEvent(TicketCompleted, t, 0), nil
}

// Hold parks a ticket.
type Hold struct{ Ticket TicketID }

func (a *Hold) subject() TicketID { return a.Ticket }

func (a *Hold) decide(s *State, _ *Command) (*Event, error) {
	t := *s.slots[a.Ticket].ticket
	if err := mustBe(&t, Waiting, Called, Serving); err != nil {
		return nil, err
	}
	t.State = Held
	return ticketEvent(TicketHeld, t, 0), nil
}

// MarkNoShow says that a called customer did not come.
type MarkNoShow struct{ Ticket TicketID }

func (a *MarkNoShow) subject() TicketID { return a.Ticket }

func (a *MarkNoShow) decide(s *State, c *Command) (*Event, error) {
	t := *s.slots[a.Ticket].ticket
	if err := mustBe(&t, Called); err != nil {
		return nil, err
	}
	t.State, t.FinishedAt = NoShow, s.now(c)
	return ticketEvent(TicketNoShow, t, 0), nil
}

// Requeue brings a ticket back into the line at a position (1 to waiting + 1):
// one that is held or active, and for an hour one that was finished by a slip.
type Requeue struct {
	Ticket   TicketID
	Position int
}

func (a *Requeue) subject() TicketID { return a.Ticket }

func (a *Requeue) decide(s *State, c *Command) (*Event, error) {
	t, now := *s.slots[a.Ticket].ticket, s.now(c)
	switch {
	case t.State == Waiting:
		return nil, ErrTicketNotActive
	case t.State == Transferred, t.State.Finished() && t.FinishedAt < now-undoWithin:
		return nil, ErrTicketFinished
	case a.Position < 1 || a.Position > s.Waiting()+1:
		return nil, ErrPositionOutOfRange
	}
	if err := s.room(now); err != nil {
		return nil, err
	}
	t.State = Waiting
	t.CalledAt, t.StartedAt, t.FinishedAt = 0, 0, 0
	t.Attendant, t.Desk, t.Reason, t.Outcome = "", "", "", ""
	return ticketEvent(TicketRequeued, t, a.Position), nil
}

// Fields of a ticket that an Update may set.
const (
	TicketService Field = 1 << iota
	TicketPriority
	TicketCustomer
	TicketPayload
)

// Update changes what is known of a ticket that is not finished. A waiting
// ticket whose priority changes stands as a newcomer of that priority.
type Update struct {
	Ticket            TicketID
	Fields            Field
	Service           string
	Priority          uint8
	Customer, Payload []byte
	Index             []byte // goes with Customer
}

func (a *Update) subject() TicketID { return a.Ticket }

func (a *Update) validate() error {
	return (&Enqueue{Priority: a.Priority, Service: a.Service}).validate()
}

func (a *Update) decide(s *State, _ *Command) (*Event, error) {
	slot := s.slots[a.Ticket]
	t := *slot.ticket
	if t.State.Finished() {
		return nil, ErrTicketFinished
	}
	position := s.position(slot)
	if a.Fields&TicketPriority != 0 && a.Priority != t.Priority {
		t.Priority = a.Priority
		if t.State == Waiting {
			position = s.newcomerWithout(slot, a.Priority)
		}
	}
	if a.Fields&TicketService != 0 {
		t.Service = a.Service
	}
	if a.Fields&TicketCustomer != 0 {
		t.Customer, t.Index = a.Customer, a.Index
	}
	if a.Fields&TicketPayload != 0 {
		t.Payload = a.Payload
	}
	return ticketEvent(TicketUpdated, t, position), nil
}

// newcomerWithout is the position of a newcomer in the line that lacks slot.
// It takes the slot out to look and puts it back: the state is as before.
func (s *State) newcomerWithout(slot *slot, priority uint8) int {
	l := s.waiting()
	index := l.index(slot)
	l.remove(slot)
	defer l.insert(index, slot)
	return l.newcomer(priority) + 1
}

func ticketEvent(kind Kind, t Ticket, position int) *Event {
	return &Event{Kind: kind, Ticket: &t, Position: position}
}

func mustWait(t *Ticket) error {
	switch {
	case t.State.Finished():
		return ErrTicketFinished
	case t.State != Waiting:
		return ErrTicketNotWaiting
	}
	return nil
}

func mustBe(t *Ticket, states ...TicketState) error {
	if t.State.Finished() {
		return ErrTicketFinished
	}
	for _, s := range states {
		if t.State == s {
			return nil
		}
	}
	return ErrTicketNotActive
}

func validDesk(desk string) error {
	var v validation
	v.text("desk", desk, 0, MaxDeskLength)
	return v.err()
}
