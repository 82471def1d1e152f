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
	items []*item
	// What the entry will hold: encoded while the append before is under way.
	epoch  string
	data   []byte
	first  uint64
	last   uint64
	lastOp queue.OpID
	events int
}

func (b *batch) full() bool { return b.events >= maxBatchEvents || len(b.data) >= maxBatchBytes }

// add changes nothing where an event cannot be encoded, which is a panic: a
// half added one would be written.
func (b *batch) add(it *item, after uint64) {
	if it.event != nil {
		if b.events == 0 {
			b.epoch, b.first = it.event.Epoch, after+1
		}
		m := eventToMessage(it.event)
		b.data = appendEvent(b.data, b.epoch, m)
		b.events++
		b.last, b.lastOp = it.event.Version, it.event.Op
		it.message = m
	}
	b.items = append(b.items, it)
}

// committer is the group commit of one claim of one queue. The grain lines up
// what it has decided; one goroutine at a time appends batch after batch, the
// next with all that has gathered meanwhile, and answers. It ends for good at
// the first failure: what comes after was decided on top of it.
type committer struct {
	*grainContext
	owner queue.OwnerID

	mu       sync.Mutex
	prev     queue.OpID
	lined    uint64   // the version of the newest event that was lined up
	pending  []*batch // in order; all but the last one are full
	running  bool
	ended    bool
	leaving  bool          // the grain waits for the committer to be idle
	expected int           // requests for which the next append is held back
	enough   chan struct{} // they are there
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
	return &committer{grainContext: g, owner: owner, prev: head.Op, lined: head.Version, enough: make(chan struct{}, 1)}
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
	switch {
	case c.ended: // the grain will find it in what end gives
	case !c.running:
		c.running = true
		go c.run()
	case c.expected > 0 && len(c.pending[0].items) >= c.expected:
		c.expected = 0
		c.enough <- struct{}{}
	}
}

// end stops the committer after the append that is under way, and gives what
// waited behind it.
func (c *committer) end() []*item {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	var items []*item
	for _, b := range c.pending {
		items = append(items, b.items...)
	}
	c.pending = nil
	return items
}

// idle tells whether nothing waits and nothing is under way. Where it is false,
// the grain is told when that changes.
func (c *committer) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = c.running
	return !c.running
}

func (c *committer) next() *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || len(c.pending) == 0 {
		c.running = false
		if c.leaving {
			c.tell(&committed{committer: c})
		}
		return nil
	}
	b := c.pending[0]
	c.pending = c.pending[1:]
	return b
}

func (c *committer) run() {
	for {
		b := c.next()
		if b == nil {
			return
		}
		began := time.Now()
		if err := c.append(b); err != nil {
			c.tell(&committed{committer: c, batch: b, err: err})
			return
		}
		c.tell(&committed{committer: c, batch: b})
		if len(b.items) <= fewAnswers {
			c.answer(b)
		} else {
			go c.answer(b)
		}
		c.hold(b, time.Since(began))
	}
}

// append makes a batch durable, or, where it holds no events, checks that the
// queue is still ours.
func (c *committer) append(b *batch) error {
	ctx, cancel := context.WithTimeout(c.ctx, journalTimeout)
	defer cancel()
	if b.events == 0 {
		return c.Journal.Owns(ctx, string(c.id), c.owner)
	}
	entry := queue.Entry{First: b.first, Last: b.last, Op: b.lastOp, Data: sealEntry(b.epoch, b.data)}
	if err := c.Journal.Append(ctx, string(c.id), c.owner, c.prev, entry); err != nil {
		return err
	}
	c.prev = b.lastOp
	c.Committed(string(c.id), b.last)
	return nil
}

// answer tells everybody who waited for the batch. Who waits for a transfer
// waits on.
func (c *committer) answer(b *batch) {
	for _, it := range b.items {
		switch {
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

// expect is false where nobody but one is expected.
func (c *committer) expect(returning int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := 0
	if len(c.pending) > 0 {
		waiting = len(c.pending[0].items)
	}
	if waiting+returning < 2 {
		return false
	}
	c.expected = waiting + returning
	return true
}

// hold waits, for a fraction of what an append takes, for those who are being
// answered: they often come back at once, and an append that starts with the
// first of them makes all others wait for two. One caller alone never waits,
// and many do not: they take longer to come back than is gained.
func (c *committer) hold(done *batch, took time.Duration) {
	limit := min(took/2, maxHold)
	if done.events == 0 || time.Duration(len(done.items))*returnTime > limit {
		return
	}
	if !c.expect(len(done.items)) {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.enough:
		return
	case <-timer.C:
	case <-c.ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expected == 0 { // it was said in this very moment
		<-c.enough
	}
	c.expected = 0
}
