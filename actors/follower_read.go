package actors

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nowserving/actors/queue"
)

// reading is what one round has read: parts[i] of the queue from[i].
type reading struct {
	parts []Part
	from  []*news
	full  bool // one of the bounds was reached
}

// read reads the parts that come next. A queue that cannot be read is put
// aside, and the others go on; it fails where none could be read.
func (f *JournalFollower) read(ctx context.Context, hand []*news) (*reading, error) {
	var (
		share   = fairShare(hand, followEvents)
		parts   = make([]Part, len(hand))
		failed  = make([]error, len(hand))
		reached = make([]bool, len(hand))
		readers sync.WaitGroup
		next    atomic.Int64
		events  atomic.Int64
		bytes   atomic.Int64
	)
	for range min(followReaders, len(hand)) {
		readers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(hand) || events.Load() >= followEvents || bytes.Load() >= followBytes {
					return
				}
				var size int
				reached[i] = true
				parts[i], size, failed[i] = f.next(ctx, hand[i], share)
				events.Add(int64(len(parts[i].Events)))
				bytes.Add(int64(size))
			}
		})
	}
	readers.Wait()
	r, err := f.sort(hand, parts, failed, reached)
	r.full = r.full || events.Load() >= followEvents
	return r, err
}

// sort finds out what has become of each queue in hand.
func (f *JournalFollower) sort(hand []*news, parts []Part, failed []error, reached []bool) (*reading, error) {
	r := &reading{}
	var err error
	sound := false
	for i, n := range hand {
		switch {
		case !reached[i]: // the round was full before
		case failed[i] == nil:
			sound = true
			if parts[i].Upto > parts[i].After {
				r.parts, r.from = append(r.parts, parts[i]), append(r.from, n)
			} else {
				f.line.without(n)
			}
		default:
			err = failed[i]
		}
	}
	var left []*news
	for i, n := range hand {
		switch {
		case !reached[i]:
			left = append(left, n)
		case failed[i] != nil:
			// Where all fail it is the store, which is said once for all of them.
			if n.failures == 0 && (sound || errors.Is(failed[i], queue.ErrDamaged)) {
				f.log.Error("a queue cannot be followed", "queue", n.id, "after", n.at, "error", failed[i])
			}
			f.line.delay(n, time.Now())
		}
	}
	f.line.back(left...)
	r.full = len(left) > 0
	if sound || errors.Is(err, queue.ErrDamaged) {
		err = nil // the others can go on
	}
	return r, err
}

// fairShare tells how many events of each queue make up so many together: all
// of a queue that has few, and equal parts of those that have more.
func fairShare(hand []*news, events int) int {
	wanted := make([]uint64, len(hand))
	for i, n := range hand {
		wanted[i] = n.picked - n.at
	}
	slices.Sort(wanted)
	left, share := uint64(events), uint64(1)
	for i, w := range wanted {
		share = max(1, left/uint64(len(wanted)-i))
		left -= min(w, share, left)
	}
	return int(share)
}

// next reads a queue's events behind the sink's checkpoint, whole entries,
// until there are as many as asked for. Size is that of the entries in bytes.
func (f *JournalFollower) next(ctx context.Context, n *news, atLeast int) (p Part, size int, err error) {
	p = Part{Queue: n.id, After: n.at, Upto: n.at}
	for len(p.Events) < atLeast && size < followBytes {
		entries, err := f.journal.Read(ctx, n.id, p.Upto, n.entriesFor(atLeast-len(p.Events)))
		if errors.Is(err, queue.ErrTrimmed) && len(p.Events) == 0 {
			if p.Upto, err = f.skip(ctx, n.id, p.Upto); err == nil {
				continue
			}
		}
		if errors.Is(err, queue.ErrLost) {
			f.tellLost(n, err)
			err = nil // there is nothing; a new epoch stands above the checkpoint
		}
		if err == nil {
			err = p.add(entries, n, atLeast, &size)
		}
		if err != nil && len(p.Events) > 0 {
			return p, size, nil // what is sound goes on; the next round meets the fault first
		}
		if err != nil || len(entries) == 0 {
			return p, size, err
		}
	}
	return p, size, nil
}

// tellLost says once of a queue that less is left of it than was followed.
func (f *JournalFollower) tellLost(n *news, err error) {
	f.look(n.id)
	if !n.short {
		n.short = true
		f.log.Error("the store has lost events that were followed", "queue", n.id, "followed", n.at, "error", err)
	}
}

// add takes entries into a part, until it has as many events as asked for or
// one cannot be read.
func (p *Part) add(entries []queue.Entry, n *news, atLeast int, size *int) error {
	for _, entry := range entries {
		events, err := decodeEntry(entry)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Version > p.Upto {
				p.Events = append(p.Events, e)
			}
		}
		p.Upto = entry.Last
		*size += len(entry.Data)
		n.perEntry = len(events)
		if len(p.Events) >= atLeast || *size >= followBytes {
			break
		}
	}
	return nil
}

// entriesFor guesses how many entries hold so many events, so that no more is
// read than is needed, and is not read again for the next round.
func (n *news) entriesFor(events int) int {
	if n.perEntry == 0 {
		return min(events, followFirst)
	}
	return min((events+n.perEntry-1)/n.perEntry, readEntries)
}

// skip finds the version behind which events are kept again. They are missing
// where a sink begins after the first have been trimmed; else the store has
// lost some, or somebody trimmed it by hand.
func (f *JournalFollower) skip(ctx context.Context, id string, after uint64) (uint64, error) {
	kept, err := oldestKept(ctx, f.journal, id, after)
	if err != nil {
		return 0, err
	}
	if after == 0 {
		f.log.Info("a queue is followed from the oldest event that is kept", "queue", id, "version", kept+1)
	} else {
		f.log.Error("events are gone before they were followed", "queue", id, "after", after, "version", kept)
	}
	return kept, nil
}

// oldestKept finds the version, above one behind which events are gone, behind
// which they are kept (or none is needed).
func oldestKept(ctx context.Context, j Journal, id string, gone uint64) (uint64, error) {
	versions, err := j.Versions(ctx, []string{id})
	if err != nil {
		return 0, err
	}
	kept := max(versions[0], gone+1)
	for kept-gone > 1 {
		middle := gone + (kept-gone)/2
		_, err := j.Read(ctx, id, middle, 1)
		switch {
		case errors.Is(err, queue.ErrTrimmed):
			gone = middle
		case err != nil && !errors.Is(err, queue.ErrDamaged):
			return 0, err
		default:
			kept = middle
		}
	}
	return kept, nil
}
