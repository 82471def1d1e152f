package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"

	"testing"
	"time"

	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

// servers are clients who serve tickets to their ends, and undo some of them.
// Each acts on its own tickets, so it knows their states; what is not answered
// is sent again until it is.
type servers struct {
	*load
}

// ends are the commands that a ticket of a state can be sent, and the states
// that they lead to. Those who finished come back for an hour.
var ends = map[string][]struct{ command, body, state string }{
	"waiting": {
		{"call", `{"desk":%q}`, "called"}, {"call", `{"desk":%q}`, "called"}, {"call", `{"desk":%q}`, "called"},
		{"", ``, "removed"}, {"transfer", ``, "waiting"}, {"hold", ``, "held"},
	},
	"called":    {{"start", ``, "serving"}, {"complete", ``, "completed"}, {"no-show", ``, "no_show"}, {"requeue", ``, "waiting"}, {"", ``, "removed"}},
	"serving":   {{"complete", `{"outcome":"helped"}`, "completed"}, {"complete", ``, "completed"}, {"transfer", ``, "waiting"}},
	"held":      {{"requeue", ``, "waiting"}, {"", ``, "removed"}},
	"completed": {{"requeue", ``, "waiting"}},
	"removed":   {{"requeue", ``, "waiting"}},
	"no_show":   {{"requeue", ``, "waiting"}},
}

// owned is a ticket of a client's.
type owned struct{ queue, id, state string }

func startServers(t testing.TB, p *process) *servers {
	t.Helper()
	s := &servers{load: &load{t: t, admin: admin(t, p.url), ending: make(chan struct{}), marks: make(map[int]chan struct{})}}
	s.nodes(p)
	for i := range loadQueues {
		id := fmt.Sprint("office-", i)
		s.admin.must(t, p.url, "POST", "/queues", fmt.Sprintf(`{"id":%q,"max_active":1000}`, id))
		s.queues = append(s.queues, id)
	}
	for i := range loadClients / 2 {
		s.ended.Go(func() { s.serve(i, rand.New(rand.NewPCG(uint64(i), 11))) })
	}
	t.Cleanup(s.end)
	return s
}

func (s *servers) serve(client int, random *rand.Rand) {
	var tickets []*owned
	for n := 0; ; n++ {
		select {
		case <-s.ending:
			return
		default:
		}
		o := &operation{method: "POST", key: fmt.Sprintf("%d-%d", client, n)}
		ticket := &owned{queue: s.queues[random.IntN(len(s.queues))], state: "waiting"}
		state := "waiting"
		if len(tickets) == 0 || random.IntN(4) == 0 {
			tickets = append(tickets, ticket)
			o.path, o.body = "/queues/"+ticket.queue+"/tickets", `{"customer":{"name":"Ada Marsh"},"payload":{"n":1}}`
		} else {
			ticket = tickets[random.IntN(len(tickets))]
			choice := ends[ticket.state][random.IntN(len(ends[ticket.state]))]
			if ticket.state == "completed" && random.IntN(4) > 0 { // most slips are none
				continue
			}
			state = choice.state
			o.path, o.body = "/queues/"+ticket.queue+"/tickets/"+ticket.id+"/"+choice.command, choice.body
			switch choice.command {
			case "":
				o.method, o.path = "DELETE", strings.TrimSuffix(o.path, "/")+"?reason=gone"
			case "call":
				o.body = fmt.Sprintf(choice.body, fmt.Sprint("Desk ", client))
			case "transfer":
				o.target = s.queues[random.IntN(len(s.queues))]
				if o.target == ticket.queue {
					continue
				}
				o.body = fmt.Sprintf(`{"queue":%q}`, o.target)
			}
		}
		if !s.send(o) {
			return
		}
		if o.answer.status >= 300 {
			s.t.Errorf("%s %s: %d %s", o.method, o.path, o.answer.status, o.answer.body)
			return
		}
		ticket.id, ticket.state = o.ticket(s.t), state
		if o.target != "" {
			ticket.queue = o.target
		}
		s.accepted(o)
	}
}

// replay makes the history of a queue of its events alone: what the contract
// says of it, and nothing of how it is built.
func (s *servers) replay(id string) (rows map[string]map[string]any, arrivals []map[string]any) {
	s.t.Helper()
	version := s.version(id)
	events := s.follow(id)
	rows = make(map[string]map[string]any)
	for v := uint64(1); v <= version; v++ {
		if err := events.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			s.t.Fatal(err)
		}
		var f struct {
			Type, Event string
			Version     uint64
			Data        map[string]any
		}
		if err := events.conn.ReadJSON(&f); err != nil || f.Type != "event" || f.Version != v {
			s.t.Fatalf("%s: version %d: %+v %v", id, v, f, err)
		}
		ticket, _ := f.Data["id"].(string)
		switch f.Event {
		case "ticket.completed", "ticket.removed", "ticket.no_show", "ticket.transferred":
			if f.Data["outcome"] == nil {
				f.Data["outcome"] = f.Data["state"]
			}
			rows[ticket] = f.Data
		case "ticket.requeued":
			delete(rows, ticket)
		case "ticket.enqueued":
			arrivals = append(arrivals, f.Data)
		}
	}
	return rows, arrivals
}

// listed reads the whole history of a queue, page by page.
func (s *servers) listed(id string) (rows []map[string]any) {
	s.t.Helper()
	for after := ""; ; {
		a := s.admin.must(s.t, s.url(), "GET", "/history?limit=70&queue="+id+after, "")
		var page struct {
			Items []map[string]any
			Next  string
		}
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			s.t.Fatal(err)
		}
		if rows = append(rows, page.Items...); page.Next == "" {
			return rows
		}
		after = "&after=" + page.Next
	}
}

// proveHistory ends the load and holds the history against the journals.
func (s *servers) proveHistory() {
	s.t.Helper()
	s.end()
	for _, id := range s.queues {
		want, arrivals := s.replay(id)
		if len(want) < 20 {
			s.t.Errorf("%s: only %d tickets finished", id, len(want))
		}
		wrong := ""
		began := time.Now()
		for deadline := began.Add(patience); ; {
			if wrong = compareHistory(s.listed(id), want); wrong == "" || time.Now().After(deadline) {
				break
			}
		}
		if wrong != "" {
			s.t.Errorf("%s: the history is not what the journal says: %s", id, wrong)
		}
		s.t.Logf("%s: %d finished tickets in %d events, the same after %s", id, len(want), s.version(id), time.Since(began).Round(time.Millisecond))
		s.proveStatistics(id, want, arrivals)
		if n := s.exported(id); n != len(want) {
			s.t.Errorf("%s: %d rows as CSV, want %d", id, n, len(want))
		}
	}
}

// compareHistory says what is wrong with a list, empty where nothing is.
func compareHistory(rows []map[string]any, want map[string]map[string]any) string {
	seen := make(map[string]bool)
	order := ""
	for _, row := range rows {
		id := row["id"].(string)
		if seen[id] {
			return id + " is there twice"
		}
		seen[id] = true
		if !reflect.DeepEqual(row, want[id]) {
			return fmt.Sprintf("%v, want %v", row, want[id])
		}
		place := row["finished_at"].(string) + id
		if order != "" && place >= order {
			return id + " is out of order"
		}
		order = place
	}
	if len(rows) != len(want) {
		return fmt.Sprintf("%d rows, want %d", len(rows), len(want))
	}
	return ""
}

func (s *servers) exported(id string) int {
	s.t.Helper()
	r, err := http.NewRequest("GET", s.url()+"/api/v1/history?queue="+id, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.admin.token)
	r.Header.Set("Accept", "text/csv")
	response, err := s.admin.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	records, err := csv.NewReader(response.Body).ReadAll()
	if err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("%d %v", response.StatusCode, err)
	}
	return len(records) - 1
}

func TestHistoryIsWhatTheJournalSaysEmbedded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startNode(t, dir)
	s := startServers(t, p)
	for range crashes {
		s.after(crashesEach)
		p.kill()
		p = startNode(t, dir)
		s.nodes(p)
	}
	s.after(crashesEach)
	s.proveHistory()
}

// Node and database are killed in turn in the middle of load; the queues go on
// without the database.
func TestHistoryIsWhatTheJournalSays(t *testing.T) {
	t.Parallel()
	database := mariadbtest.StartWith(t, mariadbtest.Options{})
	dir, args := t.TempDir(), []string{"--redis-url", redistest.Start(t), "--database-url", database.Database(t)}
	p := startNode(t, dir, args...)
	s := startServers(t, p)
	for range crashes {
		s.after(crashesEach)
		database.Kill()
		s.after(crashesEach)
		if err := database.Restart(); err != nil {
			t.Fatal(err)
		}
		s.after(crashesEach / 2)
		p.kill()
		p = startNode(t, dir, args...)
		s.nodes(p)
	}
	s.after(crashesEach)
	s.proveHistory()
}

// Two nodes follow the same journals, and fight for every checkpoint.
func TestTwoNodesWriteOneHistory(t *testing.T) {
	t.Parallel()
	args := []string{"--redis-url", redistest.Start(t), "--database-url", mariadbtest.Start(t)}
	dir := t.TempDir()
	first := startNode(t, dir, args...)
	s := startServers(t, first)
	second := startNode(t, dir, args...)
	s.nodes(first, second)
	s.after(crashesEach)
	second.kill()
	s.nodes(first)
	s.proveHistory()
}

// The history of a queue outlives it, and goes on when it is made again.
func TestHistoryOutlivesItsQueue(t *testing.T) {
	t.Parallel()
	p := startNode(t, t.TempDir())
	c := admin(t, p.url)
	var done []string
	for range 2 {
		c.must(t, p.url, "POST", "/queues", `{"id":"post"}`)
		ticket := c.must(t, p.url, "POST", "/queues/post/tickets", "").str(t, "id")
		c.must(t, p.url, "DELETE", "/queues/post/tickets/"+ticket, "")
		done = append([]string{ticket}, done...)
		c.must(t, p.url, "DELETE", "/queues/post", "")
		eventually(t, "the history has the ticket", func() bool {
			var page struct {
				Items []struct{ ID, Outcome string }
			}
			a := c.must(t, p.url, "GET", "/history?queue=post", "")
			if err := json.Unmarshal([]byte(a.body), &page); err != nil || len(page.Items) != len(done) {
				return false
			}
			for i, item := range page.Items {
				if item.ID != done[i] || item.Outcome != "removed" {
					t.Fatalf("%s, want %v", a.body, done)
				}
			}
			return true
		})
	}
}

// What has finished is in the history within a second, also while much else happens.
func TestHistoryFollowsWithinASecond(t *testing.T) {
	t.Parallel()
	p := startNode(t, t.TempDir(), "--redis-url", redistest.Start(t), "--database-url", mariadbtest.Start(t))
	s := startServers(t, p)
	worst := time.Duration(0)
	for range 20 {
		ticket := s.admin.must(t, p.url, "POST", "/queues/office-0/tickets", "").str(t, "id")
		s.admin.must(t, p.url, "DELETE", "/queues/office-0/tickets/"+ticket, "")
		began := time.Now()
		eventually(t, "the ticket is in the history", func() bool {
			return strings.Contains(s.admin.must(t, p.url, "GET", "/history?outcome=removed&limit=1000", "").body, ticket)
		})
		worst = max(worst, time.Since(began))
	}
	if t.Logf("at worst after %s", worst); worst > time.Second {
		t.Errorf("at worst after %s", worst)
	}
}
