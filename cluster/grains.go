package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// handOverWithin bounds how long a grain that is to live elsewhere may finish
// what is under way and write down what it must; then it is ended. Whoever waits
// to activate it waits no longer either: the journal's fence keeps the two apart.
const handOverWithin = 3 * time.Second

// passivateWithin is the same for one that nobody asks for: writing down a
// long queue takes its time.
const passivateWithin = 70 * time.Second

// maxHandOvers are under way at once when a node leaves or another joins.
const maxHandOvers = 16

// What an attempt to reach a grain may end with.
var (
	errNotHere = errors.New("cluster: the grain does not live there") // certainly not delivered
	errLost    = errors.New("cluster: the request was lost")          // may have been delivered
)

// grains are those that are active on this node. It counts the requests that
// are under way to each, so that a grain is only stopped when none is: a
// message to a stopped actor would vanish unanswered.
type grains struct {
	system *actor.ActorSystem
	log    *slog.Logger
	kinds  map[string]func(identity string) actor.Actor
	idle   time.Duration
	// before has another node let go of a grain that is about to be activated
	// here; nil where there is none.
	before func(ctx context.Context, key grainKey)

	mu       sync.RWMutex
	active   map[grainKey]*activation
	stopping map[grainKey]*activation // on their way out
	leaving  bool
	serial   uint64 // of the last activation
	ended    atomic.Uint64
	done     chan struct{}
	closed   sync.Once
}

type grainKey struct{ kind, identity string }

// activation is one life of one grain.
type activation struct {
	key     grainKey
	pid     *actor.PID // nil until it lives
	waiting []*request // that came before; guarded by grains.mu

	underway atomic.Int64
	lastUsed atomic.Int64 // Unix milliseconds
	ending   sync.Once
	stopped  chan struct{} // closed when its actor has stopped
	// gone is over when it was cut, with requests under way.
	gone context.Context
	cut  context.CancelFunc
}

func newGrains(system *actor.ActorSystem, o Options) *grains {
	return &grains{
		system: system, log: o.Log, kinds: o.Kinds, idle: o.IdleAfter,
		active: make(map[grainKey]*activation), stopping: make(map[grainKey]*activation), done: make(chan struct{}),
	}
}

// ask sends a message to a grain, which is activated where it is not, with the
// trace that it is part of. The error is for a request that was not taken.
func (g *grains) ask(key grainKey, message any, trace string, done func(any, error)) (*request, error) {
	r := &request{grains: g, message: message, trace: trace, done: done}
	g.mu.RLock()
	a := g.active[key]
	if a != nil && a.pid != nil && !g.leaving {
		r.under(a)
		g.mu.RUnlock()
		r.send()
		return r, nil
	}
	g.mu.RUnlock()
	return r, g.askNew(key, r)
}

func (g *grains) askNew(key grainKey, r *request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaving {
		return errNotHere
	}
	a := g.active[key]
	if a == nil {
		if _, known := g.kinds[key.kind]; !known {
			return fmt.Errorf("%w: no kind %q", ErrUndelivered, key.kind)
		}
		a = &activation{key: key, stopped: make(chan struct{})}
		a.gone, a.cut = context.WithCancel(context.Background())
		a.lastUsed.Store(time.Now().UnixMilli())
		g.active[key] = a
		if old := g.stopping[key]; old != nil || g.before != nil {
			go g.prepare(a, old)
		} else if err := g.spawn(a); err != nil {
			delete(g.active, key)
			return err
		}
	}
	r.under(a)
	if a.pid == nil {
		a.waiting = append(a.waiting, r)
	} else {
		r.send()
	}
	return nil
}

// prepare activates a grain once whoever had it before has let go of it.
func (g *grains) prepare(a, old *activation) {
	ctx, cancel := context.WithTimeout(context.Background(), handOverWithin)
	defer cancel()
	if old != nil {
		select {
		case <-old.stopped:
		case <-ctx.Done():
		}
	}
	if g.before != nil {
		g.before(ctx, a.key)
	}
	g.mu.Lock()
	if g.active[a.key] != a {
		g.mu.Unlock()
		return // it was dropped meanwhile, and those who wait were told
	}
	err := g.spawn(a)
	if err != nil {
		delete(g.active, a.key)
	}
	waiting := a.waiting
	a.waiting = nil
	for _, r := range waiting {
		if err == nil {
			r.send()
		}
	}
	g.mu.Unlock()
	if err != nil {
		g.log.Error("a grain could not be activated", "identity", a.key.identity, "error", err)
		refuse(waiting)
	}
}

func refuse(waiting []*request) {
	for _, r := range waiting {
		r.finish(nil, errNotHere)
	}
}

// spawn makes the actor. The lock is held.
func (g *grains) spawn(a *activation) error {
	props := actor.PropsFromProducer(func() actor.Actor { return &shell{g.kinds[a.key.kind](a.key.identity), g, a} },
		actor.WithSupervisor(actor.NewExponentialBackoffStrategy(10*time.Second, 100*time.Millisecond)))
	g.serial++
	pid, err := g.system.Root.SpawnNamed(props, fmt.Sprintf("%s/%s/%d", a.key.kind, a.key.identity, g.serial))
	if err != nil {
		return fmt.Errorf("cluster: activating a grain: %w", err)
	}
	a.pid = pid
	return nil
}

// shell notes when its actor has stopped.
type shell struct {
	actor.Actor
	grains     *grains
	activation *activation
}

// Receive is the actor's only entry.
func (s *shell) Receive(ctx actor.Context) {
	s.Actor.Receive(ctx)
	if _, ok := ctx.Message().(*actor.Stopped); !ok {
		return
	}
	close(s.activation.stopped)
	s.grains.ended.Add(1)
	s.grains.mu.Lock()
	defer s.grains.mu.Unlock()
	if s.grains.active[s.activation.key] == s.activation { // it stopped unasked
		delete(s.grains.active, s.activation.key)
		s.activation.cut() // what was under way to it is not answered any more
	}
}

// sweep passivates what is idle, until the node leaves.
func (g *grains) sweep() {
	tick := time.NewTicker(max(g.idle/4, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-g.done:
			return
		case <-tick.C:
			g.passivate(g.idle, func(grainKey) bool { return true })
		}
	}
}

// passivate has the grains stop that no request is under way to and that have
// been idle for that long. Who asks for one of them from now on waits for a
// new activation.
func (g *grains) passivate(idle time.Duration, pick func(grainKey) bool) []*activation {
	before := time.Now().Add(-idle).UnixMilli()
	var out []*activation
	g.mu.Lock()
	for key, a := range g.active {
		if a.pid != nil && a.underway.Load() == 0 && a.lastUsed.Load() <= before && pick(key) {
			g.takeOut(a)
			out = append(out, a)
		}
	}
	g.mu.Unlock()
	for _, a := range out {
		go g.end(a, passivateWithin)
	}
	return out
}

// takeOut: nobody reaches that activation from now on. The lock is held.
func (g *grains) takeOut(a *activation) {
	delete(g.active, a.key)
	g.stopping[a.key] = a
}

// release lets go of a grain, and of nothing where it is not active, and waits
// until it has stopped or ctx is over.
func (g *grains) release(ctx context.Context, key grainKey) {
	g.mu.Lock()
	a := g.active[key]
	if a != nil {
		g.takeOut(a)
	} else if a = g.stopping[key]; a == nil {
		g.mu.Unlock()
		return
	}
	waiting := a.waiting
	a.waiting = nil
	g.mu.Unlock()
	refuse(waiting)
	go g.end(a, handOverWithin)
	select {
	case <-a.stopped:
	case <-ctx.Done():
	}
}

// end lets an activation that was taken out finish what is under way, write
// down what it must, and stop.
func (g *grains) end(a *activation, within time.Duration) {
	a.ending.Do(func() {
		g.mu.Lock()
		never := a.pid == nil // and never will be, for it was taken out
		g.mu.Unlock()
		if never {
			close(a.stopped)
		} else {
			g.stop(a, within)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.stopping[a.key] == a {
			delete(g.stopping, a.key)
		}
		a.cut() // nobody is left who would notice
	})
}

func (g *grains) stop(a *activation, within time.Duration) {
	bound := time.NewTimer(within)
	defer bound.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for a.underway.Load() > 0 {
		select {
		case <-a.gone.Done():
			<-a.stopped
			return
		case <-bound.C:
			g.cut(a)
			<-a.stopped
			return
		case <-tick.C:
		}
	}
	g.system.Root.Send(a.pid, Passivate{})
	select {
	case <-a.stopped:
	case <-a.gone.Done():
		<-a.stopped
	case <-bound.C:
		g.cut(a)
		<-a.stopped
	}
}

// cut ends an activation at once. What was under way stays unanswered.
func (g *grains) cut(a *activation) {
	a.cut()
	g.mu.RLock()
	pid := a.pid
	g.mu.RUnlock()
	if pid != nil {
		g.system.Root.Stop(pid)
	}
}

// dropAll ends everything at once: the others may have taken it over.
func (g *grains) dropAll() {
	var out []*activation
	var waiting []*request
	g.mu.Lock()
	for _, a := range g.active {
		g.takeOut(a)
	}
	for _, a := range g.stopping {
		out, waiting = append(out, a), append(waiting, a.waiting...)
		a.waiting = nil
	}
	g.mu.Unlock()
	refuse(waiting)
	for _, a := range out {
		g.cut(a)
		go g.end(a, handOverWithin)
	}
}

// handOver lets go of all grains that pick chooses, some at a time, until none
// is left or ctx is over.
func (g *grains) handOver(ctx context.Context, pick func(grainKey) bool) bool {
	slots := make(chan struct{}, maxHandOvers)
	var all sync.WaitGroup
	for {
		g.mu.RLock()
		var keys []grainKey
		for key := range g.active {
			if pick(key) {
				keys = append(keys, key)
			}
		}
		for key := range g.stopping {
			if pick(key) {
				keys = append(keys, key)
			}
		}
		g.mu.RUnlock()
		if len(keys) == 0 {
			return true
		}
		for _, key := range keys {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return false
			}
			all.Go(func() {
				g.release(ctx, key)
				<-slots
			})
		}
		all.Wait()
	}
}

// leave activates nothing any more, waits until no request is under way, and
// stops every grain.
func (g *grains) leave(ctx context.Context) {
	g.closed.Do(func() { close(g.done) })
	g.mu.Lock()
	g.leaving = true
	g.mu.Unlock()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		g.passivate(0, func(grainKey) bool { return true })
		g.mu.RLock()
		left := len(g.active) + len(g.stopping)
		g.mu.RUnlock()
		if left == 0 {
			return
		}
		select {
		case <-ctx.Done():
			g.log.Warn("grains had not stopped when the node left", "count", left)
			return
		case <-tick.C:
		}
	}
}

// load counts the requests that are under way to the grains, and those to the one
// that has the most.
func (g *grains) load() (all, most int64) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, a := range g.active {
		n := a.underway.Load()
		all, most = all+n, max(most, n)
	}
	return all, most
}

// lives counts the activations that there have been, and those that are over.
func (g *grains) lives() (begun, over uint64) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.serial, g.ended.Load()
}

func (g *grains) count() int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.active)
}
