package directory

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"

	"nowserving/actors/queue"
)

var historyTests = map[string]func(*testing.T, opener){
	"history row": testHistoryRow, "history filters": testHistoryFilters, "history of many queues": testHistoryOfManyQueues,
	"history text is exact": testHistoryTextIsExact,
	"history requeue":       testHistoryRequeue, "history finished twice": testHistoryFinishedTwice,
	"history moved": testHistoryMoved, "history race": testHistoryRace, "history batches": testHistoryBatches,
	"history statistics": testHistoryStatistics, "history context": testHistoryContext, "history plans": testHistoryPlans,
}

// numbered gives the ticket id of a number.
func numbered(n uint64) (id queue.TicketID) {
	binary.BigEndian.PutUint64(id[:], n)
	id[15] = 1
	return id
}

// done is a ticket that was completed at a time.
func done(n uint64, at queue.Time) *queue.Ticket {
	return &queue.Ticket{
		ID: numbered(n), Visit: numbered(n), Number: fmt.Sprintf("A%03d", n), State: queue.Completed, Source: queue.FromREST,
		EnqueuedAt: at - 3000, CalledAt: at - 2000, StartedAt: at - 1000, FinishedAt: at,
		Attendant: "ann", Calls: 1,
	}
}

func finished(tickets ...*queue.Ticket) (changes []HistoryChange) {
	for _, t := range tickets {
		changes = append(changes, HistoryChange{Finished: t})
	}
	return changes
}

// take takes the next part of a queue, of one version for each change.
func take(t *testing.T, d *Directory, id string, changes ...HistoryChange) {
	t.Helper()
	at, err := d.HistoryCheckpoints(t.Context(), []string{id})
	check(t, err)
	check(t, d.TakeHistory(t.Context(), []HistoryPart{{Queue: id, After: at[0], Upto: at[0] + uint64(len(changes)), Changes: changes}}))
}

// listed reads all pages of a filter.
func listed(t *testing.T, d *Directory, f HistoryFilter, limit int) (all []FinishedTicket) {
	t.Helper()
	var after *HistoryPlace
	for {
		rows, next, err := d.ListHistory(t.Context(), f, after, limit)
		check(t, err)
		if all = append(all, rows...); next == nil {
			return all
		}
		if len(rows) != limit {
			t.Fatalf("a page of %d rows with a next one, want %d", len(rows), limit)
		}
		after = next
	}
}

func numbers(rows []FinishedTicket) (numbers []string) {
	for _, row := range rows {
		numbers = append(numbers, row.Number)
	}
	return numbers
}

func testHistoryRow(t *testing.T, open opener) {
	d := open(t, nil)
	full := &queue.Ticket{
		ID: numbered(7), Visit: numbered(3), Number: "Zä123", State: queue.Transferred, Priority: 9, Source: queue.FromPublic,
		Service: "Pässe 🛂", Customer: []byte{0, 1, 0xff, '\''}, Payload: bytes.Repeat([]byte{0xfe}, 17_000),
		EnqueuedBy: "by", Attendant: "ann", Desk: `desk "1'\`, Calls: 1 << 31,
		EnqueuedAt: 1, CalledAt: 2, StartedAt: 3, FinishedAt: 1<<45 + 1,
		TransferredFrom: numbered(5), TransferredTo: numbered(8), TransferQueue: "b", Reason: "why?", Outcome: "",
	}
	bare := &queue.Ticket{ID: numbered(1), Visit: numbered(1), Number: "1", State: queue.Removed, Source: queue.FromAMQP, FinishedAt: 1}
	told := done(2, 2)
	told.Outcome = "served well"
	widest := done(11, 3)
	widest.Number, widest.Service, widest.Desk = strings.Repeat("9", 24), strings.Repeat("😀", 100), strings.Repeat("😀", 50)
	widest.Reason, widest.Outcome = strings.Repeat("😀", 500), strings.Repeat("😀", 100)
	widest.Attendant, widest.EnqueuedBy, widest.TransferQueue = strings.Repeat("a", 64), strings.Repeat("a", 64), queue.ID(strings.Repeat("q", 63))
	widest.Customer = bytes.Repeat([]byte{'x'}, 60_000)
	take(t, d, strings.Repeat("q", 63), finished(widest)...)
	if rows := listed(t, d, HistoryFilter{}, 10); len(rows) != 1 || !reflect.DeepEqual(rows[0].Ticket, widest) {
		t.Errorf("the widest row comes back otherwise: %+v", rows)
	}
	take(t, d, strings.Repeat("q", 63), HistoryChange{Requeued: widest.ID})
	take(t, d, "a", finished(full, told, bare, done(9, 1))...)
	rows := listed(t, d, HistoryFilter{}, 10)
	want := []*queue.Ticket{full, told, done(9, 1), bare}
	want[0].Outcome, want[2].Outcome, want[3].Outcome = "transferred", "completed", "removed"
	if len(rows) != len(want) {
		t.Fatalf("%d rows", len(rows))
	}
	for i, row := range rows {
		if row.Queue != "a" || !reflect.DeepEqual(row.Ticket, want[i]) {
			t.Errorf("row %d: %s %+v\nwant %+v", i, row.Queue, row.Ticket, want[i])
		}
	}
	for id, want := range map[string]bool{"a": true, "b": false} {
		if known, err := d.KnowsQueue(t.Context(), id); err != nil || known != want {
			t.Errorf("%s is known: %v, %v", id, known, err)
		}
	}
}

// testHistoryFilters compares every mix of filters with a walk over all rows.
func testHistoryFilters(t *testing.T, open opener) {
	d := open(t, nil)
	random := rand.New(rand.NewPCG(1, 2))
	var all []FinishedTicket
	queues, attendants, outcomes := []string{"a", "b", "c", "d"}, []string{"", "ann", "bob"}, []string{"", "done", "no_show"}
	changes := make(map[string][]HistoryChange)
	for n := range uint64(300) {
		ticket := done(n+1, queue.Time(100+random.IntN(40))) // many at the same time
		ticket.Attendant, ticket.Outcome = attendants[random.IntN(3)], outcomes[random.IntN(3)]
		id := queues[random.IntN(len(queues))]
		changes[id] = append(changes[id], HistoryChange{Finished: ticket})
		all = append(all, FinishedTicket{queue.ID(id), ticket})
	}
	for id, part := range changes {
		take(t, d, id, part...)
	}
	slices.SortFunc(all, func(a, b FinishedTicket) int {
		return cmp.Or(cmp.Compare(b.FinishedAt, a.FinishedAt), bytes.Compare(b.ID[:], a.ID[:]))
	})
	filters := []HistoryFilter{}
	for _, ids := range [][]string{nil, {}, {"a"}, {"c", "a", "c", "x"}, {"a", "b", "c", "d"}} {
		for _, attendant := range []string{"", "ann", "nobody"} {
			for _, outcome := range []string{"", "done", "completed"} {
				for _, times := range [][2]queue.Time{{}, {120, 0}, {0, 120}, {110, 130}, {120, 120}} {
					filters = append(filters, HistoryFilter{Queues: ids, Attendant: attendant, Outcome: outcome, From: times[0], To: times[1]})
				}
			}
		}
	}
	for _, f := range filters {
		var want []FinishedTicket
		for _, row := range all {
			if (f.Queues == nil || slices.Contains(f.Queues, string(row.Queue))) && (f.Attendant == "" || f.Attendant == row.Attendant) &&
				(f.Outcome == "" || f.Outcome == row.shown()) && row.FinishedAt >= f.From && (f.To == 0 || row.FinishedAt < f.To) {
				want = append(want, row)
			}
		}
		for _, limit := range []int{7, 1000} {
			if got := listed(t, d, f, limit); !slices.Equal(numbers(got), numbers(want)) {
				t.Fatalf("%+v by %d: %v\nwant %v", f, limit, numbers(got), numbers(want))
			}
		}
		if len(want) > 1 { // a page that is just full is the last
			if _, next, err := d.ListHistory(t.Context(), f, nil, len(want)); err != nil || next != nil {
				t.Fatalf("%+v: next %v, %v", f, next, err)
			}
		}
	}
}

// testHistoryOfManyQueues needs several statements for one page.
func testHistoryOfManyQueues(t *testing.T, open opener) {
	d := open(t, nil)
	random := rand.New(rand.NewPCG(3, 4))
	var ids []string
	var want []FinishedTicket
	var parts []HistoryPart
	for q := range 3*historyChunk + 5 {
		id := fmt.Sprintf("q%03d", q)
		p := HistoryPart{Queue: id, Upto: 3}
		for n := range uint64(3) {
			ticket := done(uint64(q)*3+n+1, queue.Time(random.IntN(1000)+1))
			p.Changes = append(p.Changes, HistoryChange{Finished: ticket})
			if q%5 > 0 {
				want = append(want, FinishedTicket{queue.ID(id), ticket})
			}
		}
		if parts = append(parts, p); q%5 > 0 {
			ids = append(ids, id)
		}
	}
	check(t, d.TakeHistory(t.Context(), parts))
	slices.SortFunc(want, func(a, b FinishedTicket) int {
		return cmp.Or(cmp.Compare(b.FinishedAt, a.FinishedAt), bytes.Compare(b.ID[:], a.ID[:]))
	})
	random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, limit := range []int{10, 600} {
		if got := listed(t, d, HistoryFilter{Queues: ids, Attendant: "ann"}, limit); !slices.Equal(numbers(got), numbers(want)) {
			t.Fatalf("by %d: %d rows, want %d", limit, len(got), len(want))
		}
	}
}

func testHistoryTextIsExact(t *testing.T, open opener) {
	d := open(t, nil)
	outcomes := []string{"done", "Done", "done ", "dône", "100%", "don_", "o'er", "🙂"}
	for i, outcome := range outcomes {
		ticket := done(uint64(i+1), queue.Time(i+1))
		ticket.Outcome = outcome
		take(t, d, "a", finished(ticket)...)
	}
	for _, outcome := range outcomes {
		rows := listed(t, d, HistoryFilter{Outcome: outcome}, 10)
		if len(rows) != 1 || rows[0].Outcome != outcome {
			t.Errorf("%q: %d rows", outcome, len(rows))
		}
	}
}

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
			r.record("a", &part.Changes[i])
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

// testHistoryPlans: no mix of filters has the database sort rows, which would
// read all of them for one page.
func testHistoryPlans(t *testing.T, open opener) {
	d := open(t, nil)
	var tickets []*queue.Ticket
	for n := range uint64(200) {
		tickets = append(tickets, done(n+1, queue.Time(n+1)))
	}
	take(t, d, "a", finished(tickets...)...)
	explain, bad := "EXPLAIN ", "filesort"
	if d.db.Name() == "sqlite" {
		explain, bad = "EXPLAIN QUERY PLAN ", "TEMP B-TREE"
	}
	for mix := range 32 {
		pick := func(bit int, value string) string {
			if mix&bit == 0 {
				return ""
			}
			return value
		}
		q := historyQuery{HistoryFilter: HistoryFilter{Attendant: pick(1, "ann"), Outcome: pick(2, "completed")}, limit: 11}
		if mix&4 != 0 {
			q.From, q.To = 10, 190
		}
		if mix&8 != 0 {
			q.after = &HistoryPlace{150, numbered(150)}
		}
		text, args := q.statement(d, historyColumns, pick(16, "a"))
		var plan []map[string]any
		check(t, d.read(t.Context()).Raw(explain+text, args...).Scan(&plan).Error)
		if said := fmt.Sprintf("%s", plan); strings.Contains(said, bad) || !strings.Contains(said, "history_") {
			t.Errorf("%s\n%s", text, said)
		}
	}
}
