package actors

import (
	"context"

	"nowserving/actors/queue"
)

// Journal is what the actors need of a store of journals. Its errors are those
// of queue/journal.go. Every method is safe for concurrent use, and a store
// shares what it can between the calls of many queues.
type Journal interface {
	// Claim makes owner the queue's only writer and tells where the journal stands.
	Claim(ctx context.Context, queue string, owner queue.OwnerID) (queue.Head, error)
	// Append adds an entry right behind the one whose operation is prev, and
	// calls done once, from another goroutine, when its fate is known or known
	// to be unknown. A queue's entries are added in the order of the calls, and
	// answered in it. Neither blocks for long.
	Append(queue string, owner queue.OwnerID, prev queue.OpID, e queue.Entry, done func(error))
	// Owns tells done, of a moment after the call began, whether owner may still
	// append, and the journal is at version at or above. It may be answered out
	// of order.
	Owns(queue string, owner queue.OwnerID, at uint64, done func(error))
	// LoadSnapshot gives the newest snapshot, or ErrNoSnapshot.
	LoadSnapshot(ctx context.Context, queue string) (queue.Snapshot, error)
	// SaveSnapshot stores a snapshot and drops the entries up to trimTo.
	SaveSnapshot(ctx context.Context, queue string, owner queue.OwnerID, s queue.Snapshot, trimTo uint64) error
	// Read gives the entries that hold events after a version, in order.
	Read(ctx context.Context, queue string, after uint64, maxEntries int) ([]queue.Entry, error)
	// Versions gives the versions of many journals at once, 0 for unknown ones.
	Versions(ctx context.Context, queues []string) ([]uint64, error)
	// Queues lists the ids of all journals in order, after one.
	Queues(ctx context.Context, after string, limit int) ([]string, error)
}

// Requester carries a request to a grain, wherever it lives.
type Requester func(ctx context.Context, kind, identity string, message any) (any, error)
