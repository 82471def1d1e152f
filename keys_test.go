package main

import (
	"bytes"
	"database/sql"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"nowserving/actors/queue"
	"nowserving/persistence/directory"
	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
	"nowserving/persistence/seal"
)

const adaBody = `{"customer":{"name":"Ada Marsh","phone":"+44 20 7946 0018"},"payload":{"documents":2}}`

// seesAda looks at tickets on nodes.
func (c *caller) seesAda(t testing.TB, on *process, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if text := c.must(t, on.url, http.MethodGet, path, "").body; !strings.Contains(text, `"name":"Ada Marsh"`) || !strings.Contains(text, `{"documents":2}`) {
			t.Errorf("%s: %s", path, text)
		}
	}
}

// rotate runs keys rotate, which must succeed.
func rotate(t testing.TB, args ...string) string {
	t.Helper()
	o := runProgram(t, "", nil, append([]string{"keys", "rotate"}, args...)...)
	if o.code != 0 || o.stderr != "" {
		t.Fatalf("exit code %d: %s%s", o.code, o.stdout, o.stderr)
	}
	return o.stdout
}

func ringIDs(t testing.TB, file string) []string {
	t.Helper()
	r, err := seal.ReadRing(file, true)
	if err != nil {
		t.Fatal(err)
	}
	return r.IDs()
}

// The ring in the data dir gets a new key, which wraps all data keys; the node
// that runs reads it, and one that starts later does.
func TestKeysRotateBesideARunningNode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, dataKeysFile)
	p := startNode(t, dir)
	who := admin(t, p.url)
	who.must(t, p.url, http.MethodPost, "/queues", `{"id":"hall"}`)
	enqueue := func() string {
		return "/queues/hall/tickets/" + who.must(t, p.url, http.MethodPost, "/queues/hall/tickets", adaBody).str(t, "id")
	}
	tickets := []string{enqueue()}
	who.must(t, p.url, http.MethodPost, "/webhooks", `{"url":"https://example.org","enabled":false}`)
	// One that the node makes in the same moment may still be wrapped by the key before.
	eventually(t, "the keys of the queue's day, of the next one and of the index are made", func() bool {
		return regexp.MustCompile(`(?m)^k.*\) +3 +20`).MatchString(rotate(t, "--data-dir", dir, "--show"))
	})
	for round := 2; round <= 4; round++ {
		before := ringIDs(t, file)
		said := rotate(t, "--data-dir", dir)
		after := ringIDs(t, file)
		if len(after) != round || after[1] != before[0] {
			t.Fatalf("the ring %v became %v", before, after)
		}
		if !regexp.MustCompile(`(?m)^`+after[0]+` .* [23] .*the first key: it wraps$`).MatchString(said) ||
			!regexp.MustCompile(`(?m)^`+before[0]+` .* 0 .*needed: repeated requests`).MatchString(said) {
			t.Errorf("it said\n%s", said)
		}
		if !strings.Contains(said, "1 users were sealed anew, 0 cannot") || !strings.Contains(said, "1 webhooks were sealed anew, 0 cannot") {
			t.Errorf("of users and webhooks it said\n%s", said)
		}
		admin(t, p.url) // is found by the new key
		if !strings.Contains(p.log(), after[0]) {
			t.Errorf("the node does not have %s", after[0])
		}
		tickets = append(tickets, enqueue())
		who.seesAda(t, p, tickets...)
		if hooks := who.must(t, p.url, http.MethodGet, "/webhooks", "").body; !strings.Contains(hooks, `"url":"https://example.org"`) {
			t.Errorf("the webhook is %s", hooks)
		}
	}
	if code, _ := p.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	said := rotate(t, "--data-dir", dir, "--show")
	if strings.Count(said, "the first key: it wraps") != 1 || len(ringIDs(t, file)) != 4 {
		t.Errorf("--show changed something or said\n%s", said)
	}
	rotate(t, "--data-dir", dir)
	p = startNode(t, dir)
	who = admin(t, p.url)
	who.seesAda(t, p, tickets...)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || len(ringIDs(t, file)) != 5 {
		t.Error(info.Mode(), err, ringIDs(t, file))
	}
}

// ringFile is a file with a ring of keys whose bytes are all the id's last letter.
type ringFile struct {
	t    testing.TB
	path string
}

func newRingFile(t testing.TB, ids ...string) ringFile {
	f := ringFile{t, filepath.Join(t.TempDir(), "ring")}
	f.write(ids...)
	return f
}

func ringText(ids ...string) string {
	entries := make([]string, len(ids))
	for i, id := range ids {
		entries[i] = id + ":" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte(id[len(id)-1:]), seal.KeySize))
	}
	return strings.Join(entries, ",")
}

func (f ringFile) write(ids ...string) {
	f.t.Helper()
	temp := f.path + ".new"
	if err := os.WriteFile(temp, []byte(ringText(ids...)+"\n"), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(temp, f.path); err != nil {
		f.t.Fatal(err)
	}
}

// Several nodes: no step that is taken too early loses anything or is even seen.
func TestRotationOfSeveralNodes(t *testing.T) {
	t.Parallel()
	server, redis := mariadbtest.StartWith(t, mariadbtest.Options{}), redistest.Start(t)
	database := server.Database(t)
	var nodes []*process
	var files []ringFile
	for range 2 {
		f := newRingFile(t, "k1")
		files = append(files, f)
		nodes = append(nodes, startNode(t, t.TempDir(), "--cluster-provider", "redis", "--redis-url", redis, "--database-url", database,
			"--token-keys", testRing, "--data-keys-file", f.path))
	}
	for _, p := range nodes {
		eventually(t, "the node is ready", func() bool { return ready(t, p.url) == "200 ready" })
	}
	a, b := nodes[0], nodes[1]
	who := admin(t, a.url)
	who.must(t, a.url, http.MethodPost, "/queues", `{"id":"hall"}`)
	var tickets []string
	check := func() { // what each node seals the other opens
		t.Helper()
		for _, p := range nodes {
			tickets = append(tickets, "/queues/hall/tickets/"+who.must(t, p.url, http.MethodPost, "/queues/hall/tickets", adaBody).str(t, "id"))
		}
		who.seesAda(t, a, tickets...)
		who.seesAda(t, b, tickets...)
	}
	check()
	mine := newRingFile(t, "k2", "k1")
	refused := func(says string) {
		t.Helper()
		o := runProgram(t, "", nil, "keys", "rotate", "--database-url", database, "--data-keys-file", mine.path)
		if o.code != exitFailed || !strings.Contains(o.stderr, says) {
			t.Errorf("exit code %d: %s%s", o.code, o.stdout, o.stderr)
		}
	}
	refused(" does not have the key k2: put it at the end of every node's ring first; nothing was changed")

	// One node gets both steps at once: it waits with the second one.
	files[0].write("k2", "k1")
	eventually(t, "the first node waits", func() bool { return strings.Contains(a.log(), "not every node that runs has its first key k2") })
	check()
	refused("the node " + b.url + " at 127.0.0.1:0 does not have the key k2")
	files[1].write("k1", "k2")
	eventually(t, "the first node goes on", func() bool { return a.logged("the key ring has another first key", "key") == "k2" })
	check()
	files[1].write("k2", "k1")
	eventually(t, "the second node goes on", func() bool { return b.logged("the key ring has another first key", "key") == "k2" })
	check()

	// The old key may not leave: it still wraps, and then it still knows requests.
	files[1].write("k2")
	eventually(t, "the key stays", func() bool {
		return strings.Contains(b.log(), "the key k1 is not in it any more, and is needed: it wraps")
	})
	check()
	args := []string{"--database-url", database, "--data-keys-file", mine.path}
	if said := rotate(t, args...); !regexp.MustCompile(`(?m)^k1 .*needed: repeated requests of the last 24 hours`).MatchString(said) {
		t.Errorf("it said\n%s", said)
	}
	eventually(t, "the key stays", func() bool { return strings.Contains(b.log(), "repeated requests of the last 24 hours") })
	check()
	db := openSQL(t, server, database)
	mustExec(t, db, "UPDATE ring_keys SET led_ms = led_ms - 86400000 WHERE id = 'k1'")
	if said := rotate(t, append(args, "--show")...); !regexp.MustCompile(`(?m)^k1 .*may be taken out of every ring`).MatchString(said) {
		t.Errorf("it said\n%s", said)
	}
	files[0].write("k2")
	for _, p := range nodes {
		eventually(t, "the key leaves", func() bool {
			return strings.Contains(p.log(), `"msg":"the key ring has been read again","file":`) && strings.Contains(p.log(), `"keys":"k2"}`)
		})
	}
	check()

	// Other bytes under a known id are refused, by whoever is to use them.
	other := strings.Replace(ringText("k2"), ringText("k2")[3:], ringText("k3")[3:], 1)
	o := runProgram(t, "", nil, "keys", "rotate", "--database-url", database, "--data-keys", other)
	if o.code != exitUsage || !strings.Contains(o.stderr, "another key of this id is known: k2") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	o = runProgram(t, "", nil, "--http-addr", "127.0.0.1:0", "--data-dir", t.TempDir(), "--database-url", database, "--data-keys", other)
	if o.code != exitUsage || !strings.Contains(o.stderr, "another key of this id is known: k2") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}

func openSQL(t testing.TB, server *mariadbtest.Server, url string) *sql.DB {
	t.Helper()
	db, err := server.Open(url[strings.LastIndex(url, "/")+1:])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func mustExec(t testing.TB, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

// Finished tickets that the ring itself sealed, as before there were data keys,
// get data keys; those that it cannot open stay.
func TestRotationSealsHistoryAnew(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]directory.Options{
		"sqlite": {Dir: t.TempDir()}, "mariadb": {DatabaseURL: mariadbtest.Start(t)},
	} {
		d, err := directory.Open(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		if err := d.PutQueue(t.Context(), directory.QueueRow{ID: "hall", Version: 1}); err != nil {
			t.Fatal(err)
		}
		old, err := seal.ParseRing(ringText("k1"))
		if err != nil {
			t.Fatal(err)
		}
		gone, err := seal.ParseRing(ringText("k0"))
		if err != nil {
			t.Fatal(err)
		}
		part := directory.HistoryPart{Queue: "hall", Upto: 1}
		const tickets = historyAtOnce + 10
		for i := range tickets {
			part.Changes = append(part.Changes, directory.HistoryChange{Finished: finishedAda(old, gone, i)})
		}
		if err := d.TakeHistory(t.Context(), []directory.HistoryPart{part}); err != nil {
			t.Fatal(name, err)
		}
		args := []string{"--data-keys", ringText("k2", "k1"), "--data-dir", options.Dir}
		if options.DatabaseURL != "" {
			args = append(args[:2], "--database-url", options.DatabaseURL)
		}
		said := rotate(t, args...)
		if !strings.Contains(said, fmt.Sprintf(" %d finished tickets sealed anew", tickets-1)) {
			t.Errorf("%s: it said\n%s", name, said)
		}
		if again := rotate(t, args...); !strings.Contains(again, " 0 finished tickets sealed anew") {
			t.Errorf("%s: it said again\n%s", name, again)
		}
		ring, err := seal.ParseRing(ringText("k2"))
		if err != nil {
			t.Fatal(err)
		}
		keys := seal.NewDataKeys(ring, d, quiet, time.Now)
		rows, _, err := d.ListHistory(t.Context(), directory.HistoryFilter{}, nil, 100)
		if err != nil || len(rows) != 100 {
			t.Fatal(name, len(rows), err)
		}
		lost := 0
		for _, row := range rows {
			customer, err := keys.Open("customer", row.Visit, row.Customer)
			payload, err2 := keys.Open("payload", row.Visit, row.Payload)
			switch {
			case err != nil && err2 != nil:
				lost++
			case string(customer) != `{"name":"Ada"}` || err2 != nil || string(payload) != "1":
				t.Fatalf("%s: %s %s %v %v", name, customer, payload, err, err2)
			}
		}
		if lost != 1 {
			t.Errorf("%s: %d tickets cannot be opened", name, lost)
		}
	}
}

// finishedAda is a ticket of Ada's; a key that is gone sealed the data of one.
func finishedAda(ring, gone *seal.Ring, i int) *queue.Ticket {
	if i == 50 {
		ring = gone
	}
	now := queue.Time(time.Now().UnixMilli() - int64(i))
	ticket := &queue.Ticket{
		ID: queue.TicketID(uuid.Must(uuid.NewV7())), Number: "A001", State: queue.Completed, Source: queue.FromREST,
		EnqueuedAt: now, CalledAt: now, StartedAt: now, FinishedAt: now,
	}
	ticket.Visit = ticket.ID
	ticket.Customer = ring.Seal("customer", ticket.Visit, []byte(`{"name":"Ada"}`))
	ticket.Payload = ring.Seal("payload", ticket.Visit, []byte("1"))
	return ticket
}
