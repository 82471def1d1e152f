package queue

// longest finds the ticket that has waited the longest. Moves, priorities and
// requeues part the order of the line from that of coming, so it is a heap of
// its own, by the time of enqueueing. Who leaves the line stays in the heap until
// he comes to its top, or until there are more of those than of the others; who
// comes back is in it twice, which does no harm.
//
// The zero value is empty.
type longest struct{ heap []*slot }

// sparedLeavers is how many of those are left alone.
const sparedLeavers = 64

// WaitingSince is when the ticket was enqueued that has waited the longest, 0
// where none waits. It drops from the heap what has left the line: O(log n) for
// each of these, once.
func (s *State) WaitingSince() Time {
	w := &s.longest
	for len(w.heap) > 0 {
		if t := w.heap[0].ticket; t.State == Waiting {
			return t.EnqueuedAt
		}
		w.drop()
	}
	*w = longest{} // an empty line holds no memory
	return 0
}

// beginsToWait takes in a ticket that stands in the line. O(1) for a newcomer,
// O(log n) for one that has been there before.
func (s *State) beginsToWait(came *slot) {
	w := &s.longest
	if len(w.heap) >= 2*s.Waiting()+sparedLeavers {
		w.heap = make([]*slot, 0, s.Waiting())
		s.waiting().each(0, func(t *Ticket) bool {
			w.add(s.slots[t.ID])
			return true
		})
		return
	}
	w.add(came)
}

func (w *longest) add(came *slot) {
	w.heap = append(w.heap, came)
	i := len(w.heap) - 1
	for i > 0 && came.ticket.EnqueuedAt < w.heap[(i-1)/2].ticket.EnqueuedAt {
		w.heap[i] = w.heap[(i-1)/2]
		i = (i - 1) / 2
	}
	w.heap[i] = came
}

// drop takes out the top.
func (w *longest) drop() {
	n := len(w.heap) - 1
	last := w.heap[n]
	w.heap[n], w.heap = nil, w.heap[:n]
	if n == 0 {
		return
	}
	i := 0
	for {
		child := 2*i + 1
		if child+1 < n && w.heap[child+1].ticket.EnqueuedAt < w.heap[child].ticket.EnqueuedAt {
			child++
		}
		if child >= n || w.heap[child].ticket.EnqueuedAt >= last.ticket.EnqueuedAt {
			break
		}
		w.heap[i] = w.heap[child]
		i = child
	}
	w.heap[i] = last
}
