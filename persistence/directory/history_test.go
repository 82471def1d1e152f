package directory

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

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

func newestFirst(a, b FinishedTicket) int {
	return cmp.Or(cmp.Compare(b.FinishedAt, a.FinishedAt), bytes.Compare(b.ID[:], a.ID[:]))
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
		Index: slices.Concat(make([]byte, queue.TagSize), bytes.Repeat([]byte{0xff}, 2*queue.TagSize)),
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
	slices.SortFunc(all, newestFirst)
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
	slices.SortFunc(want, newestFirst)
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
		var queues []string
		if mix&16 != 0 {
			queues = []string{"a"}
		}
		text, args := q.statement(d, historyColumns, queues)
		var plan []map[string]any
		check(t, d.read(t.Context()).Raw(explain+text, args...).Scan(&plan).Error)
		if said := fmt.Sprintf("%s", plan); strings.Contains(said, bad) || !strings.Contains(said, "history_") {
			t.Errorf("%s\n%s", text, said)
		}
	}
}
