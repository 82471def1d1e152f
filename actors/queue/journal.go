package queue

import "errors"

// This file is the vocabulary of a queue's journal: what the stores in
// persistence keep and what the queue grain in actors asks of them. Both speak
// of entries as opaque bytes; only their versions matter to the fence.

// OwnerID names one activation of a queue: 128 random bits, claimed at
// activation. Only the owner that claimed last may append.
type OwnerID [16]byte

// OpID names one operation: the hash of its user and idempotency key, or 128
// random bits where it came without a key. An entry bears the OpID of its last
// event, so that an append whose answer was lost can be recognised.
type OpID [16]byte

// Entry is one append: a batch of events as encoded bytes, named by the
// versions it covers. First is always the version before it plus one.
type Entry struct {
	First, Last uint64
	Op          OpID
	Data        []byte
}

// Snapshot is a queue's encoded state as it stood right after Version.
type Snapshot struct {
	Version uint64
	Data    []byte
}

// Head is where a journal stands: the version and operation of its last
// entry (zero for a queue that never had one) and the newest snapshot's
// version.
type Head struct {
	Version         uint64
	Op              OpID
	SnapshotVersion uint64
}

// What a journal may answer besides success. A store wraps them with %w.
var (
	// ErrFenced: another owner has claimed the queue. The state is stale.
	ErrFenced = errors.New("journal: another owner has claimed the queue")
	// ErrGap: the append does not stand at exactly the journal's version plus
	// one, or after the operation it names: the store lost or gained events.
	ErrGap = errors.New("journal: the append does not follow the journal's last entry")
	// ErrUnknown: the append may have happened or not (a lost reply, a
	// deadline while it was under way).
	ErrUnknown = errors.New("journal: the outcome of the append is unknown")
	// ErrUnavailable: the store could not be reached; certainly nothing was written.
	ErrUnavailable = errors.New("journal: unavailable")
	// ErrLost: the journal ends before the asked version: the store has lost
	// events, or all of the queue.
	ErrLost = errors.New("journal: it ends before that version")
	// ErrTrimmed: events after the asked version are no longer kept.
	ErrTrimmed = errors.New("journal: the events are no longer kept")
	// ErrDamaged: a stored entry or snapshot cannot be read back as written.
	ErrDamaged = errors.New("journal: a stored record is damaged")
	// ErrNoSnapshot: the queue has no snapshot.
	ErrNoSnapshot = errors.New("journal: no snapshot")
)
