package load

import (
	"math/rand/v2"
	"sync"
)

// Op is one operation on one queue. Queue is an index into the queues of the run.
type Op struct {
	Kind     Kind
	Queue    int
	Ticket   string
	Position int
	Priority int
}

// Line is one caller's way to the queues: REST, a WebSocket, the sorted set. It is used by one goroutine. Do returns
// the id of the ticket that was made or called, "" where a call found nobody waiting.
type Line interface {
	Do(op Op) (ticket string, err error)
}

// Workload draws operations for many callers and remembers which tickets wait in which queue, as a client would, so
// that moves and removals name real tickets.
type Workload struct {
	Mix        Mix
	Depth      int // kept to within a tenth where the mix both fills and empties; 0: left to drift
	Priorities int // newcomers get 0 … Priorities-1; 0 counts as 1
	queues     []*waiting
	called     sync.Map // caller → the Op that completes what it has called
}

// NewWorkload makes a workload over n queues.
func NewWorkload(mix Mix, n, depth int) *Workload {
	w := &Workload{Mix: mix, Depth: depth, queues: make([]*waiting, n)}
	for i := range w.queues {
		w.queues[i] = &waiting{at: map[string]int{}, out: map[string]bool{}, early: map[string]bool{}}
	}
	return w
}

// Add notes that a ticket waits in a queue.
func (w *Workload) Add(queue int, ticket string) { w.queues[queue].add(ticket) }

// Waiting is the number of tickets known to wait in a queue.
func (w *Workload) Waiting(queue int) int { return w.queues[queue].len() }

// Step gives a caller its operations. A call is followed by the same caller's complete where completes is true.
func (w *Workload) Step(caller int, line Line, completes bool) Step {
	rng := rand.New(rand.NewPCG(uint64(caller), 0x6e6f77))
	return func() (string, error) {
		if op, ok := w.called.LoadAndDelete(caller); ok {
			_, err := line.Do(op.(Op))
			return string(Complete), err
		}
		op := w.next(rng)
		ticket, err := line.Do(op)
		w.settle(op, ticket, err)
		if op.Kind == CallNext && err == nil {
			if ticket == "" {
				return "call-next-empty", nil
			}
			if completes {
				w.called.Store(caller, Op{Kind: Complete, Queue: op.Queue, Ticket: ticket})
			}
		}
		return string(op.Kind), err
	}
}

// Finish completes what a caller has called and not completed when its run ended, so that attendants are not found busy
// by the next run.
func (w *Workload) Finish(caller int, line Line) error {
	op, ok := w.called.LoadAndDelete(caller)
	if !ok {
		return nil
	}
	_, err := line.Do(op.(Op))
	return err
}

func (w *Workload) next(rng *rand.Rand) Op {
	op := Op{Kind: w.Mix.draw(rng), Queue: rng.IntN(len(w.queues))}
	q := w.queues[op.Queue]
	n := q.len()
	if w.Depth > 0 && w.Mix.steady() {
		switch {
		case n < w.Depth-w.Depth/10:
			op.Kind = Enqueue
		case n > w.Depth+w.Depth/10 && op.Kind == Enqueue:
			op.Kind = w.drain()
		}
	}
	if op.Kind == Move || op.Kind == Remove || op.Kind == Get {
		ticket, ok := q.take(rng, op.Kind != Get)
		if op.Ticket = ticket; !ok {
			op.Kind = Enqueue // nobody to act on
		}
	}
	// Other callers shorten the line meanwhile: staying clear of its end keeps refusals out of the figures.
	op.Position = 1 + rng.IntN(max(n*9/10, 1))
	if w.Priorities > 1 {
		op.Priority = rng.IntN(w.Priorities)
	}
	return op
}

func (w *Workload) drain() Kind {
	if w.Mix.Has(CallNext) {
		return CallNext
	}
	return Remove
}

func (w *Workload) settle(op Op, ticket string, err error) {
	q := w.queues[op.Queue]
	switch {
	case op.Kind == Enqueue && err == nil:
		q.add(ticket)
	case op.Kind == CallNext && err == nil && ticket != "":
		q.gone(ticket)
	case op.Kind == Move && err == nil:
		q.put(op.Ticket)
	case op.Kind == Move || op.Kind == Remove:
		q.gone(op.Ticket) // removed, or refused because another caller had it called
	}
}

// waiting is a set of ticket ids with random choice. A ticket that is being moved or removed is out, so that no other
// caller draws it.
type waiting struct {
	mu    sync.Mutex
	ids   []string
	at    map[string]int
	out   map[string]bool
	early map[string]bool // called before the answer to their enqueue was seen
}

func (q *waiting) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ids) + len(q.out)
}

func (q *waiting) add(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.early[id] {
		delete(q.early, id)
		return
	}
	q.insert(id)
}

func (q *waiting) insert(id string) {
	q.at[id] = len(q.ids)
	q.ids = append(q.ids, id)
}

func (q *waiting) drop(i int) {
	last := len(q.ids) - 1
	delete(q.at, q.ids[i])
	if i != last {
		q.ids[i] = q.ids[last]
		q.at[q.ids[i]] = i
	}
	q.ids = q.ids[:last]
}

func (q *waiting) take(rng *rand.Rand, exclusive bool) (string, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ids) == 0 {
		return "", false
	}
	i := rng.IntN(len(q.ids))
	id := q.ids[i]
	if exclusive {
		q.drop(i)
		q.out[id] = true
	}
	return id, true
}

func (q *waiting) put(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.out[id] { // else it was called meanwhile
		delete(q.out, id)
		q.insert(id)
	}
}

func (q *waiting) gone(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i, ok := q.at[id]; ok {
		q.drop(i)
	} else if q.out[id] {
		delete(q.out, id)
	} else {
		q.early[id] = true
	}
}
