package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"nowserving/demo"
)

// hurried is how much faster than usual people are in these tests.
const hurried = 30

// overheard counts what the people of a demo ask, and what is answered. It spoils
// the access tokens of the requests that follow, as often as it is told.
type overheard struct {
	http.Transport

	mu     sync.Mutex
	counts map[string]int // by what was asked, and its status
	spoil  int
}

var (
	anyID    = regexp.MustCompile(`/tickets/[^/]+`)
	anyQueue = regexp.MustCompile(`/queues/[^/]+`)
)

func (o *overheard) RoundTrip(r *http.Request) (*http.Response, error) {
	if o.spoils(r) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer spoiled")
	}
	answer, err := o.Transport.RoundTrip(r)
	if err == nil {
		path := anyQueue.ReplaceAllString(anyID.ReplaceAllString(strings.TrimPrefix(r.URL.Path, "/api/v1"), "/tickets/*"), "/queues/*")
		o.mu.Lock()
		defer o.mu.Unlock()
		o.counts[fmt.Sprint(r.Method, " ", path, " ", answer.StatusCode)]++
	}
	return answer, err
}

func (o *overheard) spoils(r *http.Request) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.spoil == 0 || !strings.HasSuffix(r.URL.Path, "/call-next") {
		return false
	}
	o.spoil--
	return true
}

func (o *overheard) count(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts[what]
}

// unexpected gives the answers that the people of a demo must never get.
func (o *overheard) unexpected() (lines []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for line, n := range o.counts {
		switch status := line[len(line)-3:]; {
		case status[0] == '5', status == "400", status == "413", status == "422":
			if !strings.Contains(line, "readyz") {
				lines = append(lines, fmt.Sprint(n, " × ", line))
			}
		}
	}
	return lines
}

// openTown opens a demo in a hurry on a node.
func openTown(t *testing.T) (*demo.Town, *overheard, *process) {
	t.Helper()
	p := startNode(t, t.TempDir(), "--checkin-rate", "100000")
	heard := &overheard{counts: make(map[string]int), Transport: http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(heard.CloseIdleConnections)
	town, err := demo.Open(t.Context(), demo.Options{
		URL: p.url, Admin: demo.Login{Email: defaultAdmin, Password: adminPassword},
		HTTP: &http.Client{Transport: heard, Timeout: patience}, Pace: hurried, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return town, heard, p
}

// live has people come, until the function that it gives is called.
func live(t *testing.T, town *demo.Town) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		town.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// everythingThatHappens in a demo sooner or later.
var everythingThatHappens = []string{
	"POST /queues/*/tickets 201", "POST /public/queues/*/tickets 201", "DELETE /queues/*/tickets/* 200", "DELETE /public/tickets/* 200",
	"POST /queues/*/call-next 200", "POST /queues/*/tickets/*/start 200", "POST /queues/*/tickets/*/complete 200",
	"POST /queues/*/tickets/*/recall 200", "POST /queues/*/tickets/*/no-show 200", "POST /queues/*/tickets/*/hold 200",
	"POST /queues/*/tickets/*/requeue 200", "POST /queues/*/tickets/*/transfer 200", "POST /queues/*/tickets/*/move 200",
}

const called = "POST /queues/*/call-next 200"

func TestDemoPeopleDoEverything(t *testing.T) {
	t.Parallel()
	town, heard, p := openTown(t)
	boss := admin(t, p.url)
	stop := live(t, town)
	for _, what := range everythingThatHappens {
		eventually(t, what, func() bool { return heard.count(what) > 0 })
	}
	eventually(t, "200 calls", func() bool { return heard.count(called) >= 200 })
	for _, id := range demoQueues {
		// They turn round at 14 waiting; a few are sent from elsewhere, or come back.
		if waiting := len(boss.tickets(t, p.url, id, "state=waiting&limit=1000")); waiting > 25 {
			t.Errorf("%d wait in %s", waiting, id)
		}
	}
	// Whoever is interrupted finds a ticket before them when they go on.
	stop()
	left := active(t, boss, p.url)
	if len(left) == 0 {
		t.Error("nobody was interrupted")
	}
	stop = live(t, town)
	eventually(t, "what was left is finished", func() bool {
		for path := range active(t, boss, p.url) {
			if left[path] {
				return false
			}
		}
		return true
	})
	stop()
	if wrong := heard.unexpected(); len(wrong) > 0 {
		t.Errorf("%v", wrong)
	}
}

// active gives the tickets that somebody has before them.
func active(t *testing.T, c *caller, url string) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	for _, id := range demoQueues {
		for _, state := range []string{"called", "serving"} {
			for _, ticket := range c.tickets(t, url, id, "state="+state) {
				all[id+"/"+ticket.ID] = true
			}
		}
	}
	return all
}

// A person at a page may do what they like; the invented ones go on.
func TestDemoPeopleTakeItWhenSomebodyActs(t *testing.T) {
	t.Parallel()
	town, heard, p := openTown(t)
	stop := live(t, town)
	boss, human := admin(t, p.url), login(t, p.url, town.Attendant.Email, town.Attendant.Password)
	me := human.must(t, p.url, http.MethodGet, "/me", "").str(t, "id")

	// What they have called stays before them, though it was an attendant's.
	mine := make(map[string]string)
	for _, id := range demoQueues {
		eventually(t, "a customer of an attendant's in "+id, func() bool {
			for _, ticket := range human.tickets(t, p.url, id, "state=serving") {
				path := "/queues/" + id + "/tickets/" + ticket.ID
				if a, err := human.call(p.url, http.MethodPost, path+"/requeue", "", ""); err != nil || a.status != http.StatusOK {
					continue
				}
				if a, err := human.call(p.url, http.MethodPost, path+"/call", `{"desk":"9"}`, ""); err == nil && a.status == http.StatusOK {
					mine[id] = path
					return true
				}
			}
			return false
		})
	}
	for _, change := range []string{`{"status":"paused"}`, `{"status":"closed"}`, `{"capacity":1}`} {
		boss.must(t, p.url, http.MethodPatch, "/queues/clinic", change)
		goOn(t, heard)
	}
	boss.must(t, p.url, http.MethodPatch, "/queues/clinic", `{"status":"open"}`)
	for id, path := range mine {
		a := human.must(t, p.url, http.MethodGet, path, "")
		if state := a.str(t, "state"); state == "removed" {
			continue // a customer may go
		} else if state != "called" || a.str(t, "attendant") != me {
			t.Errorf("the customer who was called in %s is %s", id, state)
		}
	}

	// Tokens that end are renewed; logins that end are begun again.
	heard.mu.Lock()
	heard.spoil = 5
	heard.mu.Unlock()
	eventually(t, "logins are renewed", func() bool { return heard.count("POST /auth/refresh 200") >= 2 })
	goOn(t, heard)
	stop()
	if wrong := heard.unexpected(); len(wrong) > 0 {
		t.Errorf("%v", wrong)
	}
}

// goOn waits until more customers have been called.
func goOn(t *testing.T, heard *overheard) {
	t.Helper()
	before := heard.count(called)
	eventually(t, "they go on", func() bool { return heard.count(called) >= before+40 })
}
