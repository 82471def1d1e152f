package actors_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/persistence"
	"nowserving/persistence/redistest"
)

// hanging is a journal that answers no append of one queue until it is let go.
type hanging struct {
	actors.Journal
	queue string
	mu    sync.Mutex
	held  []func()
	free  bool
}

func (h *hanging) Append(id string, owner queue.OwnerID, prev queue.OpID, e queue.Entry, done func(error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id == h.queue && e.First > 1 && !h.free {
		h.held = append(h.held, func() { h.Journal.Append(id, owner, prev, e, done) })
		return
	}
	h.Journal.Append(id, owner, prev, e, done)
}

func (h *hanging) let() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free = true
	for _, append := range h.held {
		append()
	}
}

func TestStuckQueueLeavesRoomForOthers(t *testing.T) {
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	h := &hanging{Journal: j, queue: "stuck"}
	n := startNode(t, h)
	n.do(t, "stuck", create(1))
	n.do(t, "other", create(1))
	var refused, accepted atomic.Int64
	var callers sync.WaitGroup
	for range actors.MaxOfQueue + 100 {
		callers.Go(func() {
			if a := n.try("stuck", enqueue()); a.Problem == nil {
				accepted.Add(1)
			} else if a.Problem.Code == string(queue.Unavailable) {
				refused.Add(1)
			} else {
				t.Errorf("answered %s", a.Problem.Code)
			}
		})
	}
	eventually(t, "those over the share are refused", func() bool { return refused.Load() == 100 })
	began := time.Now()
	n.do(t, "other", enqueue())
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("another queue took %s", took)
	}
	h.let()
	callers.Wait()
	if accepted.Load() != actors.MaxOfQueue || refused.Load() != 100 {
		t.Errorf("%d were accepted and %d refused", accepted.Load(), refused.Load())
	}
	n.do(t, "stuck", enqueue()) // its share is free again
}

// TestHotQueueLeavesOthersTheirPace has 512 callers ask one queue as fast as it
// answers, and one caller each of eight others, which share its journal.
func TestHotQueueLeavesOthersTheirPace(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) actors.Journal{
		"SQLite": func(t *testing.T) actors.Journal {
			j := sqliteJournal(t, t.TempDir())
			t.Cleanup(func() { _ = j.Close() })
			return j
		},
		"Redis": func(t *testing.T) actors.Journal {
			// One pipe, so that none of the others is spared by its name.
			j, err := persistence.OpenRedisJournal(context.Background(), redistest.Start(t), slog.New(slog.DiscardHandler), persistence.RedisOptions{Pipes: 1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = j.Close() })
			return j
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, open(t))
			n.do(t, "hot", create(1))
			stop := make(chan struct{})
			var hot atomic.Int64
			var callers sync.WaitGroup
			for range 512 {
				callers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if a := n.try("hot", enqueue()); a.Problem != nil {
							t.Errorf("hot: %s", a.Problem.Code)
							return
						}
						hot.Add(1)
					}
				})
			}
			var mu sync.Mutex
			var took []time.Duration
			var others sync.WaitGroup
			for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
				n.do(t, id, create(1))
				others.Go(func() {
					for range 50 {
						began := time.Now()
						if a := n.try(id, enqueue()); a.Problem != nil {
							t.Errorf("%s: %s", id, a.Problem.Code)
						}
						mu.Lock()
						took = append(took, time.Since(began))
						mu.Unlock()
					}
				})
			}
			others.Wait()
			close(stop)
			callers.Wait()
			slices.Sort(took)
			p50, p99 := took[len(took)/2], took[len(took)*99/100]
			t.Logf("others: p50 %s, p99 %s beside %d commands of the hot queue", p50, p99, hot.Load())
			if p99 > time.Second { // with the race detector, on a busy machine
				t.Errorf("p99 of the others is %s", p99)
			}
		})
	}
}
