package queue

import (
	"fmt"
	"time"
)

// Retention of what a queue remembers.
const (
	rememberKeysFor     = Day
	rememberKeysMax     = 1_000_000
	rememberArrivalsFor = 30 * Day // see Arrive
	keepFinishedFor     = Day
	undoWithin          = Hour
	// ResumeWindow is how many of the last events are kept at least, so that
	// a reader who was away can go on from where it was.
	ResumeWindow = 10_000
)

// State is one queue as its events have made it. It is changed by Apply alone
// and is not safe for concurrent use: its grain is its only user. Deciding
// never changes it.
type State struct {
	id      ID
	version uint64
	epoch   string
	lastAt  Time
	exists  bool // false before the first event and after a deletion

	config *Config
	loc    *time.Location
	status Status
	// The numbers given out: the service day, the last place in it and when
	// that was, and the ranges of the day by prefix.
	day      int32
	seq      uint64
	issuedAt Time
	issued   []Issued

	// One line for each state of a ticket that is not finished, and one, in
	// the order of finishing, for those that are.
	lines   [5]line
	longest longest
	slots   map[TicketID]*slot
	numbers map[string]*slot // newest of that number; older ones chained by slot.same

	attendants map[string]int // active tickets of an attendant
	desks      map[string]deskUse

	keys     memory
	arrivals memory
	recents  recents
	outbox   map[TicketID]*Ticket // transferred out, not yet known to have arrived
	places   map[TicketID]Time    // kept for transfers that are under way; never journalled
}

// Issued is a range of places in a service day's sequence in which numbers were
// given out with a prefix. There are several where the prefix changed that day.
type Issued struct {
	Prefix      string
	First, Last uint64
}

// deskUse is who serves at a desk, and how many tickets that are there.
type deskUse struct {
	attendant string
	tickets   int
}

// New gives the state of a queue that has had no events.
func New(id ID) *State {
	return &State{
		id:       id,
		keys:     memory{lapse: rememberKeysFor, max: rememberKeysMax},
		arrivals: memory{lapse: rememberArrivalsFor, max: rememberKeysMax},
	}
}

// lineOf is the line in which a ticket of that state stands.
func (s *State) lineOf(state TicketState) *line {
	if state.Finished() {
		return &s.lines[4]
	}
	return &s.lines[state-Waiting]
}

func (s *State) waiting() *line { return &s.lines[0] }

// ID is the queue's id.
func (s *State) ID() ID { return s.id }

// Version is the number of events that the queue has had.
func (s *State) Version() uint64 { return s.version }

// Epoch names the history that the version counts in.
func (s *State) Epoch() string { return s.epoch }

// LastAt is the time of the last event.
func (s *State) LastAt() Time { return s.lastAt }

// Exists is false before the queue's creation and after its deletion.
func (s *State) Exists() bool { return s.exists }

// Config is what was configured; nil where the queue does not exist.
func (s *State) Config() *Config { return s.config }

// Status is open, paused or closed.
func (s *State) Status() Status { return s.status }

// Waiting counts the waiting tickets, Active those called or serving.
func (s *State) Waiting() int { return s.waiting().len() }

// Active counts the tickets that are called or being served.
func (s *State) Active() int { return s.lineOf(Called).len() + s.lineOf(Serving).len() }

// Count is the number of tickets in a state; finished states are counted together.
func (s *State) Count(state TicketState) int { return s.lineOf(state).len() }

// Attendants counts those who have active tickets.
func (s *State) Attendants() int { return len(s.attendants) }

// ActiveOf counts the active tickets of an attendant.
func (s *State) ActiveOf(attendant string) int { return s.attendants[attendant] }

// Size is the number of things a snapshot of the state holds.
func (s *State) Size() int {
	return len(s.slots) + len(s.keys.ring) + len(s.arrivals.ring) + len(s.recents.ring)
}

// Ticket gives a ticket and its position (0 where it does not wait). O(log n).
func (s *State) Ticket(id TicketID) (*Ticket, int, bool) {
	slot, ok := s.slots[id]
	if !ok {
		return nil, 0, false
	}
	return slot.ticket, s.position(slot), true
}

func (s *State) position(slot *slot) int {
	if slot.ticket.State != Waiting {
		return 0
	}
	return s.waiting().index(slot) + 1
}

// Page calls fn for the tickets of a state in order, from a 0-based index,
// until fn says false. Finished states share one line and fn sees them all.
// O(log n + k).
func (s *State) Page(state TicketState, from int, fn func(*Ticket) bool) {
	l := s.lineOf(state)
	if from < l.len() {
		l.each(from, fn)
	}
}

// Index is the 0-based place of a ticket among those of its state, false
// where it has left that state.
func (s *State) Index(id TicketID, state TicketState) (int, bool) {
	slot, ok := s.slots[id]
	if !ok || s.lineOf(slot.ticket.State) != s.lineOf(state) {
		return 0, false
	}
	return s.lineOf(state).index(slot), true
}

// ByNumber gives the tickets that bear a number, the newest first.
func (s *State) ByNumber(number string) []*Ticket {
	var found []*Ticket
	for slot := s.numbers[number]; slot != nil; slot = slot.same {
		found = append(found, slot.ticket)
	}
	return found
}

// Outbox gives the tickets that were transferred out and are not yet known to
// have arrived; each names its target.
func (s *State) Outbox() []*Ticket {
	out := make([]*Ticket, 0, len(s.outbox))
	for _, t := range s.outbox {
		out = append(out, t)
	}
	return out
}

// Delivered takes a ticket out of the outbox. It makes no event: a queue that
// forgets it sends the ticket again, which its target knows.
func (s *State) Delivered(old TicketID) { delete(s.outbox, old) }

// TrimTo is the version up to which nobody needs the events any more: not to
// answer a remembered operation again, not to resume.
func (s *State) TrimTo() uint64 {
	if s.version <= ResumeWindow {
		return 0
	}
	trim := s.version - ResumeWindow
	for _, oldest := range []uint64{
		s.keys.oldestSince(s.lastAt - Day), s.arrivals.oldestSince(s.lastAt - Day), s.recents.oldestSince(s.lastAt - recentFor),
	} {
		if oldest > 0 && oldest <= trim {
			trim = oldest - 1
		}
	}
	return trim
}

// Check holds the state against its invariants. It is for tests: O(n).
func (s *State) Check() error {
	total, active := 0, map[string]int{}
	since := Time(0)
	desks := map[string]deskUse{}
	for i := range s.lines {
		l := &s.lines[i]
		if err := l.check(); err != nil {
			return err
		}
		place := 0
		var bad error
		l.each(0, func(t *Ticket) bool {
			slot := s.slots[t.ID]
			switch {
			case slot == nil || slot.ticket != t:
				bad = fmt.Errorf("ticket %x stands in a line but is not known by its id", t.ID)
			case s.lineOf(t.State) != l:
				bad = fmt.Errorf("ticket %x is %s but stands in line %d", t.ID, t.State, i)
			case l.index(slot) != place:
				bad = fmt.Errorf("ticket %x stands at %d, its index is %d", t.ID, place, l.index(slot))
			}
			if t.State == Waiting && (since == 0 || t.EnqueuedAt < since) {
				since = t.EnqueuedAt
			}
			if t.State.Active() {
				active[t.Attendant]++
				if t.Desk != "" {
					d := desks[t.Desk]
					if d.tickets > 0 && d.attendant != t.Attendant {
						bad = fmt.Errorf("desk %q has two attendants", t.Desk)
					}
					desks[t.Desk] = deskUse{t.Attendant, d.tickets + 1}
				}
			}
			place++
			return bad == nil
		})
		if bad != nil {
			return bad
		}
		total += l.len()
	}
	if found := s.WaitingSince(); found != since {
		return fmt.Errorf("the longest wait began at %d, found is %d", since, found)
	}
	if total != len(s.slots) {
		return fmt.Errorf("%d tickets stand in lines, %d are known", total, len(s.slots))
	}
	if fmt.Sprint(active) != fmt.Sprint(s.attendants) && len(active)+len(s.attendants) > 0 {
		return fmt.Errorf("attendants' active tickets are %v, counted %v", active, s.attendants)
	}
	if fmt.Sprint(desks) != fmt.Sprint(s.desks) && len(desks)+len(s.desks) > 0 {
		return fmt.Errorf("desks are %v, counted %v", desks, s.desks)
	}
	return nil
}
