package queue

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// After every operation all is compared, on lines of one and two levels.
func TestLineAgainstModelSmall(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for _, most := range []int{3, 10, 70, 200, 700} {
		m := &lineModel{t: t}
		growing := true
		for range 4000 {
			m.step(tide(r, growing), r.IntN(1<<30), drawPriority(r))
			m.compare()
			if len(m.naive) >= most {
				growing = false
			} else if len(m.naive) == 0 {
				growing = true
			}
		}
		for len(m.naive) > 0 {
			m.remove(r.IntN(len(m.naive)))
			m.compare()
		}
	}
}

// A million operations on a line that grows to thousands and shrinks. Under the
// race detector the time decides how many they are.
func TestLineAgainstModelLarge(t *testing.T) {
	t.Parallel()
	const operations, most = 1_000_000, 12_000
	deadline := time.Now().Add(10 * time.Second)
	r := rand.New(rand.NewPCG(3, 4))
	m := &lineModel{t: t}
	growing, turns := true, 0
	for i := range operations {
		m.step(tide(r, growing), r.IntN(1<<30), drawPriority(r))
		m.probe(r.IntN(len(m.naive) + 1))
		if growing && len(m.naive) >= most || !growing && len(m.naive) < 50 {
			growing, turns = !growing, turns+1
		}
		if i%20_000 == 0 {
			m.compare()
		}
		if i%1000 == 0 && time.Now().After(deadline) {
			t.Logf("%d operations in time", i)
			break
		}
	}
	m.compare()
	t.Logf("%d turns of the tide, %d tickets at the end", turns, len(m.naive))
}

// The line of a busy day: newcomers behind, calls in front, never rebuilt.
func TestLineFirstInFirstOut(t *testing.T) {
	m := &lineModel{t: t}
	for i := range 3000 {
		m.join(0)
		if i >= 500 {
			m.remove(0)
		}
		if i%17 == 0 {
			m.compare()
		}
	}
	for len(m.naive) > 0 {
		m.remove(0)
		m.compare()
	}
}

// Emptied from any end, a line of several levels keeps its promises.
func TestLineEmptied(t *testing.T) {
	t.Parallel()
	const n = 5000 // three levels
	r := rand.New(rand.NewPCG(5, 6))
	for name, pick := range map[string]func(n int) int{
		"front":  func(int) int { return 0 },
		"back":   func(n int) int { return n - 1 },
		"middle": func(n int) int { return n / 2 },
		"second": func(n int) int { return min(1, n-1) },
		"random": r.IntN,
	} {
		t.Run(name, func(t *testing.T) {
			m := &lineModel{t: t}
			for i := range n {
				m.insert(i, uint8(i%7))
			}
			for left := n; left > 0; left-- {
				m.remove(pick(left))
				if left%29 == 0 || left < 200 {
					m.compare()
				} else if err := m.line.check(); err != nil {
					t.Fatal(err)
				}
			}
			if m.line != (line{}) {
				t.Fatal("an emptied line holds memory")
			}
		})
	}
}

func TestLineNewcomer(t *testing.T) {
	for _, c := range []struct {
		standing  []uint8
		newcomer  uint8
		wantIndex int
	}{
		{nil, 0, 0},
		{nil, 9, 0},
		{[]uint8{0}, 0, 1},
		{[]uint8{0}, 1, 0},
		{[]uint8{5, 5, 0, 0}, 5, 2},
		{[]uint8{5, 5, 0, 0}, 3, 2},
		{[]uint8{5, 5, 0, 0}, 9, 0},
		{[]uint8{5, 5, 0, 0}, 0, 4},
		{[]uint8{0, 0, 5, 0}, 5, 3}, // a move put the 5 behind lower ones
		{[]uint8{0, 0, 5, 0}, 2, 3},
		{[]uint8{0, 0, 5, 0}, 6, 0},
		{[]uint8{9, 0, 3, 0, 1}, 2, 3},
		{[]uint8{9, 0, 3, 0, 1}, 9, 1},
		{[]uint8{255, 254}, 255, 1},
		{[]uint8{255, 254}, 254, 2},
	} {
		// The same rule whether the tickets stand in one leaf or are spread
		// over many, each followed by a crowd that does not count.
		for _, crowd := range []int{0, 40, 300} {
			m := &lineModel{t: t}
			want := 0
			for i, p := range c.standing {
				m.insert(len(m.naive), p)
				if i < c.wantIndex {
					want = len(m.naive)
				}
				for range crowd {
					m.insert(len(m.naive), 0)
				}
			}
			if c.newcomer == 0 {
				want = len(m.naive)
			}
			if got := m.line.newcomer(c.newcomer); got != want {
				t.Errorf("%v with %d between: a %d stands at %d, want %d", c.standing, crowd, c.newcomer, got, want)
			}
		}
	}
}

// A maximum must not outlive the ticket that it came from.
func TestLineNewcomerForgets(t *testing.T) {
	m := &lineModel{t: t}
	for i := range 3000 {
		m.insert(i, uint8(i%3))
	}
	m.insert(1500, 9)
	m.line.replace(m.naive[2000], &Ticket{Priority: 9})
	m.compare()
	m.line.replace(m.naive[2000], &Ticket{Priority: 1})
	m.compare()
	m.remove(1500)
	m.compare()
	if got := m.line.newcomer(9); got != 0 {
		t.Fatalf("a 9 stands at %d behind a 9 that has left", got)
	}
}

// Newcomers arrive one behind the other: at the end they leave full leaves, and
// in front of a tail of lower priority leaves that are three quarters full.
func TestLineLeavesWellFilled(t *testing.T) {
	for _, c := range []struct {
		tail  int
		least float64
	}{{0, 0.99}, {10, 0.74}, {1000, 0.74}} {
		var l line
		const n = 100_000
		for range c.tail {
			l.insert(l.len(), &slot{ticket: &Ticket{}})
		}
		for i := range n - c.tail {
			l.insert(i, &slot{ticket: &Ticket{Priority: 1}})
		}
		if err := l.check(); err != nil {
			t.Fatal(err)
		}
		fill := float64(n) / float64(leafCap*countLeaves(l.root))
		if fill < c.least {
			t.Errorf("before a tail of %d: leaves are filled to %.2f, want %.2f", c.tail, fill, c.least)
		}
	}
}

func countLeaves(n node) int {
	if n.leaf != nil {
		return 1
	}
	sum := 0
	for _, c := range n.inner.children {
		sum += countLeaves(c)
	}
	return sum
}

func TestLineEmptyAllocatesNothing(t *testing.T) {
	got := testing.AllocsPerRun(100, func() {
		var l line
		l.each(0, func(*Ticket) bool { return true })
		if l.len() != 0 || l.newcomer(3) != 0 || l.appendTo(nil) != nil || l.check() != nil {
			t.Error("an empty line is not empty")
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestLineEachStops(t *testing.T) {
	m := &lineModel{t: t}
	for i := range 5000 {
		m.insert(i, 0)
	}
	for _, from := range []int{0, 63, 64, 2500, 4990} {
		seen := 0
		m.line.each(from, func(got *Ticket) bool {
			if got != m.naive[from+seen].ticket {
				t.Fatalf("from %d: another ticket after %d", from, seen)
			}
			seen++
			return seen < 10
		})
		if seen != 10 {
			t.Errorf("from %d: %d tickets, want 10", from, seen)
		}
	}
}

func TestLinePanics(t *testing.T) {
	in := &slot{ticket: &Ticket{}}
	out := &slot{ticket: &Ticket{}}
	var l line
	l.insert(0, in)
	for name, wrong := range map[string]func(){
		"insert before the start": func() { l.insert(-1, out) },
		"insert behind the end":   func() { l.insert(2, out) },
		"insert twice":            func() { l.insert(0, in) },
		"remove of a stranger":    func() { l.remove(out) },
		"replace of a stranger":   func() { l.replace(out, &Ticket{}) },
		"index of a stranger":     func() { l.index(out) },
		"at -1":                   func() { l.at(-1) },
		"at the end":              func() { l.at(1) },
		"each from -1":            func() { l.each(-1, nil) },
		"remove from another line": func() {
			other, s := line{}, &slot{ticket: &Ticket{}}
			other.insert(0, s)
			l.remove(s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
				if err := l.check(); err != nil || l.len() != 1 {
					t.Errorf("the line has changed: %d, %v", l.len(), err)
				}
			}()
			wrong()
		})
	}
}

// What has left is collected although the line lives on.
func TestLineKeepsNothingAlive(t *testing.T) {
	var l line
	for range 200 {
		l.insert(l.len(), &slot{ticket: &Ticket{}})
	}
	freed := make(chan struct{})
	s := &slot{ticket: &Ticket{Priority: 1}}
	l.insert(100, s)
	runtime.AddCleanup(s, func(c chan struct{}) { close(c) }, freed)
	l.remove(s)
	s = nil
	runtime.GC()
	select {
	case <-freed:
	case <-time.After(10 * time.Second):
		t.Error("a removed slot is kept alive")
	}
	runtime.KeepAlive(&l)
}

// Three bytes are one operation; compared with the model after each while the
// line is small, then now and then.
func FuzzLine(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add([]byte("\x00\x00\x00\x03\x00\x00\x07\x00\x09"), uint16(0))
	f.Add([]byte("\x03\x00\x00\x04\x10\x20\x05\x70\x30\x06\x10\x05"), uint16(5000))
	f.Fuzz(func(t *testing.T, script []byte, start uint16) {
		m := &lineModel{t: t}
		for i := range int(start) % 6000 {
			m.insert(i, uint8(i%5))
		}
		for i := 0; i+2 < len(script); i += 3 {
			// The same operation up to 32 times, so that a short script can
			// empty whole leaves.
			op, times := int(script[i])%lineStepKinds, 1+int(script[i])/lineStepKinds
			at := int(script[i+1]) * (len(m.naive) + 256) / 256
			for range times {
				m.step(op, at, script[i+2])
				if len(m.naive) < 200 {
					m.compare()
				}
			}
			if err := m.line.check(); err != nil {
				t.Fatal(fmt.Errorf("after operation %d: %w", i/3, err))
			}
		}
		m.compare()
	})
}
