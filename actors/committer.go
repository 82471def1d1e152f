package actors

import (
	"context"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// batch is what one append makes durable, and all the answers that wait for it.
type batch struct {
	items  []*item
	first  uint64
	last   uint64
	lastOp queue.OpID
	events int
	bytes  int // of what the entry will hold, roughly
	// transfers: the grain has to deliver some of what it holds.
	transfers bool
	traced    bool // one of them is part of a trace

	began time.Time // when it was sent
	done  bool      // the journal has answered
	err   error
}

func (b *batch) full() bool { return b.events >= maxBatchEvents || b.bytes >= maxBatchBytes }

func (b *batch) add(it *item, after uint64) {
	b.items = append(b.items, it)
	b.traced = b.traced || it.traced != nil
	e := it.event
	if e == nil {
		return
	}
	if b.events == 0 {
		b.first = after + 1
	}
	b.events++
	b.last, b.lastOp = e.Version, e.Op
	b.transfers = b.transfers || e.Kind == queue.TicketTransferred
	if e.Ticket != nil {
		b.bytes += len(e.Ticket.Customer) + len(e.Ticket.Payload) + eventBytes
	}
}

// entry encodes the batch, and gives every item the message that it will be
// answered with.
func (b *batch) entry() (entry queue.Entry, err error) {
	var data []byte
	epoch := ""
	for _, it := range b.items {
		if it.event == nil {
			continue
		}
		if data == nil {
			epoch = it.event.Epoch
			data = beginEntry(epoch, b.bytes)
		}
		it.message = eventToMessage(it.event)
		if data, err = appendEvent(data, epoch, it.message); err != nil {
			return entry, err
		}
	}
	return queue.Entry{First: b.first, Last: b.last, Op: b.lastOp, Data: sealRecord(data)}, nil
}

// committer is the group commit of one claim of one queue. The grain lines up
// what it has decided; up to two appends are under way at once, each with all
// that had gathered when it was sent, and answers go out in order. It ends for
// good at the first failure: what comes after was decided on top of it.
//
// It has no goroutine of its own: whoever lines something up sends it when that
// is due, and so does the journal when it gives an answer.
type committer struct {
	*grainContext
	owner queue.OwnerID

	mu      sync.Mutex
	prev    queue.OpID // of the newest event that was sent
	lined   uint64     // the version of the newest event that was lined up
	durable uint64     // of the newest one that was answered
	watch   uint64     // the grain is told when this version is durable; 0: of none
	pending []*batch   // in order; all but the last one are full
	sent    []*batch   // under way, in order
	failed  error      // of the oldest append that failed
	ended   bool
	// encoding: a large batch is being encoded, and nothing may overtake it.
	encoding bool
	leaving  bool // the grain waits for the committer to be idle

	enough  int  // requests for which the next append waits, where it may
	holding bool // it may, although no other is under way; see hold
	timer   *time.Timer
}

// grainContext is what runs beside the actor may use of the grain: nothing in
// it changes.
type grainContext struct {
	GrainDeps
	id     queue.ID
	system *actor.ActorSystem
	self   *actor.PID
	ctx    context.Context // over when the actor stops
	saving chan struct{}   // one place for each snapshot that is being written on this node
}

func (g *grainContext) respond(sender *actor.PID, m any) {
	if sender != nil {
		g.system.Root.Send(sender, m)
	}
}

func (g *grainContext) tell(m any) { g.system.Root.Send(g.self, m) }

func newCommitter(g *grainContext, owner queue.OwnerID, head queue.Head) *committer {
	return &committer{grainContext: g, owner: owner, prev: head.Op, lined: head.Version, durable: head.Version}
}

// line lines a request up behind all that it has seen.
func (c *committer) line(it *item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.pending); n == 0 || c.pending[n-1].full() {
		c.pending = append(c.pending, &batch{})
	}
	c.pending[len(c.pending)-1].add(it, c.lined)
	if it.event != nil {
		c.lined = it.event.Version
	}
	c.send()
}

// end stops the committer after the appends that are under way, and gives what
// waited behind them.
func (c *committer) end() (items []*item, durable uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, b := range c.pending {
		items = append(items, b.items...)
	}
	c.pending = nil
	return items, c.durable
}

// idle tells whether nothing waits and nothing is under way. Where it is false,
// the grain is told when that changes.
func (c *committer) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = len(c.sent)+len(c.pending) > 0
	return !c.leaving
}

// tellAt has the grain told when a version is durable that has not been lined
// up yet.
func (c *committer) tellAt(version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = version
}

// reached tells whether a version is durable.
func (c *committer) reached(version uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.durable >= version
}

// send sends what is due. The first append goes at once, unless it is held
// back; the second when it carries as many requests as are not under way in the
// first, about: an append that takes one request and leaves all others to the
// next would make these wait for two.
func (c *committer) send() {
	for len(c.pending) > 0 && len(c.sent) < maxUnderwayAppends && !c.encoding && !c.ended && c.failed == nil {
		b := c.pending[0]
		if (len(c.sent) > 0 || c.holding) && len(b.items) < c.enough && !b.full() {
			return
		}
		c.pending = c.pending[1:]
		c.sent = append(c.sent, b)
		c.holding = false
		b.began = time.Now()
		prev := c.prev
		switch {
		case b.events == 0:
			c.Journal.Owns(string(c.id), c.owner, c.durable, func(err error) { c.answered(b, err) })
		case b.events <= fewEvents:
			c.prev = b.lastOp
			c.append(b, prev)
		default: // beside the grain, which decides the next ones meanwhile
			c.prev = b.lastOp
			c.encoding = true
			go func() {
				c.append(b, prev)
				c.mu.Lock()
				defer c.mu.Unlock()
				c.encoding = false
				c.send()
			}()
		}
	}
}

// append hands a batch to the journal.
func (c *committer) append(b *batch, prev queue.OpID) {
	entry, err := b.entry()
	if err != nil { // a defect: what cannot be written must not be decided
		c.Log.ErrorContext(tracedIn(b.items), "events cannot be encoded", "queue", string(c.id), "error", err)
		for _, it := range b.items {
			c.refuse(it, queue.ErrOutcomeUnknown)
			it.given = true // it must not bring the queue down again and again
		}
		go c.answered(b, err)
		return
	}
	c.Journal.Append(string(c.id), c.owner, prev, entry, func(err error) { c.answered(b, err) })
}

// answered takes the journal's answer to a batch. A check of ownership may be
// answered before the append that was sent ahead of it; what it shows waits.
func (c *committer) answered(b *batch, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.done, b.err = true, err
	if b.events > 0 {
		c.Appended(b.events, time.Since(b.began))
	}
	for len(c.sent) > 0 && c.sent[0].done {
		first := c.sent[0]
		if c.failed == nil {
			c.failed = first.err
		}
		if c.failed != nil {
			c.fail()
			return
		}
		c.sent = c.sent[1:]
		c.succeed(first)
	}
	c.hold(b)
	c.send()
	if c.leaving && len(c.sent)+len(c.pending) == 0 {
		c.leaving = false
		c.tell(&committed{committer: c})
	}
}

// fail tells the grain, when nothing is under way any more. What was sent
// behind an append that failed is of unknown fate as well.
func (c *committer) fail() {
	var items []*item
	for _, b := range c.sent {
		if !b.done {
			return
		}
		for _, it := range b.items {
			it.sent = it.event != nil && !certainlyNot(b.err)
		}
		items = append(items, b.items...)
	}
	c.sent = nil
	c.tell(&committed{committer: c, items: items, durable: c.durable, err: c.failed})
}

func (c *committer) succeed(b *batch) {
	if b.events > 0 {
		c.durable = b.last
		c.Committed(string(c.id), b.last)
	}
	if b.transfers || c.watch > 0 && c.durable >= c.watch {
		c.watch = 0
		c.tell(&committed{committer: c, items: b.items, durable: c.durable})
	}
	if b.traced {
		go c.trace(b, time.Now())
	}
	if len(b.items) <= fewAnswers {
		c.answer(b)
	} else {
		go c.answer(b)
	}
}

// answer tells everybody who waited for the batch. Who waits for a transfer
// waits on.
func (c *committer) answer(b *batch) {
	for _, it := range b.items {
		switch {
		case it.series != nil:
			c.give(it, it.partAnswer())
		case it.message != nil:
			if it.message.Kind != messages.EventKind_EVENT_KIND_TICKET_TRANSFERRED {
				c.respond(it.sender, &messages.Answer{Event: it.message, Version: it.message.Version})
			}
		case it.replayOf != 0:
			go c.replay(it)
		default:
			c.respond(it.sender, it.answer)
		}
	}
}

// hold estimates how many ask at once, of those who were answered just now and
// those who wait, and lets two appends share them. Where none is under way, the
// next one waits, for a fraction of what an append takes, for those who are
// being answered: they often come back at once. One caller alone never waits,
// and many do not: they take longer to come back than is gained.
func (c *committer) hold(done *batch) {
	callers := len(done.items)
	for _, b := range c.sent {
		callers += len(b.items)
	}
	if len(c.pending) > 0 {
		callers += len(c.pending[0].items)
	}
	c.enough = callers / maxUnderwayAppends
	limit := min(time.Since(done.began)/2, maxHold)
	if len(c.sent) > 0 || done.events == 0 || callers < 2 || time.Duration(c.enough)*returnTime > limit {
		return
	}
	c.holding = true
	if c.timer == nil {
		c.timer = time.AfterFunc(limit, c.release)
	} else {
		c.timer.Reset(limit)
	}
}

func (c *committer) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	c.send()
}
