package queue

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"testing"
)

// coreBench is a queue with n waiting tickets, driven as its grain drives it:
// decide, then apply, each command with a key of its own.
type coreBench struct {
	b       *testing.B
	s       *State
	n       int
	r       *rand.Rand
	at      Time
	ids     []TicketID // every ticket that was enqueued
	counter uint64
	step    Time
}

// coreFill lets a million join on one day: numbers then differ. coreStep lets
// about a thousand keys and finished tickets be remembered in the
// 24 h that they must be, so that every operation also pays for one forgotten.
const (
	coreFill = 10
	coreStep = Day / 1000
)

func newCoreBench(b *testing.B, n int) *coreBench {
	q := &coreBench{b: b, s: New("bench"), n: n, r: rand.New(rand.NewPCG(uint64(n), 3)), at: scriptStart, step: coreFill}
	q.do(&Create{Epoch: "e", Config: Config{Name: "b", Prefix: "A", MaxActive: 1, Timezone: "Europe/Berlin"}})
	for range n {
		q.enqueue()
	}
	q.at, q.step = q.at+Day, coreStep
	q.do(&SetStatus{Status: Open}) // forgets the keys of the day before
	return q
}

func (q *coreBench) do(a Action) {
	q.counter++
	c := &Command{At: q.at, By: "ann", Do: a, Keyed: true, Fingerprints: []uint64{q.counter}}
	binary.BigEndian.PutUint64(c.Op[:], q.counter)
	d, err := q.s.Decide(c)
	if err == nil {
		err = q.s.Apply(d.Event)
	}
	if err != nil {
		q.b.Fatal(err)
	}
	q.at += q.step
}

func (q *coreBench) enqueue() {
	var id TicketID
	binary.BigEndian.PutUint64(id[:], uint64(len(q.ids)+1))
	q.ids = append(q.ids, id)
	q.do(&Enqueue{ID: id, Priority: drawPriority(q.r), Source: FromREST})
}

// waiting is a random waiting ticket.
func (q *coreBench) waiting() TicketID { return q.s.waiting().at(q.r.IntN(q.s.Waiting())).ticket.ID }

func (q *coreBench) callAndComplete() {
	id := q.s.waiting().at(0).ticket.ID
	q.do(&CallNext{Desk: "1"})
	q.do(&Complete{Ticket: id})
}

// batch is how often an operation that changes the depth is done before the
// depth is restored off the clock.
const batch = 64

// coreSizes runs once at each depth; setup is not measured.
func coreSizes(b *testing.B, body func(b *testing.B, q *coreBench)) {
	for _, n := range lineSizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			q := newCoreBench(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			body(b, q)
		})
	}
}

// inBatches does the operation b.N times and repairs the depth every so often.
func inBatches(b *testing.B, operation, repair func()) {
	for i := 1; b.Loop(); i++ {
		operation()
		if i%batch == 0 {
			b.StopTimer()
			for range batch {
				repair()
			}
			b.StartTimer()
		}
	}
}

func BenchmarkCoreEnqueue(b *testing.B) {
	coreSizes(b, func(b *testing.B, q *coreBench) {
		inBatches(b, q.enqueue, func() { q.do(&Remove{Ticket: q.waiting()}) })
	})
}

func BenchmarkCoreRemove(b *testing.B) {
	coreSizes(b, func(b *testing.B, q *coreBench) {
		inBatches(b, func() { q.do(&Remove{Ticket: q.waiting()}) }, q.enqueue)
	})
}

// Two commands each time.
func BenchmarkCoreCallNextComplete(b *testing.B) {
	coreSizes(b, func(b *testing.B, q *coreBench) { inBatches(b, q.callAndComplete, q.enqueue) })
}

func BenchmarkCoreMove(b *testing.B) {
	coreSizes(b, func(b *testing.B, q *coreBench) {
		for b.Loop() {
			q.do(&Move{Ticket: q.waiting(), Position: 1 + q.r.IntN(q.n)})
		}
	})
}

// The mix of the contract's load: enqueue, move, remove and call-next with its
// completion, six commands each time, at a constant depth.
func BenchmarkCoreMix(b *testing.B) {
	coreSizes(b, func(b *testing.B, q *coreBench) {
		for b.Loop() {
			q.enqueue()
			q.enqueue()
			q.do(&Move{Ticket: q.waiting(), Position: 1 + q.r.IntN(q.n)})
			q.do(&Remove{Ticket: q.waiting()})
			q.callAndComplete()
		}
	})
}

func BenchmarkCorePosition(b *testing.B) {
	coreSizes(b, func(b *testing.B, q *coreBench) {
		for b.Loop() {
			q.s.Ticket(q.ids[q.r.IntN(len(q.ids))])
		}
	})
}

func BenchmarkCorePage100(b *testing.B) {
	coreSizes(b, func(b *testing.B, q *coreBench) {
		page := make([]*Ticket, 0, 100)
		for b.Loop() {
			page = page[:0]
			q.s.Page(Waiting, q.r.IntN(q.n), func(t *Ticket) bool {
				page = append(page, t)
				return len(page) < 100
			})
		}
	})
}

func BenchmarkCoreImage(b *testing.B) {
	coreSizes(b, func(b *testing.B, q *coreBench) {
		for b.Loop() {
			q.s.Image()
		}
	})
}
