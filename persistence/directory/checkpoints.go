package directory

import (
	"context"

	"gorm.io/gorm"
)

// CheckpointMove moves the checkpoint of one queue.
type CheckpointMove struct {
	Queue       string
	After, Upto uint64 // as it must be, and as it will be
}

// Checkpoints gives the versions up to which a sink has the events of some
// queues, 0 for a queue that it never saw. The sink's name is its own; history
// keeps its checkpoints with its rows.
func (d *Directory) Checkpoints(ctx context.Context, sink string, queues []string) ([]uint64, error) {
	at, err := checkpoints(d.read(ctx), sink, queues)
	if err != nil {
		return nil, d.fail(err)
	}
	versions := make([]uint64, len(queues))
	for i, id := range queues {
		versions[i] = at[id]
	}
	return versions, nil
}

// MoveCheckpoints moves a sink's checkpoints, all or, with ErrMoved, none:
// where one of them is not where its move begins.
func (d *Directory) MoveCheckpoints(ctx context.Context, sink string, moves []CheckpointMove) error {
	parts := make([]HistoryPart, len(moves))
	for i, m := range moves {
		parts[i] = HistoryPart{Queue: m.Queue, After: m.After, Upto: m.Upto}
	}
	return d.write(ctx, func(tx *gorm.DB) error { return moveCheckpoints(tx, sink, parts) })
}
