package main

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

// inFiles tells whether something stands in any file below a folder.
func inFiles(t testing.TB, dir, what string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !found && entry.Type().IsRegular() {
			var content []byte
			content, err = os.ReadFile(path)
			found = bytes.Contains(content, []byte(what))
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file that a store has just deleted
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// rawStore is a node with its stores.
type rawStore struct {
	*process
	args []string // of the node
	dir  string   // the node's data
	dirs []string // the files of the stores
	db   *sql.DB  // the directory
}

// rawStores start nodes on each kind of store.
var rawStores = map[string]func(t *testing.T, args ...string) *rawStore{
	"sqlite": func(t *testing.T, args ...string) *rawStore {
		dir := t.TempDir()
		s := &rawStore{process: startNode(t, dir, args...), args: args, dir: dir, dirs: []string{dir}}
		db, err := sql.Open("sqlite", filepath.Join(dir, "directory.db")+"?_pragma=busy_timeout(10000)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		s.db = db
		return s
	},
	"redis and mariadb": func(t *testing.T, args ...string) *rawStore {
		s := &rawStore{dir: t.TempDir(), dirs: []string{t.TempDir()}}
		database, redis := mariadbtest.StartWith(t, mariadbtest.Options{Dir: s.dirs[0]}), redistest.StartWith(t, redistest.Options{})
		s.dirs = append(s.dirs, redis.Dir())
		url := database.Database(t)
		s.db = openSQL(t, database, url)
		s.args = append(args, "--redis-url", redis.URL(), "--database-url", url)
		s.process = startNode(t, s.dir, s.args...)
		return s
	},
}

func onRawStores(t *testing.T, args []string, test func(t *testing.T, s *rawStore)) {
	t.Helper()
	for name, start := range rawStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t, args...))
		})
	}
}

// The files of the stores hold nothing of a customer that can be read, whatever
// happens to the ticket.
func TestStoresHoldNoPlaintext(t *testing.T) {
	t.Parallel()
	onRawStores(t, nil, func(t *testing.T, s *rawStore) {
		who := admin(t, s.url)
		for _, id := range []string{"hall", "cash"} {
			who.must(t, s.url, http.MethodPost, "/queues", `{"id":"`+id+`","max_active":9,"public":true}`)
		}
		const ada = `{"service":"Tollkeeping","customer":{"name":"Ada Marsh","phone":"+44 20 7946 0018","email":"marsh@example.net","ref":"C-118733"},"payload":{"wish":"quiet room"}}`
		enqueue := func() string {
			return "/queues/hall/tickets/" + who.must(t, s.url, http.MethodPost, "/queues/hall/tickets", ada).str(t, "id")
		}
		enqueue()
		called, done, moved, changed := enqueue(), enqueue(), enqueue(), enqueue()
		for _, path := range []string{called, done} {
			who.must(t, s.url, http.MethodPost, path+"/call", `{}`)
		}
		who.must(t, s.url, http.MethodPost, done+"/complete", `{"outcome":"helped"}`)
		who.must(t, s.url, http.MethodPost, moved+"/transfer", `{"queue":"cash"}`)
		who.must(t, s.url, http.MethodPatch, changed, `{"customer":{"name":"Bea Marsh"},"payload":"red door"}`)
		eventually(t, "the history has what ended", func() bool {
			return len(who.must(t, s.url, http.MethodGet, "/history", "").fields(t)["items"].([]any)) == 2
		})
		s.stop() // all is in files, and snapshots are
		for _, dir := range s.dirs {
			if !inFiles(t, dir, "Tollkeeping") {
				t.Errorf("what is not sealed is not found below %s", dir)
			}
			for _, words := range []string{"Marsh", "7946 0018", "marsh@", "118733", "quiet room", "red door"} {
				if inFiles(t, dir, words) {
					t.Errorf("%q can be read below %s", words, dir)
				}
			}
		}
		if strings.Contains(s.log(), "Marsh") {
			t.Error("the log tells of a customer")
		}
	})
}

// Values and wrapped keys that were moved or changed in the database are null,
// and everything else is as it was.
func TestTamperedRowsAreNull(t *testing.T) {
	t.Parallel()
	onRawStores(t, nil, func(t *testing.T, s *rawStore) {
		who := admin(t, s.url)
		for _, id := range []string{"hall", "cash"} {
			who.must(t, s.url, http.MethodPost, "/queues", `{"id":"`+id+`"}`)
			for n := range 3 {
				path := "/queues/" + id + "/tickets/" + who.must(t, s.url, http.MethodPost, "/queues/"+id+"/tickets",
					fmt.Sprintf(`{"customer":{"name":"%s %d"},"payload":%d}`, id, n, n)).str(t, "id")
				who.must(t, s.url, http.MethodDelete, path, "")
			}
		}
		shown := func() (all []string) {
			for _, item := range who.must(t, s.url, http.MethodGet, "/history", "").fields(t)["items"].([]any) {
				row := item.(map[string]any)
				name := any(nil)
				if c, ok := row["customer"].(map[string]any); ok {
					name = c["name"]
				}
				all = append(all, fmt.Sprint(row["number"], ":", name, ":", row["payload"]))
			}
			return all
		}
		looks := func(want string) {
			t.Helper()
			if got := strings.Join(shown(), " "); got != want {
				t.Errorf("the history shows %s, want %s", got, want)
			}
		}
		eventually(t, "the history has all", func() bool { return len(shown()) == 6 })
		const cash = "B003:cash 2:2 B002:cash 1:1 B001:cash 0:0"
		looks(cash + " A003:hall 2:2 A002:hall 1:1 A001:hall 0:0")

		// Two tickets' customers, then customer and payload of one, then one byte.
		value := func(column, number string) (v []byte) {
			t.Helper()
			if err := s.db.QueryRow("SELECT "+column+" FROM history WHERE number = ?", number).Scan(&v); err != nil {
				t.Fatal(err)
			}
			return v
		}
		put := func(column, number string, v []byte) {
			t.Helper()
			if _, err := s.db.Exec("UPDATE history SET "+column+" = ? WHERE number = ?", v, number); err != nil {
				t.Fatal(err)
			}
		}
		one, two := value("customer", "A001"), value("customer", "A002")
		put("customer", "A001", two)
		put("customer", "A002", one)
		looks(cash + " A003:hall 2:2 A002:<nil>:1 A001:<nil>:0")
		put("customer", "A001", one)
		put("payload", "A002", two)
		put("customer", "A002", two)
		three := value("payload", "A003")
		three[len(three)-1]++
		put("payload", "A003", three)
		looks(cash + " A003:hall 2:<nil> A002:hall 1:<nil> A001:hall 0:0")

		// The keys of two queues, in each other's place. Nodes unwrap a key once.
		mustExec(t, s.db, "CREATE TABLE kept AS SELECT id, queue_id, day, wrapped FROM data_keys")
		mustExec(t, s.db, "UPDATE data_keys SET wrapped = COALESCE((SELECT wrapped FROM kept WHERE kept.day = data_keys.day"+
			" AND kept.queue_id <> data_keys.queue_id AND kept.queue_id IN ('hall', 'cash')), wrapped) WHERE queue_id IN ('hall', 'cash')")
		s.stop()
		s.process = startNode(t, s.dir, s.args...)
		who = admin(t, s.url)
		looks("B003:<nil>:<nil> B002:<nil>:<nil> B001:<nil>:<nil> A003:<nil>:<nil> A002:<nil>:<nil> A001:<nil>:<nil>")
		mustExec(t, s.db, "UPDATE data_keys SET wrapped = (SELECT wrapped FROM kept WHERE kept.id = data_keys.id)")
		eventually(t, "the keys are read again", func() bool { return strings.HasPrefix(strings.Join(shown(), " "), cash) })
		looks(cash + " A003:hall 2:<nil> A002:hall 1:<nil> A001:hall 0:0")
	})
}

// Without the key that wraps, all but what it protects goes on; the log counts,
// and a key that turns up again brings all back.
func TestLostRingKey(t *testing.T) {
	t.Parallel()
	ring := newRingFile(t, "k1")
	onRawStores(t, []string{"--data-keys-file", ring.path}, func(t *testing.T, s *rawStore) {
		ring := newRingFile(t, "k2")
		who := admin(t, s.url)
		who.must(t, s.url, http.MethodPost, "/queues", `{"id":"hall"}`)
		enqueue := func() string {
			return "/queues/hall/tickets/" + who.must(t, s.url, http.MethodPost, "/queues/hall/tickets", adaBody).str(t, "id")
		}
		old := enqueue()
		for range 20 {
			enqueue()
		}
		who.seesAda(t, s.process, old)
		s.stop()
		s.process = startNode(t, s.dir, append(s.args, "--data-keys-file", ring.path)...)
		// Users' addresses are lost with the key, so nobody can log in who has not:
		// somebody has to be made at the machine.
		to := []string{"user", "add", "--email", "back@example.org", "--level", "admin", "--data-dir", s.dir, "--data-keys-file", ring.path}
		if i := slices.Index(s.args, "--database-url"); i >= 0 {
			to = append(to, s.args[i:i+2]...)
		}
		if o := runProgram(t, "seven otters on a raft\n", nil, to...); o.code != 0 {
			t.Fatal(o.stderr)
		}
		who = login(t, s.url, "back@example.org", "seven otters on a raft")
		eventually(t, "the node is ready", func() bool { return ready(t, s.url) == "200 ready" })
		if missing := s.logged("a key is missing in the ring; what it protects is shown as null", "key"); missing != "k1" {
			t.Errorf("missing is %q", missing)
		}
		if text := who.must(t, s.url, http.MethodGet, old, "").body; !strings.Contains(text, `"customer":null,"payload":null`) {
			t.Error(text)
		}
		who.must(t, s.url, http.MethodPost, old+"/call", `{}`)
		anew := enqueue()
		who.seesAda(t, s.process, anew)
		// Two values of each of 21 tickets, and two more each time that the first is shown.
		who.must(t, s.url, http.MethodGet, "/queues/hall/tickets", "")
		if n := strings.Count(s.log(), "sealed data cannot be opened"); n == 0 || n > 5 { // one each ten seconds
			t.Errorf("%d lines about what cannot be opened", n)
		}

		ring.write("k2", "k1")
		eventually(t, "the key is back", func() bool {
			return strings.Contains(who.must(t, s.url, http.MethodGet, old, "").body, "Ada Marsh")
		})
		who.seesAda(t, s.process, old, anew)
	})
}
