package directory

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func rowOf(id string, version uint64) QueueRow {
	return QueueRow{
		ID: id, Name: "N", Status: "open", Version: version, Epoch: "e1", Config: json.RawMessage(`{"public":true}`),
		Waiting: 3, Active: 1, UpdatedAt: at,
		Line: &QueueLine{Version: version, Called: 4, Serving: 5, Held: 6, Attendants: 7, WaitingSince: at.Add(-time.Hour)},
	}
}

// testQueueLine: who does not know the line leaves it as it was.
func testQueueLine(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	bare := rowOf("a", 1)
	bare.Line = nil
	check(t, d.PutQueue(ctx, bare))
	if got, err := d.GetQueue(ctx, "a"); err != nil || *got.Line != (QueueLine{}) {
		t.Fatalf("%+v, %v", got.Line, err)
	}
	described := rowOf("a", 5)
	check(t, d.PutQueue(ctx, described))
	bare.Version = 6
	check(t, d.PutQueue(ctx, bare))
	stale := rowOf("a", 5)
	stale.Line.Held = 9
	check(t, d.PutQueue(ctx, stale)) // it is of an earlier version than the row
	if rows, err := d.ListQueues(ctx, nil, "", 10); err != nil || len(rows) != 1 || rows[0].Version != 6 || *rows[0].Line != *described.Line {
		t.Fatalf("%+v, %v", rows[0].Line, err)
	}
	if known, err := d.KnownVersions(ctx, []string{"a", "b"}); err != nil || len(known) != 1 || known["a"] != 6 {
		t.Fatal(known, err)
	}
	if known, err := d.DescribedVersions(ctx, []string{"a", "b"}); err != nil || len(known) != 1 || known["a"] != 5 {
		t.Fatal(known, err)
	}
	gone := QueueRow{ID: "a", Version: 7, Deleted: true, UpdatedAt: at, Line: &QueueLine{Version: 7}}
	check(t, d.PutQueue(ctx, gone))
	if got, err := d.LastKnown(ctx, "a"); err != nil || *got.Line != *gone.Line {
		t.Fatalf("%+v, %v", got.Line, err)
	}
	check(t, d.PutQueue(ctx, rowOf("b", 1)))
	check(t, d.PutQueue(ctx, QueueRow{ID: "c", Version: 1, Deleted: true}))
	known, err := d.ListKnownQueues(ctx, "", 10) // what a queue said is known when it is gone
	if err != nil || len(known) != 3 || !known[0].Deleted || string(known[0].Config) != string(bare.Config) || known[1].Deleted || string(known[2].Config) != "null" {
		t.Fatalf("%+v, %v", known, err)
	}
	if known, err = d.ListKnownQueues(ctx, "a", 1); err != nil || len(known) != 1 || known[0].ID != "b" {
		t.Fatalf("%+v, %v", known, err)
	}
}

func testQueueVersion(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	_, err := d.GetQueue(ctx, "q")
	want(t, err, ErrNotFound)

	five := rowOf("q", 5)
	check(t, d.PutQueue(ctx, five))
	check(t, d.PutQueue(ctx, rowOf("q", 4)))
	if got, err := d.GetQueue(ctx, "q"); err != nil || !reflect.DeepEqual(got, five) {
		t.Fatalf("%+v, %v", got, err)
	}
	five.Waiting, five.Status = 0, "closed" // a zero overwrites too
	check(t, d.PutQueue(ctx, five))
	if got, err := d.GetQueue(ctx, "q"); err != nil || !reflect.DeepEqual(got, five) {
		t.Fatalf("%+v, %v", got, err)
	}

	gone := rowOf("q", 6)
	gone.Deleted = true
	check(t, d.PutQueue(ctx, gone))
	check(t, d.PutQueue(ctx, five)) // a straggler does not bring it back
	_, err = d.GetQueue(ctx, "q")
	want(t, err, ErrNotFound)
	if got, err := d.LastKnown(ctx, "q"); err != nil || got.Version != 6 || !got.Deleted {
		t.Fatalf("%+v, %v", got, err)
	}
	check(t, d.PutQueue(ctx, rowOf("q", 7)))
	if got, err := d.GetQueue(ctx, "q"); err != nil || got.Version != 7 {
		t.Fatalf("%+v, %v", got, err)
	}

	bare := QueueRow{ID: "bare", Version: 1, Line: new(QueueLine)}
	check(t, d.PutQueue(ctx, bare))
	if got, err := d.GetQueue(ctx, "bare"); err != nil || string(got.Config) != "null" || !got.UpdatedAt.IsZero() {
		t.Fatalf("%+v, %v", got, err)
	}
}

// testQueueRace: whatever the order of arrival, over two handles, the highest
// version stands.
func testQueueRace(t *testing.T, open opener) {
	handles, ctx := []*Directory{open(t, clock), open(t, clock)}, t.Context()
	const top = 40
	var wg sync.WaitGroup
	for _, v := range rand.Perm(top) {
		wg.Go(func() {
			if err := handles[v%2].PutQueue(ctx, rowOf("q", uint64(v+1))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := handles[0].GetQueue(ctx, "q"); err != nil || got.Version != top {
		t.Fatalf("%+v, %v", got, err)
	}
}

func testQueuePages(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	var rows []QueueRow
	var all, even []string
	for i := range 2*idsPerQuery + 300 {
		row := rowOf(fmt.Sprintf("q%05d", i), 1)
		if row.Deleted = i%7 == 0; !row.Deleted {
			all = append(all, row.ID)
			if i%2 == 0 {
				even = append(even, row.ID)
			}
		}
		rows = append(rows, row)
	}
	check(t, d.PutQueues(ctx, rows...))
	mixed := append(slices.Clone(even), "unknown", "q00000", even[3])
	rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	for _, c := range []struct{ ids, want []string }{{nil, all}, {mixed, even}, {[]string{}, nil}} {
		for _, limit := range []int{300, 1000} {
			if seen := walk(t, d, c.ids, limit); !slices.Equal(seen, c.want) {
				t.Fatalf("limit %d: %d queues, want %d", limit, len(seen), len(c.want))
			}
		}
	}
	if got, err := d.ListQueues(ctx, nil, "", 0); err != nil || len(got) != 1 {
		t.Fatal(len(got), err)
	}
}

func walk(t *testing.T, d *Directory, ids []string, limit int) (seen []string) {
	t.Helper()
	for after := ""; ; after = seen[len(seen)-1] {
		page, err := d.ListQueues(t.Context(), ids, after, limit)
		check(t, err)
		for _, q := range page {
			seen = append(seen, q.ID)
		}
		if len(page) < limit {
			return seen
		}
	}
}

func reserve(t *testing.T, d *Directory, id, want string) {
	t.Helper()
	if got, err := d.ReservePrefix(t.Context(), id); err != nil || got != want {
		t.Fatalf("queue %s got prefix %q, want %q; %v", id, got, want, err)
	}
}

// put records a queue with a prefix, a second after the clock.
func put(t *testing.T, d *Directory, id, prefix string, version uint64, deleted bool) {
	t.Helper()
	row := rowOf(id, version)
	row.Prefix, row.Deleted, row.UpdatedAt = prefix, deleted, d.now().Add(time.Second)
	check(t, d.PutQueue(t.Context(), row))
}

func testPrefixOrder(t *testing.T, open opener) {
	d := open(t, clock)
	reserve(t, d, "q1", "A")
	reserve(t, d, "q2", "B")
	reserve(t, d, "q1", "A") // asked again
	put(t, d, "q1", "A", 1, false)
	reserve(t, d, "q1", "A") // it exists
	check(t, d.ReleasePrefix(t.Context(), "q1"))
	put(t, d, "x", "c", 1, false) // configured, in another case
	put(t, d, "y", "", 1, false)
	put(t, d, "z", "A", 1, false) // configured twice is allowed
	reserve(t, d, "q3", "D")
	check(t, d.ReleasePrefix(t.Context(), "q3"))
	reserve(t, d, "q4", "D")
	put(t, d, "q1", "A", 2, true)
	reserve(t, d, "q5", "E") // z still has A
	put(t, d, "z", "A", 2, true)
	reserve(t, d, "q6", "A") // free at once when the last queue with it is gone
	reserve(t, d, "y", "F")  // one that exists without a prefix
	put(t, d, "w", "B", 1, false)
	reserve(t, d, "q2", "G") // its B was configured elsewhere in the meantime
}

// testPrefixOfQueueMadeAnew: news of the old queue's end that comes late does
// not take the prefix from the new one.
func testPrefixOfQueueMadeAnew(t *testing.T, open opener) {
	now := at
	d := open(t, func() time.Time { return now })
	put(t, d, "q", "A", 1, false)
	now = now.Add(time.Minute)
	reserve(t, d, "q", "A")
	late := rowOf("q", 2)
	late.Prefix, late.Deleted, late.UpdatedAt = "A", true, now.Add(-time.Second)
	check(t, d.PutQueue(t.Context(), late))
	reserve(t, d, "other", "B")
	reserve(t, d, "q", "A")
}

func testPrefixLapse(t *testing.T, open opener) {
	now := at
	d := open(t, func() time.Time { return now })
	reserve(t, d, "q1", "A")
	now = now.Add(reservationTime)
	reserve(t, d, "q2", "B")
	now = now.Add(time.Millisecond)
	reserve(t, d, "q3", "A")
}

func testPrefixRace(t *testing.T, open opener) {
	handles, ctx := []*Directory{open(t, clock), open(t, clock)}, t.Context()
	var given sync.Map
	var count atomic.Int32
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			id := fmt.Sprintf("q%d", i/2) // each queue asks twice, once on each handle
			prefix, err := handles[i%2].ReservePrefix(ctx, id)
			if err != nil {
				t.Error(err)
				return
			}
			owner, had := given.LoadOrStore(prefix, id)
			if !had {
				count.Add(1)
			} else if owner != id {
				t.Errorf("%s was given to %s and %s", prefix, owner, id)
			}
		})
	}
	wg.Wait()
	if _, last := given.Load("AD"); count.Load() != 30 || !last { // 26 + AA, AB, AC, AD
		t.Fatalf("%d prefixes for 30 queues", count.Load())
	}
}

func TestAllPrefixesTaken(t *testing.T) {
	t.Parallel()
	taken, n := map[string]bool{}, 0
	for p := firstFree(taken); p != "" && n < 800; p = firstFree(taken) {
		taken[p] = true
		n++
	}
	if !taken["Z"] || !taken["AA"] || !taken["ZZ"] || !taken["AAA"] {
		t.Fatal("a prefix was passed over")
	}
	for _, length := range []int{1, 2, 3, 4} {
		letters := slices.Repeat([]byte("A"), length)
		for more := true; more; more = increment(letters) {
			taken[string(letters)] = true
		}
	}
	if len(taken) != 26+26*26+26*26*26+26*26*26*26 || firstFree(taken) != "" {
		t.Fatal(len(taken))
	}
}
