package actors

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
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
	// Raw is the source's own, for the dead letter.
	Raw any
}

// Source is where deliveries came from and are acknowledged, as long as it
// lives. What it did not learn of comes again.
type Source interface {
	// Ack acknowledges a delivery, and all earlier ones where multiple is set.
	Ack(tag uint64, multiple bool) error
}

// Request is a delivery that has been decoded.
type Request interface {
	// Queue is the one that it names. Order is kept among requests of one name.
	Queue() string
	// Command gives the enqueue that it means, always the same one; a problem
	// where it is refused for good; an error where that cannot be known now.
	Command(ctx context.Context) (*messages.Command, *messages.Problem, error)
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
	// Count is told the results of requests; it must not block.
	Count func(result string, n int)
	Now   func() time.Time
	Log   *slog.Logger
}

// Ingestion is the handle of the actor that makes tickets of deliveries: one
// pipeline for each queue that they name, in order, and a failure that may pass
// stops its own queue only.
type Ingestion struct {
	deps     IngestionDeps
	pid      *actor.PID
	underway atomic.Int64
	done     chan struct{}
}

// Messages to the actor.
type (
	openSource struct{ source Source }
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

// Deliver hands over deliveries of a source, in order. How many there are at
// once is the source's to bound.
func (i *Ingestion) Deliver(s Source, deliveries []*Delivery) {
	intakes := make([]*intake, len(deliveries))
	for n, d := range deliveries {
		in := &intake{delivery: d}
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
	case *arrived:
		a.arrived(m)
	case *closeSource:
		a.closing = append(a.closing, m)
		a.forget()
		a.acknowledge()
		a.maybeClosed()
	case *windowDone:
		a.windowDone(m)
	case *retry:
		m.pipeline.waits = false
		a.begin(m.pipeline)
	case *housekeep:
		a.acknowledge()
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
	a.source, a.line, a.blocked = s, nil, time.Time{}
	a.handle.underway.Store(0)
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
	a.handle.underway.Add(int64(len(m.intakes)))
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

// pipeline is one queue's. One window of it is under way at a time, and none
// while it waits to try again.
type pipeline struct {
	queue     string
	waiting   []*intake
	busy      bool
	waits     bool
	failures  int       // in a row
	trouble   string    // what it waits for
	fullSince time.Time // zero: not known to be full
	fullSeen  time.Time // when it was found full last
}

func (p *pipeline) idle() bool { return !p.busy && len(p.waiting) == 0 }

// forgotten tells whether nobody has asked the queue for so long that it is not
// known any more whether it is full.
func (p *pipeline) forgotten(now time.Time) bool { return p.idle() && now.Sub(p.fullSeen) > fullFor }

// begin sends the next window on its way, if it is time.
func (a *ingestion) begin(p *pipeline) {
	if p.busy || p.waits || len(p.waiting) == 0 || len(a.closing) > 0 {
		return
	}
	n, bytes := 0, 0
	for n < min(len(p.waiting), maxWindow) && (n == 0 || bytes+len(p.waiting[n].delivery.Body) <= maxWindowBytes) {
		bytes += len(p.waiting[n].delivery.Body)
		n++
	}
	window := slices.Clone(p.waiting[:n])
	w := &windowWork{IngestionDeps: &a.IngestionDeps, window: window}
	w.pastFull = !p.fullSince.IsZero() && a.Now().Sub(p.fullSince) >= fullFor
	p.busy = true
	a.busy++
	go func() {
		ctx, cancel := context.WithTimeout(a.ctx, windowWithin)
		defer cancel()
		a.System.Root.Send(a.self, &windowDone{p, window, w.run(ctx)})
	}()
}

// windowDone goes on where a window came to.
func (a *ingestion) windowDone(m *windowDone) {
	p := m.pipeline
	p.busy = false
	a.busy--
	for _, in := range m.window {
		if in.settled = in.result != ""; in.settled {
			a.Count(in.result, 1)
		}
	}
	// After a change of source, what waits now is the same once more.
	if len(p.waiting) > 0 && p.waiting[0] == m.window[0] {
		rest := p.waiting[len(m.window):]
		left := slices.DeleteFunc(m.window, func(in *intake) bool { return in.settled })
		if p.waiting = rest; len(left) > 0 {
			p.waiting = append(left, rest...)
		}
	}
	a.noteFull(p, m.outcome)
	a.noteTrouble(p, m.outcome.trouble)
	a.acknowledge()
	if m.outcome.trouble == "" {
		p.failures = 0
		a.begin(p)
	} else {
		a.retry(p)
	}
	a.maybeClosed()
}

func (a *ingestion) retry(p *pipeline) {
	wait := min(minRetry<<min(p.failures, 10), maxRetry)
	p.failures++
	p.waits = true
	wait += rand.N(wait / 2) //nolint:gosec // jitter is no secret
	time.AfterFunc(wait, func() { a.System.Root.Send(a.self, &retry{p}) })
}

func (a *ingestion) noteFull(p *pipeline, o outcome) {
	now := a.Now()
	if o.accepted {
		p.fullSince = time.Time{}
	}
	if o.full {
		if p.fullSeen = now; p.fullSince.IsZero() {
			p.fullSince = now
		}
	}
}

// noteTrouble logs the first queue that waits for something, and the last one
// that no longer does.
func (a *ingestion) noteTrouble(p *pipeline, trouble string) {
	if p.trouble == trouble {
		return
	}
	if p.trouble != "" {
		if a.troubles[p.trouble]--; a.troubles[p.trouble] == 0 {
			a.Log.Info("requests no longer wait", "code", p.trouble, "queue", p.queue)
		}
	}
	if p.trouble = trouble; trouble != "" {
		if a.troubles[trouble]++; a.troubles[trouble] == 1 {
			a.Log.Warn("requests wait; they are tried until they are taken", "code", trouble, "queue", p.queue)
		}
	}
}

// sweep forgets pipelines that have nothing to do.
func (a *ingestion) sweep() {
	now := a.Now()
	for name, p := range a.pipelines {
		if p.idle() && (p.fullSince.IsZero() || p.forgotten(now) || len(a.pipelines) > maxRememberFull) {
			a.noteTrouble(p, "")
			delete(a.pipelines, name)
		}
	}
}

// acknowledge tells the source of all that is settled: with one word up to the
// oldest delivery that is not, and one by one behind it where that waits for long.
func (a *ingestion) acknowledge() {
	n := 0
	for n < len(a.line) && a.line[n].settled {
		n++
	}
	if n > 0 {
		a.ack(a.line[n-1].delivery.Tag, true)
		clear(a.line[:n])
		a.line = a.line[n:]
		a.handle.underway.Add(int64(-n))
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
	if time.Since(a.blocked) >= holdAcks || len(a.closing) > 0 {
		a.acknowledgeBehind()
	}
}

// acknowledgeBehind acknowledges one by one.
func (a *ingestion) acknowledgeBehind() {
	kept := a.line[:0]
	for _, in := range a.line {
		if in.settled {
			a.ack(in.delivery.Tag, false)
			continue
		}
		kept = append(kept, in)
	}
	a.handle.underway.Add(int64(len(kept) - len(a.line)))
	clear(a.line[len(kept):])
	a.line = kept
}

// ack: a source that is lost delivers again, and the queue knows what it took.
func (a *ingestion) ack(tag uint64, multiple bool) {
	if a.source != nil {
		_ = a.source.Ack(tag, multiple)
	}
}
