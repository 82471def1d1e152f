package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"

	"nowserving/actors/queue"
)

func testHistoryRequeue(t *testing.T, open opener) {
	d := open(t, nil)
	requeued := func(n uint64) HistoryChange { return HistoryChange{Requeued: numbered(n)} }
	take(t, d, "a", finished(done(1, 10), done(2, 20), done(3, 30))...)
	take(t, d, "a", requeued(2), requeued(9)) // 9 was only called
	if got := numbers(listed(t, d, HistoryFilter{}, 10)); !slices.Equal(got, []string{"A003", "A001"}) {
		t.Errorf("after the requeue: %v", got)
	}
	// All within one part, and back again.
	take(t, d, "a", append(finished(done(4, 40)), requeued(4), requeued(1), requeued(3), HistoryChange{Finished: done(1, 50)}, requeued(1),
		HistoryChange{Finished: done(1, 60)}, HistoryChange{Finished: done(9, 5)})...)
	rows := listed(t, d, HistoryFilter{Queues: []string{"a"}}, 10)
	if got := numbers(rows); !slices.Equal(got, []string{"A001", "A009"}) || rows[0].FinishedAt != 60 {
		t.Errorf("in the end: %v", got)
	}
}

// A store that lost events can have a ticket finish again: it has one row.
func testHistoryFinishedTwice(t *testing.T, open opener) {
	d := open(t, nil)
	take(t, d, "a", finished(done(1, 10))...)
	again := done(1, 90)
	again.State, again.Attendant = queue.NoShow, "bob"
	take(t, d, "a", finished(again)...)
	rows := listed(t, d, HistoryFilter{}, 10)
	if len(rows) != 1 || rows[0].FinishedAt != 90 || rows[0].Outcome != "no_show" || rows[0].Attendant != "bob" {
		t.Errorf("%d rows: %+v", len(rows), rows)
	}
}

// Where one checkpoint has moved, nothing at all is written.
func testHistoryMoved(t *testing.T, open opener) {
	d := open(t, nil)
	ctx := t.Context()
	part := func(id string, after, upto uint64, tickets ...*queue.Ticket) HistoryPart {
		return HistoryPart{Queue: id, After: after, Upto: upto, Changes: finished(tickets...)}
	}
	check(t, d.TakeHistory(ctx, []HistoryPart{part("a", 0, 5, done(1, 1)), part("b", 0, 70)}))
	for _, bad := range [][]HistoryPart{
		{part("a", 0, 6, done(2, 2))},                            // it is at 5
		{part("a", 4, 6, done(2, 2))},                            // it is at 5
		{part("a", 6, 7, done(2, 2))},                            // not yet
		{part("a", 5, 4)},                                        // backwards
		{part("c", 3, 4, done(2, 2))},                            // never seen
		{part("a", 5, 6, done(2, 2)), part("b", 0, 71)},          // the second has moved
		{part("c", 0, 1, done(2, 2)), part("b", 69, 71)},         // a first one beside it
		{part("a", 5, 6, done(2, 2)), part("c", 1, 2)},           // a first one that is none
		{part("b", 70, 71), part("a", 3, 9, done(2, 2))},         // the other order
		{part("a", 5, 6, done(2, 2)), part("a", 6, 7), {}, {}},   // the same queue twice
		{part("a", 5, 6, done(2, 2)), part("b", 70, 60), {}, {}}, // backwards in the second
	} {
		want(t, d.TakeHistory(ctx, bad), ErrMoved)
	}
	at, err := d.HistoryCheckpoints(ctx, []string{"b", "nowhere", "a", "c"})
	if err != nil || !slices.Equal(at, []uint64{70, 0, 5, 0}) {
		t.Errorf("checkpoints %v, %v", at, err)
	}
	// Without events, and over a gap, as behind a new epoch.
	check(t, d.TakeHistory(ctx, []HistoryPart{part("a", 5, 9), part("b", 70, 1<<40, done(3, 3))}))
	at, err = d.HistoryCheckpoints(ctx, []string{"a", "b"})
	if err != nil || !slices.Equal(at, []uint64{9, 1 << 40}) {
		t.Errorf("checkpoints %v, %v", at, err)
	}
	if got := numbers(listed(t, d, HistoryFilter{}, 10)); !slices.Equal(got, []string{"A003", "A001"}) {
		t.Errorf("rows: %v", got)
	}
}

// testHistoryRace: several handles, as of several nodes, take the same parts
// of overlapping queues at once.
func testHistoryRace(t *testing.T, open opener) {
	const queues, parts, takers = 6, 20, 3
	handles := make([]*Directory, takers)
	for i := range handles {
		handles[i] = open(t, nil)
	}
	var taken atomic.Int64
	var wg sync.WaitGroup
	for i, d := range handles {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 5))
			for {
				batch, err := nextParts(t.Context(), d, random.Perm(queues), parts)
				if err != nil {
					t.Error(err)
					return
				}
				if len(batch) == 0 {
					return
				}
				err = d.TakeHistory(t.Context(), batch)
				switch {
				case err == nil:
					taken.Add(int64(len(batch)))
				case !errors.Is(err, ErrMoved):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != queues*parts {
		t.Errorf("%d parts were taken, want %d", n, queues*parts)
	}
	if rows := listed(t, handles[0], HistoryFilter{}, 1000); len(rows) != queues*parts {
		t.Errorf("%d rows, want %d", len(rows), queues*parts)
	}
}

// nextParts makes the next part of half the queues that are not at their end.
func nextParts(ctx context.Context, d *Directory, order []int, end uint64) (batch []HistoryPart, err error) {
	ids := make([]string, len(order))
	for i, q := range order {
		ids[i] = fmt.Sprint("q", q)
	}
	at, err := d.HistoryCheckpoints(ctx, ids)
	for i, id := range ids {
		if err == nil && at[i] < end && len(batch) < len(ids)/2 {
			batch = append(batch, HistoryPart{
				Queue: id, After: at[i], Upto: at[i] + 1,
				Changes: finished(done(uint64(order[i])*1000+at[i]+1, queue.Time(at[i]+1))),
			})
		}
	}
	return batch, err
}

// testHistoryBatches takes more rows and bytes than one statement holds.
func testHistoryBatches(t *testing.T, open opener) {
	d := open(t, nil)
	var tickets []*queue.Ticket
	for n := range uint64(3*historyInsertRows + 7) {
		ticket := done(n+1, queue.Time(n+1))
		if n%2 == 0 {
			ticket.Payload = bytes.Repeat([]byte{byte(n)}, 20_000)
		}
		tickets = append(tickets, ticket)
	}
	take(t, d, "a", finished(tickets...)...)
	rows := listed(t, d, HistoryFilter{Queues: []string{"a"}}, 100)
	if len(rows) != len(tickets) {
		t.Fatalf("%d rows, want %d", len(rows), len(tickets))
	}
	for i, row := range rows {
		if ticket := tickets[len(tickets)-1-i]; row.ID != ticket.ID || !bytes.Equal(row.Payload, ticket.Payload) {
			t.Fatalf("row %d is not ticket %s", i, ticket.Number)
		}
	}
	var gone []HistoryChange
	for _, ticket := range tickets {
		gone = append(gone, HistoryChange{Requeued: ticket.ID})
	}
	take(t, d, "a", gone...)
	if rows := listed(t, d, HistoryFilter{}, 100); len(rows) != 0 {
		t.Errorf("%d rows are left", len(rows))
	}
}

// testHistoryStatistics: what is handed to statistics takes back, for a
// requeue, exactly what the row had counted.
func testHistoryStatistics(t *testing.T, open opener) {
	d := open(t, nil)
	ticket := func(n uint64, state queue.TicketState, enqueued, called, started, finished queue.Time) HistoryChange {
		return HistoryChange{Finished: &queue.Ticket{
			ID: numbered(n), State: state, Source: queue.FromREST, EnqueuedAt: enqueued, CalledAt: called, StartedAt: started, FinishedAt: finished,
		}}
	}
	take(t, d, "a", ticket(1, queue.Completed, 1000, 3500, 4000, 9999))
	part := HistoryPart{Queue: "a", Changes: []HistoryChange{
		{Arrived: 7},
		ticket(2, queue.NoShow, 1000, 5000, 0, 6000),
		{Requeued: numbered(1)},
		{Requeued: numbered(9)},
		ticket(1, queue.Removed, 1000, 0, 0, 8000),
		ticket(3, queue.Transferred, 1000, 2000, 2500, 70_000),
		{Requeued: numbered(2)},
	}}
	var r recorder
	check(t, d.write(t.Context(), func(tx *gorm.DB) error {
		r = recorder{tx: tx, rows: make(map[queue.TicketID]*historyEntry)}
		err := r.load([]HistoryPart{part})
		for i := range part.Changes {
			r.record("a", part.Changes[i])
		}
		return err
	}))
	expected := []statChange{
		{"a", statArrival, 7, 1, -1, -1},
		{"a", statNoShow, 6000, 1, 4, -1},
		{"a", statServed, 9999, -1, 2, 5},
		{"a", statRemoved, 8000, 1, -1, -1},
		{"a", statTransferred, 70_000, 1, 1, 67},
		{"a", statNoShow, 6000, -1, 4, -1},
	}
	if !slices.Equal(r.changes, expected) {
		t.Errorf("%+v\nwant %+v", r.changes, expected)
	}
}

func testHistoryContext(t *testing.T, open opener) {
	d := open(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := d.ListHistory(ctx, HistoryFilter{}, nil, 10)
	want(t, err, ErrUnavailable)
	_, err = d.HistoryCheckpoints(ctx, []string{"a"})
	want(t, err, ErrUnavailable)
	want(t, d.TakeHistory(ctx, []HistoryPart{{Queue: "a", Upto: 1}}), ErrUnavailable)
	_, err = d.KnowsQueue(ctx, "a")
	want(t, err, ErrUnavailable)
}
