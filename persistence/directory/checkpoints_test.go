package directory

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

var checkpointTests = map[string]func(*testing.T, opener){
	"checkpoints": testCheckpoints, "checkpoints of many queues": testCheckpointsOfManyQueues,
	"checkpoints race": testCheckpointsRace,
}

func testCheckpoints(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	holds := func(sink string, want ...uint64) {
		t.Helper()
		if at, err := d.Checkpoints(ctx, sink, []string{"a", "b"}); err != nil || !slices.Equal(at, want) {
			t.Fatalf("%s is at %v, %v, want %v", sink, at, err, want)
		}
	}
	move := func(queue string, after, upto uint64) CheckpointMove { return CheckpointMove{queue, after, upto} }
	holds("events", 0, 0)
	check(t, d.MoveCheckpoints(ctx, "events", []CheckpointMove{move("b", 0, 4)}))
	holds("events", 0, 4)
	check(t, d.MoveCheckpoints(ctx, "events", []CheckpointMove{move("b", 4, 9), move("a", 0, 2)}))
	holds("events", 2, 9)
	holds("history", 0, 0) // each sink has its own
	// All or none.
	for _, wrong := range []CheckpointMove{move("b", 4, 10), move("b", 0, 10), move("b", 10, 12)} {
		if err := d.MoveCheckpoints(ctx, "events", []CheckpointMove{move("a", 2, 3), wrong}); !errors.Is(err, ErrMoved) {
			t.Fatalf("a move from %d: %v", wrong.After, err)
		}
	}
	holds("events", 2, 9)
}

func testCheckpointsOfManyQueues(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	const queues = 2*idsPerQuery + 7
	moves, ids := make([]CheckpointMove, queues), make([]string, queues)
	for i := range moves {
		ids[i] = fmt.Sprintf("q%05d", i)
		moves[i] = CheckpointMove{Queue: ids[i], Upto: uint64(i + 1)}
	}
	check(t, d.MoveCheckpoints(ctx, "events", moves))
	for i := range moves {
		moves[i].After, moves[i].Upto = moves[i].Upto, moves[i].Upto+1
	}
	check(t, d.MoveCheckpoints(ctx, "events", moves))
	at, err := d.Checkpoints(ctx, "events", ids)
	check(t, err)
	for i, v := range at {
		if v != uint64(i+2) {
			t.Fatalf("%s is at %d, want %d", ids[i], v, i+2)
		}
	}
}

// Of several who move one checkpoint, one does.
func testCheckpointsRace(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	for round := range uint64(10) {
		var moved atomic.Int64
		var racers sync.WaitGroup
		for range 4 {
			racers.Go(func() {
				err := d.MoveCheckpoints(ctx, "events", []CheckpointMove{{Queue: "b", After: round, Upto: round + 1}, {Queue: "a", After: round, Upto: round + 1}})
				switch {
				case err == nil:
					moved.Add(1)
				case !errors.Is(err, ErrMoved) && !errors.Is(err, ErrUnavailable):
					t.Error(err)
				}
			})
		}
		racers.Wait()
		if moved.Load() != 1 {
			t.Fatalf("%d of 4 moved a checkpoint from %d", moved.Load(), round)
		}
	}
}
