package queue

import (
	"errors"
	"testing"
)

// A ticket that goes round and round keeps its first step and the newest.
func TestTrailIsBounded(t *testing.T) {
	t.Parallel()
	s := New("bank")
	do := func(a Action) *Ticket {
		t.Helper()
		d, err := s.Decide(&Command{At: scriptStart, By: "ann", Op: OpID{byte(s.Version()), byte(s.Version() >> 8), 1}, Do: a})
		if err == nil {
			err = s.Apply(d.Event)
		}
		if err != nil {
			t.Fatal(err)
		}
		return d.Event.Ticket
	}
	do(&Create{Epoch: "e", Config: Config{Name: "Bank", MaxActive: 1, Timezone: "UTC"}})
	first := do(&Enqueue{ID: TicketID{1}, Source: FromREST})
	for range 200 {
		do(&Hold{Ticket: TicketID{1}})
		do(&Requeue{Ticket: TicketID{1}, Position: 1})
	}
	last := do(&Hold{Ticket: TicketID{1}})
	if len(first.Trail) != 1 || len(last.Trail) != MaxTrail || last.Trail[0] != first.Trail[0] {
		t.Fatalf("%d steps, the first %+v", len(last.Trail), last.Trail[0])
	}
	for i, step := range last.Trail[1:] {
		if want := s.Version() - MaxTrail + 2 + uint64(i); step.Version != want || step.By != "ann" || step.At != scriptStart {
			t.Fatalf("step %d is %+v, want that of version %d", i+1, step, want)
		}
	}
	if end := last.Trail[MaxTrail-1]; end.Kind != TicketHeld {
		t.Errorf("the last step is %s", end.Kind)
	}
}

// A queue that is loaded anew learns of transfers from its events alone, and
// sends them again. That a ticket was erased says that it had arrived: sent again
// it would bring to its target what was erased here.
func TestErasedTicketIsNotSentAgain(t *testing.T) {
	t.Parallel()
	live, replayed := New("bank"), New("bank")
	do := func(a Action) {
		t.Helper()
		d, err := live.Decide(&Command{At: scriptStart, By: "ann", Op: OpID{byte(live.Version()), 1}, Do: a})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*State{live, replayed} {
			if err := s.Apply(d.Event); err != nil {
				t.Fatal(err)
			}
		}
	}
	do(&Create{Epoch: "e", Config: Config{Name: "Bank", MaxActive: 1, Timezone: "UTC"}})
	do(&Enqueue{ID: TicketID{1}, Customer: []byte("ada"), Index: tagOf(1), Source: FromREST})
	do(&Transfer{Ticket: TicketID{1}, To: "cash", NewID: TicketID{2}})
	if _, err := live.Decide(&Command{At: scriptStart, By: "ann", Op: OpID{9}, Do: &Erase{Ticket: TicketID{1}}}); !errors.Is(err, ErrInTransit) {
		t.Fatalf("a ticket that is on its way: %v", err)
	}
	live.Delivered(TicketID{1})
	if len(replayed.Outbox()) != 1 {
		t.Fatal("a state that was not told that the ticket has arrived does not send it")
	}
	do(&Erase{Ticket: TicketID{1}})
	if len(replayed.Outbox()) != 0 || len(live.Outbox()) != 0 {
		t.Error("the erased ticket is sent again")
	}
}
