package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// Bounds of followers.
const (
	followQueues   = 64    // queues in one round
	followReaders  = 8     // of them read at once
	followEvents   = 2_000 // events of one round, about
	followWithin   = 30 * time.Second
	followSweep    = 15 * time.Second // a look at all journals even where nothing was noted
	followBackoff  = 100 * time.Millisecond
	followBackoffs = 5 // doublings: 3.2 s at most
)

// ErrMoved: a sink's checkpoint is not where it was; somebody else has moved it.
var ErrMoved = errors.New("the checkpoint has moved")

// Sink must have every event of every queue, in order. It keeps how far it has
// got, its checkpoint in each queue.
type Sink interface {
	// Checkpoints gives the version up to which the sink has each queue's
	// events, 0 for a queue that it never saw.
	Checkpoints(ctx context.Context, queues []string) ([]uint64, error)
	// Take takes the next events of some queues and moves their checkpoints. It
	// fails with ErrMoved, having done nothing, where one of them is not After.
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
type JournalFollower struct {
	name    string
	journal Journal
	sink    Sink
	log     *slog.Logger
	signal  chan struct{}

	mu    sync.Mutex
	known map[string]uint64 // the newest known version of queues that may have news
	at    map[string]uint64 // the sink's checkpoints, as far as they are known
}

// NewJournalFollower makes a follower; Run does its work. The name is for logs.
func NewJournalFollower(name string, journal Journal, sink Sink, log *slog.Logger) *JournalFollower {
	return &JournalFollower{
		name: name, journal: journal, sink: sink, log: log.With("follower", name), signal: make(chan struct{}, 1),
		known: make(map[string]uint64), at: make(map[string]uint64),
	}
}

// Note tells that a queue's journal has reached a version. It never blocks.
func (f *JournalFollower) Note(id string, version uint64) {
	f.mu.Lock()
	f.known[id] = max(f.known[id], version)
	f.mu.Unlock()
	select {
	case f.signal <- struct{}{}:
	default:
	}
}

// Behind tells how many events, of the queues that are known to have news, the
// sink has not got yet.
func (f *JournalFollower) Behind() (events uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, version := range f.known {
		if at := f.at[id]; version > at {
			events += version - at
		}
	}
	return events
}

// Run works until ctx is over.
func (f *JournalFollower) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	nextSweep := time.Time{}
	for {
		err := error(nil)
		if time.Now().After(nextSweep) {
			if err = f.sweep(ctx); err == nil {
				nextSweep = time.Now().Add(followSweep)
			}
		}
		more := true
		for err == nil && more && ctx.Err() == nil {
			more, err = f.round(ctx)
		}
		wait := time.Until(nextSweep)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if failures == 0 { // once for each outage
				f.log.Warn("a follower of the journals cannot go on for now", "error", err)
			}
			wait = followBackoff << min(failures, followBackoffs)
			failures++
		case failures > 0:
			f.log.Info("the follower of the journals goes on")
			failures = 0
		}
		timer.Reset(wait)
		signal := f.signal
		if err != nil {
			signal = nil // news must not cut the wait short
		}
		select {
		case <-ctx.Done():
			return nil
		case <-signal:
		case <-timer.C:
		}
	}
}

// sweep finds the queues in which the sink is behind.
func (f *JournalFollower) sweep(ctx context.Context) error {
	for after := ""; ; {
		ids, err := f.journal.Queues(ctx, after, sweepPage)
		if err != nil || len(ids) == 0 {
			return err
		}
		after = ids[len(ids)-1]
		versions, err := f.journal.Versions(ctx, ids)
		if err != nil {
			return err
		}
		at, err := f.sink.Checkpoints(ctx, ids)
		if err != nil {
			return err
		}
		f.mu.Lock()
		for i, id := range ids {
			f.at[id] = at[i]
			if versions[i] > at[i] {
				f.known[id] = max(f.known[id], versions[i])
			}
		}
		f.mu.Unlock()
	}
}

// round hands some of what is new to the sink; more is true where there may be
// more at once.
func (f *JournalFollower) round(ctx context.Context) (more bool, err error) {
	ids := f.pick()
	if len(ids) == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, followWithin)
	defer cancel()
	if err := f.locate(ctx, ids); err != nil {
		return false, err
	}
	parts, err := f.read(ctx, ids)
	if err != nil || len(parts) == 0 {
		return false, err
	}
	err = f.sink.Take(ctx, parts)
	if errors.Is(err, ErrMoved) {
		f.mu.Lock()
		for _, p := range parts {
			delete(f.at, p.Queue)
		}
		f.mu.Unlock()
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("%d queues: %w", len(parts), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range parts {
		f.at[p.Queue] = p.Upto
		if p.Upto >= f.known[p.Queue] {
			delete(f.known, p.Queue)
		}
	}
	return len(f.known) > 0, nil
}

// pick gives some queues that may have news. A map's order is another one each
// time, so a busy queue does not keep the others waiting.
func (f *JournalFollower) pick() (ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.known {
		if ids = append(ids, id); len(ids) == followQueues {
			break
		}
	}
	return ids
}

// locate learns where the sink stands in queues of which that is not known.
func (f *JournalFollower) locate(ctx context.Context, ids []string) error {
	f.mu.Lock()
	unknown := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { _, known := f.at[id]; return known })
	f.mu.Unlock()
	if len(unknown) == 0 {
		return nil
	}
	at, err := f.sink.Checkpoints(ctx, unknown)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, id := range unknown {
		f.at[id] = at[i]
	}
	return nil
}

// read gives the parts that come next, without the queues that have no news. A
// queue that cannot be read keeps only itself waiting.
func (f *JournalFollower) read(ctx context.Context, ids []string) ([]Part, error) {
	parts := make([]Part, len(ids))
	failed := make([]error, len(ids))
	var group errgroup.Group
	group.SetLimit(followReaders)
	for i, id := range ids {
		f.mu.Lock()
		at := f.at[id]
		f.mu.Unlock()
		group.Go(func() error {
			parts[i], failed[i] = f.next(ctx, id, at, max(followEvents/len(ids), 1))
			return nil
		})
	}
	_ = group.Wait()
	found := parts[:0]
	for i, p := range parts {
		switch {
		case failed[i] != nil:
		case p.Upto > p.After:
			found = append(found, p)
		default: // it was known already
			f.mu.Lock()
			if f.known[ids[i]] <= p.After {
				delete(f.known, ids[i])
			}
			f.mu.Unlock()
		}
	}
	if len(found) == 0 {
		return nil, errors.Join(failed...)
	}
	return found, nil
}

// next reads a queue's events behind a version, whole entries, until there are
// as many as asked for.
func (f *JournalFollower) next(ctx context.Context, id string, after uint64, atLeast int) (Part, error) {
	p := Part{Queue: id, After: after, Upto: after}
	for len(p.Events) < atLeast {
		entries, err := f.journal.Read(ctx, id, p.Upto, readEntries)
		if errors.Is(err, queue.ErrTrimmed) && len(p.Events) == 0 {
			if p.Upto, err = f.skip(ctx, id, p.Upto); err != nil {
				return Part{}, err
			}
			continue
		}
		if err != nil {
			return Part{}, err
		}
		for _, entry := range entries {
			events, err := decodeEntry(entry)
			if err != nil {
				return Part{}, err
			}
			for _, e := range events {
				if e.Version > p.Upto {
					p.Events = append(p.Events, e)
				}
			}
			if p.Upto = entry.Last; len(p.Events) >= atLeast {
				return p, nil
			}
		}
		if len(entries) == 0 {
			return p, nil
		}
	}
	return p, nil
}

// skip goes on behind events that are no longer there, which only happens where
// the store has lost some or somebody trimmed it by hand.
func (f *JournalFollower) skip(ctx context.Context, id string, after uint64) (uint64, error) {
	s, err := f.journal.LoadSnapshot(ctx, id)
	if err != nil {
		return 0, err
	}
	if s.Version <= after {
		return 0, fmt.Errorf("%w: its snapshot does not reach version %d", queue.ErrDamaged, after)
	}
	f.log.Error("events are gone before they were followed", "queue", id, "after", after, "version", s.Version)
	return s.Version, nil
}
