package gateway

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/actors/queue"
	"nowserving/messages"
	"nowserving/persistence/directory"
)

// describe has the directory know more of a queue, as what follows it would.
func (e *env) describe(id string, waiting int64, line directory.QueueLine) {
	e.t.Helper()
	row, err := e.dir.GetQueue(context.Background(), id)
	if err != nil {
		e.t.Fatal(err)
	}
	row.Waiting, row.Line = waiting, &line
	if err := e.dir.PutQueue(context.Background(), row); err != nil {
		e.t.Fatal(err)
	}
}

// countedReads counts how often queues are asked.
type countedReads struct {
	QueueService
	n *atomic.Int64
}

func (c countedReads) Read(ctx context.Context, r *messages.Read) *messages.View {
	c.n.Add(1)
	return c.QueueService.Read(ctx, r)
}

func TestOverview(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	e := start(t, func(o *Options) { o.Queues = countedReads{o.Queues, &asked} })
	e.queue("a", `,"name":"Passports","timezone":"Asia/Kathmandu","target_wait_seconds":300`)
	e.queue("b")
	e.queue("c", `,"target_wait_seconds":10`)
	noon := momentOf(t, "2026-03-01T06:15:00Z") // as it is in Kathmandu, where the day began at 18:15 UTC
	e.skew.Store(int64(time.Until(time.UnixMilli(int64(noon)))))
	const day = 24 * 3600_000
	e.history("a", 0,
		finished(1, queue.Completed, noon-day/2, 300, 59), finished(2, queue.Completed, noon, 301, 61), finished(3, queue.NoShow, noon, 5, -1),
		finished(4, queue.Completed, noon-day/2-1, 1, -1), finished(5, queue.Completed, noon+day/2, 1, 1))
	e.history("b", 0, finished(6, queue.Completed, noon, 1, 1))
	e.describe("a", 7, directory.QueueLine{
		Version: 9, Called: 1, Serving: 2, Held: 3, Attendants: 2, WaitingSince: time.UnixMilli(int64(noon - 1500)),
	})
	a := `{"id":"a","name":"Passports","status":"open","target_wait_seconds":300,"waiting_since":"2026-03-01T06:14:58.500Z",` +
		`"waiting":7,"called":1,"serving":2,"held":3,"attendants":2,"served_today":2,"within_target_today":0.6666666666666666}`
	b := `{"id":"b","name":"b","status":"paused","target_wait_seconds":null,"waiting_since":null,` +
		`"waiting":0,"called":0,"serving":0,"held":0,"attendants":0,"served_today":1,"within_target_today":null}`
	c := strings.NewReplacer(`"id":"b","name":"b","status":"paused","target_wait_seconds":null`, `"id":"c","name":"c","status":"open","target_wait_seconds":10`,
		`"served_today":1`, `"served_today":0`).Replace(b)
	e.ok(call{method: "PATCH", path: "/queues/b", body: `{"status":"paused"}`})
	asked.Store(0)
	for as, want := range map[string]string{"supervisor": a + "," + b, "admin": a + "," + b + "," + c} {
		if r := e.ok(call{as: as, method: "GET", path: "/overview"}); string(r.body) != `{"items":[`+want+`],"next":null}` {
			t.Errorf("%s: %s", as, r.body)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("queues were asked %d times, which wakes them", n)
	}
	page := e.get("/overview?limit=1")
	if next := e.get("/overview?limit=1&after=" + page.str("next")); !strings.Contains(string(page.body), a) || !strings.Contains(string(next.body), b) {
		t.Errorf("%s\n%s", page.body, next.body)
	}
	for _, wrong := range []string{"limit=0", "after=x", "limit=1&limit=2"} {
		e.get("/overview?"+wrong).want(422, "invalid")
	}
	// A change of the queue leaves what it does not tell of.
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"closed"}`})
	if r := e.get("/overview?limit=1"); !strings.Contains(string(r.body), `"status":"closed"`) || !strings.Contains(string(r.body), `"held":3`) {
		t.Errorf("%s", r.body)
	}
	if err := e.dir.Close(); err != nil {
		t.Fatal(err)
	}
	e.get("/overview").want(503, "unavailable")
}
