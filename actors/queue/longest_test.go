package queue

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// Tickets come, go and come back in any order, and are asked for seldom: what
// has left must neither be found nor be kept without a bound.
func TestLongestWait(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	s, known := New("a"), []TicketID(nil)
	apply := func(e *Event) {
		t.Helper()
		e.Version, e.At = s.Version()+1, s.LastAt()+Time(r.IntN(2))
		if e.Ticket != nil && e.Kind == TicketEnqueued {
			e.Ticket.EnqueuedAt = e.At - Time(r.IntN(5)) // one that was transferred may have come before
		}
		if err := s.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	config := (Config{}).Defaults("a")
	apply(&Event{Kind: QueueConfigured, Config: &config, Status: Open, Epoch: "e"})
	s.lastAt = Hour
	most := 0
	for i := range 12_000 {
		switch kind := r.IntN(5); {
		case kind < 2 && i%3_000 < 1_800 || len(known) == 0: // then the line empties
			ticket := &Ticket{State: Waiting}
			binary.BigEndian.PutUint64(ticket.ID[:], uint64(i)+1)
			known = append(known, ticket.ID)
			apply(&Event{Kind: TicketEnqueued, Ticket: ticket, Position: r.IntN(s.Waiting()+1) + 1})
		default:
			moved := *s.slots[known[r.IntN(len(known))]].ticket
			e := &Event{Kind: TicketHeld, Ticket: &moved}
			if kind == 2 || kind == 3 && moved.State == Waiting { // a requeue, or a move
				e.Kind, moved.State = TicketRequeued, Waiting
				e.Position = r.IntN(max(s.Waiting(), 1)) + 1
			} else {
				moved.State = Held
			}
			apply(e)
		}
		if over := len(s.longest.heap) - 2*s.Waiting(); r.IntN(200) > 0 {
			most = max(most, over)
		} else if err := s.Check(); err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
	}
	// What leaves makes the bound smaller and the heap not, until somebody comes.
	if most > 3*sparedLeavers+500 {
		t.Errorf("the heap was %d above twice what waits", most)
	}
	for i, id := range known {
		if moved := *s.slots[id].ticket; moved.State == Waiting {
			moved.State = Held
			apply(&Event{Kind: TicketHeld, Ticket: &moved})
		}
		if i%50 == 0 || i == len(known)-1 {
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.WaitingSince() != 0 || s.longest.heap != nil {
		t.Errorf("an empty line has waited since %d", s.WaitingSince())
	}
}
