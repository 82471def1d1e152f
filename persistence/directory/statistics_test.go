package directory

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"nowserving/actors/queue"
)

func record(t *testing.T, d *Directory, changes ...statChange) {
	t.Helper()
	check(t, d.write(t.Context(), func(tx *gorm.DB) error { return recordStatistics(tx, changes) }))
}

// naiveStatistics computes from all that happened what the directory computes
// from its slots.
func naiveStatistics(happened []statChange, target int64) Statistics {
	var s Statistics
	var waits, handles []int64
	for _, c := range happened {
		switch c.kind {
		case statArrival:
			s.Arrivals++
		case statServed:
			s.Served++
		case statNoShow:
			s.NoShows++
		case statRemoved:
			s.Removed++
		}
		if c.wait >= 0 {
			waits = append(waits, c.wait)
			if c.wait <= target {
				s.Within++
			}
		}
		if c.handle >= 0 {
			handles = append(handles, c.handle)
		}
	}
	s.Wait, s.Handle = naiveDurations(waits), naiveDurations(handles)
	return s
}

func naiveDurations(all []int64) Durations {
	if len(all) == 0 {
		return Durations{}
	}
	slices.Sort(all)
	sum := int64(0)
	for _, seconds := range all {
		sum += seconds
	}
	rank := func(percent int) int64 {
		for i := range all {
			if (i+1)*100 >= percent*len(all) {
				return all[i]
			}
		}
		panic("no such rank")
	}
	n := int64(len(all))
	return Durations{Count: n, Mean: (2*sum + n) / (2 * n), P50: rank(50), P90: rank(90), P99: rank(99)}
}

// naiveLabel is one for all moments of a bucket, and another for each bucket.
func naiveLabel(b queue.Bucket, ms int64, loc *time.Location) string {
	at := time.UnixMilli(ms).In(loc)
	switch b {
	case queue.ByHour:
		return at.Format("2006-01-02 15 -0700") // the clock shows some hours twice
	case queue.ByDay:
		return at.Format(time.DateOnly)
	}
	year, week := at.ISOWeek()
	return fmt.Sprint(year, week)
}

// testStatistics holds the statistics of random tickets, some of them requeued,
// against the naive ones, around the changes of clocks.
func testStatistics(t *testing.T, open opener) {
	d := open(t, nil)
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i, place := range []struct{ zone, around string }{
		{"UTC", "2026-03-01T00:00:00Z"},
		{"Europe/Berlin", "2026-10-25T01:00:00Z"},
		{"Asia/Kathmandu", "2026-01-01T00:00:00Z"},      // +05:45
		{"America/St_Johns", "2026-03-08T05:30:00Z"},    // -03:30, put forward
		{"America/St_Johns", "2026-11-01T04:30:00Z"},    // put back
		{"Australia/Lord_Howe", "2026-04-04T15:00:00Z"}, // by half an hour
		{"Australia/Lord_Howe", "2026-10-03T15:30:00Z"},
		{"Pacific/Apia", "2011-12-30T10:00:00Z"},     // without 30 December
		{"America/Santiago", "2026-09-06T04:00:00Z"}, // a day that begins at 01:00
	} {
		around, err := time.Parse(time.RFC3339, place.around)
		check(t, err)
		loc, err := time.LoadLocation(place.zone)
		check(t, err)
		w := world{t: t, d: d, random: random, queue: fmt.Sprintf("q%d", i), around: around.UnixMilli()}
		w.live(600)
		for _, b := range []queue.Bucket{queue.ByHour, queue.ByDay, queue.ByWeek} {
			for range 6 {
				w.compare(b, place.zone, loc)
			}
		}
		w.undo()
	}
}

// world is one queue and all that has happened in it.
type world struct {
	t        *testing.T
	d        *Directory
	random   *rand.Rand
	queue    string
	around   int64
	happened []statChange
}

const hour = int64(time.Hour / time.Millisecond)

// moment is mostly near the change of the clock, and often right at an edge.
func (w *world) moment() int64 {
	spread := []int64{quarter, 3 * hour, 5 * 24 * hour, 40 * 24 * hour}[w.random.IntN(4)]
	at := w.around + w.random.Int64N(2*spread) - spread
	if w.random.IntN(4) == 0 {
		at += w.random.Int64N(3) - 1 - at%quarter
	}
	return at
}

func (w *world) duration() int64 {
	most := []int64{0, 5, 3600, 2 * tallyDense, 20 * 24 * 3600}[w.random.IntN(5)]
	if most == 0 {
		return -1
	}
	return w.random.Int64N(most)
}

func (w *world) change() statChange {
	c := statChange{queue: w.queue, kind: statKind(1 + w.random.IntN(int(statTransferred))), at: w.moment(), sign: 1, wait: -1, handle: -1}
	if c.kind != statArrival {
		c.wait, c.handle = w.duration(), w.duration()
	}
	return c
}

// live lets things happen in transactions of various sizes, now and then in two
// queues at once.
func (w *world) live(events int) {
	for len(w.happened) < events {
		var batch []statChange
		for range 1 + w.random.IntN(30) {
			at := w.random.IntN(len(w.happened) + 1)
			if w.random.IntN(4) == 0 && at < len(w.happened) && w.happened[at].kind != statArrival {
				back := w.happened[at]
				back.sign = -1
				batch = append(batch, back)
				w.happened = slices.Delete(w.happened, at, at+1)
				continue
			}
			c := w.change()
			w.happened = append(w.happened, c)
			other := c
			other.queue = "other"
			batch = append(batch, c, other)
		}
		record(w.t, w.d, batch...)
	}
}

func (w *world) compare(b queue.Bucket, zone string, loc *time.Location) {
	w.t.Helper()
	from, to := w.moment(), w.moment()
	if from > to {
		from, to = to, from
	}
	to++
	edges, ok := queue.CalendarOf(zone).Edges(b, queue.Time(from), queue.Time(to), 5000)
	if !ok {
		w.t.Fatal("too many buckets")
	}
	asked := StatisticsQuery{Queue: w.queue, Target: w.random.Int64N(4000)}
	for _, edge := range edges {
		asked.Edges = append(asked.Edges, time.UnixMilli(int64(edge)))
	}
	parts, total, err := w.d.Statistics(w.t.Context(), asked)
	check(w.t, err)
	byLabel := make(map[string][]statChange)
	var all []statChange
	for _, c := range w.happened {
		if from <= c.at && c.at < to {
			label := naiveLabel(b, c.at, loc)
			byLabel[label] = append(byLabel[label], c)
			all = append(all, c)
		}
	}
	for i, part := range parts {
		label := naiveLabel(b, int64(edges[i]), loc)
		if expected := naiveStatistics(byLabel[label], asked.Target); !reflect.DeepEqual(part, expected) {
			w.t.Fatalf("%s by %s, %s to %s, %s:\n got %+v\nwant %+v", zone, b, asked.Edges[i].UTC(), asked.Edges[i+1].UTC(), label, part, expected)
		}
		delete(byLabel, label)
	}
	if len(byLabel) > 0 {
		w.t.Fatalf("%s by %s: no bucket has %v", zone, b, byLabel)
	}
	if expected := naiveStatistics(all, asked.Target); !reflect.DeepEqual(total, expected) {
		w.t.Fatalf("%s by %s in all:\n got %+v\nwant %+v", zone, b, total, expected)
	}
}

// undo takes everything back: nothing must be left.
func (w *world) undo() {
	w.t.Helper()
	for i := range w.happened {
		w.happened[i].sign = -1
	}
	record(w.t, w.d, w.happened...)
	first := slices.MinFunc(w.happened, func(a, b statChange) int { return cmp.Compare(a.at, b.at) })
	edges := []time.Time{time.UnixMilli(first.at + 1), time.UnixMilli(first.at + 100*24*hour)}
	_, total, err := w.d.Statistics(w.t.Context(), StatisticsQuery{Queue: w.queue, Edges: edges})
	check(w.t, err)
	if total != (Statistics{}) {
		w.t.Fatalf("%+v is left", total)
	}
}

// testStatisticsParts: what happened in a quarter of an hour is in many rows,
// and an edge within it is exact all the same.
func testStatisticsParts(t *testing.T, open opener) {
	d := open(t, nil)
	const start = int64(1_700_000_100_000) / quarter * quarter
	for batch := range 40 {
		var changes []statChange
		for i := range 100 {
			at := start + int64(batch*100+i)
			changes = append(changes, statChange{queue: "q", kind: statServed, at: at, sign: 1, wait: int64(i), handle: 200})
		}
		record(t, d, changes...)
	}
	var rows int64
	check(t, d.db.Model(&momentsRow{}).Count(&rows).Error)
	if rows < 4 {
		t.Fatalf("all is in %d rows", rows)
	}
	at := func(ms int64) time.Time { return time.UnixMilli(start + ms) }
	parts, total, err := d.Statistics(t.Context(), StatisticsQuery{Queue: "q", Edges: []time.Time{at(-5), at(0), at(1), at(1050), at(quarter)}})
	check(t, err)
	var served []int64
	for _, p := range parts {
		served = append(served, p.Served)
	}
	if !slices.Equal(served, []int64{0, 1, 1049, 2950}) || total.Served != 4000 || total.Wait.Count != 4000 || total.Handle.Mean != 200 {
		t.Fatalf("%v %+v", served, total)
	}
}

// testStatisticsOf: asked for together, queues have what each has alone.
func testStatisticsOf(t *testing.T, open opener) {
	d, ctx := open(t, nil), t.Context()
	random := rand.New(rand.NewPCG(1, 2))
	day := time.UnixMilli(1_700_000_100_000).UTC().Truncate(24 * time.Hour)
	var spans []Span
	for i := range 6 {
		w := world{t: t, d: d, random: random, queue: fmt.Sprintf("q%d", i), around: day.UnixMilli() + 12*hour}
		w.live(80)
		from := day.Add(time.Duration(i%3) * 45 * time.Minute) // three timezones
		spans = append(spans, Span{w.queue, from, from.Add(24 * time.Hour), int64(i) * 900})
	}
	spans = append(spans, Span{"quiet", day, day.Add(24 * time.Hour), 1}, Span{"q1", day.Add(time.Second), day.Add(5 * time.Hour), 60}, Span{"q2", day.Add(time.Second), day.Add(5 * time.Hour), 60})
	found, err := d.StatisticsOf(ctx, spans)
	check(t, err)
	served := int64(0)
	for i, s := range spans {
		_, alone, err := d.Statistics(ctx, StatisticsQuery{Queue: s.Queue, Edges: []time.Time{s.From, s.To}, Target: s.Target})
		check(t, err)
		if served += alone.Served; found[i] != alone {
			t.Errorf("%s from %s:\n got %+v\nwant %+v", s.Queue, s.From, found[i], alone)
		}
	}
	if none, err := d.StatisticsOf(ctx, nil); err != nil || len(none) != 0 || served == 0 {
		t.Error(none, served, err)
	}
}

func TestStatisticsNeedTwoEdges(t *testing.T) {
	t.Parallel()
	d := mustOpen(t, Options{Dir: t.TempDir()})
	_, _, err := d.Statistics(t.Context(), StatisticsQuery{Queue: "q", Edges: []time.Time{time.Now()}})
	want(t, err, ErrInvalid)
}

func TestDamagedStatistics(t *testing.T) {
	t.Parallel()
	d := mustOpen(t, Options{Dir: t.TempDir()})
	record(t, d, statChange{queue: "q", kind: statServed, at: quarter, sign: 1, wait: 500, handle: -1})
	ask := func(from, to int64) error {
		_, _, err := d.Statistics(t.Context(), StatisticsQuery{Queue: "q", Edges: []time.Time{time.UnixMilli(from), time.UnixMilli(to)}})
		return err
	}
	check(t, ask(quarter, 2*quarter))
	check(t, ask(quarter, quarter+1))
	check(t, d.db.Exec("UPDATE statistics_slots SET waits = x'ff'").Error)
	check(t, d.db.Exec("UPDATE statistics_moments SET moments = x'00'").Error)
	want(t, ask(quarter, 2*quarter), ErrUnavailable)
	want(t, ask(quarter, quarter+1), ErrUnavailable)
}
