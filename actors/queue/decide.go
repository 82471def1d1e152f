package queue

import (
	"strconv"
	"strings"
)

// Command is one wish of one user, with all that deciding it needs: the time
// and every id come in with it.
type Command struct {
	At      Time   // the clock of the node that decides
	By      string // user id; empty for the public
	OwnOnly bool   // may only touch tickets that By enqueued

	// Op names the operation. With Keyed it is remembered: the same Op gives
	// the first answer again. Fingerprints tell whether the same was asked;
	// several, where a key ring is being rotated, the first being the newest.
	Op           OpID
	Keyed        bool
	Fingerprints []uint64
	// Again: the same Op may have been sent before, no longer than 30 s ago, by
	// somebody who was not answered. Where it came without a key, and so is not
	// remembered for long, it is then looked for.
	Again bool

	// IfMatch, where HasIfMatch, is the version that the user acted on.
	HasIfMatch bool
	IfMatch    uint64

	Do Action
}

// Action is what a command asks for. The actions are in actions.go (tickets)
// and manage.go (the queue itself).
type Action interface {
	// subject is the ticket that the action is about; zero where none.
	subject() TicketID
	// decide answers with the event, all of it but what every event has.
	decide(s *State, c *Command) (*Event, error)
}

// Decision is what became of an accepted command: an event that is to be
// appended and applied, or, for an operation that was done before, the version
// of the event that it made then.
type Decision struct {
	Event    *Event
	ReplayOf uint64
}

// Decide holds a command against every rule of the line. It changes nothing.
// A refusal is an *Error; ErrNobodyWaits says that CallNext found nobody.
// The order of refusals is the contract's.
func (s *State) Decide(c *Command) (Decision, error) {
	if !c.Keyed {
		if done, err := s.sentBefore(c); err != nil || done != 0 {
			return Decision{ReplayOf: done}, err
		}
	}
	if err := s.mayAct(c); err != nil {
		return Decision{}, err
	}
	if err := s.validate(c.Do); err != nil {
		return Decision{}, err
	}
	if c.Keyed {
		if done, err := s.done(c); err != nil || done != 0 {
			return Decision{ReplayOf: done}, err
		}
	}
	if _, creates := c.Do.(*Create); !s.exists && !creates {
		return Decision{}, ErrQueueNotFound
	}
	if c.HasIfMatch && c.IfMatch != s.version {
		return Decision{}, ErrVersionMismatch
	}
	e, err := c.Do.decide(s, c)
	if err != nil {
		return Decision{}, err
	}
	s.stamp(e, c)
	return Decision{Event: e}, nil
}

// mayAct refuses what is about nothing that is there, or about somebody
// else's ticket. A queue that is gone may still be asked for what it did: the
// answer to a deletion may have been lost.
func (s *State) mayAct(c *Command) error {
	switch c.Do.(type) {
	case *Create, *Delete:
		return nil
	}
	if !s.exists {
		return ErrQueueNotFound
	}
	if c.Do.subject().IsZero() {
		return nil
	}
	slot, known := s.slots[c.Do.subject()]
	switch {
	case !known:
		return ErrTicketNotFound
	case c.OwnOnly && slot.ticket.EnqueuedBy != c.By:
		return ErrForbidden
	}
	return nil
}

// validate refuses what is malformed whatever the state of the queue is.
func (s *State) validate(a Action) error {
	if t, ok := a.(*Transfer); ok && t.To == s.id {
		return errTransferToItself
	}
	if v, ok := a.(interface{ validate() error }); ok {
		return v.validate()
	}
	return nil
}

// done gives the version at which the command was accepted before, 0 if it
// was not. A key that lapsed is not remembered, even while it stands in memory.
func (s *State) done(c *Command) (uint64, error) {
	m := &s.keys
	if _, arrives := c.Do.(*Arrive); arrives {
		m = &s.arrivals
	}
	r, ok := m.find(c.Op)
	if !ok || r.At < c.At-m.lapse {
		return 0, nil
	}
	for _, f := range c.Fingerprints {
		if f == r.Fingerprint {
			return r.Version, nil
		}
	}
	return 0, ErrKeyReused
}

// stamp fills in what every event has.
func (s *State) stamp(e *Event, c *Command) {
	if e.Version == 0 { // else it begins an epoch far above
		e.Version = s.version + 1
	}
	e.By, e.At = c.By, s.now(c)
	e.Op, e.Keyed, e.Again = c.Op, c.Keyed, c.Again && !c.Keyed
	if len(c.Fingerprints) > 0 {
		e.Fingerprint = c.Fingerprints[0]
	}
	if e.Epoch == "" {
		e.Epoch = s.epoch
	}
	if e.Kind.OfTicket() {
		e.Ticket.follow(e)
		return
	}
	if e.Config == nil && e.Kind != QueueDeleted {
		e.Config = s.config
	}
	if e.Status == 0 {
		e.Status = s.status
	}
	e.Waiting, e.Active = s.Waiting(), s.Active()
}

// now is the command's time, but never earlier than the last event's.
func (s *State) now(c *Command) Time { return max(c.At, s.lastAt) }

// nextNumber gives the next number of the service day and its place in it.
// The day only moves forward, whatever the clock or the timezone does. Where
// another timezone puts the last number into the new day, that day has begun
// already and its sequence goes on, or numbers would come twice in it.
func (s *State) nextNumber(now Time) (day int32, seq uint64, number string) {
	day, seq = s.day, s.seq+1
	issued := s.issued
	if d := serviceDay(now, s.loc); d > s.day {
		if s.startsDay(d) {
			seq, issued = 1, nil
		}
		day = d
	}
	for ; ; seq++ {
		number = formatNumber(s.config.Prefix, seq)
		// Only a prefix changed during the day can make an old number come
		// up again (A1 and 001, A and 1001), or a ticket that was transferred
		// in can bear it.
		if !holds(issued, number) && !s.borneOn(day, number) {
			return day, seq, number
		}
	}
}

// startsDay tells whether the sequence begins anew with a number of that day.
func (s *State) startsDay(day int32) bool {
	return day > s.day && serviceDay(s.issuedAt, s.loc) < day
}

// holds tells whether a number is in the ranges. They outlive the tickets,
// which a deletion of the queue takes away.
func holds(issued []Issued, number string) bool {
	for _, r := range issued {
		digits, found := strings.CutPrefix(number, r.Prefix)
		seq, err := strconv.ParseUint(digits, 10, 64)
		if found && err == nil && seq >= r.First && seq <= r.Last && formatNumber("", seq) == digits {
			return true
		}
	}
	return false
}

// borneOn tells whether a ticket that joined on that day or later bears the
// number; the newest one stands first.
func (s *State) borneOn(day int32, number string) bool {
	newest := s.numbers[number]
	return newest != nil && serviceDay(newest.ticket.EnqueuedAt, s.loc) >= day
}

// formatNumber writes the sequence with three digits or more.
func formatNumber(prefix string, seq uint64) string {
	b := make([]byte, 0, len(prefix)+8)
	b = append(b, prefix...)
	if seq < 100 {
		b = append(b, '0')
	}
	if seq < 10 {
		b = append(b, '0')
	}
	return string(strconv.AppendUint(b, seq, 10))
}

// room refuses where the line is full. Places kept for transfers count.
func (s *State) room(now Time) error {
	if s.config.Capacity != 0 && s.Waiting()+s.kept(now) >= int(s.config.Capacity) {
		return ErrQueueFull
	}
	return nil
}

// kept counts the places that transfers under way hold.
func (s *State) kept(now Time) int {
	n := 0
	for _, until := range s.places {
		if until > now {
			n++
		}
	}
	return n
}
