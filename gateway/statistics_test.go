package gateway

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"nowserving/actors/queue"
	"nowserving/persistence/directory"
)

// history has the history take what happened in a queue.
func (e *env) history(queueID string, after uint64, changes ...directory.HistoryChange) {
	e.t.Helper()
	err := e.dir.TakeHistory(context.Background(), []directory.HistoryPart{{
		Queue: queueID, After: after, Upto: after + uint64(len(changes)), Changes: changes,
	}})
	if err != nil {
		e.t.Fatal(err)
	}
}

func momentOf(t testing.TB, text string) queue.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return queue.Time(at.UnixMilli())
}

// finished is a ticket that was called at a time after a wait and served from
// then on, both in seconds; without handling where that is negative.
func finished(n byte, state queue.TicketState, called queue.Time, wait, handle int64) directory.HistoryChange {
	t := &queue.Ticket{
		ID: queue.TicketID{n}, Visit: queue.TicketID{n}, State: state, Source: queue.FromREST,
		EnqueuedAt: called - queue.Time(wait)*1000, CalledAt: called, FinishedAt: called,
	}
	if handle >= 0 {
		t.StartedAt, t.FinishedAt = called, called+queue.Time(handle)*1000
	}
	return directory.HistoryChange{Finished: t}
}

func TestStatistics(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"timezone":"Asia/Kathmandu","target_wait_seconds":300`)
	noon := momentOf(t, "2026-03-01T06:15:00Z") // as it is in Kathmandu
	e.history("a", 0,
		directory.HistoryChange{Arrived: noon - 1}, directory.HistoryChange{Arrived: noon},
		finished(1, queue.Completed, noon, 300, 59), finished(2, queue.Completed, noon, 301, 61),
		finished(3, queue.NoShow, noon+1000, 900, -1), finished(4, queue.Removed, noon-1, 10, -1),
		finished(5, queue.Transferred, noon, 4, 9), finished(6, queue.Completed, noon, 1, 1),
		directory.HistoryChange{Requeued: queue.TicketID{6}},
	)
	from := "/queues/a/statistics?from=2026-03-01T05:20:00Z&to=2026-03-01T12:20:00" + url.QueryEscape("+05:00")
	r := e.get(from)
	nothing := `"wait":{"mean":null,"p50":null,"p90":null,"p99":null},"handle":{"mean":null,"p50":null,"p90":null,"p99":null},"within_target":null}`
	want := `{"from":"2026-03-01T05:20:00.000Z","to":"2026-03-01T07:20:00.000Z","buckets":[` +
		`{"from":"2026-03-01T05:20:00.000Z","arrivals":1,"served":0,"no_shows":0,"removed":1,"wait":{"mean":10,"p50":10,"p90":10,"p99":10},"handle":{"mean":null,"p50":null,"p90":null,"p99":null},"within_target":1},` +
		`{"from":"2026-03-01T06:15:00.000Z","arrivals":1,"served":2,"no_shows":1,"removed":0,"wait":{"mean":376,"p50":300,"p90":900,"p99":900},"handle":{"mean":43,"p50":59,"p90":61,"p99":61},"within_target":0.5},` +
		`{"from":"2026-03-01T07:15:00.000Z","arrivals":0,"served":0,"no_shows":0,"removed":0,` + nothing + `],` +
		`"total":{"from":"2026-03-01T05:20:00.000Z","arrivals":2,"served":2,"no_shows":1,"removed":1,"wait":{"mean":303,"p50":300,"p90":900,"p99":900},"handle":{"mean":43,"p50":59,"p90":61,"p99":61},"within_target":0.6}}`
	if string(r.body) != want {
		t.Errorf("answered\n%s\nwant\n%s", r.body, want)
	}
	if got := r.header.Get("ETag"); got != `"1"` {
		t.Errorf("ETag %s", got)
	}
	if supervisor := e.ok(call{as: "supervisor", method: "GET", path: from}); string(supervisor.body) != want {
		t.Error("a supervisor sees otherwise")
	}
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"target_wait_seconds":null}`})
	r = e.get(from)
	if strings.Count(string(r.body), `"within_target":null`) != 4 || r.header.Get("ETag") != `"2"` {
		t.Errorf("without a target: %s", r.body)
	}
}

// What is left out is today, or the day of what is given.
func TestStatisticsRange(t *testing.T) {
	t.Parallel()
	clock := momentOf(t, "2026-10-25T10:00:00Z") // Berlin's clock is put back on this day
	e := start(t, func(o *Options) {
		o.Now = func() time.Time { return time.UnixMilli(int64(clock)) }
	})
	e.queue("a", `,"timezone":"Europe/Berlin"`)
	for _, c := range []struct {
		query, from, to string
		buckets         int
	}{
		{"", "2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z", 25},
		{"?bucket=day", "2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z", 1},
		{"?from=2026-10-20T12:00:00Z&bucket=day", "2026-10-20T12:00:00.000Z", "2026-10-25T23:00:00.000Z", 6},
		{"?from=2026-12-01T12:00:00.5Z&bucket=day", "2026-12-01T12:00:00.500Z", "2026-12-01T23:00:00.000Z", 1},
		{"?to=2026-10-20T22:00:00Z", "2026-10-19T22:00:00.000Z", "2026-10-20T22:00:00.000Z", 24},
		{"?from=2026-01-01T00:00:00Z&to=2026-12-31T00:00:00Z&bucket=week", "2026-01-01T00:00:00.000Z", "2026-12-31T00:00:00.000Z", 53},
		{"?from=1969-12-31T00:00:00Z&to=1970-01-01T01:00:00Z", "1970-01-01T00:00:00.001Z", "1970-01-01T01:00:00.000Z", 1}, // nothing was before
		{"?to=1970-01-01T01:00:00Z", "1969-12-31T23:00:00.000Z", "1970-01-01T01:00:00.000Z", 2},
		{"?from=2026-10-25T09:59:59.9990001Z&to=2026-10-25T10:00:01Z", "2026-10-25T10:00:00.000Z", "2026-10-25T10:00:01.000Z", 1},
		{"?from=2026-01-01T00:00:00Z&to=2026-02-11T16:00:00Z", "2026-01-01T00:00:00.000Z", "2026-02-11T16:00:00.000Z", 1000},
	} {
		r := e.ok(call{method: "GET", path: "/queues/a/statistics" + c.query})
		if buckets := r.json["buckets"].([]any); r.str("from") != c.from || r.str("to") != c.to || len(buckets) != c.buckets {
			t.Errorf("%s is from %s to %s in %d buckets", c.query, r.str("from"), r.str("to"), len(buckets))
		}
	}
}

func TestStatisticsRefusals(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	e.queue("c")
	for query, fields := range map[string]string{
		"bucket=month": "bucket", "bucket=": "bucket", "bucket=day&bucket=day": "bucket",
		"from=yesterday": "from", "to=2026-11-03": "to", "from=&to=1": "from to", "from=9999-01-01T00:00:00Z": "from",
		"from=2026-11-03T10:00:00Z&to=2026-11-03T10:00:00Z":                "to",
		"from=2026-11-03T10:00:00Z&to=2026-11-03T09:00:00Z&bucket=century": "to bucket",
		"from=2026-01-01T00:00:00Z&to=2026-02-11T16:00:00.001Z":            "bucket",
		"from=0000-01-01T00:00:00Z&bucket=week":                            "bucket",
	} {
		r := e.get("/queues/a/statistics?"+query).want(422, "invalid")
		if r.fields() != fields {
			t.Errorf("%s complains of %s, want %s", query, r.fields(), fields)
		}
	}
	const bad = "?bucket=month"
	e.get("/queues/none/statistics"+bad).want(404, "queue_not_found")
	e.do(call{as: "-", method: "GET", path: "/queues/a/statistics" + bad}).want(401, "unauthenticated")
	for _, level := range []string{"attendant", "integration", "viewer"} {
		e.do(call{as: level, method: "GET", path: "/queues/a/statistics" + bad}).want(403, "forbidden")
		e.do(call{as: level, method: "GET", path: "/queues/b/statistics"}).want(404, "queue_not_found")
	}
	e.do(call{as: "supervisor", method: "GET", path: "/queues/c/statistics" + bad}).want(404, "queue_not_found")

	e.gateway.directory = away{}
	if r := e.get("/queues/a/statistics").want(503, "unavailable"); r.header.Get("Retry-After") != "1" {
		t.Error("without Retry-After")
	}
	e.get("/queues/a/statistics"+bad).want(422, "invalid")
	e.gateway.queues = silent{queue.Unavailable}
	e.get("/queues/a/statistics").want(503, "unavailable")
	e.get("/queues/a/statistics"+bad).want(422, "invalid")
}
