package persistence

import (
	"context"
	"errors"
	"fmt"

	"nowserving/actors/queue"
)

// The journal's bounds. Whoever batches stays far below them; they are here so
// that one mistaken caller cannot fill the store's memory or the pipelines'.
const (
	// MaxEntryBytes is the largest Data of an entry that Append takes.
	MaxEntryBytes = 16 << 20
	// MaxSnapshotBytes is the largest Data of a snapshot that the Redis
	// journal's SaveSnapshot takes.
	MaxSnapshotBytes = 1 << 30
	// MaxSQLiteSnapshotBytes is the embedded one's. It writes a snapshot as one
	// blob, and everybody's appends wait for it: 0.15 s for 30 MB, 1.5 s for
	// 256 MB. (SQLite itself ends at 1 GB.)
	MaxSQLiteSnapshotBytes = 256 << 20
	// MaxVersion is the highest version that a journal can reach: Redis's Lua
	// counts in doubles, which are exact up to here.
	MaxVersion = 1 << 53

	// readBytes ends a Read after the entry that reaches it, so that a reader
	// which asks for many entries is not handed a gigabyte.
	readBytes = 8 << 20
	// maxListed bounds one page of Queues.
	maxListed = 10_000
)

// ErrMalformed: the call itself is wrong (an entry that ends before it begins,
// a trim beyond its snapshot, a bound of this package overstepped). It would be
// wrong at any time, and nothing was written.
var ErrMalformed = errors.New("journal: malformed call")

func checkOwner(queueID string, owner queue.OwnerID) error {
	if queueID == "" || owner == (queue.OwnerID{}) {
		return fmt.Errorf("%w: queue or owner is empty", ErrMalformed)
	}
	return nil
}

func checkEntry(queueID string, owner queue.OwnerID, e queue.Entry) error {
	switch {
	case e.First == 0 || e.Last < e.First || e.Last > MaxVersion:
		return fmt.Errorf("%w: entry of versions %d to %d", ErrMalformed, e.First, e.Last)
	case len(e.Data) > MaxEntryBytes:
		return fmt.Errorf("%w: entry of %d bytes", ErrMalformed, len(e.Data))
	}
	return checkOwner(queueID, owner)
}

func checkSnapshot(queueID string, owner queue.OwnerID, s queue.Snapshot, trimTo uint64, maxBytes int) error {
	switch {
	case s.Version > MaxVersion:
		return fmt.Errorf("%w: snapshot of version %d", ErrMalformed, s.Version)
	case trimTo > s.Version:
		return fmt.Errorf("%w: trim to %d, beyond the snapshot's %d", ErrMalformed, trimTo, s.Version)
	case len(s.Data) > maxBytes:
		return fmt.Errorf("%w: snapshot of %d bytes", ErrMalformed, len(s.Data))
	}
	return checkOwner(queueID, owner)
}

// follows checks that an entry that was read is well-formed and stands right
// after the one before it. It answers ErrDamaged.
func follows(queueID string, before, e queue.Entry) error {
	if e.First == 0 || e.Last < e.First || (before.Last != 0 && e.First != before.Last+1) {
		return fmt.Errorf("%w: queue %s, entry %d to %d after version %d", queue.ErrDamaged, queueID, e.First, e.Last, before.Last)
	}
	return nil
}

// lost is of a read that asks for what the journal has not come to.
func lost(queueID string, version, after uint64) error {
	return fmt.Errorf("%w: queue %s is at version %d, not at %d", queue.ErrLost, queueID, version, after)
}

// unavailable says that nothing was written, and why.
func unavailable(cause error) error { return fmt.Errorf("%w: %w", queue.ErrUnavailable, cause) }

// unknown says that it may have been written, and why that is not known.
func unknown(cause error) error { return fmt.Errorf("%w: %w", queue.ErrUnknown, cause) }

// readError is the error of a read: a store that cannot be reached, or a
// caller who has stopped waiting.
func readError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return unavailable(cause)
	}
	return unavailable(err)
}
