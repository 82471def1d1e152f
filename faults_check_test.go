package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
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
	// have than when it was new: its 64 connections for reading Redis, which a
	// stall opens, stay in reserve, and others to the database and RabbitMQ.
	leftBehind = 90
)

// check holds the world at rest against all that it has told so far.
func (w *world) check(fault string) *faults.Report {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), settleWithin)
	defer cancel()
	r := &faults.Report{Found: 1}
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for done := false; !done; {
		seen, err := w.look(ctx)
		if seen != nil {
			r = seen
		}
		if done = err == nil && r.Found == 0; done {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Errorf("%s (seed %d): %v", fault, w.seed, errors.Join(err, r.Err()))
			done = true
		}
	}
	found := r.Found
	if w.load.CheckRounds(r, !w.lossy); r.Found > found {
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

// left is what a node has that could be left behind: open files, and
// goroutines but those that the HTTP server keeps in reserve for ten seconds.
func (n *worldNode) left(t testing.TB) map[string]int {
	t.Helper()
	ops := n.logged("operators are served", "url")
	left := make(map[string]int)
	for lines := range strings.Lines(get(t, ops+"/metrics").body) {
		if value, is := strings.CutPrefix(lines, "process_open_fds "); is {
			left["open files"], _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	for stack := range strings.SplitSeq(get(t, ops+"/debug/pprof/goroutine?debug=1").body, "\n\n") {
		head, frames, _ := strings.Cut(stack, "\n#")
		top, _, _ := strings.Cut(frames, "\n")
		count, _, _ := strings.Cut(head[strings.LastIndex(head, "\n")+1:], " @")
		if c, err := strconv.Atoi(count); err == nil && !strings.Contains(top, "fasthttp.(*workerPool).workerFunc") {
			left["goroutines"] += c
		}
	}
	return left
}

// noteRest remembers what a node at rest has.
func (w *world) noteRest() {
	w.rest = make(map[string]int)
	for _, n := range w.nodes {
		for name, v := range n.left(w.t) {
			w.rest[name] = max(w.rest[name], v)
		}
	}
}

// checkRest waits until nothing is left behind.
func (w *world) checkRest(fault string) {
	w.t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for _, n := range w.nodes {
		for deadline := time.Now().Add(settleWithin); ; <-tick.C {
			more := ""
			for name, v := range n.left(w.t) {
				if v > w.rest[name]+leftBehind {
					more = fmt.Sprintf("%d %s at rest, where they were %d", v, name, w.rest[name])
				}
			}
			if more == "" {
				break
			}
			if time.Now().After(deadline) {
				w.t.Errorf("%s (seed %d): %s has %s:\n%s", fault, w.seed, n.name, more, n.connections())
				break
			}
		}
	}
}

// connections are a node's, for whoever looks for those that were left behind.
func (n *worldNode) connections() string {
	out, err := exec.Command("ss", "-tnpH").Output()
	if err != nil {
		return err.Error()
	}
	var own strings.Builder
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, fmt.Sprintf("pid=%d,", n.cmd.Process.Pid)) {
			own.WriteString(line)
		}
	}
	return own.String()
}
