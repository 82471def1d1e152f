package actors_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
)

var errDown = errors.New("the sink is down")

// A sink is given every event of every queue, each once and in order, while
// they come and go.
func TestFollowerGivesEveryEventInOrder(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	f, _ := follow(t, j, s)
	n := startNode(t, j, func(d *actors.GrainDeps) { d.Committed = f.Note })
	const queues, each = 20, 50
	var commands sync.WaitGroup
	ids := make([]string, queues)
	for i := range ids {
		ids[i] = fmt.Sprintf("q%d", i)
		commands.Go(func() {
			n.do(t, ids[i], create(1))
			var more sync.WaitGroup
			for range 2 {
				more.Go(func() {
					for range each {
						n.do(t, ids[i], enqueue())
					}
				})
			}
			more.Wait()
		})
	}
	commands.Wait()
	s.await(t, 2*each+1, ids...)
	for _, id := range ids {
		s.holds(t, id, 1, 2*each+1)
		for i, e := range journalEvents(t, j, id) {
			if got := s.events[id][i]; string(got.Op) != string(e.Op) || got.Epoch != e.Epoch {
				t.Fatalf("event %d of %s is not the journal's", e.Version, id)
			}
		}
	}
	if f.Behind() != 0 {
		t.Errorf("%d events are said to be left", f.Behind())
	}
}

// What it was never told of it finds by itself: at its start, and later.
func TestFollowerFindsWhatItWasNotToldOf(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	h := newHistory(t, j, "a")
	h.add(t, 3)
	follow(t, j, s, func(f *actors.JournalFollower) { f.SweepEvery(20 * time.Millisecond) })
	s.await(t, 3, "a")
	h.add(t, 2)
	other := newHistory(t, j, "b")
	other.add(t, 1)
	s.await(t, 5, "a")
	s.await(t, 1, "b")
	s.holds(t, "a", 1, 5)
	s.holds(t, "b", 1, 1)
}

// A sink that is away misses nothing: it is asked again, ever more seldom, and
// the outage is told once.
func TestFollowerOutlivesItsSink(t *testing.T) {
	t.Parallel()
	for _, down := range []error{errDown, fmt.Errorf("%w: no route", actors.ErrAway)} {
		t.Run(down.Error(), func(t *testing.T) { outlive(t, down) })
	}
}

func outlive(t *testing.T, down error) {
	j, s := ownJournal(t), newSink()
	all, ids := histories(t, j, 10, 3)
	tries := 0
	s.refuse = func([]actors.Part) error {
		if tries++; tries < 6 {
			return down
		}
		return nil
	}
	var log said
	began := time.Now()
	f, _ := followLogging(t, j, s, log.log())
	for _, h := range all {
		f.Note(h.id, h.add(t, 1))
	}
	s.await(t, 4, ids...)
	for _, id := range ids {
		s.holds(t, id, 1, 4)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("a sink that was away was asked again at once, six times in %s", took)
	}
	if n := strings.Count(log.String(), "cannot go on"); n != 1 || strings.Count(log.String(), "goes on") != 1 {
		t.Errorf("the outage was told %d times:\n%s", n, log.String())
	}
}

// One queue whose events the sink does not take keeps nobody else waiting.
func TestFollowerSetsAsideWhatTheSinkRefuses(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	all, ids := histories(t, j, 100, 2)
	healed := false
	s.refuse = func(parts []actors.Part) error {
		if !healed && slices.ContainsFunc(parts, func(p actors.Part) bool { return p.Queue == ids[42] || p.Queue == ids[7] }) {
			return errDown
		}
		return nil
	}
	var log said
	f, _ := followLogging(t, j, s, log.log())
	others := slices.Concat(ids[:7], ids[8:42], ids[43:])
	s.await(t, 2, others...)
	staysQuick(t, f, s, all[0])
	if f.Behind() < 4 || f.Lag() <= 0 {
		t.Errorf("two queues are set aside, and it is %d events and %s behind", f.Behind(), f.Lag())
	}
	if !strings.Contains(log.String(), "not taken") || !strings.Contains(log.String(), "queue="+ids[42]) {
		t.Errorf("it was not told which queue is set aside:\n%s", log.String())
	}
	s.mu.Lock()
	healed = true
	s.mu.Unlock()
	s.await(t, 2, ids...)
	s.holds(t, ids[42], 1, 2)
}

// staysQuick fails the test where events of a queue are not followed within a
// second, most of the time: others run beside the test.
func staysQuick(t *testing.T, f *actors.JournalFollower, s *sink, h *history) {
	t.Helper()
	late := 0
	for range 20 {
		began := time.Now()
		f.Note(h.id, h.add(t, 1))
		s.await(t, h.version, h.id)
		if took := time.Since(began); took > time.Second {
			late++
			t.Logf("an event took %s", took)
		}
	}
	if late > 5 {
		t.Errorf("%d of 20 events took more than a second", late)
	}
}

// Two followers of one sink, as two nodes have them: it gets nothing twice.
func TestTwoFollowersOfOneSink(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	sweeping := func(f *actors.JournalFollower) { f.SweepEvery(time.Millisecond) }
	all, ids := histories(t, j, 10, 1)
	one, _ := follow(t, j, s, sweeping)
	two, _ := follow(t, j, s, sweeping)
	for range 100 {
		for _, h := range all {
			v := h.add(t, 1)
			one.Note(h.id, v)
			two.Note(h.id, v)
		}
	}
	s.await(t, 101, ids...)
	for _, id := range ids {
		s.holds(t, id, 1, 101)
	}
	s.mu.Lock() // a last round may still be under way, in vain
	defer s.mu.Unlock()
	t.Logf("%d rounds, %d of them in vain", s.takes+s.moved, s.moved)
}

// Queues that cannot be read wait by themselves, however many they are, and are
// told of; what stands before the damage is given.
func TestUnreadableQueuesKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	for i := range 300 {
		h := newHistory(t, j, fmt.Sprintf("bad%03d", i))
		h.add(t, 2)
		h.append(t, []byte("garbage"), 3)
	}
	good := newHistory(t, j, "good")
	good.add(t, 1)
	var log said
	f, _ := followLogging(t, j, s, log.log())
	s.await(t, 1, "good")
	s.await(t, 2, "bad000", "bad299")
	staysQuick(t, f, s, good)
	s.holds(t, "bad000", 1, 2)
	if n := strings.Count(log.String(), "queue=bad000"); n != 1 {
		t.Errorf("a damaged queue was told of %d times", n)
	}
	if strings.Contains(log.String(), "cannot go on") {
		t.Errorf("the follower is said to stand still:\n%.2000s", log.String())
	}
}

// A damaged head does not hide the queues beside it from a sweep.
func TestDamagedHeadHidesNoOtherQueue(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	_, ids := histories(t, j, 3, 1)
	follow(t, damagedHead{j, ids[1]}, s)
	s.await(t, 1, ids[0], ids[2])
}

// damagedHead is a journal in which one queue's head is damaged, as Redis's may be.
type damagedHead struct {
	actors.Journal
	id string
}

func (d damagedHead) Versions(ctx context.Context, ids []string) ([]uint64, error) {
	if slices.Contains(ids, d.id) {
		return nil, fmt.Errorf("%w: head of queue %s", queue.ErrDamaged, d.id)
	}
	return d.Journal.Versions(ctx, ids)
}

// Where events are gone it goes on with the oldest that is kept, not with the
// snapshot, and says so; a sink that is new just begins there.
func TestFollowerOfATrimmedJournal(t *testing.T) {
	t.Parallel()
	for _, at := range []uint64{0, 5} {
		t.Run(fmt.Sprintf("from %d", at), func(t *testing.T) {
			j, s := ownJournal(t), newSink()
			h := newHistory(t, j, "a")
			for range 50 {
				h.add(t, 2)
			}
			// The snapshot stands at the end, the entries up to 41 go.
			if err := j.SaveSnapshot(t.Context(), "a", h.owner, queue.Snapshot{Version: 100, Data: []byte("s")}, 41); err != nil {
				t.Fatal(err)
			}
			s.at["a"] = at
			var log said
			followLogging(t, j, s, log.log())
			s.await(t, 100, "a")
			s.holds(t, "a", 41, 100)
			if lost := strings.Contains(log.String(), "level=ERROR msg=\"events are gone"); lost != (at > 0) {
				t.Errorf("it said:\n%s", log.String())
			}
		})
	}
}

// A new epoch stands anywhere above the last version.
func TestFollowerOfANewEpoch(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	f, _ := follow(t, j, s)
	first := startNode(t, j, func(d *actors.GrainDeps) { d.Committed = f.Note })
	first.do(t, "a", create(1))
	first.do(t, "a", enqueue())
	s.await(t, 2, "a")
	next := startNode(t, j, func(d *actors.GrainDeps) {
		d.Committed = f.Note
		d.Known = func(context.Context, string) (uint64, error) { return 40, nil }
	})
	next.do(t, "a", enqueue())
	s.await(t, 41+queue.EpochGap, "a")
	if got := s.of("a"); !slices.Equal(got, []uint64{1, 2, 40 + queue.EpochGap, 41 + queue.EpochGap}) {
		t.Fatalf("the sink was given %v", got)
	}
}

// A follower may note more of the lost events than were known when the epoch
// began: it must not take the new ones for those.
func TestFollowerAheadOfWhatWasKnown(t *testing.T) {
	t.Parallel()
	j, s := ownJournal(t), newSink()
	s.at["a"] = 45
	f, _ := follow(t, j, s)
	n := startNode(t, j, func(d *actors.GrainDeps) {
		d.Committed = f.Note
		d.Known = func(context.Context, string) (uint64, error) { return 40, nil }
	})
	n.do(t, "a", create(1))
	n.do(t, "a", enqueue())
	s.await(t, 41+queue.EpochGap, "a")
	if got := s.of("a"); !slices.Equal(got, []uint64{40 + queue.EpochGap, 41 + queue.EpochGap}) {
		t.Fatalf("the sink was given %v", got)
	}
}

// Followed is how far all are.
func TestFollowed(t *testing.T) {
	t.Parallel()
	one, two := newSink(), newSink()
	one.at["a"], two.at["a"] = 7, 12
	if v, err := actors.Followed(t.Context(), "a", two, one); v != 7 || err != nil {
		t.Errorf("followed up to %d, %v", v, err)
	}
	if v, err := actors.Followed(t.Context(), "a"); v != math.MaxUint64 || err != nil {
		t.Errorf("followed up to %d, %v without sinks", v, err)
	}
}
