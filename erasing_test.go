package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nowserving/persistence/directory"
	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
	"nowserving/persistence/seal"
)

// rawFiles is the content of all files in the data dir but keys.
func rawFiles(t testing.TB, dir string) (all []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.db*"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, content...)
	}
	return all
}

// rawTables is every value of every table of a database.
func rawTables(t testing.TB, db *sql.DB) (all []byte) {
	t.Helper()
	texts := func(query string) (values []string) {
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		row, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			for _, value := range row {
				values = append(values, string(value))
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return values
	}
	for _, table := range texts("SHOW TABLES") {
		all = append(all, strings.Join(texts("SELECT * FROM "+table), "")...)
	}
	return all
}

// A person who was erased is nowhere in what the stores keep: neither by what is
// sealed of her nor by what she is found by.
func TestErasedPersonIsInNoStore(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T, dir string) (p *process, o directory.Options, raw func() []byte){
		"sqlite": func(t *testing.T, dir string) (*process, directory.Options, func() []byte) {
			return startNode(t, dir), directory.Options{Dir: dir}, func() []byte { return rawFiles(t, dir) }
		},
		"redis and mariadb": func(t *testing.T, dir string) (*process, directory.Options, func() []byte) {
			database, journal := mariadbtest.StartWith(t, mariadbtest.Options{}), redistest.Start(t)
			url := database.Database(t)
			db, err := database.Open(url[strings.LastIndex(url, "/")+1:])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			secret := filepath.Join(t.TempDir(), "database-url")
			if err := os.WriteFile(secret, []byte(url), 0o600); err != nil {
				t.Fatal(err)
			}
			p := startNode(t, dir, "--redis-url", journal, "--database-url-file", secret)
			return p, directory.Options{DatabaseURL: url}, func() []byte { return append(redistest.Content(t, journal), rawTables(t, db)...) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p, o, raw := start(t, dir)
			c := admin(t, p.url)
			const ada = `{"customer":{"name":"Ada Marsh","phone":"+49 30 5550199","email":"ada.marsh@example.org"},"payload":{"wish":"a quiet room"}}`
			ofTicket := func(queue, body string) string {
				return "/queues/" + queue + "/tickets/" + c.must(t, p.url, "POST", "/queues/"+queue+"/tickets", body).str(t, "id")
			}
			for _, id := range []string{"hall", "cash"} {
				c.must(t, p.url, "POST", "/queues", `{"id":"`+id+`","max_active":9}`)
			}
			waits, called := ofTicket("hall", ada), ofTicket("hall", ada)
			c.must(t, p.url, "POST", called+"/call", `{}`)
			for range 2 { // finished ones, which are in the history
				done := ofTicket("hall", ada)
				c.must(t, p.url, "POST", done+"/call", `{}`)
				c.must(t, p.url, "POST", done+"/complete", `{"outcome":"helped"}`)
			}
			c.must(t, p.url, "POST", ofTicket("hall", ada)+"/transfer", `{"queue":"cash"}`)
			bob := ofTicket("hall", `{"customer":{"name":"Bob","phone":"030 5550199"}}`)

			// What is kept of her, to be looked for: the tags, and sealed values.
			ring, err := seal.LoadOrCreateRing(filepath.Join(dir, "data.keys"))
			if err != nil {
				t.Fatal(err)
			}
			traces := map[string][]byte{}
			d, err := directory.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			keys, err := seal.NewDataKeys(ring, d, quiet, time.Now).Named(t.Context(), "customer-index")
			if err != nil {
				t.Fatal(err)
			}
			for field, value := range map[string]string{"phone/v1": "49305550199", "email/v1": "ada.marsh@example.org"} {
				mac := hmac.New(sha256.New, keys[0].Bytes)
				mac.Write([]byte(field + "\x00" + value))
				traces["the tag of her "+field] = mac.Sum(nil)[:16]
			}
			eventually(t, "the history has her", func() bool {
				rows, _, err := d.ListHistory(t.Context(), directory.HistoryFilter{}, nil, 10)
				for i, row := range rows {
					traces[fmt.Sprint("her sealed data ", i)], traces[fmt.Sprint("her sealed payload ", i)] = row.Customer, row.Payload
				}
				return err == nil && len(rows) == 3
			})
			plain := [][]byte{[]byte("Ada Marsh"), []byte("5550199"), []byte("ada.marsh"), []byte("quiet room")}
			content := raw()
			for what, trace := range traces {
				if len(trace) == 0 || !bytes.Contains(content, trace) {
					t.Errorf("%s is not there to begin with", what)
				}
			}

			made := c.must(t, p.url, "POST", "/erasures", `{"phone":"0049 (0)30 5550199"}`)
			eventually(t, "the erasure is done", func() bool {
				made = c.must(t, p.url, "GET", "/erasures/"+made.str(t, "id"), "")
				return made.str(t, "status") == "done"
			})
			if f := made.fields(t); f["tickets"] != 6.0 || f["history"].(float64) < 3 {
				t.Errorf("the erasure is %s", made.body)
			}
			content = raw()
			for what, trace := range traces {
				if bytes.Contains(content, trace) {
					t.Errorf("%s is still there", what)
				}
			}
			for _, words := range plain {
				if bytes.Contains(content, words) || strings.Contains(p.log(), string(words)) {
					t.Errorf("%s stands where it can be read", words)
				}
			}
			if got := c.must(t, p.url, "GET", bob, ""); !strings.Contains(got.body, `"name":"Bob"`) {
				t.Errorf("somebody else is erased too: %s", got.body)
			}
			if got := c.must(t, p.url, "GET", waits, "").fields(t); got["position"] != 1.0 || got["customer"] != nil || got["payload"] != nil {
				t.Errorf("her ticket is %v", got)
			}
			export := c.must(t, p.url, "POST", "/exports", `{"phone":"+49 30 5550199"}`)
			if !strings.HasPrefix(export.body, `{"items":[]`) {
				t.Errorf("of her is kept %s", export.body)
			}
			if rows := c.must(t, p.url, "GET", "/history?limit=10", "").fields(t)["items"].([]any); len(rows) != 3 {
				t.Errorf("the history has %d rows", len(rows))
			}
		})
	}
}
