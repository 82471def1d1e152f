package faults

import (
	"testing"
	"time"
)

// newRound is one that is linearizable in one order only: b was called before
// a came back in front of it.
func newRound() Round {
	at := func(o Op, sent, answered int) *Op {
		o.Sent, o.Answered, o.Outcome = time.Duration(sent), time.Duration(answered), Accepted
		if o.Code != "" {
			o.Outcome = Refused
		}
		return &o
	}
	return Round{
		Before: &Read{Version: 5, Waiting: []string{"b", "c"}, States: map[string]string{"a": "held", "b": "waiting", "c": "waiting"},
			Priorities: map[string]int{"a": 0, "b": 0, "c": 0}},
		Ops: []*Op{
			at(Op{Command: "requeue", Ticket: "a", Position: 1, Version: 7, Told: Ticket{ID: "a", State: "waiting", Position: 1}}, 1, 10),
			at(Op{Command: "call_next", Version: 6, Told: Ticket{ID: "b", State: "called"}}, 1, 10),
			at(Op{Command: "complete", Ticket: "b", Version: 8, Told: Ticket{ID: "b", State: "completed"}}, 11, 20),
			at(Op{Command: "requeue", Ticket: "b", Position: 3, Version: 9, Told: Ticket{ID: "b", State: "waiting", Position: 3}}, 12, 20),
			at(Op{Command: "enqueue", Code: "queue_full"}, 21, 25),
			at(Op{Command: "remove", Ticket: "c", Version: 10, Told: Ticket{ID: "c", State: "removed"}}, 22, 27),
			at(Op{Command: "enqueue", Priority: 1, Version: 11, Told: Ticket{ID: "d", State: "waiting", Position: 1}}, 23, 28),
			at(Op{Command: "start", Ticket: "c", Code: "ticket_finished"}, 29, 30),
		},
		After: &Read{Version: 11, Waiting: []string{"d", "a", "b"}, Sent: 31, Answered: 32,
			States: map[string]string{"a": "waiting", "b": "waiting", "d": "waiting"}},
	}
}

func TestRoundIsLinearizable(t *testing.T) {
	r := &Report{}
	CheckRounds(r, []Round{newRound()}, 3)
	if err := r.Err(); err != nil || r.Rounds != 1 {
		t.Errorf("%v, %d rounds", err, r.Rounds)
	}
}

func TestSeededFaultsOfRoundsAreFound(t *testing.T) {
	for name, fault := range map[string]func(r *Round){
		"a lost operation":           func(r *Round) { r.After.Version = 10 },
		"a doubled one":              func(r *Round) { r.After.Version = 12 },
		"a stale read":               func(r *Round) { r.After.Waiting = []string{"b", "c"}; r.After.Version = 5 },
		"a ticket called by two":     func(r *Round) { again := *r.Ops[1]; again.Version = 7; r.Ops[0] = &again },
		"a wrong version":            func(r *Round) { r.Ops[0].Version, r.Ops[1].Version = 6, 7 },
		"a wrong position":           func(r *Round) { r.Ops[3].Told.Position = 2 },
		"a refusal out of date":      func(r *Round) { r.Ops[7].Code = "ticket_not_active" },
		"an effect before its time":  func(r *Round) { r.Ops[7].Sent, r.Ops[7].Answered = 13, 14 },
		"full when it is not":        func(r *Round) { r.Ops[4].Sent, r.Ops[4].Answered = 1, 2 },
		"a full queue takes one":     func(r *Round) { r.Ops[6].Version, r.Ops[5].Version = 10, 11 },
		"a wrong order in the line":  func(r *Round) { r.After.Waiting = []string{"a", "d", "b"} },
		"a ticket in another state":  func(r *Round) { r.After.States["a"] = "held" },
		"an order against the clock": func(r *Round) { r.Ops[1].Sent, r.Ops[1].Answered = 15, 16 },
	} {
		t.Run(name, func(t *testing.T) {
			round := newRound()
			fault(&round)
			r := &Report{}
			CheckRounds(r, []Round{round}, 3)
			if r.Err() == nil {
				t.Error("it was not found")
			}
		})
	}
}
