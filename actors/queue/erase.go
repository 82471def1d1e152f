package queue

import "encoding/binary"

// Erase takes from a ticket, whatever its state, all by which anybody could tell
// whose it is. The ticket itself stays: the line, its numbers and what is counted
// of it do not change. One that is on its way to another queue has to arrive
// first, or its other half would bring with it what is erased here.
//
// Earlier events still hold it. Whoever erases has the journal purged afterwards.
type Erase struct{ Ticket TicketID }

func (a *Erase) subject() TicketID { return a.Ticket }

func (a *Erase) decide(s *State, _ *Command) (*Event, error) {
	if _, leaving := s.outbox[a.Ticket]; leaving {
		return nil, ErrInTransit
	}
	slot := s.slots[a.Ticket]
	t := *slot.ticket
	t.Customer, t.Payload, t.Index = nil, nil, nil
	e := ticketEvent(TicketUpdated, t, s.position(slot))
	e.Erases = true
	return e, nil
}

// OfPerson gives at most so many tickets, in any state, whose index has one of
// some tags. O(n).
func (s *State) OfPerson(tags [][]byte, limit int) []*Ticket {
	return s.find(limit, func(t *Ticket) bool { return t.IsOf(tags) })
}

func (s *State) find(limit int, wanted func(*Ticket) bool) []*Ticket {
	var found []*Ticket
	for i := range s.lines {
		s.lines[i].each(0, func(t *Ticket) bool {
			if wanted(t) {
				found = append(found, t)
			}
			return len(found) < limit
		})
	}
	return found[:min(len(found), limit)]
}

// OfVisit gives at most so many tickets, in any state, of a visit of which
// something personal is left. O(n).
func (s *State) OfVisit(visit TicketID, limit int) []*Ticket {
	return s.find(limit, func(t *Ticket) bool {
		return t.Visit == visit && len(t.Customer)+len(t.Payload)+len(t.Index) > 0
	})
}

// OldestVisit is when the oldest visit began that has not ended in the queue; 0
// where none is there. A visit is a UUIDv7, which begins with that time. O(n).
func (s *State) OldestVisit() Time {
	oldest := Time(0)
	for state := Waiting; !state.Finished(); state++ {
		s.lineOf(state).each(0, func(t *Ticket) bool {
			if began := Time(binary.BigEndian.Uint64(t.Visit[:8]) >> 16); oldest == 0 || began < oldest {
				oldest = began
			}
			return true
		})
	}
	return oldest
}
