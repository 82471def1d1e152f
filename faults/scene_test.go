package faults

import (
	"fmt"
	"slices"
	"time"
)

// scene is a small run of two queues in which nothing is wrong: what was told,
// and what stands in the journals.
type scene struct {
	h     *History
	e     Evidence
	clock time.Duration
}

const step = 10 * time.Millisecond

// newScene plays one that has everything that the checker looks at.
func newScene() *scene {
	s := &scene{h: NewHistory(), e: Evidence{Journals: make(map[string][]Event), Rows: make(map[string][]Ticket)}}
	for _, q := range []string{"a", "b"} {
		s.op(q, "create", Event{Kind: "queue.configured", Status: "open", MaxActive: 2, Capacity: 4}, "")
	}
	stream := &Stream{Follower: "f", Queue: "a", Items: []Item{{Kind: "subscribe"}, {Kind: "snapshot", Version: 1, Epoch: "a1"}}}
	s.h.addStream(stream)
	one, two, three := s.enqueue("a", 1, "rest"), s.enqueue("a", 2, "rest"), s.enqueue("a", 3, "rest")
	s.read("a", []string{one.ID, two.ID, three.ID}, nil)
	one = s.ticket("a", "call_next", "ticket.called", one, func(t *Ticket) { t.State, t.Desk, t.Attendant, t.Calls = "called", "m-call", "u", 1 }, 0, "m-call")
	one = s.ticket("a", "complete", "ticket.completed", one, func(t *Ticket) { t.State, t.Outcome = "completed", "m-done" }, 0, "m-done")
	s.ticket("a", "move", "ticket.moved", three, func(*Ticket) {}, 1, "")
	two = s.transfer(two)
	s.request(4, "x-1")
	s.request(5, "x-2")
	s.h.addRequests(Request{Queue: "a", ID: "bad", Poison: true})
	s.h.Dead = []string{"bad", "bad"}
	s.read("a", s.line("a"), map[string]string{three.ID: "waiting"})
	for _, e := range s.e.Journals["a"][1:] {
		stream.Items = append(stream.Items, Item{Kind: "event", Version: e.Version, Event: e.Kind, Ticket: e.Ticket.ID,
			Number: e.Ticket.Number, State: e.Ticket.State, Position: e.Position})
	}
	last := s.e.Journals["a"][len(s.e.Journals["a"])-1].Version
	stream.Items = append(stream.Items, Item{Kind: "subscribe", Version: last, Epoch: "a1"}, Item{Kind: "resumed", Version: last, Epoch: "a1"})
	two.Outcome = "transferred"
	s.e.Rows["a"] = []Ticket{one, two}
	return s
}

// line is who waits by the events.
func (s *scene) line(queue string) []string {
	m := newModel(true)
	for i := range s.e.Journals[queue] {
		_ = m.apply(&s.e.Journals[queue][i])
	}
	return slices.Clone(m.line)
}

// event appends to a journal.
func (s *scene) event(queue string, e Event) Event {
	e.Version, e.Epoch, e.At, e.By = uint64(len(s.e.Journals[queue])+1), queue+"1", int64(s.clock/time.Millisecond), "u"
	s.e.Journals[queue] = append(s.e.Journals[queue], e)
	return e
}

func (s *scene) op(queue, command string, e Event, mark string) *Op {
	o := &Op{Client: "c", Queue: queue, Command: command, Mark: mark, Key: mark, Sent: s.clock, Answered: s.clock + step/2, Outcome: Accepted}
	e = s.event(queue, e)
	if o.Version = e.Version; e.Ticket != nil {
		o.Told = *e.Ticket
		o.Told.Position = e.Position
	}
	s.clock += step
	s.h.addOp(o)
	return o
}

func (s *scene) enqueue(queue string, n int, source string) Ticket {
	t := Ticket{ID: fmt.Sprint(queue, "-", n), Number: fmt.Sprintf("A%03d", n), State: "waiting", Source: source, Service: fmt.Sprint("m-", n)}
	s.op(queue, "enqueue", Event{Kind: "ticket.enqueued", Ticket: &t, Position: len(s.line(queue)) + 1, Day: 20261122, Seq: uint64(n)}, t.Service)
	return t
}

func (s *scene) ticket(queue, command, kind string, t Ticket, change func(*Ticket), position int, mark string) Ticket {
	change(&t)
	o := s.op(queue, command, Event{Kind: kind, Ticket: &t, Position: position}, mark)
	if command != "call_next" {
		o.Ticket = t.ID
	}
	return t
}

func (s *scene) transfer(t Ticket) Ticket {
	t.State, t.TransferredTo = "transferred", "b-new"
	o := s.op("a", "transfer", Event{Kind: "ticket.transferred", Ticket: &t}, "")
	arrived := t
	arrived.ID, arrived.State, arrived.TransferredFrom, arrived.TransferredTo = "b-new", "waiting", t.ID, ""
	o.Ticket, o.Target, o.Told = t.ID, "b", arrived
	s.event("b", Event{Kind: "ticket.enqueued", Ticket: &arrived, Position: 1})
	return t
}

func (s *scene) request(n int, mark string) {
	s.h.addRequests(Request{Queue: "a", ID: mark, Mark: mark})
	t := Ticket{ID: fmt.Sprint("a-", n), Number: fmt.Sprintf("A%03d", n), State: "waiting", Source: "amqp", Service: mark}
	s.event("a", Event{Kind: "ticket.enqueued", Ticket: &t, Position: len(s.line("a")) + 1, Day: 20261122, Seq: uint64(n)})
	s.clock += step
}

func (s *scene) read(queue string, waiting []string, states map[string]string) {
	s.h.addRead(&Read{
		Queue: queue, Sent: s.clock, Answered: s.clock + step/2, Version: uint64(len(s.e.Journals[queue])),
		Waiting: waiting, States: states, Whole: true,
	})
	s.clock += step
}
