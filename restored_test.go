//go:build unix

package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nowserving/actors/queue"
	"nowserving/persistence/child"
	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

// life is what clients were told of a queue.
type life struct{ numbers map[string]bool }

// enqueue makes one ticket, which must bear a number that nobody has.
func (l *life) enqueue(t *testing.T, c *caller, at string) {
	t.Helper()
	number := c.must(t, at, http.MethodPost, "/queues/a/tickets", "").str(t, "number")
	if l.numbers[number] {
		t.Errorf("%s was given out twice", number)
	}
	l.numbers[number] = true
}

// beforeBackup gives out five numbers and finishes one ticket.
func beforeBackup(t *testing.T, at string) *life {
	t.Helper()
	c := admin(t, at)
	l := &life{numbers: make(map[string]bool)}
	c.must(t, at, http.MethodPost, "/queues", `{"id":"a"}`)
	c.must(t, at, http.MethodPost, "/queues", `{"id":"gone"}`)
	c.must(t, at, http.MethodDelete, "/queues/gone", "")
	for range 5 {
		l.enqueue(t, c, at)
	}
	id := c.must(t, at, http.MethodPost, "/queues/a/call-next", "").str(t, "id")
	c.must(t, at, http.MethodPost, "/queues/a/tickets/"+id+"/complete", `{"outcome":"before"}`)
	eventually(t, "history has followed", func() bool { return strings.Contains(c.must(t, at, http.MethodGet, "/history", "").body, `"before"`) })
	return l
}

// afterBackup does what will be lost.
func (l *life) afterBackup(t *testing.T, at string) {
	t.Helper()
	c := admin(t, at)
	for range 7 {
		l.enqueue(t, c, at)
	}
}

// prove holds what a node says of a restored queue against what was there.
func (l *life) prove(t *testing.T, at string, lost int) {
	t.Helper()
	c := admin(t, at)
	for range 10 {
		l.enqueue(t, c, at)
	}
	if number := fmt.Sprintf("A%03d", 5+lost); l.numbers[number] || !l.numbers[fmt.Sprintf("A%03d", 6+lost)] {
		t.Errorf("numbers are %v", l.numbers)
	}
	for _, number := range []string{"A002", "A005"} {
		if body := c.must(t, at, http.MethodGet, "/queues/a/tickets?number="+number, "").body; !strings.Contains(body, `"waiting"`) {
			t.Errorf("%s: %s", number, body)
		}
	}
	eventually(t, "history has the one before", func() bool {
		return strings.Count(c.must(t, at, http.MethodGet, "/history", "").body, `"outcome":"before"`) == 1
	})
	if version := c.must(t, at, http.MethodGet, "/queues/a", "").fields(t)["version"].(float64); version < queue.EpochGap {
		t.Errorf("version %v may be one that screens have seen", version)
	}
	if body := c.must(t, at, http.MethodGet, "/audit?action=stores.restored", "").body; strings.Count(body, `"action"`) != 2 {
		t.Errorf("%s", body)
	}
}

func TestRestoreDataDir(t *testing.T) {
	t.Parallel()
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	p := startNode(t, dir)
	l := beforeBackup(t, p.url)
	p.stop()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", dir, backup).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p = startNode(t, dir)
	l.afterBackup(t, p.url)
	if o := runProgram(t, "", nil, "restored", "--data-dir", dir); o.code == 0 {
		t.Errorf("it was done while a node ran: %+v", o)
	}
	p.kill()
	for range 2 {
		if o := runProgram(t, "", nil, "restored", "--data-dir", backup, "--lost-events", "600"); o.code != 0 || !strings.Contains(o.stdout, "starts: 2.") {
			t.Fatalf("%+v", o)
		}
	}
	p = startNode(t, backup)
	l.prove(t, p.url, 600)
	if strings.Contains(p.log(), `"queue":"gone"`) {
		t.Error("a deleted queue is missed")
	}
	if o := runProgram(t, "", nil, "restored", "--data-dir", t.TempDir()); o.code == 0 {
		t.Errorf("nothing is there, and it was done: %+v", o)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	database, redis := mariadbtest.StartWith(t, mariadbtest.Options{}), redistest.StartWith(t, redistest.Options{})
	databaseURL := database.Database(t)
	args := []string{"--redis-url", redis.URL(), "--database-url", databaseURL}
	serve := []string{"--cluster-provider", "redis", "--token-keys", testRing, "--data-keys", testRing}
	p := startNode(t, t.TempDir(), append(serve, args...)...)
	eventually(t, "the node is ready", func() bool { return ready(t, p.url) == "200 ready" })
	l := beforeBackup(t, p.url)

	target, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := target.User.Password()
	login, backup, dir := filepath.Join(t.TempDir(), "login"), t.TempDir(), t.TempDir()
	text := fmt.Sprintf("[client]\nuser=%s\npassword=%s\nhost=127.0.0.1\nport=%s\n", target.User.Username(), password, target.Port())
	if err := os.WriteFile(login, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	port, err := child.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	script := func(mark string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", blockOf(t, "docs/operations.md", mark))
		cmd.Env = append(os.Environ(), "login="+login, "backup="+backup, "dir="+dir, "redis="+redis.URL(),
			"database="+strings.TrimPrefix(target.Path, "/"), fmt.Sprint("port=", port))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v:\n%s", mark, err, out)
		}
	}
	script("backup")
	l.afterBackup(t, p.url)
	if o := runProgram(t, "", nil, append([]string{"restored"}, args...)...); o.code == 0 || !strings.Contains(o.stderr, "stop all nodes first") {
		t.Errorf("it was done while a node ran: %+v", o)
	}
	p.kill()
	redis.Kill()
	script("restore")

	args[1] = redistest.StartWith(t, redistest.Options{Dir: dir}).URL()
	later := []string{testClock + "=" + (2 * time.Minute).String()} // than the last word of the node in the backup
	for range 2 {
		if o := runProgram(t, "", later, append([]string{"restored"}, args...)...); o.code != 0 {
			t.Fatalf("%+v", o)
		}
	}
	p = startNode(t, t.TempDir(), append(serve, args...)...)
	eventually(t, "the node is ready", func() bool { return ready(t, p.url) == "200 ready" })
	l.prove(t, p.url, lostByDefault)
}
