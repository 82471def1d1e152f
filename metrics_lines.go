package main

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"nowserving/persistence/directory"
)

const (
	// linesShown is how many queues have series of their own on a node: those with
	// the longest lines.
	linesShown = 200
	// otherLines stands for all the others. No queue can have that name.
	otherLines = "(others)"
)

// lines are the queues that live here as they were last written into the list of
// queues, which follows them within a second and is gone through when queues come
// to this node. So nobody has to ask a queue how long its line is.
type lines struct {
	hosted func(id string) bool
	now    func() time.Time

	mu  sync.Mutex
	all map[string]line
}

type line struct {
	waiting int64
	since   time.Time     // when the one was enqueued who has waited the longest; zero: nobody waits
	target  time.Duration // 0: none
}

func newLines(hosted func(string) bool, now func() time.Time) *lines {
	return &lines{hosted: hosted, now: now, all: make(map[string]line)}
}

func (l *lines) note(rows ...directory.QueueRow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, row := range rows {
		if row.Deleted {
			delete(l.all, row.ID)
			continue
		}
		var config struct {
			Target int64 `json:"target_wait_seconds"`
		}
		_ = json.Unmarshal(row.Config, &config) // what is not there is no target
		one := line{waiting: row.Waiting, since: l.all[row.ID].since, target: time.Duration(config.Target) * time.Second}
		if row.Line != nil {
			one.since = row.Line.WaitingSince
		}
		if row.Waiting == 0 {
			one.since = time.Time{}
		}
		l.all[row.ID] = one
	}
}

var (
	lineWaiting = prometheus.NewDesc("nowserving_queue_waiting_tickets",
		"Tickets that wait in a queue that lives here; "+otherLines+": in all but the longest 200.", []string{"queue"}, nil)
	lineLongest = prometheus.NewDesc("nowserving_queue_longest_wait_seconds",
		"For how long the ticket has waited that has waited the longest.", []string{"queue"}, nil)
	lineTarget = prometheus.NewDesc("nowserving_queue_target_wait_seconds",
		"The wait that the queue aims at, where it has such an aim.", []string{"queue"}, nil)
)

// Describe implements prometheus.Collector.
func (l *lines) Describe(to chan<- *prometheus.Desc) {
	to <- lineWaiting
	to <- lineLongest
	to <- lineTarget
}

// Collect implements prometheus.Collector.
func (l *lines) Collect(to chan<- prometheus.Metric) {
	type named struct {
		id string
		line
	}
	var all []named
	l.mu.Lock()
	for id, one := range l.all {
		all = append(all, named{id, one})
	}
	l.mu.Unlock()
	all = slices.DeleteFunc(all, func(n named) bool { return !l.hosted(n.id) })
	slices.SortFunc(all, func(a, b named) int {
		return cmp.Or(cmp.Compare(b.waiting, a.waiting), cmp.Compare(a.id, b.id))
	})
	now := l.now()
	show := func(desc *prometheus.Desc, value float64, id string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, id)
	}
	wait := func(one line) float64 {
		if one.since.IsZero() {
			return 0
		}
		return max(0, now.Sub(one.since).Seconds())
	}
	shown := min(len(all), linesShown)
	for _, one := range all[:shown] {
		show(lineWaiting, float64(one.waiting), one.id)
		show(lineLongest, wait(one.line), one.id)
		if one.target > 0 {
			show(lineTarget, one.target.Seconds(), one.id)
		}
	}
	if shown == len(all) {
		return
	}
	waiting, longest := int64(0), 0.
	for _, one := range all[shown:] {
		waiting, longest = waiting+one.waiting, max(longest, wait(one.line))
	}
	show(lineWaiting, float64(waiting), otherLines)
	show(lineLongest, longest, otherLines)
}
