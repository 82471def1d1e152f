package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"nowserving/actors/queue"
	"nowserving/faults"
	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

// metric gives a line of /metrics by its name and labels.
func metric(t testing.TB, ops, name string) string {
	t.Helper()
	for line := range strings.Lines(get(t, ops+"/metrics").body) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("there is no metric %s", name)
	return ""
}

func (p *process) ops() string { return p.logged("operators are served", "url") }

// followed waits until history has every event that the node knows of.
func (p *process) followed() {
	p.t.Helper()
	eventually(p.t, "history has all events", func() bool {
		return metric(p.t, p.ops(), `nowserving_events_not_followed{follower="history"}`) == "0"
	})
}

// A Redis that is there and refuses writes, whatever for, is as good as none:
// nothing is acknowledged, what is refused certainly did not happen, and when
// Redis takes writes again the node goes on by itself.
func TestRedisThatRefusesWrites(t *testing.T) {
	t.Parallel()
	server := redistest.StartWith(t, redistest.Options{})
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	p := startNode(t, t.TempDir(), "--redis-url", server.URL(), "--ops-addr", "127.0.0.1:0")
	l := startLoad(t, p)
	for _, c := range []struct{ refuse, allow []any }{
		{[]any{"config", "set", "maxmemory", "1"}, []any{"config", "set", "maxmemory", "0"}},
		{[]any{"replicaof", "127.0.0.1", "1"}, []any{"replicaof", "no", "one"}},
		{[]any{"config", "set", "min-replicas-to-write", "1"}, []any{"config", "set", "min-replicas-to-write", "0"}},
	} {
		l.after(crashesEach / 2)
		if err := rdb.Do(context.Background(), c.refuse...).Err(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the node names the journal", func() bool { return readiness(t, p.url) == "503 unavailable [journal]" })
		if up := metric(t, p.ops(), `nowserving_dependency_up{dependency="journal"}`); up != "0" {
			t.Errorf("%v: the journal is up: %s", c.refuse, up)
		}
		for range 20 {
			a, err := l.admin.call(p.url, "POST", "/queues/line-0/tickets", "", "")
			if err != nil || a.status != http.StatusServiceUnavailable || a.str(t, "code") != "unavailable" || a.header.Get("Retry-After") == "" {
				t.Fatalf("%v: %v %d %s", c.refuse, err, a.status, a.body)
			}
		}
		if err := rdb.Do(context.Background(), c.allow...).Err(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the node is ready again", func() bool { return readiness(t, p.url) == "200 ready []" })
	}
	l.after(crashesEach / 2)
	l.prove()
	if n := metric(t, p.ops(), `nowserving_append_failures_total{kind="unavailable"}`); n == "0" {
		t.Error("no refused append was counted")
	}
	if n := strings.Count(p.log(), "the journal takes nothing") + strings.Count(p.log(), "could not be loaded"); n > 3*loadQueues {
		t.Errorf("three outages are told of in %d lines", n)
	}
	for said, times := range map[string]int{"the journal cannot be used": 3, "the journal can be used again": 3, "a new epoch begins": 0} {
		if n := strings.Count(p.log(), said); n != times {
			t.Errorf("the log says %d times, not %d: %s", n, times, said)
		}
	}
}

// A slow Redis makes the node slow and breaks nothing.
func TestSlowRedis(t *testing.T) {
	t.Parallel()
	link, err := faults.NewLink(redistest.StartWith(t, redistest.Options{}).Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	p := startNode(t, t.TempDir(), "--redis-url", "redis://"+link.Addr())
	eventually(t, "the node is ready", func() bool { return readiness(t, p.url) == "200 ready []" })
	l := startLoad(t, p)
	l.after(crashesEach / 4)
	link.Set(faults.Mode{Delay: 200 * time.Millisecond})
	s := l.admin.dial(t, p.url)
	s.send(`{"type":"subscribe","id":"1","queue":"line-0"}`)
	version := s.next("snapshot").Version
	const looks = crashesEach / 8
	away := 0 // a machine that is busy with other tests may make Redis slower still
	for range looks {
		l.after(1)
		if readiness(t, p.url) != "200 ready []" {
			away++
		}
	}
	if away > looks/4 {
		t.Errorf("%d of %d times the node was not ready", away, looks)
	}
	for range 10 {
		version++
		if f := s.next("event"); f.Version != version {
			t.Fatalf("event %d, want %d", f.Version, version)
		}
	}
	l.mu.Lock()
	retried := l.retried
	l.mu.Unlock()
	if retried != 0 {
		t.Errorf("%d operations were refused", retried)
	}
	link.Set(faults.Mode{})
	l.prove()
}

// shop is a queue on a node on a Redis that will lose something.
type shop struct {
	*process
	t     *testing.T
	redis *redistest.Server
	dir   string
	user  *caller
}

func openShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, redis: redistest.StartWith(t, redistest.Options{}), dir: t.TempDir()}
	s.start()
	s.user = admin(t, s.url)
	return s
}

func (s *shop) start() {
	s.t.Helper()
	s.process = startNode(s.t, s.dir, "--redis-url", s.redis.URL(), "--ops-addr", "127.0.0.1:0")
}

func (s *shop) post(path, body string) answered {
	s.t.Helper()
	return s.user.must(s.t, s.url, "POST", path, body)
}

func (s *shop) enqueue(times int) (last answered) {
	s.t.Helper()
	for range times {
		last = s.post("/queues/shop/tickets", "")
	}
	return last
}

// serve calls the next ticket and completes it.
func (s *shop) serve() (id string) {
	s.t.Helper()
	id = s.post("/queues/shop/call-next", `{"desk":"1"}`).str(s.t, "id")
	s.post("/queues/shop/tickets/"+id+"/complete", "")
	return id
}

// finished gives the ids in the history.
func (s *shop) finished() (ids []string) {
	s.t.Helper()
	for _, row := range s.user.must(s.t, s.url, "GET", "/history", "").fields(s.t)["items"].([]any) {
		ids = append(ids, row.(map[string]any)["id"].(string))
	}
	return ids
}

func (s *shop) subscribe() (*socket, frame) {
	s.t.Helper()
	k := s.user.dial(s.t, s.url)
	k.send(`{"type":"subscribe","id":"1","queue":"shop"}`)
	return k, k.next("snapshot")
}

// Redis comes back as it was a while ago, under a node that lives: whoever
// follows the queue is shown at once what is left of it, in a new epoch above
// all that was known, though nobody asked for anything.
func TestRedisRolledBack(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.post("/queues", `{"id":"shop"}`)
	s.enqueue(3)
	rollBack := s.redis.Remember(t)
	k, before := s.subscribe()
	s.enqueue(2)
	served := s.serve()
	for range 4 {
		k.next("event")
	}
	s.followed()
	rollBack()

	after := k.next("snapshot")
	if after.Epoch == before.Epoch || after.Version != before.Version+4+queue.EpochGap {
		t.Errorf("after version %d of epoch %s: version %d of epoch %s", before.Version+4, before.Epoch, after.Version, after.Epoch)
	}
	if a := s.enqueue(1); a.version() != after.Version+1 || a.str(t, "number") != "A504" {
		t.Errorf("version %d, number %s", a.version(), a.str(t, "number"))
	}
	if e := k.next("event"); e.Version != after.Version+1 {
		t.Errorf("event %d after a snapshot of %d", e.Version, after.Version)
	}
	// The ticket that had been served waits again; that it is served once more
	// holds nobody up.
	if again := s.serve(); again != served {
		t.Errorf("ticket %s is first, not %s", again, served)
	}
	other := s.serve()
	eventually(t, "history goes on", func() bool {
		ids := fmt.Sprint(s.finished())
		return strings.Contains(ids, other) && strings.Count(ids, served) == 1
	})
	if n := metric(t, s.ops(), "nowserving_epochs_begun_total"); n != "1" {
		t.Errorf("%s epochs are counted", n)
	}
	if n := metric(t, s.ops(), "nowserving_lost_events_total"); n != "4" {
		t.Errorf("%s lost events are counted", n)
	}
	if n := strings.Count(s.log(), "a new epoch begins"); n != 1 {
		t.Errorf("the log tells %d times of a new epoch", n)
	}
}

// Redis comes back empty under a node that lives: the queue is gone, whoever
// follows it is told, and made anew it stands above what it was.
func TestRedisRestartedEmpty(t *testing.T) {
	t.Parallel()
	server := redistest.StartWith(t, redistest.Options{})
	empty := server.Remember(t)
	s := &shop{t: t, redis: server, dir: t.TempDir()}
	s.start()
	s.user = admin(t, s.url)
	s.post("/queues", `{"id":"shop"}`)
	last := s.enqueue(3)
	k, before := s.subscribe()
	empty()

	k.next("gone")
	for _, o := range []operation{{method: "GET", path: "/queues/shop"}, {method: "POST", path: "/queues/shop/tickets"}} {
		a, err := s.user.call(s.url, o.method, o.path, "", "")
		if err != nil || a.status != http.StatusNotFound || a.str(t, "code") != "queue_not_found" {
			t.Errorf("%s %s: %v %d %s", o.method, o.path, err, a.status, a.body)
		}
	}
	if a := s.post("/queues", `{"id":"shop"}`); a.version() != last.version()+queue.EpochGap {
		t.Errorf("made anew at version %d after %d", a.version(), last.version())
	}
	if n := s.enqueue(1).str(t, "number"); n != "A501" {
		t.Errorf("number %s", n)
	}
	if _, after := s.subscribe(); after.Epoch == before.Epoch {
		t.Error("made anew in the same epoch")
	}
	// Whichever came first: the queue that was asked, or the feed that looked.
	if log := s.log(); !strings.Contains(log, "lost the whole journal of the queue") && !strings.Contains(log, "lost the queue's events") {
		t.Errorf("the log does not say that the journal is gone:\n%s", s.log())
	}
}

// History follows the queue when its store has lost events that history has had:
// a ticket that was requeued in one of them has finished again, and one that
// finished otherwise has finished as before.
func TestHistoryAfterARollback(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.post("/queues", `{"id":"shop"}`)
	s.enqueue(2)
	first, second := s.serve(), s.serve()
	history := func() string {
		outcomes := map[string]string{}
		for _, row := range s.user.must(t, s.url, "GET", "/history", "").fields(t)["items"].([]any) {
			row := row.(map[string]any)
			outcomes[row["id"].(string)] = row["state"].(string)
		}
		return outcomes[first] + " " + outcomes[second]
	}
	eventually(t, "both have finished", func() bool { return history() == "completed completed" })
	rollBack := s.redis.Remember(t)
	for _, id := range []string{first, second} {
		s.post("/queues/shop/tickets/"+id+"/requeue", "")
	}
	s.user.must(t, s.url, "DELETE", "/queues/shop/tickets/"+second, "")
	eventually(t, "history knows it", func() bool { return history() == " removed" })
	s.followed()
	arrivals := func() any {
		return s.user.must(t, s.url, "GET", "/queues/shop/statistics", "").fields(t)["total"].(map[string]any)["arrivals"]
	}
	before := arrivals()
	rollBack()
	eventually(t, "history is the queue's", func() bool { return history() == "completed completed" })
	if after := arrivals(); after != before {
		t.Errorf("%v arrivals after %v", after, before)
	}
}

// Node and Redis fall at once, Redis back to an older state, before the list of
// queues had followed: those who were given the events know of them.
func TestRedisRolledBackWithItsNode(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.post("/queues", `{"id":"shop"}`)
	rolledBackTo := s.enqueue(1).version()
	rollBack := s.redis.Remember(t)
	k, before := s.subscribe()
	last := s.enqueue(3)
	s.followed()
	s.kill()
	_ = k.conn.Close()
	db, err := sql.Open("sqlite", filepath.Join(s.dir, "directory.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE queues SET version = ?", rolledBackTo); err != nil {
		t.Fatal(err)
	}
	rollBack()
	s.start()
	if a := s.enqueue(1); a.version() != last.version()+queue.EpochGap+1 {
		t.Errorf("version %d after %d", a.version(), last.version())
	}
	if _, after := s.subscribe(); after.Epoch == before.Epoch {
		t.Error("it goes on in the same epoch")
	}
	served := s.serve()
	eventually(t, "history goes on", func() bool { return strings.Contains(fmt.Sprint(s.finished()), served) })
}

// The node of a queue falls with Redis and the database, and Redis comes back
// as it was before: the other nodes have heard of the versions that are lost.
func TestOtherNodesKnowWhatIsLost(t *testing.T) {
	t.Parallel()
	database, server := mariadbtest.StartWith(t, mariadbtest.Options{}), redistest.StartWith(t, redistest.Options{})
	url := database.Database(t)
	var nodes []*process
	for range 3 {
		nodes = append(nodes, startNode(t, t.TempDir(), "--cluster-provider", "redis", "--redis-url", server.URL(), "--database-url", url,
			"--token-keys", testRing, "--data-keys", testRing, "--ops-addr", "127.0.0.1:0"))
	}
	for _, p := range nodes {
		eventually(t, "the node is ready", func() bool { return readiness(t, p.url) == "200 ready []" })
	}
	s := &shop{t: t, process: nodes[0], user: admin(t, nodes[0].url)}
	s.post("/queues", `{"id":"shop"}`)
	s.enqueue(2)
	for _, p := range nodes {
		p.followed()
	}
	rollBack := server.Remember(t)
	_, before := s.subscribe()
	database.Kill()
	last := s.enqueue(3)
	i := slices.IndexFunc(nodes, func(p *process) bool { return metric(t, p.ops(), "nowserving_active_queues") == "1" })
	nodes[i].kill()
	rollBack()

	s.process = nodes[(i+1)%len(nodes)]
	_, after := s.subscribe()
	if after.Epoch == before.Epoch || after.Version != last.version()+queue.EpochGap {
		t.Errorf("after version %d of epoch %s: version %d of epoch %s", last.version(), before.Epoch, after.Version, after.Epoch)
	}
}
