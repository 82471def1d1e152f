package persistence

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	"nowserving/actors/queue"
	"nowserving/persistence/redistest"
)

// BenchmarkJournal appends entries of 200 bytes. An op is one append by one
// caller, acknowledged; each caller has one under way at a time and, as in the
// running system, a queue has one entry under way. "64x512" has 512 callers on
// 64 queues, where those of a queue that wait go together into the next entry,
// as the grain does it; "512x512" is the journal's own rate of entries.
func BenchmarkJournal(b *testing.B) {
	for name, open := range map[string]func(b *testing.B) journal{"sqlite": benchSQLite, "redis": benchRedis} {
		for _, load := range []struct{ queues, callers int }{{1, 1}, {64, 64}, {512, 512}, {64, 512}} {
			b.Run(fmt.Sprintf("%s/%dx%d", name, load.queues, load.callers), func(b *testing.B) {
				benchAppends(b, open(b), load.queues, load.callers)
			})
		}
	}
}

func benchSQLite(b *testing.B) journal {
	j, err := OpenSQLiteJournal(b.Context(), b.TempDir(), quiet)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = j.Close() })
	return j
}

// benchRedis takes the number of connections from PIPES, to compare them.
func benchRedis(b *testing.B) journal {
	pipes, _ := strconv.Atoi(os.Getenv("PIPES"))
	return openRedis(b, redistest.Start(b), RedisOptions{Pipes: pipes})
}

// benchQueue gathers what its callers want appended, as a grain does.
type benchQueue struct {
	line
	wants chan chan error
}

func (q *benchQueue) run(batch int) {
	data := make([]byte, 200*batch)
	for first := range q.wants {
		waiting := []chan error{first}
	gather:
		for len(waiting) < batch {
			select {
			case w := <-q.wants:
				waiting = append(waiting, w)
			default:
				break gather
			}
		}
		e := queue.Entry{First: q.head.Version + 1, Last: q.head.Version + uint64(len(waiting)), Op: random16(), Data: data[:200*len(waiting)]}
		err := q.try(e)
		for _, w := range waiting {
			w <- err
		}
	}
}

func benchAppends(b *testing.B, j journal, queues, callers int) {
	lines := make([]*benchQueue, queues)
	var running sync.WaitGroup
	for i := range lines {
		lines[i] = &benchQueue{line: *claim(b, j, fmt.Sprintf("queue-%d", i)), wants: make(chan chan error, callers/queues)}
		running.Go(func() { lines[i].run(callers / queues) })
	}
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			done := make(chan error, 1)
			for i := c; i < b.N; i += callers {
				lines[c%queues].wants <- done
				if err := <-done; err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
	b.StopTimer()
	for _, l := range lines {
		close(l.wants)
	}
	running.Wait()
}

// BenchmarkOwns is 512 callers who each check 64 queues' owners.
func BenchmarkOwns(b *testing.B) {
	for name, open := range map[string]func(b *testing.B) journal{"sqlite": benchSQLite, "redis": benchRedis} {
		b.Run(name, func(b *testing.B) {
			j := open(b)
			l := claim(b, j, "q")
			b.SetParallelism(128)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := owns(j, "q", l.owner); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "checks/s")
		})
	}
}
