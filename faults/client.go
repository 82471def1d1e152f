package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

const (
	// attemptWithin is longer than a node's own budget for a request.
	attemptWithin = 12 * time.Second
	// retryAfter is how long a client waits before it tries again.
	retryAfter = 50 * time.Millisecond
	// giveUpAfter bounds one operation through all of its attempts.
	giveUpAfter = 90 * time.Second
)

// answer is what came back of one attempt.
type answer struct {
	status   int
	code     string
	version  uint64
	ticket   Ticket
	replayed bool
}

// errNotSent: the attempt certainly did not reach a node.
var errNotSent = errors.New("faults: no node took the connection")

// errSentAway: the node is leaving, and has not carried the command out.
var errSentAway = errors.New("faults: the node is leaving")

// transport sends an operation to a node once.
type transport interface {
	try(url string, o *Op) (answer, error)
	close()
}

// client asks for one thing after the other.
type client struct {
	*Load
	name    string
	nodes   *Nodes
	figures *figures
	via     transport
	random  *rand.Rand
	count   int
	tickets map[string][]string // by queue: enqueued here, and perhaps called by others since
	active  map[string][]string // by queue: called here
	held    map[string][]string
}

func (l *Load) newClient(name string, seed uint64, via transport) *client {
	return &client{
		Load: l, name: name, nodes: l.o.Nodes, figures: &l.figures, via: via, random: rand.New(rand.NewPCG(seed, l.o.Seed)),
		tickets: make(map[string][]string), active: make(map[string][]string), held: make(map[string][]string),
	}
}

// op begins an operation; four of five bear a key.
func (c *client) op(queue, command string) *Op {
	c.count++
	o := &Op{Client: c.name, Queue: queue, Command: command}
	mark := fmt.Sprintf("%s-%d", c.name, c.count)
	switch command {
	case "enqueue", "call", "call_next", "complete", "remove":
		o.Mark = mark
	}
	if c.random.IntN(5) > 0 {
		o.Key = mark
	}
	return o
}

// do sends an operation until its fate is known, or, without a key, until it
// may have happened, and writes it down.
func (c *client) do(o *Op) {
	o.Sent = c.o.History.Now()
	defer func() {
		o.Answered = c.o.History.Now()
		c.o.History.addOp(o)
		c.figures.latency(o.Answered - o.Sent)
	}()
	for maybe := false; ; {
		url := c.nodes.pick(c.random)
		a, err := c.via.try(url, o)
		o.Attempts++
		if c.settle(o, url, a, err) {
			if o.Outcome == Refused && maybe {
				o.Outcome = Unknown // an attempt before may still be on its way
			}
			return
		}
		maybe = maybe || err != nil && !errors.Is(err, errNotSent) && !errors.Is(err, errSentAway) || a.code == "outcome_unknown"
		if c.o.History.Now()-o.Sent > giveUpAfter {
			c.figures.unexpected("%s of %s was not answered in %s", o.Command, o.Client, giveUpAfter)
			return
		}
		time.Sleep(retryAfter)
	}
}

// settle takes the answer to one attempt, and tells whether it is the last.
func (c *client) settle(o *Op, url string, a answer, err error) bool {
	o.Status, o.Code = a.status, a.code
	switch {
	case errors.Is(err, errNotSent):
		c.figures.failed("refused")
		c.nodes.failed(url)
		return false
	case errors.Is(err, errSentAway):
		c.figures.failed("closed 1012")
		return false
	case err != nil:
		c.figures.broken(url, err)
		return o.Key == ""
	case a.status == http.StatusUnauthorized:
		_ = c.auth.renew(url) // the next attempt sees whether it did
		return false
	case a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests:
		c.figures.failed(a.code)
		if o.Key == "" && a.code != "outcome_unknown" {
			o.Outcome = Refused
		}
		return o.Key == ""
	case a.status == http.StatusNoContent:
		o.Outcome, o.Code = Refused, nobody
		return true
	case a.status < 300:
		o.Outcome, o.Version, o.Told, o.Replayed = Accepted, a.version, a.ticket, a.replayed
		return true
	case a.status == http.StatusNotFound && c.forgetful.Load():
		o.Outcome = Refused // of a ticket that the store has lost
		return true
	case a.status >= 500 || !slices.Contains(expected, a.code):
		c.figures.unexpected("%s %+v was answered %d %s", o.Command, *o, a.status, a.code)
		return true
	}
	o.Outcome = Refused
	return true
}

// expected are the refusals that are part of the race for tickets.
var expected = []string{
	"queue_full", "ticket_not_waiting", "ticket_not_active", "ticket_finished", "position_out_of_range",
}

// act does one thing, chosen by dice.
func (c *client) act() {
	queue := c.queues[c.random.IntN(len(c.queues))]
	switch dice := c.random.IntN(20); {
	case dice < 2 && len(c.tickets[queue]) > 0:
		o := c.op(queue, "move")
		o.Ticket, o.Position = c.pick(c.tickets, queue, false), 1+c.random.IntN(2)
		c.do(o)
	case dice < 3 && len(c.tickets[queue]) > 0:
		o := c.op(queue, "hold")
		o.Ticket = c.pick(c.tickets, queue, true)
		c.keep(c.held, o, o.Ticket)
	case dice < 4 && len(c.held[queue]) > 0:
		o := c.op(queue, "requeue")
		o.Ticket, o.Position = c.pick(c.held, queue, true), 1
		c.keep(c.tickets, o, o.Ticket)
	case dice < 5 && len(c.tickets[queue]) > 0:
		o := c.op(queue, "remove")
		o.Ticket = c.pick(c.tickets, queue, true)
		c.do(o)
	case dice < 8 && len(c.active[queue]) > 0:
		o := c.op(queue, []string{"complete", "complete", "complete", "start", "recall", "no_show", "requeue"}[c.random.IntN(7)])
		o.Ticket, o.Position = c.pick(c.active, queue, o.Command != "start" && o.Command != "recall"), 1
		c.do(o)
	case dice < 9 && len(c.tickets[queue]) > 0:
		c.transfer(queue, true)
	case dice < 10 && len(c.tickets[queue]) > 0:
		o := c.op(queue, "update")
		o.Ticket, o.Priority = c.pick(c.tickets, queue, false), c.random.IntN(3)
		c.do(o)
	case dice < 11 && len(c.tickets[queue]) > 0:
		o := c.op(queue, "call")
		o.Ticket = c.pick(c.tickets, queue, true)
		c.keep(c.active, o, o.Ticket)
	case dice < 14:
		o := c.op(queue, "call_next")
		c.do(o)
		c.note(c.active, o)
	case dice < 15:
		c.read(queue, 20)
	default:
		o := c.op(queue, "enqueue")
		o.Priority = max(0, c.random.IntN(6)-3)
		c.do(o)
		c.note(c.tickets, o)
	}
}

func (c *client) transfer(queue string, mayBeKeyed bool) {
	o := c.op(queue, "transfer")
	if !mayBeKeyed {
		o.Key = ""
	}
	o.Target = c.queues[c.random.IntN(len(c.queues))]
	if o.Target == queue {
		return
	}
	o.Ticket = c.pick(c.tickets, queue, true)
	c.do(o)
	if o.Outcome == Accepted {
		c.tickets[o.Target] = append(c.tickets[o.Target], o.Told.ID)
	}
}

// keep does an operation and remembers its ticket where it happened.
func (c *client) keep(where map[string][]string, o *Op, ticket string) {
	c.do(o)
	if o.Outcome == Accepted {
		where[o.Queue] = append(where[o.Queue], ticket)
	}
}

func (c *client) note(where map[string][]string, o *Op) {
	if o.Outcome == Accepted {
		where[o.Queue] = append(where[o.Queue], o.Told.ID)
	}
}

func (c *client) pick(from map[string][]string, queue string, take bool) string {
	i := c.random.IntN(len(from[queue]))
	ticket := from[queue][i]
	if take {
		from[queue] = slices.Delete(from[queue], i, i+1)
	}
	return ticket
}
