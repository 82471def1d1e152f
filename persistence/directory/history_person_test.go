package directory

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nowserving/actors/queue"
)

func init() {
	historyTests["history of a person"] = testHistoryOfPerson
	historyTests["history trail"] = testHistoryTrail
	historyTests["retention"] = testRetention
	historyTests["erasures"] = testErasures
	historyTests["erasure of a visit"] = testErasureOfVisit
	historyTests["lease"] = testLease
}

func tag(b byte) []byte { return bytes.Repeat([]byte{b}, queue.TagSize) }

// ofPersons is a finished ticket with the tags of a phone, an e-mail and a
// reference; 0 is none.
func ofPersons(n uint64, phone, email, ref byte) *queue.Ticket {
	t := done(n, queue.Time(n*10))
	t.Customer, t.Payload = []byte("customer"), []byte("payload")
	t.Index = slices.Concat(tag(phone), tag(email), tag(ref))
	return t
}

func testHistoryOfPerson(t *testing.T, open opener) {
	d := open(t, nil)
	ctx := t.Context()
	nobody := done(6, 60)
	nobody.Customer = []byte("customer")
	take(t, d, "a", finished(ofPersons(1, 1, 0, 0), ofPersons(2, 0, 1, 0), ofPersons(3, 0, 0, 1), ofPersons(4, 1, 2, 3), ofPersons(5, 2, 2, 2), nobody)...)
	for _, c := range []struct {
		tags [][]byte
		want string
	}{
		{[][]byte{tag(1)}, "[A004 A003 A002 A001]"},
		{[][]byte{tag(2)}, "[A005 A004]"},
		{[][]byte{tag(3), tag(9)}, "[A004]"},
		{[][]byte{tag(9)}, "[]"},
		{[][]byte{{}}, "[]"}, // not those who have none
	} {
		rows, err := d.HistoryOfPerson(ctx, c.tags, 10)
		check(t, err)
		if got := fmt.Sprint(numbers(rows)); got != c.want {
			t.Errorf("of %x: %s, want %s", c.tags, got, c.want)
		}
	}
	rows, err := d.HistoryOfPerson(ctx, [][]byte{tag(1)}, 2)
	check(t, err)
	if got := fmt.Sprint(numbers(rows)); got != "[A004 A003]" {
		t.Errorf("the newest two: %s", got)
	}
	if n, err := d.EmptyHistory(ctx, [][]byte{tag(1), tag(3)}); err != nil || n != 4 {
		t.Errorf("%d rows emptied, %v", n, err)
	}
	for _, row := range listed(t, d, HistoryFilter{}, 10) {
		left := row.Customer != nil || row.Payload != nil || row.Index != nil
		if kept := row.Number >= "A005"; left != kept {
			t.Errorf("%s is left with %q %q %x", row.Number, row.Customer, row.Payload, row.Index)
		}
		if row.FinishedAt == 0 || row.Attendant != "ann" {
			t.Errorf("%s has lost what is nobody's", row.Number)
		}
	}
	if n, err := d.EmptyHistory(ctx, [][]byte{tag(1), {}}); err != nil || n != 0 {
		t.Errorf("a second time: %d rows, %v", n, err)
	}
	// Found by an index, whatever there is.
	explain := "EXPLAIN "
	if d.db.Name() == "sqlite" {
		explain = "EXPLAIN QUERY PLAN "
	}
	for i, column := range tagColumns {
		var plan []map[string]any
		check(t, d.read(ctx).Raw(explain+"SELECT id FROM history WHERE "+ofPerson(column), [][]byte{tag(1)}).Scan(&plan).Error)
		if said := fmt.Sprintf("%s", plan); !strings.Contains(said, []string{"history_phone", "history_email", "history_ref"}[i]) {
			t.Errorf("%s: %s", column, said)
		}
	}
}

func testHistoryTrail(t *testing.T, open opener) {
	d := open(t, nil)
	ticket := done(1, 10)
	for i := range uint64(queue.MaxTrail) {
		ticket.Trail = append(ticket.Trail, queue.Step{Version: 1<<52 + i, At: 1 << 45, Kind: queue.TicketUpdated, By: strings.Repeat("ü", 64)})
	}
	ticket.Trail[3].By = ""
	take(t, d, "a", finished(ticket, done(2, 20))...)
	got, err := d.HistoryOf(t.Context(), ticket.ID)
	check(t, err)
	if got.Queue != "a" || !slices.Equal(got.Trail, ticket.Trail) || got.FinishedAt != 10 {
		t.Errorf("the ticket comes back as %+v", got.Ticket)
	}
	if got, err := d.HistoryOf(t.Context(), numbered(2)); err != nil || got.Trail != nil {
		t.Errorf("without a trail: %+v, %v", got, err)
	}
	_, err = d.HistoryOf(t.Context(), numbered(3))
	want(t, err, ErrNotFound)
	for _, row := range listed(t, d, HistoryFilter{}, 10) {
		if row.Trail != nil {
			t.Error("a list reads trails")
		}
	}
}

func testRetention(t *testing.T, open opener) {
	d := open(t, nil)
	const day = queue.Day
	at := func(n uint64, finished queue.Time) HistoryChange {
		ticket := ofPersons(n, 1, 0, 2)
		ticket.FinishedAt = finished
		return HistoryChange{Finished: ticket}
	}
	left := func() (full string) {
		t.Helper()
		for _, row := range listed(t, d, HistoryFilter{}, 1000) {
			if whole := len(row.Customer) > 0 && len(row.Payload) > 0 && len(row.Index) > 0; whole {
				full = row.Number + " " + full
			} else if len(row.Customer)+len(row.Payload)+len(row.Index) > 0 {
				t.Errorf("%s is half empty", row.Number)
			}
		}
		return full
	}
	empty := func(before queue.Time, rows int64) {
		t.Helper()
		if n, err := d.EmptyHistoryBefore(t.Context(), "a", before); err != nil || n != rows {
			t.Errorf("%d rows, %v, want %d", n, err, rows)
		}
	}
	take(t, d, "a", at(1, 100*day), at(2, 101*day-1), at(3, 101*day), at(4, 120*day))
	take(t, d, "b", at(5, 100*day))
	empty(101*day, 2)
	empty(101*day, 0)
	if got := left(); got != "A005 A003 A004 " {
		t.Errorf("left are %s", got)
	}
	take(t, d, "a", at(6, 99*day)) // late
	empty(101*day, 1)
	empty(90*day, 0) // kept for longer from now on
	empty(102*day, 1)
	var many []HistoryChange
	for n := range uint64(2*retentionBatch + 7) {
		many = append(many, at(1000+n, 103*day)) // all at once
	}
	take(t, d, "a", many...)
	empty(104*day, 2*retentionBatch+7)
	if got := left(); got != "A005 A004 " {
		t.Errorf("in the end are left %s", got)
	}
}

func testErasures(t *testing.T, open opener) {
	now := time.UnixMilli(1_763_800_000_000).UTC()
	d := open(t, func() time.Time { return now })
	ctx := t.Context()
	asked := Erasure{ID: "e1", Tags: [][]byte{tag(1), tag(2)}, MadeAt: now, MadeBy: "u1"}
	check(t, d.AddErasure(ctx, asked))
	check(t, d.AddErasure(ctx, Erasure{ID: "e0", Tags: [][]byte{tag(3)}, MadeAt: now.Add(time.Second), MadeBy: "u2"}))
	pending, err := d.PendingErasures(ctx, 10)
	check(t, err)
	if len(pending) != 2 || fmt.Sprint(pending[0]) != fmt.Sprint(asked) {
		t.Fatalf("pending: %v", pending)
	}
	check(t, d.AdvanceErasure(ctx, "e1", 2, 3, false))
	now = now.Add(time.Hour)
	check(t, d.AdvanceErasure(ctx, "e1", 1, 0, true))
	if pending, err := d.PendingErasures(ctx, 10); err != nil || len(pending) != 2 || len(pending[0].Tags) != 0 {
		t.Errorf("pending: %v, %v", pending, err)
	}
	check(t, d.EndErasure(ctx, "e1"))
	got, err := d.Erasure(ctx, "e1")
	check(t, err)
	if got.History != 3 || got.Tickets != 3 || !got.DoneAt.Equal(now) || len(got.Tags) != 0 || got.MadeBy != "u1" {
		t.Errorf("done it is %+v", got)
	}
	if pending, err := d.PendingErasures(ctx, 10); err != nil || len(pending) != 1 || pending[0].ID != "e0" {
		t.Errorf("pending: %v, %v", pending, err)
	}
	_, err = d.Erasure(ctx, "e9")
	want(t, err, ErrNotFound)
	want(t, d.AdvanceErasure(ctx, "e9", 0, 0, true), ErrNotFound)
	want(t, d.EndErasure(ctx, "e9"), ErrNotFound)
}

// testErasureOfVisit: its rows are emptied in whichever queue, once, and no others;
// what was asked for is forgotten when it is done.
func testErasureOfVisit(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	visit := queue.TicketID{7}
	first, second, other, bare := done(1, 10), done(2, 20), done(3, 30), done(4, 40)
	first.Payload, second.Customer, other.Payload = []byte("p"), []byte("c"), []byte("p")
	first.Visit, second.Visit, bare.Visit = visit, visit, visit
	take(t, d, "a", finished(first, other)...)
	take(t, d, "b", finished(second, bare)...)
	for _, want := range []int64{2, 0} {
		if n, err := d.EmptyVisit(ctx, visit[:]); err != nil || n != want {
			t.Errorf("%d rows emptied, %v", n, err)
		}
	}
	for _, row := range listed(t, d, HistoryFilter{}, 10) {
		if kept := len(row.Customer)+len(row.Payload) > 0; kept != (row.Number == other.Number) {
			t.Errorf("%s is left with %q %q", row.Number, row.Customer, row.Payload)
		}
	}
	check(t, d.AddErasure(ctx, Erasure{ID: "e", Visit: visit[:], MadeAt: at, MadeBy: "u"}))
	if pending, err := d.PendingErasures(ctx, 10); err != nil || len(pending) != 1 || !bytes.Equal(pending[0].Visit, visit[:]) || len(pending[0].Tags) != 0 {
		t.Errorf("%+v, %v", pending, err)
	}
	var seen int64 // by a node that knows of no visits
	check(t, d.read(ctx).Model(&erasureRow{}).Where("done_ms = 0").Count(&seen).Error)
	if seen != 0 {
		t.Error("an older node would end it")
	}
	check(t, d.AdvanceErasure(ctx, "e", 2, 0, true))
	if e, err := d.Erasure(ctx, "e"); err != nil || e.Visit != nil || !e.DoneAt.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
	check(t, d.EndErasure(ctx, "e"))
	if pending, err := d.PendingErasures(ctx, 10); err != nil || len(pending) != 0 {
		t.Errorf("%+v, %v", pending, err)
	}
}

func testLease(t *testing.T, open opener) {
	now := time.UnixMilli(1_763_800_000_000)
	d := open(t, func() time.Time { return now })
	take := func(name, holder string, want bool) {
		t.Helper()
		if held, err := d.Lease(t.Context(), name, holder, time.Minute); err != nil || held != want {
			t.Errorf("%s takes %s: %v, %v", holder, name, held, err)
		}
	}
	take("work", "a", true)
	take("work", "b", false)
	take("other", "b", true)
	now = now.Add(time.Minute)
	take("work", "a", true) // renewed
	now = now.Add(time.Minute)
	take("work", "b", false)
	now = now.Add(time.Millisecond)
	take("work", "b", true)
	take("work", "a", false)
}
