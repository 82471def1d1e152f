package faults

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Evidence is what a history is held against.
type Evidence struct {
	// Journals are the events of each queue, in order.
	Journals map[string][]Event
	// MayLose: the store was set back to an older state, so events that were
	// acknowledged may be gone, where a new epoch begins above them.
	MayLose bool
	// Rows are the history's, by queue; nil where they are not checked.
	Rows map[string][]Ticket
}

// Check holds all that the clients know against the journals.
func Check(h *History, e Evidence) *Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &checker{Report: &Report{Queues: len(e.Journals)}, evidence: e, queues: make(map[string]*queueCheck), began: h.began.UnixMilli()}
	for id, events := range e.Journals {
		c.queues[id] = &queueCheck{
			checker: c, id: id, events: events, told: make(map[uint64]*Op), looks: make(map[uint64][]look),
			asked: make(map[string]int), refused: make(map[string]*Op), requests: make(map[string]int),
		}
	}
	for _, o := range h.Ops {
		c.takeOp(o)
	}
	for _, r := range h.Reads {
		c.takeRead(r)
	}
	c.takeRequests(h.Requests)
	for _, s := range h.Streams {
		c.takeStream(s)
	}
	for _, q := range c.queues {
		q.replay()
		q.checkTimes()
	}
	c.checkTransfers()
	c.checkDead(h)
	return c.Report
}

// checker is one check under way.
type checker struct {
	*Report
	evidence Evidence
	queues   map[string]*queueCheck
	began    int64 // of the history, as the journal has times
	// What transfers made: the target's ticket by the source's, as each says.
	left, arrived map[string]string
}

// look is something that was shown to a client at a version.
type look func(m *model)

// queueCheck is what concerns one queue.
type queueCheck struct {
	*checker
	id       string
	events   []Event
	told     map[uint64]*Op
	versions []timed
	looks    map[uint64][]look
	// asked counts what may have happened, by what it leaves in an event.
	asked map[string]int
	// refused are the last ones that were, by the same, to tell of.
	refused map[string]*Op
	// requests are RabbitMQ's, by mark: their places in the order of publishing.
	requests    map[string]int
	lastRequest int
}

// timed is a version that a client knew of from one moment on, having asked at another.
type timed struct {
	sent, answered time.Duration
	version        uint64
	raises         bool
	what           string
}

func (c *checker) of(queue, what string) *queueCheck {
	q := c.queues[queue]
	if q == nil {
		c.wrong("%s: queue %s has no journal", what, queue)
	}
	return q
}

func (c *checker) takeOp(o *Op) {
	q := c.of(o.Queue, o.Command)
	if q == nil {
		return
	}
	if o.Outcome == Refused {
		q.refused[trace(events[o.Command], o.Ticket, o.Mark)] = o
		return
	}
	if o.Outcome == Unknown {
		c.Unknown++
		q.asked[trace(events[o.Command], o.Ticket, o.Mark)]++
		return
	}
	c.Accepted++
	if o.Replayed {
		c.Replayed++
	}
	if other := q.told[o.Version]; other != nil {
		c.wrong("%s: version %d was told twice: %s %s and %s %s", o.Queue, o.Version, other.Client, other.Command, o.Client, o.Command)
	}
	q.told[o.Version] = o
	q.versions = append(q.versions, timed{o.Sent, o.Answered, o.Version, true, o.Command + " of " + o.Client})
}

func (c *checker) takeRead(r *Read) {
	q := c.of(r.Queue, "read")
	if q == nil {
		return
	}
	c.Reads++
	q.versions = append(q.versions, timed{r.Sent, r.Answered, r.Version, false, "read"})
	q.look(r.Version, "a read", func(m *model) {
		line := m.line
		if !r.Whole {
			line = line[:min(len(line), len(r.Waiting))]
		}
		if !slices.Equal(line, r.Waiting) {
			c.wrong("%s: a read at version %d shows the line %v, which is %v", q.id, r.Version, r.Waiting, line)
		}
		for id, state := range r.States {
			if m.tickets[id].State != state {
				c.wrong("%s: a read at version %d shows ticket %s %s, which is %q", q.id, r.Version, id, state, m.tickets[id].State)
			}
		}
	})
}

// look has something compared when the replay has come to a version.
func (q *queueCheck) look(version uint64, what string, l look) {
	if _, there := q.at(version); !there && !q.evidence.MayLose {
		q.wrong("%s: %s at version %d, which the journal does not have", q.id, what, version)
		return
	}
	q.looks[version] = append(q.looks[version], l)
}

// at finds the event of a version.
func (q *queueCheck) at(version uint64) (int, bool) {
	return slices.BinarySearchFunc(q.events, version, func(e Event, v uint64) int { return cmp.Compare(e.Version, v) })
}

// events are what commands make.
var events = map[string]string{
	"create": "queue.configured", "configure": "queue.configured", "open": "queue.opened", "pause": "queue.paused",
	"close": "queue.closed", "enqueue": "ticket.enqueued", "move": "ticket.moved", "remove": "ticket.removed",
	"call_next": "ticket.called", "call": "ticket.called", "recall": "ticket.recalled", "start": "ticket.started",
	"complete": "ticket.completed", "hold": "ticket.held", "no_show": "ticket.no_show", "requeue": "ticket.requeued",
	"transfer": "ticket.transferred", "update": "ticket.updated",
}

// markOf gives the mark that an event bears.
func markOf(e *Event) string {
	if e.Ticket == nil {
		return ""
	}
	switch e.Kind {
	case "ticket.enqueued":
		return e.Ticket.Service
	case "ticket.called":
		return e.Ticket.Desk
	case "ticket.completed":
		return e.Ticket.Outcome
	case "ticket.removed":
		return e.Ticket.Reason
	}
	return ""
}

// trace is what an operation leaves in its event: its mark, or else its ticket.
func trace(event, ticket, mark string) string {
	if mark != "" {
		return event + " " + mark
	}
	return event + " " + ticket
}

// replay goes through the queue's events: each must keep the rules, and must be
// what exactly one client asked for.
func (q *queueCheck) replay() {
	m := newModel(q.evidence.MayLose)
	for i := range q.events {
		e := &q.events[i]
		q.Events++
		if err := m.apply(e); err != nil {
			q.wrong("%s: event %d: %v", q.id, e.Version, err)
		}
		q.attribute(e, m)
		for _, l := range q.looks[e.Version] {
			l(m)
		}
		delete(q.looks, e.Version)
	}
	for v, o := range q.told {
		if q.evidence.MayLose && q.inHole(v) {
			q.Lost++
			continue
		}
		q.wrong("%s: %s %s of %s was accepted at version %d, and the journal does not have it", q.id, o.Command, o.Ticket+o.Mark, o.Client, v)
	}
	q.checkRequests()
	q.checkRows(m)
}

// inHole tells whether a version was lost: a new epoch begins above it.
func (q *queueCheck) inHole(v uint64) bool {
	i, there := q.at(v)
	return !there && i < len(q.events) && (i == 0 || q.events[i].Epoch != q.events[i-1].Epoch)
}

// attribute finds who asked for an event.
func (q *queueCheck) attribute(e *Event, m *model) {
	if e.Kind == "ticket.transferred" {
		q.noteTransfer(&q.left, e.Ticket.ID, e.Ticket.TransferredTo)
	}
	if o := q.told[e.Version]; o != nil {
		delete(q.told, e.Version)
		q.compare(o, e, m)
		return
	}
	if e.Ticket != nil && e.Kind == "ticket.enqueued" {
		if e.Ticket.TransferredFrom != "" {
			q.noteTransfer(&q.arrived, e.Ticket.TransferredFrom, e.Ticket.ID)
			return
		}
		if e.Ticket.Source == "amqp" {
			q.attributeRequest(e)
			return
		}
	}
	subject := ""
	if e.Ticket != nil {
		subject = e.Ticket.ID
	}
	t := trace(e.Kind, subject, markOf(e))
	if q.asked[t] == 0 {
		t = trace(e.Kind, subject, "")
	}
	switch {
	case q.asked[t] > 0:
		q.asked[t]--
		q.Happened++
	case q.evidence.MayLose && e.Kind == "queue.configured":
	default:
		told := ""
		for _, t := range []string{trace(e.Kind, subject, markOf(e)), t} {
			if o := q.refused[t]; o != nil {
				told = fmt.Sprintf("; %s was refused (%d %s, the last of %d attempts, from %s to %s)", o.Client, o.Status, o.Code, o.Attempts, o.Sent, o.Answered)
			}
		}
		q.wrong("%s: event %d at %s, %s %s of ticket %s, is more than was asked for%s", q.id, e.Version, time.Duration(e.At-q.began)*time.Millisecond, e.Kind, markOf(e), subject, told)
	}
}

// compare holds an event against what was told of it.
func (q *queueCheck) compare(o *Op, e *Event, m *model) {
	fits := e.Kind == events[o.Command] && (o.Mark == "" || markOf(e) == o.Mark)
	if e.Ticket != nil {
		t, told := e.Ticket, &o.Told
		known := t.ID
		if o.Command == "transfer" {
			known = t.TransferredTo
		} else {
			fits = fits && t.State == told.State && e.Position == told.Position
		}
		fits = fits && (o.Ticket == "" || o.Ticket == t.ID) && told.ID == known && told.Number == t.Number
	}
	if !fits {
		q.wrong("%s: %s of %s was told %+v at version %d, and that is %s %+v", q.id, o.Command, o.Client, o.Told, o.Version, e.Kind, e.Ticket)
	}
	if o.Command == "call_next" && !m.head {
		q.wrong("%s: call_next of %s at version %d did not call who stood first", q.id, o.Client, o.Version)
	}
}

// checkTimes: whoever asks after an answer was given sees at least what it told.
func (q *queueCheck) checkTimes() {
	byAnswer := slices.Clone(q.versions)
	slices.SortFunc(byAnswer, func(a, b timed) int { return cmp.Compare(a.answered, b.answered) })
	slices.SortFunc(q.versions, func(a, b timed) int { return cmp.Compare(a.sent, b.sent) })
	var known uint64
	for _, t := range q.versions {
		for len(byAnswer) > 0 && byAnswer[0].answered < t.sent {
			known = max(known, byAnswer[0].version)
			byAnswer = byAnswer[1:]
		}
		if t.version < known || t.raises && t.version == known {
			q.wrong("%s: %s was answered at version %d, after %d was known: stale", q.id, t.what, t.version, known)
		}
	}
}

func (c *checker) noteTransfer(all *map[string]string, from, to string) {
	if *all == nil {
		*all = make(map[string]string)
	}
	if _, twice := (*all)[from]; twice {
		c.wrong("the transfer of ticket %s happened twice", from)
	}
	(*all)[from] = to
}

// checkTransfers: each that left has arrived, once, as what it was to become.
func (c *checker) checkTransfers() {
	for from, to := range c.left {
		if c.arrived[from] != to && !c.evidence.MayLose {
			c.wrong("ticket %s was transferred to %s, and %q has arrived", from, to, c.arrived[from])
		}
		delete(c.arrived, from)
	}
	for from, to := range c.arrived {
		if !c.evidence.MayLose {
			c.wrong("ticket %s arrived from %s, which never left", to, from)
		}
	}
}
