// Package actors holds the shells around the pure parts: the queue grain, the
// sessions that follow queues, and the client by which gateways reach grains.
package actors

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.opentelemetry.io/otel/trace"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// QueueKind is the name of the queue grain's kind.
const QueueKind = "queue"

// Bounds of a grain.
const (
	maxStash       = 20_000          // requests that wait while a queue is loaded
	maxBatchEvents = 1_000           // events in one append
	maxBatchBytes  = 4 << 20         // sealed customer data in one append, roughly
	journalTimeout = 5 * time.Second // of one read
	// Appends of one queue that are under way at once: while the journal writes
	// one, those whom it answered last ask for the next.
	maxUnderwayAppends = 2
	loadTimeout        = 10 * time.Second
	// A large snapshot takes its time, and nobody waits for it.
	snapshotTimeout = time.Minute
	loadBackoff     = 200 * time.Millisecond
	maxReloads      = 8
	// See giveWay.
	duelStep      = 5 * time.Millisecond
	maxDuelSteps  = 5
	duelOver      = time.Second
	snapshotEvery = 1_000 // events at least between two snapshots
	maxSaving     = 2     // snapshots that are written at once, of all queues
	// See committer.hold.
	maxHold    = 500 * time.Microsecond
	returnTime = 3 * time.Microsecond
	fewAnswers = 8   // are given by whoever brings the news, more of them beside it
	fewEvents  = 8   // are encoded by the grain, more of them beside it
	eventBytes = 300 // of an entry for each event, roughly, beside sealed data
)

// GrainDeps is what a queue grain needs of its surroundings.
type GrainDeps struct {
	Journal Journal
	Log     *slog.Logger
	Now     func() queue.Time
	// Request reaches other queues, for transfers.
	Request Requester
	// Committed is told of every advance of a queue's journal that this node
	// made. It must not block; what it does with it may be lost.
	Committed func(queue string, version uint64)
	// Known is the highest version of a queue that is known outside its
	// journal, 0 where none is: a journal that ends below it has lost events.
	// An error means that it may be higher; the queue goes on.
	Known func(ctx context.Context, queue string) (uint64, error)
	// Followed is the version up to which everybody who must have the queue's
	// events has them: its journal is trimmed no further. An error means that
	// nothing is trimmed this time.
	Followed func(ctx context.Context, queue string) (uint64, error)
	// MaxUnfollowed bounds what is kept for them; see Unfollowed. Zero is the default.
	MaxUnfollowed Unfollowed
	// Trouble counts what goes wrong with the journal, if it is not nil.
	Trouble *Trouble
	// Appended is told of each append that was answered, if it is not nil: how many
	// events were in it, and how long it took. It must not block.
	Appended func(events int, took time.Duration)
	// Passivate recognises the message that asks a grain to stop.
	Passivate func(message any) bool
	// Hosted tells whether a queue lives on this node, as far as that is known;
	// nil: all do. A request to one that does not is answered with Moved.
	Hosted func(queue string) bool
	Moved  any
	// Tracer makes spans of requests that are part of a trace; nil: none.
	Tracer trace.Tracer
}

// Trouble is what has gone wrong with the journal.
type Trouble struct {
	Epochs atomic.Uint64 // begun because the store had lost events
	Lost   atomic.Uint64 // events that the store had lost
	// Appends and checks of ownership that failed: the queue was claimed
	// elsewhere, events are missing, nothing was written, or that is not known.
	Fenced, Gaps, Unavailable, Unknown atomic.Uint64
	Loads                              atomic.Uint64 // of queues that failed
	NotFollowed                        atomic.Uint64 // commands refused, for events wait for those who must have them
	Damaged                            atomic.Int64  // queues out of service now
}

// grain is one activation of one queue: load, decide, append, apply, answer.
//
// It decides ahead of the journal, against its newest state, while an append
// is under way; nothing that it decided ahead is shown. Every answer, reads
// and refusals too, waits for an append or a check of ownership that began
// after all that the answer saw. When that fails, the state is thrown away and
// loaded again under a new claim, and what was not answered is asked again.
type grain struct {
	*grainContext
	log    *slog.Logger
	cancel context.CancelFunc

	state     *queue.State // nil while it is loaded
	committer *committer   // of that state
	known     uint64       // the highest version known of the queue when the state was loaded
	durable   uint64       // the newest version that was durable when the state was loaded or thrown away

	current *item   // the one that is being decided
	stash   []*item // while the state is loaded
	loading *loaded // the load under way
	retryAt time.Time
	reloads int // in a row, because another activation came between
	// How often the queue was claimed elsewhere lately, and when it was last.
	fenced   int
	fencedAt time.Time
	warned   bool // of the store, since the state was loaded
	damaged  bool // the journal, as it was last loaded

	sinceSnapshot int
	jitter        float64      // of the number of events until the next one
	image         *queue.Image // waits until its version is durable
	trimTo        uint64       // of that image
	snapshotting  bool
	forgotten     bool // the outbox shrank since the last snapshot
	captures      captures
	backlog       backlog
	purges        []*item // wait for a snapshot
	purging       []*item // are answered by the one under way

	passivating bool
	deliveries  map[queue.TicketID]bool // transfers that are being sent to their targets
	placing     map[queue.OpID]*item    // transfers whose target is asked to keep a place
}

// item is one request and what will be answered to it.
type item struct {
	sender  *actor.PID
	request any // *messages.Command, *messages.Read or *messages.KeepPlace
	// One of these is set once it has been decided.
	event    *queue.Event
	message  *messages.Event // the event as it is written and answered
	replayOf uint64
	answer   any
	// sent: the event stood in an append whose fate is not known yet.
	sent bool
	// given: it has been answered, and is not to be decided again.
	given bool
	// placed: the target of the transfer keeps a place.
	placed bool
	// series is the batch that it is part of, and place where it stands in it.
	series *series
	place  int
	traced *traced // nil: part of no trace
}

// NewGrain gives the producer of queue grains for one identity, to be handed
// to the cluster as a kind.
func NewGrain(deps GrainDeps) func(identity string) actor.Actor {
	if deps.Trouble == nil {
		deps.Trouble = new(Trouble)
	}
	if deps.Appended == nil {
		deps.Appended = func(int, time.Duration) {}
	}
	saving := make(chan struct{}, maxSaving)
	return func(identity string) actor.Actor {
		return &grain{
			grainContext: &grainContext{GrainDeps: deps, id: queue.ID(identity), saving: saving},
			jitter:       newJitter(),
			log:          deps.Log.With("queue", identity),
		}
	}
}

// Messages of the grain to itself.
type (
	loaded struct {
		owner  queue.OwnerID
		head   queue.Head
		state  *queue.State
		events int // replayed after the snapshot
		// happened are the events after what was last known to be durable, by operation.
		happened map[queue.OpID]*queue.Event
		trimmed  bool   // happened could not be read
		known    uint64 // see GrainDeps.Known
		followed uint64 // see GrainDeps.Followed
		creating bool   // somebody waits to create the queue
		absent   bool   // the queue never had an event
		err      error
	}
	committed struct {
		committer *committer
		items     []*item
		durable   uint64
		err       error
	}
	snapshotSaved struct {
		version, trimmedTo uint64
		followed           uint64
		err                error
	}
)

// Receive is the actor's only entry.
func (g *grain) Receive(ctx actor.Context) {
	defer func() {
		if r := recover(); r != nil {
			g.panicked(r)
		}
	}()
	switch m := ctx.Message().(type) {
	case *actor.Started:
		g.system, g.self = ctx.ActorSystem(), ctx.Self()
		g.ctx, g.cancel = context.WithCancel(context.Background())
	case *actor.Stopping:
		g.cancel()
		g.setDamaged(false)
	case *messages.Command, *messages.Read, *messages.KeepPlace, *messages.Purge:
		g.take(&item{sender: ctx.Sender(), request: m, traced: g.traced(parentOf(ctx))})
	case *messages.Batch:
		g.takeBatch(ctx.Sender(), m)
	case *loaded:
		g.loaded(m)
	case *committed:
		g.committed(m)
	case *placeKept:
		g.placeKept(m)
	case *delivered:
		g.delivered(m)
	case *snapshotSaved:
		g.snapshotSaved(m)
	case *followedTo:
		g.lookedBack(m)
	default:
		if g.Passivate(m) {
			g.passivating = true
		}
	}
	g.maybeStop(ctx)
}

// panicked answers whoever asked, throws the state away and loads it again: a
// fault in one command must not end the queue.
func (g *grain) panicked(reason any) {
	g.log.Error("the queue grain panicked; its state is loaded again", "panic", reason, "stack", string(debug.Stack()))
	if it := g.current; it != nil {
		g.refuse(it, queue.ErrOutcomeUnknown)
		it.given = true // it must not bring the queue down again and again
	}
	g.reset(nil)
}

// take accepts a request: at once, or when the state has been loaded.
func (g *grain) take(it *item) {
	switch {
	case g.state != nil:
		g.decide(it)
	case g.loading == nil && time.Now().Before(g.retryAt):
		g.refuse(it, g.whyNot())
	case len(g.stash) >= maxStash:
		g.refuse(it, queue.ErrUnavailableNow)
	default:
		g.stash = append(g.stash, it)
		g.load()
	}
}

// decide finds the answer to a request and lines it up behind all that the
// answer depends on.
func (g *grain) decide(it *item) {
	g.current = it // stays where a panic ends this, for panicked to find
	switch m := it.request.(type) {
	case *messages.Read:
		it.answer = g.read(m)
	case *messages.KeepPlace:
		it.answer = g.keepPlace(m)
	case *messages.Purge:
		g.current = nil
		g.purges = append(g.purges, it)
		g.purge()
		return
	case *messages.Command:
		if !it.series.begin(it.place) {
			it.answer = notTried()
		} else if !g.decideCommand(it, m) {
			g.current = nil
			return
		}
	}
	it.traced.decide()
	g.committer.line(it)
	g.current = nil
}

// decideCommand is false where the answer has to wait for another queue.
func (g *grain) decideCommand(it *item, m *messages.Command) bool {
	command, err := commandFromMessage(m, g.Now())
	if err != nil {
		g.log.ErrorContext(it.traced.in(g.ctx), "a command cannot be understood", "error", err)
		it.answer = g.refusal(&queue.Error{Code: queue.Invalid, Detail: "The command cannot be understood."})
		return true
	}
	if create, ok := command.Do.(*queue.Create); ok {
		create.Known = g.known
	}
	decision, err := g.state.Decide(command)
	// The arrival of a ticket that has left its source is not put off.
	if err == nil && decision.Event != nil && m.GetArrive() == nil && !g.mayGrow() {
		g.Trouble.NotFollowed.Add(1)
		err = queue.ErrNotFollowed
	}
	switch refused := (*queue.Error)(nil); {
	case errors.Is(err, queue.ErrNobodyWaits):
		it.answer = &messages.Answer{Version: g.state.Version()}
	case errors.As(err, &refused):
		it.answer = g.refusal(refused)
		it.series.refused(it.place, refused)
		g.freePlace(it)
	case err != nil:
		panic(err) // Decide answers with refusals only
	case decision.ReplayOf != 0:
		it.replayOf = decision.ReplayOf
	case decision.Event.Kind == queue.TicketTransferred && !it.placed:
		g.askForPlace(it, m)
		return false
	default:
		if err := g.state.Apply(decision.Event); err != nil {
			panic(err) // what was decided fits, or the core is broken
		}
		it.event = decision.Event
		g.backlog.add(it.event)
		if g.sinceSnapshot++; g.snapshotDue() {
			g.capture()
		}
	}
	return true
}

func (g *grain) refusal(e *queue.Error) *messages.Answer {
	return &messages.Answer{Problem: problem(e), Version: g.state.Version()}
}

// refuse answers a request that never came to be decided, or whose fate is unknown.
func (g *grainContext) refuse(it *item, e *queue.Error) {
	var m any = &messages.Answer{Problem: problem(e)}
	switch it.request.(type) {
	case *messages.Read:
		if e == queue.ErrOutcomeUnknown {
			e = queue.ErrUnavailableNow // a read does nothing
		}
		m = &messages.View{Problem: problem(e)}
	case *messages.Purge:
		m = &messages.Purged{Problem: problem(e)}
	}
	it.series.end(it.place)
	g.traceRefusal(it, e)
	g.give(it, m)
}

// reset throws the state away. What was not answered, failed first, is kept
// and asked again when the state has been loaded.
func (g *grain) reset(failed []*item) {
	if g.committer != nil {
		waiting, durable := g.committer.end()
		failed, g.durable = append(failed, waiting...), max(g.durable, durable)
	}
	failed, g.purges = append(failed, g.purges...), nil
	if g.image != nil { // it was not written down
		failed, g.purging = append(failed, g.purging...), nil
	}
	again := make([]*item, 0, len(failed)+len(g.stash))
	for _, it := range failed {
		if it.given {
			continue
		}
		if !it.sent {
			it.event = nil
		}
		it.answer, it.replayOf, it.message = nil, 0, nil
		again = append(again, it)
	}
	g.stash = append(again, g.stash...)
	g.state, g.committer, g.image, g.loading = nil, nil, nil, nil
	g.captures = captures{last: g.captures.last} // their ids are not given out again
	if len(g.stash) > 0 {
		g.load()
	}
}

// maybeStop ends a passivated grain once nothing is under way any more.
func (g *grain) maybeStop(ctx actor.Context) {
	if !g.passivating || g.loading != nil || g.snapshotting || g.backlog.looking || len(g.deliveries)+len(g.purges)+len(g.purging) > 0 ||
		g.committer != nil && !g.committer.idle() {
		return
	}
	// Replaying a few events is cheaper than writing the whole state down.
	if g.state != nil && (g.sinceSnapshot > snapshotEvery/5 || g.forgotten) {
		g.capture()
		g.saveSnapshot()
		return
	}
	ctx.Stop(ctx.Self())
}

func newOwner() (owner queue.OwnerID) {
	_, _ = rand.Read(owner[:]) // never fails (crypto/rand)
	return owner
}
