package actors_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"nowserving/actors"
	"nowserving/messages"
)

func TestFollowerOfThousandsOfQueues(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	all, ids := histories(t, j, 3_000, 1)
	f, _ := follow(t, j, s)
	s.await(t, 1, ids...)
	s.mu.Lock()
	before := s.takes
	s.mu.Unlock()
	began := time.Now()
	var writers sync.WaitGroup
	for w := range 32 {
		writers.Go(func() {
			for i := w; i < len(all); i += 32 {
				f.Note(all[i].id, all[i].add(t, 1))
			}
		})
	}
	writers.Wait()
	s.await(t, 2, ids...)
	took := time.Since(began)
	for _, id := range ids {
		s.holds(t, id, 1, 2)
	}
	// Rounds are not tiny: events of many queues come together.
	if rounds := s.takes - before; rounds > int(took/(15*time.Millisecond))+len(ids)/200+3 {
		t.Errorf("%d rounds in %s", rounds, took)
	}
}

// A queue with very many events does not keep the others waiting, and is not
// kept waiting by them.
func TestBusyQueueBesideQuietOnes(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	busy := newHistory(t, j, "busy")
	for range 100 {
		busy.add(t, 1_000)
	}
	quiet, ids := histories(t, j, 20, 1)
	rounds := 0
	s.refuse = func(parts []actors.Part) error {
		rounds++
		total := 0
		for _, p := range parts {
			total += len(p.Events)
		}
		if total > 2*8_000+2*1_000 {
			t.Errorf("a round of %d events", total)
		}
		if rounds == 3 {
			for _, h := range quiet {
				if s.at[h.id] == 0 {
					t.Errorf("queue %s still waits in the third round", h.id)
				}
			}
		}
		return nil
	}
	follow(t, j, s)
	s.await(t, 1, ids...)
	s.await(t, 100_000, "busy")
	s.holds(t, "busy", 1, 100_000)
	if rounds > 100 {
		t.Errorf("%d rounds for 100,000 events", rounds)
	}
}

func TestFairShare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		behind []uint64
		want   int
	}{
		{[]uint64{5}, 2_000},
		{[]uint64{100_000}, 2_000},
		{[]uint64{1, 1, 1, 100_000}, 1_997},
		{[]uint64{100_000, 1, 100_000}, 1_000},
		{slices.Repeat([]uint64{10}, 500), 4},
		{slices.Repeat([]uint64{10}, 4_000), 1},
	} {
		if got := actors.FairShare(c.behind, 2_000); got != c.want {
			t.Errorf("%d queues: a share of %d, want %d", len(c.behind), got, c.want)
		}
	}
}

// Stopped in the middle of its work, it stops, and the next one goes on from
// where the sink is.
func TestFollowerStopsInMidWork(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	h := newHistory(t, j, "a")
	for range 200 {
		h.add(t, 100)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	rounds := 0
	s.refuse = func([]actors.Part) error {
		if rounds++; rounds == 3 {
			once.Do(func() { close(entered) })
			<-leave
			return context.Canceled // as a store says whose context is over
		}
		return nil
	}
	_, stop := follow(t, j, s)
	select {
	case <-entered:
	case <-time.After(patience):
		t.Fatal("it never came to the third round")
	}
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	close(leave)
	<-stopped
	if at := s.at["a"]; at == 0 || at == h.version {
		t.Fatalf("it was not stopped in the middle, but at %d", at)
	}
	follow(t, j, s)
	s.await(t, h.version, "a")
	s.holds(t, "a", 1, h.version)
}

// A deleted queue that is made again goes on in the same journal.
func TestFollowerOfADeletedQueue(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	f, _ := follow(t, j, s)
	n := startNode(t, j, func(d *actors.GrainDeps) { d.Committed = f.Note })
	n.do(t, "a", create(1))
	n.do(t, "a", &messages.Command{Action: &messages.Command_Delete{Delete: &messages.Delete{}}})
	n.do(t, "a", create(1))
	s.await(t, 3, "a")
	s.holds(t, "a", 1, 3)
	if first, last := s.events["a"][0].Epoch, s.events["a"][2].Epoch; first == last || uuid.Validate(last) != nil {
		t.Errorf("epochs %s and %s", first, last)
	}
}
