package faults

import (
	"context"
	"fmt"
	"sync"
)

// roundTable is the clients of one queue that only they use, round after round.
type roundTable struct {
	*Load
	queue   string
	clients []*client
	done    []Round
	checked int
}

func (l *Load) newRoundTable(queue string, n int) *roundTable {
	t := &roundTable{Load: l, queue: queue}
	for i := range RoundClients {
		t.clients = append(t.clients, l.newClient(fmt.Sprintf("round-%d-%d", n, i), uint64(1000*n+i), newREST(l.auth)))
	}
	return t
}

func (t *roundTable) run(ctx context.Context) {
	defer func() {
		for _, c := range t.clients {
			c.via.close()
		}
	}()
	for ctx.Err() == nil {
		if !t.round() {
			return
		}
	}
}

// round: everyone waits while the queue is read, before and after.
func (t *roundTable) round() bool {
	before := t.clients[0].readUntil(t.queue, 1000)
	if before == nil {
		return false
	}
	var mu sync.Mutex
	var ops []*Op
	var all sync.WaitGroup
	for _, c := range t.clients {
		all.Go(func() {
			for range RoundOps / RoundClients {
				o := c.chooseOf(before)
				c.do(o)
				mu.Lock()
				ops = append(ops, o)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	after := t.clients[0].readUntil(t.queue, 1000)
	if after == nil {
		return false
	}
	for _, o := range ops {
		if o.Outcome == Unknown {
			return false // it may still happen, in the middle of another round
		}
	}
	t.done = append(t.done, Round{before, after, ops})
	return true
}

// chooseOf makes an operation on the few tickets that all of a round see.
func (c *client) chooseOf(r *Read) *Op {
	commands := []string{"enqueue", "enqueue", "call_next"}
	var tickets []string
	for id := range r.States {
		tickets = append(tickets, id)
	}
	if len(tickets) > 0 {
		commands = append(commands, "move", "remove", "complete", "complete", "hold", "requeue", "start")
	}
	o := c.op(r.Queue, commands[c.random.IntN(len(commands))])
	o.Key = fmt.Sprintf("%s-%d", c.name, c.count) // so that its outcome becomes known
	o.Priority = c.random.IntN(2)
	if o.Command != "enqueue" && o.Command != "call_next" {
		o.Ticket, o.Position = tickets[c.random.IntN(len(tickets))], 1+c.random.IntN(3)
	}
	return o
}

// CheckRounds holds the rounds that have been done since the last time against
// what one queue doing one thing at a time would answer. Where the store has
// lost something they cannot be, and are forgotten.
func (l *Load) CheckRounds(r *Report, whole bool) {
	for _, t := range l.rounds {
		if whole {
			CheckRounds(r, t.done[t.checked:], roundCapacity)
		}
		t.checked = len(t.done)
	}
}
