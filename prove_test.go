package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// history is what the clients were told of one queue.
type history struct {
	told     map[uint64]*operation // by version
	arrivals map[string]*operation // transfers to it, by the new ticket: their versions are not told
}

// histories sorts what was accepted by queue.
func (l *load) histories() map[string]*history {
	all := make(map[string]*history)
	for _, id := range l.queues {
		all[id] = &history{make(map[uint64]*operation), make(map[string]*operation)}
	}
	for _, o := range l.done {
		h, version := all[o.queue], o.answer.version()
		if other := h.told[version]; other != nil {
			l.t.Errorf("%s: version %d was told twice: %s %s and %s %s", o.queue, version, o.method, o.path, other.method, other.path)
		}
		h.told[version] = o
		if o.target != "" {
			all[o.target].arrivals[o.ticket(l.t)] = o
		}
	}
	return all
}

// prove ends the load and holds the node against what it told the clients.
func (l *load) prove() {
	l.t.Helper()
	l.end()
	if l.t.Failed() {
		return
	}
	all := l.histories()
	versions := make(map[string]uint64)
	for id, h := range all {
		versions[id] = uint64(len(h.told) + len(h.arrivals))
		l.proveQueue(id, versions[id], h)
	}
	l.proveReplays()
	for id, version := range versions {
		if v := l.version(id); v != version {
			l.t.Errorf("%s: replays have moved it from version %d to %d", id, version, v)
		}
	}
	replayed := 0 // had happened, and whoever asked had not been told
	for _, o := range l.done {
		if o.answer.header.Get("Idempotent-Replayed") != "" {
			replayed++
		}
	}
	l.t.Logf("%d operations accepted, %d attempts without an answer, of which %d had happened", len(l.done), l.retried, replayed)
}

func (l *load) version(id string) uint64 {
	l.t.Helper()
	return l.admin.must(l.t, l.url(), "GET", "/queues/"+id, "").version()
}

// proveQueue reads all events of a queue. Each must be what one client was
// told at that version, or the arrival of one transfer, and there must be no
// other: so nothing is lost and nothing has happened twice.
func (l *load) proveQueue(id string, version uint64, h *history) {
	l.t.Helper()
	if v := l.version(id); v != version {
		l.t.Errorf("%s stands at version %d, where what was accepted makes %d", id, v, version)
		return
	}
	states, numbers := make(map[string]string), make(map[string]bool)
	s := l.follow(id)
	for v := uint64(1); v <= version; v++ {
		f, o := s.next("event"), h.told[v]
		if f.Version != v || !h.fits(l.t, f, o) {
			l.t.Fatalf("%s: event %+v is not what was told of version %d: %+v", id, f, v, o)
		}
		if f.Event == "ticket.enqueued" && f.Data.TransferredFrom == "" {
			if numbers[f.Data.Number] {
				l.t.Errorf("%s: number %s was issued twice", id, f.Data.Number)
			}
			numbers[f.Data.Number] = true
		}
		if v > 1 {
			states[f.Data.ID] = f.Data.State
		}
	}
	l.proveLine(id, states)
}

// fits compares an event with what was told of its version.
func (h *history) fits(t testing.TB, f frame, o *operation) bool {
	switch {
	case o == nil:
		arrival := h.arrivals[f.Data.ID]
		delete(h.arrivals, f.Data.ID) // it arrives once
		return arrival != nil && f.Event == "ticket.enqueued" && f.Data.TransferredFrom == arrival.subject
	case f.Event != o.event:
		return false
	case o.subject != "":
		return f.Data.ID == o.subject
	case o.key != "":
		return f.Data.ID == o.ticket(t)
	}
	return true // the queue's first event
}

// follow subscribes to all events of a queue, from the first one.
func (l *load) follow(id string) *socket {
	l.t.Helper()
	s := l.admin.dial(l.t, l.url())
	s.send(fmt.Sprintf(`{"type":"subscribe","id":"1","queue":%q}`, id))
	epoch := s.next("snapshot").Epoch
	s.send(fmt.Sprintf(`{"type":"unsubscribe","id":"2","queue":%q}`, id))
	s.next("reply")
	s.send(fmt.Sprintf(`{"type":"subscribe","id":"3","queue":%q,"since":0,"epoch":%q}`, id, epoch))
	s.next("resumed")
	return s
}

// proveLine compares the queue's lists with the state that the last event of
// each ticket left it in.
func (l *load) proveLine(id string, states map[string]string) {
	l.t.Helper()
	want := make(map[string]string)
	for ticket, state := range states {
		if state == "waiting" || state == "called" {
			want[ticket] = state
		}
	}
	after, position := "", 0
	for {
		var page struct {
			Items []struct {
				ID, State string
				Position  int
			}
			Next string
		}
		a := l.admin.must(l.t, l.url(), "GET", "/queues/"+id+"/tickets?limit=1000"+after, "")
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			l.t.Fatal(err)
		}
		for _, item := range page.Items {
			if want[item.ID] != item.State {
				l.t.Errorf("%s: ticket %s is %s in the list and %q by its events", id, item.ID, item.State, want[item.ID])
			}
			if position++; item.State == "waiting" && item.Position != position {
				l.t.Errorf("%s: ticket %s stands at position %d, listed as number %d", id, item.ID, item.Position, position)
			}
			delete(want, item.ID)
		}
		if page.Next == "" {
			break
		}
		after = "&after=" + page.Next
	}
	if len(want) > 0 {
		l.t.Errorf("%s: %d tickets are not in the list: %v", id, len(want), want)
	}
}

// proveReplays sends every accepted operation again: the answer must be the first one.
func (l *load) proveReplays() {
	l.t.Helper()
	work := make(chan *operation)
	var wrong atomic.Int64
	var clients sync.WaitGroup
	for range loadClients {
		clients.Go(func() {
			for o := range work {
				a, err := l.admin.call(l.url(), o.method, o.path, o.body, o.key)
				if err != nil || a.status != o.answer.status || a.body != o.answer.body ||
					a.version() != o.answer.version() || a.header.Get("Idempotent-Replayed") != "true" {
					if wrong.Add(1) > 3 {
						continue // a few tell as much as thousands
					}
					l.t.Errorf("%s %s was answered %d at version %d: %s\nand then %d at version %d, %v: %s", o.method, o.path,
						o.answer.status, o.answer.version(), o.answer.body, a.status, a.version(), err, a.body)
				}
			}
		})
	}
	for _, o := range l.done {
		if o.key != "" {
			work <- o
		}
	}
	close(work)
	clients.Wait()
}
