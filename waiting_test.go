package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"nowserving/gateway/rabbit/rabbittest"
	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

const (
	saysItWaits = "the node waits for what it cannot start without"
	saysItHas   = "the node has what it waited for"
)

// launchNode starts a node that may have to wait, and gives where it answers
// meanwhile: its own address and the operators'.
func launchNode(t testing.TB, args ...string) (p *process, addresses []string) {
	t.Helper()
	args = append([]string{"--http-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--data-dir", t.TempDir()}, args...)
	p = launch(t, programCommand("node", []string{"NOWSERVING_ADMIN_PASSWORD=" + adminPassword}, args...))
	eventually(t, "the node waits", func() bool { return p.logged(saysItWaits, "url") != "" })
	return p, []string{p.logged(saysItWaits, "url"), p.logged("operators are served", "url")}
}

func TestNodeWaitsForItsStores(t *testing.T) {
	t.Parallel()
	redis := redistest.StartWith(t, redistest.Options{})
	mariadb := mariadbtest.StartWith(t, mariadbtest.Options{})
	rabbit := rabbittest.StartPrivate(t)
	args := []string{"--redis-url", redis.URL(), "--database-url", mariadb.Database(t), "--amqp-url", rabbit.URL()}
	redis.Kill()
	mariadb.Kill()
	rabbit.Kill()

	p, addresses := launchNode(t, args...)
	says := func(want string) {
		t.Helper()
		for _, url := range addresses {
			eventually(t, url+"/readyz: "+want, func() bool { return readiness(t, url) == want })
			if a := get(t, url+"/livez"); a.status != http.StatusOK {
				t.Errorf("/livez of a node that starts: %d %s", a.status, a.body)
			}
		}
	}
	says("503 starting [journal database]")
	for _, path := range []string{"/api/v1/queues", "/api/v1/ws", "/"} {
		a := get(t, addresses[0]+path)
		if a.status != http.StatusServiceUnavailable || a.str(t, "code") != "unavailable" || a.header.Get("Retry-After") == "" ||
			a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s of a node that starts: %d %v %s", path, a.status, a.header, a.body)
		}
	}
	for _, what := range []string{"journal", "database"} { // it lacks both before it has tried
		eventually(t, "the node says that it waits for its "+what, func() bool { return strings.Contains(p.log(), saysItWaits+`","what":"`+what) })
	}
	if err := redis.Restart(); err != nil {
		t.Fatal(err)
	}
	says("503 starting [database]")
	if err := mariadb.Restart(); err != nil {
		t.Fatal(err)
	}
	p.awaitServing()
	if p.url != addresses[0] {
		t.Errorf("the node serves %s, and answered at %s before", p.url, addresses[0])
	}
	says("503 starting [rabbitmq]")
	if err := rabbit.Restart(); err != nil {
		t.Fatal(err)
	}
	says("200 ready []")
	for _, line := range []string{
		saysItWaits + `","what":"journal"`, saysItWaits + `","what":"database"`,
		saysItHas + `","what":"journal"`, saysItHas + `","what":"database"`,
	} {
		if n := strings.Count(p.log(), line); n != 1 {
			t.Errorf("%d times in the log, not once: %s", n, line)
		}
	}
	c := admin(t, p.url)
	c.must(t, p.url, "POST", "/queues", `{"id":"post"}`)
}

// A store that takes connections and does not answer is away too.
func TestNodeWaitsForStoresThatHang(t *testing.T) {
	t.Parallel()
	redis := redistest.StartWith(t, redistest.Options{})
	mariadb := mariadbtest.StartWith(t, mariadbtest.Options{})
	args := []string{"--redis-url", redis.URL(), "--database-url", mariadb.Database(t)}
	for _, pause := range []func() error{redis.Pause, mariadb.Pause} {
		if err := pause(); err != nil {
			t.Fatal(err)
		}
	}
	p, addresses := launchNode(t, args...)
	if got := readiness(t, addresses[0]); got != "503 starting [journal database]" {
		t.Errorf("/readyz: %s", got)
	}
	for _, resume := range []func() error{mariadb.Resume, redis.Resume} {
		if err := resume(); err != nil {
			t.Fatal(err)
		}
	}
	p.awaitServing()
	eventually(t, "the node is ready", func() bool { return readiness(t, p.url) == "200 ready []" })
}

func TestSIGTERMWhileWaiting(t *testing.T) {
	t.Parallel()
	p, addresses := launchNode(t, "--redis-url", "redis://:SECRET@127.0.0.1:1", "--database-url", "mysql://u:SECRET@127.0.0.1:1/n")
	if a := get(t, addresses[0]+"/readyz"); a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a node that starts answers unguarded: %v", a.header)
	}
	if code, took := p.stop(); code != 0 || took > 5*time.Second {
		t.Errorf("exit code %d after %s", code, took)
	}
	if said := p.log(); strings.Contains(said, "SECRET") || !strings.Contains(said, "connection refused") {
		t.Errorf("said %s", said)
	}
}

// A store that lets nobody in, or is of no use, is not away: who started the node is told.
func TestRefusedLoginsEndTheStart(t *testing.T) {
	t.Parallel()
	redis := redistest.StartWith(t, redistest.Options{Args: []string{"--requirepass", "right"}})
	forgets := redistest.StartWith(t, redistest.Options{NoAOF: true})
	mariadb := mariadbtest.StartWith(t, mariadbtest.Options{})
	for _, wrong := range []struct{ flag, url, says string }{
		{"--redis-url", "redis://" + redis.Addr(), "NOAUTH"},
		{"--redis-url", "redis://:SECRET@" + redis.Addr(), "WRONGPASS"},
		{"--redis-url", forgets.URL(), "the journal needs appendonly yes"},
		{"--database-url", "mysql://u:SECRET@" + mariadb.Addr() + "/n", "wrong user or password"},
		{"--database-url", mariadb.URL("nothing"), "there is no such database"},
	} {
		o := runProgram(t, "", nil, "--data-dir", t.TempDir(), "--http-addr", "127.0.0.1:0", wrong.flag, wrong.url)
		if o.code != exitFailed || strings.Count(o.stderr, "\n") != 1 || !strings.Contains(o.stderr, wrong.says) || strings.Contains(o.stderr, "SECRET") {
			t.Errorf("%s: exit code %d: %s", wrong.says, o.code, o.stderr)
		}
	}
}
