package queue

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// lineModel is a line and beside it the same as a plain slice, where every rule
// is a loop that can be seen to be right.
type lineModel struct {
	t     testing.TB
	line  line
	naive []*slot
}

func (m *lineModel) insert(i int, priority uint8) {
	s := &slot{ticket: &Ticket{Priority: priority}}
	m.line.insert(i, s)
	m.naive = slices.Insert(m.naive, i, s)
}

func (m *lineModel) remove(i int) *slot {
	s := m.naive[i]
	m.line.remove(s)
	if s.leaf != nil {
		m.t.Fatal("a removed slot names a leaf")
	}
	m.naive = slices.Delete(m.naive, i, i+1)
	return s
}

func (m *lineModel) move(from, to int) {
	s := m.remove(from)
	m.line.insert(to, s)
	m.naive = slices.Insert(m.naive, to, s)
}

func (m *lineModel) newcomer(priority uint8) int {
	for i := len(m.naive) - 1; i >= 0; i-- {
		if m.naive[i].ticket.Priority >= priority {
			return i + 1
		}
	}
	return 0
}

func (m *lineModel) join(priority uint8) {
	want, got := m.newcomer(priority), m.line.newcomer(priority)
	if got != want {
		m.t.Fatalf("a newcomer of priority %d stands at %d of %d, want %d", priority, got, len(m.naive), want)
	}
	m.insert(got, priority)
}

// probe compares what is read at one place, in O(log n) but for the model's own.
func (m *lineModel) probe(i int) {
	m.t.Helper()
	if m.line.len() != len(m.naive) {
		m.t.Fatalf("len is %d, want %d", m.line.len(), len(m.naive))
	}
	if i >= len(m.naive) {
		return
	}
	if m.line.at(i) != m.naive[i] {
		m.t.Fatalf("another slot is at %d", i)
	}
	if got := m.line.index(m.naive[i]); got != i {
		m.t.Fatalf("index is %d, want %d", got, i)
	}
}

// compare compares all that can be read.
func (m *lineModel) compare() {
	m.t.Helper()
	if err := m.line.check(); err != nil {
		m.t.Fatal(err)
	}
	tickets := make([]*Ticket, 0, len(m.naive))
	for i, s := range m.naive {
		m.probe(i)
		tickets = append(tickets, s.ticket)
	}
	m.probe(len(m.naive))
	if !slices.Equal(m.line.appendTo(nil), tickets) {
		m.t.Fatal("appendTo has other tickets")
	}
	for _, from := range []int{0, len(tickets) / 3, len(tickets), len(tickets) + 1} {
		var got []*Ticket
		m.line.each(from, func(t *Ticket) bool { got = append(got, t); return true })
		if !slices.Equal(got, tickets[min(from, len(tickets)):]) {
			m.t.Fatalf("each from %d has other tickets", from)
		}
	}
	for _, p := range []uint8{0, 1, 2, 3, 9, 254, 255} {
		if got, want := m.line.newcomer(p), m.newcomer(p); got != want {
			m.t.Fatalf("a newcomer of priority %d stands at %d, want %d", p, got, want)
		}
	}
}

// step does one operation chosen by op at a place chosen by at.
func (m *lineModel) step(op, at int, priority uint8) {
	n := len(m.naive)
	if n == 0 {
		m.join(priority)
		return
	}
	switch i := at % n; op {
	case 0:
		m.insert(at%(n+1), priority)
	case 1, 2:
		m.join(priority)
	case 3:
		m.remove(i)
	case 4:
		m.remove(min(i, at%4)) // near the front, as calls do
	case 5:
		m.move(i, (at/7)%n)
	case 6:
		m.move(i, 0)
	case 7:
		t := &Ticket{Priority: priority}
		m.line.replace(m.naive[i], t)
		if m.naive[i].ticket != t {
			m.t.Fatal("replace left the slot's ticket")
		}
	}
}

const lineStepKinds = 8

// tide is an operation for a line that at times mostly grows and at times
// mostly shrinks, so that nodes split and merge on every level.
func tide(r *rand.Rand, growing bool) int {
	if r.IntN(3) == 0 {
		if growing {
			return r.IntN(3)
		}
		return 3 + r.IntN(2)
	}
	return r.IntN(lineStepKinds)
}

// drawPriority is mostly 0 and seldom high, as in life.
func drawPriority(r *rand.Rand) uint8 {
	if r.IntN(4) > 0 {
		return 0
	}
	return uint8(r.IntN(10))
}
