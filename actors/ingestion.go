package actors

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"nowserving/messages"
)

// Bounds of the ingestion.
const (
	maxWindow      = 256     // requests of one queue under way at once
	maxWindowBytes = 1 << 20 // of their bodies
	windowWithin   = requestTimeout
	// A queue that is full for that long has its requests dead-lettered.
	fullFor = time.Minute
	// A request that waits keeps those that were taken behind it from being
	// acknowledged with one word. They wait so long for it.
	holdAcks        = 50 * time.Millisecond
	minRetry        = 20 * time.Millisecond
	maxRetry        = time.Second
	housekeepEvery  = holdAcks
	maxRememberFull = 10_000 // idle queues that were found full
	// settleFor is longer than anything that another node, to which the source
	// belonged before, may still bring to a queue: a window that it has just
	// begun is with its queue within windowWithin, and decided within batchWithin.
	settleFor = windowWithin + batchWithin + 2*time.Second
)

// Results of requests, as they are counted.
const (
	ResultAccepted  = "accepted"
	ResultDuplicate = "duplicate" // its ticket was there
	ResultDead      = "dead"
)

// Delivery is one message as it came, of a source that numbers them upwards.
type Delivery struct {
	Tag         uint64
	MessageID   string
	ContentType string
	RoutingKey  string
	Headers     map[string]any
	Body        []byte
	Again       bool // it was delivered before, maybe to another node
	// Raw is the source's own, for the dead letter.
	Raw any
}

// Source is where deliveries came from and are acknowledged, as long as it
// lives. What it did not learn of comes again.
type Source interface {
	// Ack acknowledges a delivery, and all earlier ones where multiple is set.
	Ack(tag uint64, multiple bool) error
	// Fresh tells whether the source was heard of so lately that it cannot have
	// given its deliveries to another node.
	Fresh() bool
}

// Request is a delivery that has been decoded.
type Request interface {
	// Queue is the one that it names. Order is kept among requests of one name.
	Queue() string
	// Command gives the enqueue that it means, always the same one; a problem
	// where it is refused for good; an error where that cannot be known now.
	Command(ctx context.Context) (*messages.Command, *messages.Problem, error)
	// Settled is told, once, what became of it: a result, and why it is dead.
	Settled(result string, p *messages.Problem)
}

// DeadLetter is a delivery that cannot succeed.
type DeadLetter struct {
	Delivery *Delivery
	Queue    string // empty where it names none
	Problem  *messages.Problem
	At       time.Time
}

// IngestionDeps is what the ingestion needs of its surroundings.
type IngestionDeps struct {
	System *actor.ActorSystem
	Queues *Queues
	// Open decodes a delivery, or says why it cannot be.
	Open func(*Delivery) (Request, *messages.Problem)
	// Bury publishes dead letters in order, and tells of how many, from the
	// first on, it is certain that they are safe.
	Bury func(ctx context.Context, letters []DeadLetter) (int, error)
	// Room is how many deliveries a source hands over before it waits for
	// acknowledgements.
	Room int
	// Settled is told what became of a request, by which code it is dead, and how
	// long that took since it came; it must not block.
	Settled func(result, code string, took time.Duration)
	Now     func() time.Time
	Log     *slog.Logger
}

// Ingestion is the handle of the actor that makes tickets of deliveries: one
// pipeline for each queue that they name, in order, and a failure that may pass
// stops its own queue only.
type Ingestion struct {
	deps     IngestionDeps
	pid      *actor.PID
	underway atomic.Int64
	oldest   atomic.Int64 // when the oldest of them came, in Unix milliseconds; 0: there is none
	done     chan struct{}
}

// Messages to the actor.
type (
	openSource struct{ source Source }
	lostSource struct{ source Source }
	arrived    struct {
		source  Source
		intakes []*intake
	}
	closeSource struct{ closed chan struct{} }
	windowDone  struct {
		pipeline *pipeline
		window   []*intake
		outcome  outcome
	}
	housekeep struct{}
	retry     struct{ pipeline *pipeline }
)

// The library logs what comes for an actor that has ended.
func (*arrived) IgnoreDeadLetterLogging()    {}
func (*windowDone) IgnoreDeadLetterLogging() {}
func (*housekeep) IgnoreDeadLetterLogging()  {}
func (*retry) IgnoreDeadLetterLogging()      {}

// StartIngestion starts the actor. Whoever started it stops it with Stop.
func StartIngestion(deps IngestionDeps) *Ingestion {
	i := &Ingestion{deps: deps, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	a := &ingestion{IngestionDeps: deps, handle: i, ctx: ctx, cancel: cancel, pipelines: make(map[string]*pipeline)}
	i.pid = deps.System.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return a }))
	return i
}

// Open begins to take from a source; what came from the one before and was not
// acknowledged is forgotten.
func (i *Ingestion) Open(s Source) { i.send(&openSource{s}) }

// Lost tells that a source has ended. All that came from it and was not
// acknowledged comes again, here or at another node, and is not begun any more.
func (i *Ingestion) Lost(s Source) { i.send(&lostSource{s}) }

// Deliver hands over deliveries of a source, in order. How many there are at
// once is the source's to bound.
func (i *Ingestion) Deliver(s Source, deliveries []*Delivery) {
	intakes, now := make([]*intake, len(deliveries)), time.Now()
	for n, d := range deliveries {
		in := &intake{delivery: d, came: now}
		if in.request, in.problem = i.deps.Open(d); in.request != nil {
			in.queue = in.request.Queue()
		}
		intakes[n] = in
	}
	i.send(&arrived{s, intakes})
}

// Close ends the source, if one is open: nothing more of it is begun, and what is
// under way is finished and acknowledged. It waits for that until ctx is over.
func (i *Ingestion) Close(ctx context.Context) {
	m := &closeSource{make(chan struct{})}
	i.send(m)
	select {
	case <-m.closed:
	case <-i.done:
	case <-ctx.Done():
	}
}

// Underway counts deliveries that are not acknowledged.
func (i *Ingestion) Underway() int { return int(i.underway.Load()) }

// Oldest is for how long the oldest of them has been here.
func (i *Ingestion) Oldest() time.Duration {
	came := i.oldest.Load()
	if came == 0 {
		return 0
	}
	return max(0, time.Since(time.UnixMilli(came)))
}

// Stop ends the actor, and what is under way with it.
func (i *Ingestion) Stop() {
	i.deps.System.Root.Stop(i.pid)
	<-i.done
}

func (i *Ingestion) send(m any) { i.deps.System.Root.Send(i.pid, m) }

// ingestion is the actor.
type ingestion struct {
	IngestionDeps
	handle *Ingestion
	self   *actor.PID
	ctx    context.Context // over when the actor stops
	cancel context.CancelFunc

	source    Source    // nil: none is open
	opened    time.Time // when it was
	line      []*intake // not acknowledged, in the order of their tags
	pipelines map[string]*pipeline
	busy      int            // windows under way, of earlier sources too
	closing   []*closeSource // wait until nothing is under way
	blocked   time.Time      // since when the oldest delivery keeps others from being acknowledged
	troubles  map[string]int // pipelines that wait, by what for
}

// intake is one delivery on its way.
type intake struct {
	delivery *Delivery
	came     time.Time
	request  Request // nil: it could not be decoded
	queue    string
	// What became of it; while it is in a window that is under way, that one's.
	problem *messages.Problem // it is to be buried
	command *messages.Command
	result  string // empty while it waits
	// settled is the actor's alone: it may be acknowledged.
	settled bool
}

// Receive is the actor's only entry.
func (a *ingestion) Receive(ctx actor.Context) {
	defer func() {
		if r := recover(); r != nil {
			// Nothing may be lost by it: what is not acknowledged comes again.
			a.Log.Error("the ingestion panicked", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	switch m := ctx.Message().(type) {
	case *actor.Started:
		a.self, a.troubles = ctx.Self(), make(map[string]int)
		a.tick()
	case *openSource:
		a.open(m.source)
	case *lostSource:
		if m.source == a.source {
			a.open(nil)
		}
	case *arrived:
		a.arrived(m)
	case *closeSource:
		a.closing = append(a.closing, m)
		a.forget()
		a.acknowledge()
		a.acknowledgeBehind()
		a.maybeClosed()
	case *windowDone:
		a.windowDone(m)
	case *retry:
		m.pipeline.waits = false
		a.begin(m.pipeline)
	case *housekeep:
		a.acknowledge()
		if !a.blocked.IsZero() && time.Since(a.blocked) >= holdAcks {
			a.acknowledgeBehind()
		}
		a.sweep()
		a.tick()
	case *actor.Stopped:
		a.cancel()
		close(a.handle.done)
	}
}

// tick is how the actor looks after what nobody sends it a message for.
func (a *ingestion) tick() {
	time.AfterFunc(housekeepEvery, func() { a.System.Root.Send(a.self, &housekeep{}) })
}

// open goes on with another source, from which all that was not acknowledged
// comes again.
func (a *ingestion) open(s Source) {
	a.forget()
	a.source, a.opened, a.line, a.blocked = s, time.Now(), nil, time.Time{}
	a.countLine()
}

// forget drops all that is not under way.
func (a *ingestion) forget() {
	for _, p := range a.pipelines {
		p.waiting = nil
	}
}

func (a *ingestion) arrived(m *arrived) {
	if m.source != a.source || len(a.closing) > 0 {
		return
	}
	a.line = append(a.line, m.intakes...)
	a.countLine()
	now := a.Now()
	for _, in := range m.intakes {
		p := a.pipelines[in.queue]
		if p == nil {
			p = &pipeline{queue: in.queue}
			a.pipelines[in.queue] = p
		}
		if p.forgotten(now) {
			p.fullSince = time.Time{}
		}
		p.waiting = append(p.waiting, in)
	}
	for _, in := range m.intakes {
		a.begin(a.pipelines[in.queue])
	}
}

// maybeClosed answers those who closed a source once nothing is under way.
func (a *ingestion) maybeClosed() {
	if a.busy > 0 {
		return
	}
	for _, m := range a.closing {
		close(m.closed)
	}
	if len(a.closing) > 0 {
		a.closing = nil
		a.open(nil)
	}
}

// acknowledge tells the source, with one word, of all that is settled up to the
// oldest delivery that is not.
func (a *ingestion) acknowledge() {
	n := 0
	for n < len(a.line) && a.line[n].settled {
		n++
	}
	if n > 0 {
		a.ack(a.line[n-1].delivery.Tag, true)
		clear(a.line[:n])
		a.line = a.line[n:]
		a.countLine()
		a.blocked = time.Time{}
	}
	if len(a.line) == 0 {
		a.line = nil // the array under it is as long as the longest burst
		a.blocked = time.Time{}
		return
	}
	// Not a.Now: this is not about the queue's time, and must not stand still.
	if a.blocked.IsZero() {
		a.blocked = time.Now()
	}
}

// acknowledgeBehind acknowledges one by one what is settled behind a delivery
// that waits for long.
func (a *ingestion) acknowledgeBehind() {
	kept := a.line[:0]
	for _, in := range a.line {
		if in.settled {
			a.ack(in.delivery.Tag, false)
			continue
		}
		kept = append(kept, in)
	}
	clear(a.line[len(kept):])
	a.line = kept
	a.countLine()
}

// countLine is for those who look from outside.
func (a *ingestion) countLine() {
	oldest := int64(0)
	if len(a.line) > 0 {
		oldest = a.line[0].came.UnixMilli()
	}
	a.handle.underway.Store(int64(len(a.line)))
	a.handle.oldest.Store(oldest)
}

// ack: a source that is lost delivers again, and the queue knows what it took.
func (a *ingestion) ack(tag uint64, multiple bool) {
	if a.source != nil {
		_ = a.source.Ack(tag, multiple)
	}
}
