package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

// readiness is the whole of what /readyz says.
func readiness(t testing.TB, url string) string {
	t.Helper()
	a := get(t, url+"/readyz")
	return fmt.Sprint(a.status, " ", a.str(t, "status"), " ", a.fields(t)["down"])
}

// listed gives each queue's waiting and active count in the list of queues, or
// what was answered instead.
func (c *caller) listed(t testing.TB, url string) map[string]string {
	t.Helper()
	a, err := c.call(url, "GET", "/queues?limit=1000", "", "")
	if err != nil || a.status != http.StatusOK {
		return map[string]string{"": fmt.Sprint(a.status, err)}
	}
	counts := make(map[string]string)
	for _, item := range a.fields(t)["items"].([]any) {
		q := item.(map[string]any)
		counts[q["id"].(string)] = fmt.Sprint(q["waiting"], " ", q["active"], " ", q["status"])
	}
	return counts
}

// proveListed: the list of queues says of each what the queue itself says.
func (l *load) proveListed() {
	l.t.Helper()
	want := make(map[string]string)
	for _, id := range l.queues {
		q := l.admin.must(l.t, l.url(), "GET", "/queues/"+id, "").fields(l.t)
		want[id] = fmt.Sprint(q["waiting"], " ", q["active"], " ", q["status"])
	}
	eventually(l.t, "the list of queues is up with the queues", func() bool {
		return fmt.Sprint(l.admin.listed(l.t, l.url())) == fmt.Sprint(want)
	})
}

// A database that is killed, or hangs, holds no queue up; when it is back the
// list of queues catches up by itself.
func TestDatabaseGoneForAWhile(t *testing.T) {
	t.Parallel()
	database := mariadbtest.StartWith(t, mariadbtest.Options{})
	redis := redistest.StartWith(t, redistest.Options{})
	secret := filepath.Join(t.TempDir(), "database-url")
	if err := os.WriteFile(secret, []byte(database.Database(t)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--redis-url", redis.URL(), "--database-url-file", secret}
	dir := t.TempDir()
	p := startNode(t, dir, args...)
	l := startLoad(t, p)
	l.after(crashesEach)

	eventually(t, "the node is ready", func() bool { return ready(t, p.url) == "200 ready" })
	database.Kill()
	eventually(t, "the node names the database", func() bool { return readiness(t, p.url) == "200 ready [database]" })
	l.after(crashesEach)
	if got := readiness(t, p.url); got != "200 ready [database]" {
		t.Errorf("/readyz: %s", got)
	}
	if got := l.admin.listed(t, p.url); !strings.HasPrefix(got[""], "503") {
		t.Errorf("the list of queues without its database: %v", got)
	}
	if err := database.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is there", func() bool { return readiness(t, p.url) == "200 ready []" })
	l.after(crashesEach)

	if err := database.Pause(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node names the database", func() bool { return readiness(t, p.url) == "200 ready [database]" })
	// Queues that have to be loaded anew ask the database for what it knows.
	if err := redis.Restart(); err != nil {
		t.Fatal(err)
	}
	l.after(crashesEach)
	if err := database.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is there", func() bool { return readiness(t, p.url) == "200 ready []" })
	l.after(crashesEach)
	l.prove()
	l.proveListed()

	// Another start finds users and list there, and nothing of it in the data dir.
	if code, _ := p.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join(dir, "directory.db")); err == nil {
		t.Error("a directory was made in the data dir too")
	}
	again := startNode(t, t.TempDir(), append(args, "--token-keys-file", filepath.Join(dir, "token.keys"), "--data-keys-file", filepath.Join(dir, "data.keys"))...)
	l.nodes(again)
	l.proveListed()
}

func TestUsersInTheDatabase(t *testing.T) {
	t.Parallel()
	url := mariadbtest.Start(t)
	dir := t.TempDir()
	p := startNode(t, dir, "--database-url", url)
	env := []string{"NOWSERVING_DATABASE_URL=" + url, "NOWSERVING_DATA_DIR=/nonexistent"}
	// Without the nodes' keys, or with others, nothing is done.
	for _, keys := range []string{"", "NOWSERVING_DATA_KEYS=other:" + base64.StdEncoding.EncodeToString(make([]byte, 32))} {
		o := runProgram(t, "first walnut\n", append(env, keys), strings.Fields("user add --email bob@example.org")...)
		if o.code != exitUsage || !strings.Contains(o.stderr, "--data-keys: ") {
			t.Fatalf("with keys %q: exit code %d: %s", keys, o.code, o.stdout+o.stderr)
		}
	}
	env = append(env, "NOWSERVING_DATA_KEYS_FILE="+filepath.Join(dir, "data.keys"))
	for _, step := range []struct{ stdin, args, says string }{
		{"first walnut\n", "user add --email bob@example.org --queues post", ""},
		{"", "user list", "bob@example.org"},
		{"second walnut\n", "user passwd --email bob@example.org", ""},
	} {
		o := runProgram(t, step.stdin, env, strings.Fields(step.args)...)
		if o.code != 0 || o.stderr != "" || !strings.Contains(o.stdout, step.says) {
			t.Fatalf("%s: exit code %d: %s", step.args, o.code, o.stdout+o.stderr)
		}
	}
	login(t, p.url, "bob@example.org", "second walnut")
	admin(t, p.url)
}
