package actors_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// sink keeps what it is given and refuses what does not stand at its checkpoint.
type sink struct {
	mu     sync.Mutex
	at     map[string]uint64
	events map[string][]*messages.Event
	takes  int
	moved  int
	// refuse may fail a Take before anything is done.
	refuse func(parts []actors.Part) error
	// taken is told, without blocking, of every Take that was done.
	taken chan struct{}
}

func newSink() *sink {
	return &sink{at: map[string]uint64{}, events: map[string][]*messages.Event{}, taken: make(chan struct{}, 1)}
}

func (s *sink) Checkpoints(_ context.Context, ids []string) ([]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := make([]uint64, len(ids))
	for i, id := range ids {
		at[i] = s.at[id]
	}
	return at, nil
}

func (s *sink) Take(ctx context.Context, parts []actors.Part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.refuse != nil {
		if err := s.refuse(parts); err != nil {
			return err
		}
	}
	for _, p := range parts {
		if s.at[p.Queue] != p.After {
			s.moved++
			return actors.ErrMoved
		}
	}
	s.takes++
	for _, p := range parts {
		s.at[p.Queue] = p.Upto
		s.events[p.Queue] = append(s.events[p.Queue], p.Events...)
	}
	select {
	case s.taken <- struct{}{}:
	default:
	}
	return nil
}

// of gives the versions of a queue that the sink was given.
func (s *sink) of(id string) (versions []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events[id] {
		versions = append(versions, e.Version)
	}
	return versions
}

// await waits until the sink has come to a version of each queue.
func (s *sink) await(t testing.TB, version uint64, ids ...string) {
	t.Helper()
	late := time.After(patience)
	for _, id := range ids {
		for {
			at, _ := s.Checkpoints(t.Context(), []string{id})
			if at[0] >= version {
				break
			}
			select {
			case <-s.taken:
			case <-time.After(10 * time.Millisecond):
			case <-late:
				t.Fatalf("the sink has queue %s up to %d, not %d", id, at[0], version)
			}
		}
	}
}

// holds fails the test where the sink was not given exactly these versions, each once, in order.
func (s *sink) holds(t testing.TB, id string, first, last uint64) {
	t.Helper()
	want := make([]uint64, 0, last-first+1)
	for v := first; v <= last; v++ {
		want = append(want, v)
	}
	if got := s.of(id); !slices.Equal(got, want) {
		t.Fatalf("queue %s: the sink was given %d events %v, not %d to %d", id, len(got), got[:min(len(got), 30)], first, last)
	}
}

// follow runs a follower until the test ends or stop is called.
func follow(t testing.TB, j actors.Journal, s actors.Sink, options ...func(*actors.JournalFollower)) (f *actors.JournalFollower, stop func()) {
	t.Helper()
	return followLogging(t, j, s, slog.New(slog.DiscardHandler), options...)
}

func followLogging(t testing.TB, j actors.Journal, s actors.Sink, log *slog.Logger, options ...func(*actors.JournalFollower)) (f *actors.JournalFollower, stop func()) {
	f = actors.NewJournalFollower("test", j, s, log)
	for _, option := range options {
		option(f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.Run(ctx)
	}()
	stop = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("the follower does not stop")
		}
	}
	t.Cleanup(stop)
	return f, stop
}

// said keeps what was logged.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *said) log() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }

// history writes one queue's journal by hand.
type history struct {
	j       actors.Journal
	id      string
	owner   queue.OwnerID
	prev    queue.OpID
	version uint64
}

func newHistory(t testing.TB, j actors.Journal, id string) *history {
	t.Helper()
	h := &history{j: j, id: id, owner: queue.OwnerID(randomOp())}
	if _, err := j.Claim(context.Background(), id, h.owner); err != nil {
		t.Fatal(err)
	}
	return h
}

// add appends one entry of n events.
func (h *history) add(t testing.TB, n int) uint64 {
	t.Helper()
	m := &messages.Entry{Epoch: "one"}
	for i := range n {
		m.Events = append(m.Events, &messages.Event{Version: h.version + uint64(i) + 1, Kind: messages.EventKind_EVENT_KIND_QUEUE_OPENED})
	}
	data, err := actors.EncodeRecord(m)
	if err != nil {
		t.Fatal(err)
	}
	h.append(t, data, h.version+uint64(n))
	return h.version
}

func (h *history) append(t testing.TB, data []byte, last uint64) {
	t.Helper()
	e := queue.Entry{First: h.version + 1, Last: last, Op: queue.OpID(randomOp()), Data: data}
	if err := appendTo(h.j, h.id, h.owner, h.prev, e); err != nil {
		t.Fatal(err)
	}
	h.prev, h.version = e.Op, last
}

// histories writes many journals at once, each of some entries of one event.
func histories(t testing.TB, j actors.Journal, queues, entries int) (all []*history, ids []string) {
	t.Helper()
	all = make([]*history, queues)
	var writers sync.WaitGroup
	for w := range 64 {
		writers.Go(func() {
			for i := w; i < queues; i += 64 {
				all[i] = newHistory(t, j, fmt.Sprintf("q%05d", i))
				for range entries {
					all[i].add(t, 1)
				}
			}
		})
	}
	writers.Wait()
	for _, h := range all {
		ids = append(ids, h.id)
	}
	return all, ids
}

func ownJournal(t testing.TB) actors.Journal {
	t.Helper()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	return j
}
