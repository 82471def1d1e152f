package faults

import (
	"errors"
	"fmt"
	"slices"
)

// model is a queue as its events make it: plain slices and maps. It holds each
// event against the contract's rules for what it says to have happened.
type model struct {
	version             uint64
	epoch               string
	at                  int64
	exists              bool
	status              string
	capacity, maxActive int
	line                []string
	tickets             map[string]Ticket
	busy                map[string]int  // active tickets by attendant
	numbers             map[string]bool // by day
	day                 int
	seq                 uint64
	// head: the last event called the ticket that stood first.
	head bool
	// lossy: the store may have lost events, after which an epoch begins above them.
	lossy bool
}

func newModel(lossy bool) *model {
	return &model{tickets: make(map[string]Ticket), busy: make(map[string]int), numbers: make(map[string]bool), lossy: lossy}
}

// ways are the states from which an event may come, and the one it leads to
// ("" where it stays).
var ways = map[string]struct {
	from []string
	to   string
}{
	"ticket.moved":       {[]string{"waiting"}, "waiting"},
	"ticket.removed":     {[]string{"waiting", "held", "called"}, "removed"},
	"ticket.called":      {[]string{"waiting"}, "called"},
	"ticket.recalled":    {[]string{"called", "serving"}, ""},
	"ticket.started":     {[]string{"called"}, "serving"},
	"ticket.completed":   {[]string{"called", "serving"}, "completed"},
	"ticket.held":        {[]string{"waiting", "called", "serving"}, "held"},
	"ticket.no_show":     {[]string{"called"}, "no_show"},
	"ticket.requeued":    {[]string{"held", "called", "serving", "no_show", "completed", "removed"}, "waiting"},
	"ticket.transferred": {[]string{"waiting", "called", "serving"}, "transferred"},
	"ticket.updated":     {[]string{"waiting", "called", "serving", "held"}, ""},
}

// apply takes an event in, and says what is wrong with it. It goes on from
// what the event says, so that one wrong event is reported once.
func (m *model) apply(e *Event) error {
	follows := m.follow(e)
	var err error
	switch {
	case e.Ticket == nil && len(e.Kind) > 6 && e.Kind[:6] == "queue.":
		err = m.ofQueue(e)
	case e.Ticket == nil:
		err = fmt.Errorf("%s without a ticket", e.Kind)
	case e.Kind == "ticket.enqueued":
		err = m.enqueued(e)
	default:
		err = m.ofTicket(e)
	}
	return errors.Join(follows, err)
}

// follow: versions have no gap but where a new epoch begins above them.
func (m *model) follow(e *Event) error {
	before, epoch, at := m.version, m.epoch, m.at
	m.version, m.epoch, m.at = e.Version, e.Epoch, e.At
	switch {
	case e.Epoch != epoch && e.Kind != "queue.configured":
		return fmt.Errorf("epoch %s begins with %s", e.Epoch, e.Kind)
	case e.Epoch != epoch && e.Version <= before:
		return fmt.Errorf("epoch %s begins at version %d, not above %d", e.Epoch, e.Version, before)
	case e.Epoch != epoch && !m.lossy && (e.Version != before+1 || m.exists):
		return fmt.Errorf("epoch %s begins at version %d after %d, though nothing was lost", e.Epoch, e.Version, before)
	case e.Epoch == epoch && e.Version != before+1:
		return fmt.Errorf("version %d follows %d", e.Version, before)
	case e.At < at:
		return fmt.Errorf("time goes back by %d ms", at-e.At)
	}
	return nil
}

func (m *model) ofQueue(e *Event) error {
	if e.Kind == "queue.deleted" {
		for _, t := range m.tickets {
			if slices.Contains([]string{"waiting", "called", "serving", "held"}, t.State) {
				return fmt.Errorf("deleted with ticket %s %s", t.ID, t.State)
			}
		}
		m.exists, m.line, m.tickets, m.busy = false, nil, make(map[string]Ticket), make(map[string]int)
		return nil
	}
	if !m.exists && e.Kind != "queue.configured" {
		return fmt.Errorf("%s of no queue", e.Kind)
	}
	if e.Seq != 0 { // an epoch that moves the numbers on
		m.day, m.seq = e.Day, e.Seq
	}
	m.exists, m.status, m.capacity, m.maxActive = true, e.Status, e.Capacity, e.MaxActive
	return nil
}

func (m *model) full() bool { return m.capacity > 0 && len(m.line) >= m.capacity }

// newcomer is the position behind the last waiting ticket whose priority is as
// high or higher.
func (m *model) newcomer(priority int) int {
	position := 1
	for i, id := range m.line {
		if m.tickets[id].Priority >= priority {
			position = i + 2
		}
	}
	return position
}

func (m *model) enqueued(e *Event) error {
	t := *e.Ticket
	_, known := m.tickets[t.ID]
	full, position := m.full(), m.newcomer(t.Priority)
	wrong := m.put(t, e.Position)
	arrived := t.TransferredFrom != ""
	switch {
	case !m.exists:
		return fmt.Errorf("ticket %s was enqueued in no queue", t.ID)
	case known:
		return fmt.Errorf("ticket %s was enqueued twice", t.ID)
	case wrong != nil:
		return wrong
	case t.State != "waiting" || e.Position != position:
		return fmt.Errorf("newcomer %s is %s at position %d, not %d", t.ID, t.State, e.Position, position)
	case full:
		return fmt.Errorf("ticket %s overshoots the capacity of %d", t.ID, m.capacity)
	case m.status == "closed" && !arrived:
		return fmt.Errorf("ticket %s joined a closed queue", t.ID)
	case arrived:
		return nil
	}
	return m.number(e)
}

// number: never issued twice by one queue in a day, and in order.
func (m *model) number(e *Event) error {
	key := fmt.Sprint(e.Day, " ", e.Ticket.Number)
	twice, back := m.numbers[key], e.Day < m.day || e.Day == m.day && e.Seq <= m.seq
	m.numbers[key], m.day, m.seq = true, e.Day, e.Seq
	switch {
	case twice:
		return fmt.Errorf("number %s was issued twice on %d", e.Ticket.Number, e.Day)
	case back:
		return fmt.Errorf("number %s (%d, %d) does not come after the last one", e.Ticket.Number, e.Day, e.Seq)
	}
	return nil
}

func (m *model) ofTicket(e *Event) error {
	t, way := *e.Ticket, ways[e.Kind]
	was, known := m.tickets[t.ID]
	if !known {
		return fmt.Errorf("%s of unknown ticket %s", e.Kind, t.ID)
	}
	to := way.to
	if to == "" {
		to = was.State
	}
	at, full, busy := slices.Index(m.line, t.ID)+1, m.full(), m.busy[e.By]
	m.head = e.Kind == "ticket.called" && at == 1
	wrong := m.put(t, e.Position)
	switch {
	case e.Erases && (e.Kind != "ticket.updated" || !e.Bare || t.Priority != was.Priority):
		return fmt.Errorf("%s does more than to erase ticket %s, or less", e.Kind, t.ID)
	case !e.Erases && !slices.Contains(way.from, was.State):
		return fmt.Errorf("%s of ticket %s, which is %s", e.Kind, t.ID, was.State)
	case t.State != to:
		return fmt.Errorf("%s leaves ticket %s %s", e.Kind, t.ID, t.State)
	case wrong != nil:
		return wrong
	case t.Number != was.Number || t.Service != was.Service || t.TransferredFrom != was.TransferredFrom:
		return fmt.Errorf("%s makes ticket %s another one", e.Kind, t.ID)
	case e.Kind != "ticket.updated" && t.Priority != was.Priority:
		return fmt.Errorf("%s changes the priority of ticket %s", e.Kind, t.ID)
	case e.Kind == "ticket.requeued" && full:
		return fmt.Errorf("ticket %s comes back above the capacity of %d", t.ID, m.capacity)
	case e.Kind == "ticket.called" && m.status == "paused":
		return fmt.Errorf("ticket %s was called in a paused queue", t.ID)
	case e.Kind == "ticket.called" && busy >= m.maxActive:
		return fmt.Errorf("ticket %s was called by an attendant who has %d", t.ID, busy)
	}
	calls := was.Calls
	if e.Kind == "ticket.called" || e.Kind == "ticket.recalled" {
		calls++
	}
	if t.Calls != calls {
		return fmt.Errorf("%s makes it %d calls of ticket %s, not %d", e.Kind, t.Calls, t.ID, calls)
	}
	return m.updated(e, &was, at)
}

// updated: a waiting ticket whose priority changes stands as a newcomer, and
// one whose priority does not keeps its place.
func (m *model) updated(e *Event, was *Ticket, at int) error {
	if e.Kind != "ticket.updated" || was.State != "waiting" {
		return nil
	}
	want := at
	if e.Ticket.Priority != was.Priority {
		i := slices.Index(m.line, e.Ticket.ID)
		m.line = slices.Delete(m.line, i, i+1)
		want = m.newcomer(e.Ticket.Priority)
		m.line = slices.Insert(m.line, i, e.Ticket.ID)
	}
	if e.Position != want {
		return fmt.Errorf("updated ticket %s stands at %d, not %d", e.Ticket.ID, e.Position, want)
	}
	return nil
}

// put stands a ticket at its position where it waits, else in no line.
func (m *model) put(t Ticket, position int) error {
	if i := slices.Index(m.line, t.ID); i >= 0 {
		m.line = slices.Delete(m.line, i, i+1)
	}
	if was := m.tickets[t.ID]; active(was.State) {
		m.busy[was.Attendant]--
	}
	if active(t.State) {
		m.busy[t.Attendant]++
	}
	m.tickets[t.ID] = t
	if t.State != "waiting" {
		if position != 0 {
			return fmt.Errorf("ticket %s is %s at position %d", t.ID, t.State, position)
		}
		return nil
	}
	if position < 1 || position > len(m.line)+1 {
		m.line = append(m.line, t.ID)
		return fmt.Errorf("ticket %s stands at position %d of %d", t.ID, position, len(m.line))
	}
	m.line = slices.Insert(m.line, position-1, t.ID)
	return nil
}

func active(state string) bool { return state == "called" || state == "serving" }

// in gives the ids of all tickets in some states, sorted.
func (m *model) in(states ...string) (ids []string) {
	for id, t := range m.tickets {
		if slices.Contains(states, t.State) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
