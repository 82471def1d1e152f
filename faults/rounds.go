package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Round is what a few clients did at once with one queue between two reads of
// all of it, during which nobody else acted. Without such rests the checker
// would have to search too much.
type Round struct {
	Before, After *Read
	Ops           []*Op
}

// The bounds of a round.
const (
	RoundClients = 8
	RoundOps     = 16
	roundWithin  = 20 * time.Second
)

// CheckRounds looks for an order of each round's operations that one queue
// doing one thing at a time would have answered in the same way.
func CheckRounds(r *Report, rounds []Round, capacity int) {
	for _, round := range rounds {
		r.Rounds++
		model := porcupine.Model{
			Init: func() any { return stateOf(round.Before) },
			Step: func(state, input, output any) (bool, any) {
				next, ok := state.(lineState).step(input.(*Op), output, capacity)
				return ok, next
			},
			Equal: func(a, b any) bool { return a.(lineState).same(b.(lineState)) },
		}
		history := []porcupine.Operation{{
			Input: (*Op)(nil), Output: round.After, Call: int64(round.After.Sent), Return: int64(round.After.Answered),
		}}
		for i, o := range round.Ops {
			history = append(history, porcupine.Operation{ClientId: i, Input: o, Output: o, Call: int64(o.Sent), Return: int64(o.Answered)})
		}
		switch result := porcupine.CheckOperationsTimeout(model, history, roundWithin); result {
		case porcupine.Ok:
		default:
			r.wrong("%s: a round of %d operations after version %d is not linearizable (%s): %s", round.Before.Queue,
				len(round.Ops), round.Before.Version, result, describe(round))
		}
	}
}

func describe(r Round) string {
	var b strings.Builder
	fmt.Fprintf(&b, "line %v %v;", r.Before.Waiting, r.Before.States)
	for _, o := range r.Ops {
		fmt.Fprintf(&b, " %s %s %d %d [%s, %s]: %d %s %d %s at %d;", o.Command, o.Ticket, o.Position, o.Priority, o.Sent, o.Answered,
			o.Status, o.Code, o.Version, o.Told.ID, o.Told.Position)
	}
	fmt.Fprintf(&b, " then version %d %v %v", r.After.Version, r.After.Waiting, r.After.States)
	return b.String()
}

// lineState is a queue as the rounds' commands see it. It is never changed.
type lineState struct {
	version    uint64
	line       []string
	states     map[string]string
	priorities map[string]int
}

func stateOf(r *Read) lineState { return lineState{r.Version, r.Waiting, r.States, r.Priorities} }

// over is the state of a ticket that a round has finished. Lists do not show
// it, and for an hour it may be requeued.
const over = "over"

func (s lineState) same(o lineState) bool {
	return s.version == o.version && slices.Equal(s.line, o.line) && maps.Equal(s.states, o.states)
}

// shows tells whether a read of this state would be that one.
func (s lineState) shows(r *Read) bool {
	shown := maps.Clone(s.states)
	maps.DeleteFunc(shown, func(_, state string) bool { return state == over })
	return s.version == r.Version && slices.Equal(s.line, r.Waiting) && maps.Equal(shown, r.States)
}

// step tells whether the operation could have been answered so in this state.
func (s lineState) step(o *Op, output any, capacity int) (lineState, bool) {
	if after, ok := output.(*Read); ok {
		return s, s.shows(after)
	}
	code, next, position := s.decide(o, capacity)
	if o.Outcome == Refused {
		return s, code == o.Code
	}
	state := o.Told.State
	if slices.Contains(finished, state) {
		state = over
	}
	return next, code == "" && o.Version == next.version && o.Told.Position == position && state == next.states[o.Told.ID]
}

// nobody is the code of a call_next that found nobody.
const nobody = "nobody_waits"

// decide is the contract's rules for the commands that a round is made of.
func (s lineState) decide(o *Op, capacity int) (code string, next lineState, position int) {
	was := s.states[o.Ticket]
	full := capacity > 0 && len(s.line) >= capacity
	switch o.Command {
	case "enqueue":
		if full {
			return "queue_full", s, 0
		}
		position = 1
		for i, id := range s.line {
			if s.priorities[id] >= o.Priority {
				position = i + 2
			}
		}
		return s.put(o.Told.ID, "waiting", position, o.Priority)
	case "call_next":
		if len(s.line) == 0 {
			return nobody, s, 0
		}
		if s.line[0] != o.Told.ID {
			return "another", s, 0
		}
		return s.put(s.line[0], "called", 0, s.priorities[s.line[0]])
	}
	switch {
	case was == over && o.Command != "requeue":
		return "ticket_finished", s, 0
	case o.Command == "move" && was != "waiting", o.Command == "remove" && was == "serving":
		return "ticket_not_waiting", s, 0
	case o.Command == "complete" && was != "called" && was != "serving", o.Command == "hold" && was == "held",
		o.Command == "start" && was != "called", o.Command == "requeue" && was == "waiting":
		return "ticket_not_active", s, 0
	case o.Command == "move" && o.Position > len(s.line), o.Command == "requeue" && o.Position > len(s.line)+1:
		return "position_out_of_range", s, 0
	case o.Command == "requeue" && full:
		return "queue_full", s, 0
	}
	to := map[string]string{"move": "waiting", "requeue": "waiting", "start": "serving", "hold": "held", "complete": over, "remove": over}[o.Command]
	return s.put(o.Ticket, to, o.Position, s.priorities[o.Ticket])
}

// put is the state after an event that leaves a ticket in a state, and at a
// position if it waits.
func (s lineState) put(id, to string, position, priority int) (string, lineState, int) {
	next := lineState{s.version + 1, slices.DeleteFunc(slices.Clone(s.line), func(x string) bool { return x == id }),
		maps.Clone(s.states), maps.Clone(s.priorities)}
	if next.states == nil {
		next.states, next.priorities = make(map[string]string), make(map[string]int)
	}
	next.states[id], next.priorities[id] = to, priority
	if to != "waiting" {
		return "", next, 0
	}
	next.line = slices.Insert(next.line, position-1, id)
	return "", next, position
}
