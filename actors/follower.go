package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// Bounds of followers.
const (
	followQueues   = 256      // queues in one round
	followReaders  = 8        // of them read at once
	followEvents   = 8_000    // events of one round, about: larger ones cost a database less for each
	followBytes    = 32 << 20 // of one round, about
	followFirst    = 16       // entries of a queue of which nothing was read yet
	followWithin   = 30 * time.Second
	followSweep    = 15 * time.Second // a look at all journals even where nothing was noted
	followBackoff  = 100 * time.Millisecond
	followBackoffs = 5 // doublings: 3.2 s at most
	// Rounds that are not full begin no faster than this, so that events of
	// many queues come together in one.
	followGather = 20 * time.Millisecond
)

// ErrMoved: a sink's checkpoint is not where it was; somebody else has moved it.
var ErrMoved = errors.New("the checkpoint has moved")

// ErrAway: the sink takes nothing just now, whatever the parts hold.
var ErrAway = errors.New("the sink is away")

// errAside: one queue's events were not taken, which has been said.
var errAside = errors.New("a queue is set aside")

// Sink must have every event of every queue, in order. It keeps how far it has
// got, its checkpoint in each queue.
type Sink interface {
	// Checkpoints gives the version up to which the sink has each queue's
	// events, 0 for a queue that it never saw.
	Checkpoints(ctx context.Context, queues []string) ([]uint64, error)
	// Take takes the next events of some queues and moves their checkpoints. It
	// fails with ErrMoved, having moved none, where one of them is not After.
	// What fails with ErrAway is not tried again queue by queue.
	Take(ctx context.Context, parts []Part) error
}

// Part is the next part of one queue's history for a sink.
type Part struct {
	Queue string
	// After is the sink's checkpoint, Upto the one that follows from the part.
	After, Upto uint64
	// Events are in the order of their versions. Between After and the first
	// there is nothing, or events that the store has lost.
	Events []*messages.Event
}

// Followed tells how far all of some sinks have come in a queue, so that its
// journal is not trimmed beyond it. Without sinks that is any version.
func Followed(ctx context.Context, id string, sinks ...Sink) (uint64, error) {
	followed := uint64(math.MaxUint64)
	for _, s := range sinks {
		at, err := s.Checkpoints(ctx, []string{id})
		if err != nil {
			return 0, err
		}
		followed = min(followed, at[0])
	}
	return followed, nil
}

// JournalFollower feeds a sink from the journals of all queues. It reads each
// from the sink's checkpoint on, so nothing is left out whatever crashes; what
// it is told of new versions may be lost.
//
// A queue that cannot be read, or whose events the sink does not take, waits by
// itself: a round that fails in the sink is tried again queue by queue.
type JournalFollower struct {
	journal Journal
	sink    Sink
	log     *slog.Logger
	line    *newsLine
	// sweepEvery is followSweep; a field for the tests to change.
	sweepEvery time.Duration
	mine       func(queue string) bool // nil: every queue
	look       func(queue string)      // at a journal that is short
	again      atomic.Bool

	swept     string    // the queue up to which the sweep under way has come
	nextSweep time.Time // when it goes on
	unswept   int       // times in a row that it could not
	failures  int       // rounds in a row that failed
	warned    bool      // that it cannot go on
}

// NewJournalFollower makes a follower; Run does its work. The name is for logs.
func NewJournalFollower(name string, journal Journal, sink Sink, log *slog.Logger) *JournalFollower {
	return &JournalFollower{
		journal: journal, sink: sink, log: log.With("follower", name), line: newNewsLine(), sweepEvery: followSweep,
		look: func(string) {},
	}
}

// Only has the follower look for queues in which the sink is behind among those
// only that mine picks: the others have followers of their own. Call it before Run.
func (f *JournalFollower) Only(mine func(queue string) bool) { f.mine = mine }

// WhereShort has look called with each queue whose journal seems to end before
// what was followed of it: whoever has the queue sees then that it has lost
// events, even where nobody asks for it. It must not block. Call it before Run.
func (f *JournalFollower) WhereShort(look func(queue string)) { f.look = look }

// Again has the follower look for such queues at once. It never blocks.
func (f *JournalFollower) Again() {
	f.again.Store(true)
	f.line.wake()
}

// Note tells that a queue's journal has reached a version. It never blocks.
func (f *JournalFollower) Note(id string, version uint64) { f.line.note(id, version) }

// Known is the newest version of a queue's journal that was heard of, 0 where none was.
func (f *JournalFollower) Known(id string) uint64 { return f.line.version(id) }

// Behind tells how many events, of the queues that are known to have news, the
// sink has not got yet.
func (f *JournalFollower) Behind() uint64 {
	events, _ := f.line.behind()
	return events
}

// Lag is for how long, about, the oldest of them has been known.
func (f *JournalFollower) Lag() time.Duration {
	_, since := f.line.behind()
	if since.IsZero() {
		return 0
	}
	return time.Since(since)
}

// Run works until ctx is over.
func (f *JournalFollower) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if f.again.Swap(false) || !time.Now().Before(f.nextSweep) {
			f.sweep(ctx)
		}
		began := time.Now()
		full, err := f.round(ctx, began)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if !f.warned && !errors.Is(err, errAside) { // once for each outage
				f.warned = true
				f.log.Warn("a follower of the journals cannot go on for now", "error", err)
			}
			wait(ctx, followBackoff<<min(f.failures, followBackoffs), nil)
			f.failures++
		case !full:
			wait(ctx, followGather-time.Since(began), nil)
			f.rest(ctx)
		}
	}
	return nil
}

// rest waits for news, or for the next thing to do without any.
func (f *JournalFollower) rest(ctx context.Context) {
	ready, next := f.line.waiting()
	if ready {
		return
	}
	if next.IsZero() || f.nextSweep.Before(next) {
		next = f.nextSweep
	}
	wait(ctx, time.Until(next), f.line.signal)
}

// wait ends after a duration, with a signal, or with ctx.
func wait(ctx context.Context, d time.Duration, signal <-chan struct{}) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-signal:
	case <-timer.C:
	}
}

// sweep looks for queues in which the sink is behind, a page of them each time,
// with rounds in between.
func (f *JournalFollower) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, followWithin)
	defer cancel()
	last, err := f.sweepPage(ctx, f.swept)
	if err != nil {
		if f.unswept == 0 && ctx.Err() == nil {
			f.log.Warn("the journals cannot be compared with what was followed", "error", err)
		}
		f.nextSweep = time.Now().Add(followBackoff << min(f.unswept, followBackoffs))
		f.unswept++
		return
	}
	f.unswept, f.swept = 0, last
	if last == "" {
		f.nextSweep = time.Now().Add(f.sweepEvery)
	}
}

// sweepPage gives the last queue of the page, or none where there was none.
func (f *JournalFollower) sweepPage(ctx context.Context, after string) (last string, err error) {
	ids, err := f.journal.Queues(ctx, after, sweepPage)
	if err != nil || len(ids) == 0 {
		return "", err
	}
	versions, err := f.versions(ctx, ids)
	if err != nil {
		return "", err
	}
	at, err := f.sink.Checkpoints(ctx, ids)
	if err != nil {
		return "", err
	}
	for i, id := range ids {
		if f.mine != nil && !f.mine(id) {
			continue
		}
		f.line.found(id, versions[i], at[i])
		if versions[i] < at[i] {
			f.look(id)
		}
	}
	return ids[len(ids)-1], nil
}

// versions asks for queues one by one where one of them is damaged, and leaves
// that one out.
func (f *JournalFollower) versions(ctx context.Context, ids []string) ([]uint64, error) {
	versions, err := f.journal.Versions(ctx, ids)
	if !errors.Is(err, queue.ErrDamaged) {
		return versions, err
	}
	versions = make([]uint64, len(ids))
	for i, id := range ids {
		one, err := f.journal.Versions(ctx, []string{id})
		switch {
		case errors.Is(err, queue.ErrDamaged):
			f.log.Error("a queue cannot be followed", "queue", id, "error", err)
		case err != nil:
			return nil, err
		default:
			versions[i] = one[0]
		}
	}
	return versions, nil
}

// round hands some of what is new to the sink; full is true where there was as
// much as a round takes, so that the next one need not wait for more.
func (f *JournalFollower) round(ctx context.Context, now time.Time) (full bool, err error) {
	most := followQueues
	if f.failures > 1 {
		most = 1 // only to see whether the sink is back
	}
	hand := f.line.pick(most, now)
	if len(hand) == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, followWithin)
	defer cancel()
	full = len(hand) == most || hand[0].alone
	if hand, err = f.locate(ctx, hand); err != nil || len(hand) == 0 {
		return full, err
	}
	read, err := f.read(ctx, hand)
	if err != nil || len(read.parts) == 0 {
		return full, err
	}
	if err = f.give(ctx, read); errors.Is(err, ErrMoved) {
		return false, nil
	}
	return full || read.full, err
}

// locate learns where the sink stands in queues of which that is not known, and
// gives those of which there is more to be had.
func (f *JournalFollower) locate(ctx context.Context, hand []*news) (behind []*news, err error) {
	var unknown []string
	for _, n := range hand {
		if !n.located {
			unknown = append(unknown, n.id)
		}
	}
	var at []uint64
	if len(unknown) > 0 {
		if at, err = f.sink.Checkpoints(ctx, unknown); err != nil {
			f.line.again(hand...)
			return nil, err
		}
	}
	for _, n := range hand {
		if !n.located {
			f.line.locate(n, at[0])
			at = at[1:]
		}
		if n.picked > n.at {
			behind = append(behind, n)
		} else {
			f.line.reached(n, n.at)
		}
	}
	return behind, nil
}

// give hands what was read to the sink.
func (f *JournalFollower) give(ctx context.Context, r *reading) error {
	err := f.sink.Take(ctx, r.parts)
	switch {
	case err == nil:
		for i, n := range r.from {
			f.line.reached(n, r.parts[i].Upto)
		}
		if f.warned {
			f.log.Info("the follower of the journals goes on")
		}
		f.failures, f.warned = 0, false
		return nil
	case errors.Is(err, ErrMoved): // somebody else is at work, who has read the same
		f.line.lost(r.from...)
		return err
	case errors.Is(err, ErrAway):
		f.line.again(r.from...)
		return err
	case len(r.from) > 1: // perhaps for the sake of one of them
		for _, n := range r.from {
			n.alone = true
		}
		f.line.again(r.from...)
		return fmt.Errorf("%d queues: %w", len(r.from), err)
	}
	n := r.from[0]
	first := n.failures == 0
	f.line.delay(n, time.Now())
	if f.failures > 0 {
		return fmt.Errorf("queue %s: %w", n.id, err)
	}
	if first && ctx.Err() == nil { // the others go on, as it seems
		f.log.Error("the events of a queue are not taken", "queue", n.id, "after", n.at, "error", err)
	}
	return errAside
}
