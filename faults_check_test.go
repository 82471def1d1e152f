package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"nowserving/faults"
)

const (
	// settleWithin is how long what is on its way may take once the load rests:
	// requests in RabbitMQ, transfers, history, followers that come back.
	settleWithin = 30 * time.Second
	// leftBehind is how many more goroutines or open files a node at rest may
	// have than when it was new: connections that Go and Redis keep in reserve.
	leftBehind = 40
)

// check holds the world at rest against all that it has told so far.
func (w *world) check(fault string) *faults.Report {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), settleWithin)
	defer cancel()
	var r *faults.Report
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		var err error
		if r, err = w.look(ctx); err == nil {
			err = r.Err()
		}
		if err == nil {
			break
		}
		w.t.Logf("DEBUG %s %v", time.Now(), err)
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
			w.t.Errorf("%s (seed %d): %v", fault, w.seed, err)
		}
		break
	}
	if r == nil {
		return &faults.Report{Found: 1}
	}
	found := r.Found
	if w.load.CheckRounds(r); r.Found > found {
		w.t.Errorf("%s (seed %d): %v", fault, w.seed, r.Err())
	}
	w.t.Logf("%s: %s", fault, r)
	return r
}

// look is one look at everything. What is still on its way looks like a fault.
func (w *world) look(ctx context.Context) (*faults.Report, error) {
	journals, err := w.journals(ctx, w.load.Queues())
	if err != nil {
		return nil, err
	}
	versions := make(map[string]uint64)
	for id, events := range journals {
		if n := len(events); n > 0 {
			versions[id] = events[n-1].Version
		}
	}
	rows, err := w.rows()
	if err != nil {
		return nil, err
	}
	if err := w.history.DrainDead(w.broker.URL()); err != nil {
		return nil, err
	}
	soon, cancel := context.WithTimeout(ctx, settleWithin/3)
	defer cancel()
	behind := w.load.CaughtUp(soon, versions)
	r := faults.Check(w.history, faults.Evidence{Journals: journals, Rows: rows, MayLose: w.lossy})
	if r.Found == 0 && behind != nil {
		return r, behind
	}
	return r, nil
}

// rows are all that history has, as a user sees it.
func (w *world) rows() (map[string][]faults.Ticket, error) {
	if w.reader == nil {
		w.reader = admin(w.t, w.nodes[0].url)
	}
	all := make(map[string][]faults.Ticket)
	for _, id := range w.load.Queues() {
		for after := ""; ; {
			a, err := w.reader.call(w.nodes[0].url, "GET", "/history?limit=1000&queue="+id+after, "", "")
			if err != nil {
				return nil, err
			}
			if a.status == http.StatusUnauthorized {
				w.reader = admin(w.t, w.nodes[0].url)
				continue
			}
			var page struct {
				Items []faults.Ticket
				Next  *string
			}
			if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != http.StatusOK {
				return nil, fmt.Errorf("history: %d %s %w", a.status, a.body, err)
			}
			all[id] = append(all[id], page.Items...)
			if page.Next == nil {
				break
			}
			after = "&after=" + *page.Next
		}
	}
	return all, nil
}

// metrics are some of a node's.
func (n *worldNode) metric(t testing.TB, name string) float64 {
	t.Helper()
	response, err := http.Get(n.logged("operators are served", "url") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, is := strings.CutPrefix(lines.Text(), name+" "); is {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("%s has no metric %s", n.name, name)
	return 0
}

// leftovers are what could be left behind.
var leftovers = []string{"go_goroutines", "process_open_fds"}

// noteRest remembers what a node at rest has.
func (w *world) noteRest() {
	w.rest = make(map[string]float64)
	for _, n := range w.nodes {
		for _, name := range leftovers {
			w.rest[name] = max(w.rest[name], n.metric(w.t, name))
		}
	}
}

var debugOnce int

// checkRest waits until nothing is left behind.
func (w *world) checkRest(fault string) {
	w.t.Helper()
	for _, n := range w.nodes {
		for _, name := range leftovers {
			var v float64
			deadline := time.Now().Add(settleWithin)
			for v = n.metric(w.t, name); v > w.rest[name]+leftBehind && time.Now().Before(deadline); v = n.metric(w.t, name) {
				if n := n; debugOnce < 3 && name == "go_goroutines" && v > w.rest[name]+leftBehind {
					debugOnce++
					r, _ := http.Get(n.logged("operators are served", "url") + "/debug/pprof/goroutine?debug=1")
					text, _ := io.ReadAll(r.Body)
					w.t.Logf("DEBUG %s", text[:min(len(text), 6000)])
				}
				<-time.After(100 * time.Millisecond)
			}
			w.t.Logf("DEBUG rest %s %s %v %v", n.name, name, v, w.rest[name])
			if v > w.rest[name]+leftBehind {
				w.t.Errorf("%s (seed %d): %s has %s %.0f at rest, where it was %.0f", fault, w.seed, n.name, name, v, w.rest[name])
			}
		}
	}
}
