package queue

import (
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
)

var lineSizes = []int{100, 10_000, 1_000_000}

// benchLine is a line of n tickets, most of priority 0, joined one by one and
// then shuffled a little by moves, and its slots in no order.
func benchLine(n int) (*line, []*slot, *rand.Rand) {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	l, slots := &line{}, make([]*slot, n)
	for i := range slots {
		slots[i] = &slot{ticket: &Ticket{Priority: drawPriority(r)}}
		l.insert(l.newcomer(slots[i].ticket.Priority), slots[i])
	}
	r.Shuffle(n, func(i, j int) { slots[i], slots[j] = slots[j], slots[i] })
	for _, s := range slots[:n/10] {
		l.remove(s)
		l.insert(r.IntN(l.len()+1), s)
	}
	return l, slots, r
}

// benchAtSizes runs body, which does one operation chosen by the random place
// it is handed, on a line of each size.
func benchAtSizes(b *testing.B, body func(l *line, slots []*slot, i int)) {
	for _, n := range lineSizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			l, slots, r := benchLine(n)
			b.ReportAllocs()
			for b.Loop() {
				body(l, slots, r.IntN(n))
			}
		})
	}
}

// A newcomer joins behind and the first is called: the line's daily bread.
func BenchmarkLineJoinAndCall(b *testing.B) {
	benchAtSizes(b, func(l *line, _ []*slot, _ int) {
		s := l.at(0)
		l.remove(s)
		l.insert(l.newcomer(s.ticket.Priority), s)
	})
}

// Insert and remove at random places.
func BenchmarkLineInsertRemove(b *testing.B) {
	s := &slot{ticket: &Ticket{}}
	benchAtSizes(b, func(l *line, _ []*slot, i int) {
		l.insert(i, s)
		l.remove(s)
	})
}

// Any ticket to any place.
func BenchmarkLineMove(b *testing.B) {
	benchAtSizes(b, func(l *line, slots []*slot, i int) {
		s := slots[i]
		l.remove(s)
		l.insert((i*7919)%len(slots), s)
	})
}

func BenchmarkLineIndex(b *testing.B) {
	benchAtSizes(b, func(l *line, slots []*slot, i int) { l.index(slots[i]) })
}

func BenchmarkLineAt(b *testing.B) {
	benchAtSizes(b, func(l *line, _ []*slot, i int) { l.at(i) })
}

func BenchmarkLineNewcomer(b *testing.B) {
	benchAtSizes(b, func(l *line, _ []*slot, i int) { l.newcomer(uint8(i % 12)) })
}

func BenchmarkLineAppendTo(b *testing.B) {
	for _, n := range lineSizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			l, _, _ := benchLine(n)
			dst := make([]*Ticket, 0, n)
			b.ReportAllocs()
			for b.Loop() {
				dst = l.appendTo(dst[:0])
			}
		})
	}
	b.Run("1000000/fresh", func(b *testing.B) {
		l, _, _ := benchLine(1_000_000)
		b.ReportAllocs()
		for b.Loop() {
			l.appendTo(nil)
		}
	})
}

// Bytes per ticket, slot included and ticket not, of lines that were appended
// to and of lines whose places were all drawn at random.
func BenchmarkLineBytes(b *testing.B) {
	for _, n := range []int{1, 3, 10, 100, 10_000, 1_000_000} {
		for _, way := range []string{"appended", "random"} {
			b.Run(way+"/"+strconv.Itoa(n), func(b *testing.B) {
				r := rand.New(rand.NewPCG(7, 8))
				lines := make([]line, max(1, 10_000/n))
				t := &Ticket{}
				before := lineHeapBytes()
				for k := range lines {
					l := &lines[k]
					for i := range n {
						if way == "random" {
							i = r.IntN(i + 1)
						}
						l.insert(i, &slot{ticket: t})
					}
				}
				used := float64(lineHeapBytes() - before)
				for b.Loop() {
				}
				b.ReportMetric(used/float64(n*len(lines)), "B/ticket")
				b.ReportMetric(0, "ns/op")
				runtime.KeepAlive(lines)
			})
		}
	}
}

func lineHeapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
