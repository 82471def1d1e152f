package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	loadClients = 16
	loadQueues  = 3
)

// operation is one command and what was answered to it.
type operation struct {
	queue, method, path, body, key string
	event                          string // that it makes
	subject                        string // the ticket in the path, if any
	target                         string // the queue that a transfer goes to
	answer                         answered
}

// load is many clients who go on through crashes: what was not answered, or
// answered with 503, is sent again with the same key until it is answered.
type load struct {
	t      testing.TB
	urls   atomic.Pointer[[]string] // of the nodes as they are now
	turn   atomic.Uint64
	admin  *caller
	queues []string
	ending chan struct{}
	ended  sync.WaitGroup

	mu      sync.Mutex
	done    []*operation // accepted, each once
	retried int
	marks   map[int]chan struct{}
}

// startLoad makes the queues and sets the clients off.
func startLoad(t testing.TB, p *process) *load {
	t.Helper()
	l := &load{t: t, admin: admin(t, p.url), ending: make(chan struct{}), marks: make(map[int]chan struct{})}
	l.nodes(p)
	for i := range loadQueues {
		id := fmt.Sprint("line-", i)
		a := l.admin.must(t, p.url, "POST", "/queues", fmt.Sprintf(`{"id":%q,"max_active":1000}`, id))
		l.queues = append(l.queues, id)
		l.done = append(l.done, &operation{queue: id, event: "queue.configured", answer: a})
	}
	for i := range loadClients {
		c := &client{load: l, desk: fmt.Sprint("desk-", i), random: rand.New(rand.NewPCG(uint64(i), 7))}
		c.tickets, c.active = make(map[string][]string), make(map[string][]string)
		l.ended.Go(c.run)
	}
	t.Cleanup(func() { l.end() })
	return l
}

// nodes tells the clients where to go from now on.
func (l *load) nodes(nodes ...*process) {
	urls := make([]string, len(nodes))
	for i, p := range nodes {
		urls[i] = p.url
	}
	l.urls.Store(&urls)
}

// url gives each node in turn.
func (l *load) url() string {
	urls := *l.urls.Load()
	return urls[l.turn.Add(1)%uint64(len(urls))]
}

// end stops the clients once each has its last answer.
func (l *load) end() {
	select {
	case <-l.ending:
	default:
		close(l.ending)
	}
	l.ended.Wait()
}

// after waits until n more operations have been accepted.
func (l *load) after(n int) {
	l.t.Helper()
	l.mu.Lock()
	mark := make(chan struct{})
	l.marks[len(l.done)+n] = mark
	l.mu.Unlock()
	select {
	case <-mark:
	case <-time.After(2 * patience):
		l.t.Fatal("operations are not accepted any more")
	}
}

func (l *load) accepted(o *operation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = append(l.done, o)
	if mark := l.marks[len(l.done)]; mark != nil {
		close(mark)
	}
}

// send sends an operation until it is answered; false where that never came.
func (l *load) send(o *operation) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); <-tick.C {
		a, err := l.admin.call(l.url(), o.method, o.path, o.body, o.key)
		if err == nil && a.status < 500 {
			o.answer = a
			return true
		}
		if err == nil && a.status != http.StatusServiceUnavailable {
			l.t.Errorf("%s %s: %d %s", o.method, o.path, a.status, a.body)
			return false
		}
		l.mu.Lock()
		l.retried++
		l.mu.Unlock()
	}
	l.t.Errorf("%s %s was never answered", o.method, o.path)
	return false
}

// client is one of them.
type client struct {
	load    *load
	desk    string
	random  *rand.Rand
	count   int
	tickets map[string][]string // by queue: enqueued here, and perhaps called by others since
	active  map[string][]string // by queue: called here
}

func (c *client) run() {
	for {
		select {
		case <-c.load.ending:
			return
		default:
		}
		o := c.choose()
		if !c.load.send(o) {
			return
		}
		c.learn(o)
	}
}

// choose makes the next operation.
func (c *client) choose() *operation {
	id := c.load.queues[c.random.IntN(len(c.load.queues))]
	path := "/queues/" + id + "/tickets"
	c.count++
	o := &operation{queue: id, method: "POST", key: fmt.Sprintf("%s-%d", c.desk, c.count)}
	switch dice := c.random.IntN(20); {
	case dice < 3 && len(c.tickets[id]) > 0:
		o.subject = c.pick(c.tickets, id, false)
		o.path, o.body, o.event = path+"/"+o.subject+"/move", `{"position":1}`, "ticket.moved"
	case dice < 5 && len(c.tickets[id]) > 0:
		o.subject = c.pick(c.tickets, id, true)
		o.method, o.path, o.event = "DELETE", path+"/"+o.subject, "ticket.removed"
	case dice < 8 && len(c.active[id]) > 0:
		o.subject = c.pick(c.active, id, true)
		o.path, o.body, o.event = path+"/"+o.subject+"/complete", `{"outcome":"done"}`, "ticket.completed"
	case dice < 9 && len(c.tickets[id]) > 0:
		o.subject, o.target = c.pick(c.tickets, id, true), c.other(id)
		o.path, o.body, o.event = path+"/"+o.subject+"/transfer", fmt.Sprintf(`{"queue":%q}`, o.target), "ticket.transferred"
	case dice < 13:
		o.path, o.body, o.event = "/queues/"+id+"/call-next", fmt.Sprintf(`{"desk":%q}`, c.desk), "ticket.called"
	default:
		o.path, o.body, o.event = path, `{"customer":{"name":"Ada Marsh"},"payload":{"n":1}}`, "ticket.enqueued"
	}
	return o
}

func (c *client) pick(from map[string][]string, id string, take bool) string {
	i := c.random.IntN(len(from[id]))
	ticket := from[id][i]
	if take {
		from[id] = slices.Delete(from[id], i, i+1)
	}
	return ticket
}

// other gives another queue than one.
func (c *client) other(id string) string {
	i := slices.Index(c.load.queues, id)
	return c.load.queues[(i+1+c.random.IntN(len(c.load.queues)-1))%len(c.load.queues)]
}

// learn takes an answer in. Refusals are part of the race for tickets.
func (c *client) learn(o *operation) {
	a := o.answer
	switch {
	case a.status == http.StatusNoContent, a.status == http.StatusConflict: // nobody waits; another was quicker
		return
	case a.status >= 300:
		c.load.t.Errorf("%s %s: %d %s", o.method, o.path, a.status, a.body)
		return
	}
	ticket := o.ticket(c.load.t)
	switch o.event {
	case "ticket.enqueued":
		c.tickets[o.queue] = append(c.tickets[o.queue], ticket)
	case "ticket.called":
		c.active[o.queue] = append(c.active[o.queue], ticket)
	case "ticket.transferred":
		c.tickets[o.target] = append(c.tickets[o.target], ticket)
	}
	c.load.accepted(o)
}

// ticket is the one in the answer: for a transfer, the new one.
func (o *operation) ticket(t testing.TB) string {
	var ticket struct{ ID string }
	if err := json.Unmarshal([]byte(o.answer.body), &ticket); err != nil || ticket.ID == "" {
		t.Errorf("%s %s: %v %s", o.method, o.path, err, o.answer.body)
	}
	return ticket.ID
}
