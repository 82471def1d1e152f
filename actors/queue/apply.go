package queue

import (
	"bytes"
	"fmt"
	"strings"
)

// Apply makes the event part of the state. It holds no rules: the event says
// what became of everything it touches. An event that does not fit the state
// (a damaged or foreign one) is an error, and the state must be thrown away.
func (s *State) Apply(e *Event) error {
	if e.Version != s.version+1 && !s.startsEpoch(e) {
		return fmt.Errorf("queue: event %d does not follow version %d", e.Version, s.version)
	}
	if e.At < s.lastAt {
		return fmt.Errorf("queue: event %d is earlier than the one before it", e.Version)
	}
	var err error
	switch {
	case e.Kind.OfTicket():
		err = s.applyTicket(e)
	case e.Kind == QueueDeleted:
		err = s.applyDeletion()
	case e.Kind.Valid():
		err = s.applyQueue(e)
	default:
		err = fmt.Errorf("queue: event %d is of unknown kind %d", e.Version, e.Kind)
	}
	if err != nil {
		return err
	}
	s.version, s.lastAt = e.Version, e.At
	s.remember(e)
	s.recents.forget(e)
	s.forget(e.At)
	return nil
}

// startsEpoch tells whether the event begins a new history, which may stand
// anywhere above the old one.
func (s *State) startsEpoch(e *Event) bool {
	return e.Kind == QueueConfigured && e.Epoch != s.epoch && e.Version > s.version
}

func (s *State) applyQueue(e *Event) error {
	if e.Config == nil || e.Status == 0 {
		return fmt.Errorf("queue: event %d says nothing of its queue", e.Version)
	}
	if s.config == nil || s.config.Timezone != e.Config.Timezone {
		s.loc = location(e.Config.Timezone)
	}
	s.config, s.status, s.epoch, s.exists = e.Config, e.Status, e.Epoch, true
	if e.Seq != 0 { // see goBeyond
		if e.Day > s.day {
			s.issued = nil
		}
		s.day, s.seq, s.issuedAt = e.Day, e.Seq, e.At
	}
	return nil
}

// applyDeletion leaves what must outlive a queue: its version, its numbers of
// the day, and the keys that were used.
func (s *State) applyDeletion() error {
	if s.Waiting()+s.Active()+s.Count(Held) > 0 {
		return fmt.Errorf("queue: a queue with tickets was deleted")
	}
	s.exists, s.config, s.status, s.loc = false, nil, 0, nil
	s.lines = [5]line{}
	s.slots, s.numbers, s.attendants, s.desks, s.longest = nil, nil, nil, nil, longest{}
	return nil
}

func (s *State) applyTicket(e *Event) error {
	t := e.Ticket
	if t == nil || t.State < Waiting || t.State > Transferred || !s.exists {
		return fmt.Errorf("queue: event %d has no ticket that can stand in this queue", e.Version)
	}
	slot, known := s.slots[t.ID]
	if known == (e.Kind == TicketEnqueued) {
		return fmt.Errorf("queue: event %d is about a ticket that is lost or there already", e.Version)
	}
	room := s.Waiting() + 1
	if known && slot.ticket.State == Waiting {
		room--
	}
	if t.State == Waiting && (e.Position < 1 || e.Position > room) {
		return fmt.Errorf("queue: event %d puts a ticket at position %d of %d", e.Version, e.Position, room)
	}
	switch {
	case !known:
		s.put(s.addSlot(t), t, e.Position)
	case t.State == slot.ticket.State && s.position(slot) == e.Position:
		// It stays where it is: a recall or an update does not lose its turn.
		s.lineOf(t.State).replace(slot, t)
	default:
		s.take(slot)
		s.put(slot, t, e.Position)
	}
	if e.Seq != 0 {
		s.issue(e)
	}
	switch {
	case e.Erases:
		delete(s.outbox, t.ID) // it had arrived before it was erased
	case t.State == Transferred:
		if s.outbox == nil {
			s.outbox = make(map[TicketID]*Ticket)
		}
		s.outbox[t.ID] = t
	}
	return nil
}

// issue notes a number that was given out.
func (s *State) issue(e *Event) {
	if s.startsDay(e.Day) {
		s.issued = nil
	}
	s.day, s.seq, s.issuedAt = e.Day, e.Seq, e.At
	prefix := strings.TrimSuffix(e.Ticket.Number, formatNumber("", e.Seq))
	for i := range s.issued {
		if s.issued[i].Prefix == prefix {
			s.issued[i].Last = e.Seq
			return
		}
	}
	s.issued = append(s.issued, Issued{prefix, e.Seq, e.Seq})
}

// take lifts a ticket out of its line and out of its desk's and attendant's count.
func (s *State) take(slot *slot) {
	t := slot.ticket
	s.lineOf(t.State).remove(slot)
	if !t.State.Active() {
		return
	}
	if s.attendants[t.Attendant]--; s.attendants[t.Attendant] == 0 {
		delete(s.attendants, t.Attendant)
	}
	if t.Desk == "" {
		return
	}
	if d := s.desks[t.Desk]; d.tickets > 1 {
		s.desks[t.Desk] = deskUse{d.attendant, d.tickets - 1}
	} else {
		delete(s.desks, t.Desk)
	}
}

// put stands a ticket where its new value belongs: at its position where it
// waits, else behind the others of its state.
func (s *State) put(slot *slot, t *Ticket, position int) {
	slot.ticket = t
	l := s.lineOf(t.State)
	if t.State == Waiting {
		l.insert(position-1, slot)
		s.beginsToWait(slot)
		return
	}
	l.insert(l.len(), slot)
	if !t.State.Active() {
		return
	}
	if s.attendants == nil {
		s.attendants, s.desks = make(map[string]int), make(map[string]deskUse)
	}
	s.attendants[t.Attendant]++
	if t.Desk != "" {
		s.desks[t.Desk] = deskUse{t.Attendant, s.desks[t.Desk].tickets + 1}
	}
}

// addSlot makes a ticket known by its id and its number. Those of one number are
// chained by their own order, the newest first, not by that of their coming: a
// restored state meets them in the order of their lines.
func (s *State) addSlot(t *Ticket) *slot {
	if s.slots == nil {
		s.slots, s.numbers = make(map[TicketID]*slot), make(map[string]*slot)
	}
	added := &slot{ticket: t}
	s.slots[t.ID] = added
	head := s.numbers[t.Number]
	if head == nil || !newer(head.ticket, t) {
		added.same, s.numbers[t.Number] = head, added
		return added
	}
	for head.same != nil && newer(head.same.ticket, t) {
		head = head.same
	}
	added.same, head.same = head.same, added
	return added
}

// newer tells which of two tickets of one number was enqueued later; where that
// was at the same moment, their ids decide, so that it is the same ever after.
func newer(a, b *Ticket) bool {
	if a.EnqueuedAt != b.EnqueuedAt {
		return a.EnqueuedAt > b.EnqueuedAt
	}
	return bytes.Compare(a.ID[:], b.ID[:]) > 0
}

func (s *State) dropSlot(gone *slot) {
	t := gone.ticket
	delete(s.slots, t.ID)
	head := s.numbers[t.Number]
	if head == gone {
		if gone.same == nil {
			delete(s.numbers, t.Number)
		} else {
			s.numbers[t.Number] = gone.same
		}
		return
	}
	for ; head != nil; head = head.same {
		if head.same == gone {
			head.same = gone.same
			return
		}
	}
}

func (s *State) remember(e *Event) {
	if e.Keyed {
		r := Remembered{Op: e.Op, Version: e.Version, Fingerprint: e.Fingerprint, At: e.At}
		if e.Kind == TicketEnqueued && !e.Ticket.TransferredFrom.IsZero() {
			s.arrivals.add(r)
		} else {
			s.keys.add(r)
		}
	} else {
		s.recents.add(Recent{Op: e.Op, Version: e.Version, At: e.At, Again: e.Again})
	}
	if e.Kind == TicketEnqueued && !e.Ticket.TransferredFrom.IsZero() {
		delete(s.places, e.Ticket.TransferredFrom)
	}
}

// forget drops what has lapsed by the time of an event. It follows from the
// events alone, so that a replay forgets the same.
func (s *State) forget(now Time) {
	s.keys.forget(now)
	s.arrivals.forget(now)
	finished := s.lineOf(Completed)
	for finished.len() > 0 {
		oldest := finished.at(0)
		if oldest.ticket.FinishedAt >= now-keepFinishedFor {
			return
		}
		finished.remove(oldest)
		s.dropSlot(oldest)
	}
}
