package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	proto "github.com/asynkron/protoactor-go/cluster"
)

// lookup knows the grains that are active on this node and activates them. It
// counts the requests that are under way to each, so that a grain is only ever
// stopped when none is: a message to a stopped actor would vanish unanswered.
type lookup struct {
	system *actor.ActorSystem
	log    *slog.Logger
	kinds  map[string]func(identity string) actor.Actor
	idle   time.Duration

	mu      sync.RWMutex
	active  map[grainKey]*activation
	leaving bool
	serial  uint64
	done    chan struct{}
	closed  sync.Once
}

type grainKey struct{ kind, identity string }

// activation is one life of one grain.
type activation struct {
	pid      *actor.PID
	underway atomic.Int64
	lastUsed atomic.Int64 // sweeps ago is counted from this, in Unix milliseconds
}

func (a *activation) release() {
	a.lastUsed.Store(time.Now().UnixMilli())
	a.underway.Add(-1)
}

func newLookup(system *actor.ActorSystem, o Options) *lookup {
	return &lookup{
		system: system, log: o.Log, kinds: o.Kinds, idle: o.IdleAfter,
		active: make(map[grainKey]*activation), done: make(chan struct{}),
	}
}

// acquire gives the grain's activation, made where there is none, with one
// more request under way.
func (l *lookup) acquire(kind, identity string) (*activation, error) {
	key := grainKey{kind, identity}
	l.mu.RLock()
	a, ok := l.active[key]
	if ok && !l.leaving {
		a.underway.Add(1)
		l.mu.RUnlock()
		return a, nil
	}
	l.mu.RUnlock()
	return l.activate(key)
}

func (l *lookup) activate(key grainKey) (*activation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaving {
		return nil, ErrLeaving
	}
	a, ok := l.active[key]
	if !ok {
		produce, known := l.kinds[key.kind]
		if !known {
			return nil, fmt.Errorf("cluster: no kind %q", key.kind)
		}
		props := actor.PropsFromProducer(func() actor.Actor { return produce(key.identity) },
			actor.WithSupervisor(actor.NewExponentialBackoffStrategy(10*time.Second, 100*time.Millisecond)))
		l.serial++
		pid, err := l.system.Root.SpawnNamed(props, fmt.Sprintf("%s/%s/%d", key.kind, key.identity, l.serial))
		if err != nil {
			return nil, fmt.Errorf("cluster: activating a grain: %w", err)
		}
		a = &activation{pid: pid}
		a.lastUsed.Store(time.Now().UnixMilli())
		l.active[key] = a
	}
	a.underway.Add(1)
	return a, nil
}

// sweep passivates what is idle, until the node leaves.
func (l *lookup) sweep() {
	tick := time.NewTicker(max(l.idle/4, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
			l.passivate(l.idle, everyGrain)
		}
	}
}

// passivate takes the grains out that no request is under way to and that have
// been idle for that long, and tells them to stop. Who asks for one of them
// from now on gets a new activation; the journal's fence keeps the two apart.
func (l *lookup) passivate(idle time.Duration, pick func(identity string) bool) []*actor.PID {
	before := time.Now().Add(-idle).UnixMilli()
	var gone []*actor.PID
	l.mu.Lock()
	for key, a := range l.active {
		if a.underway.Load() == 0 && a.lastUsed.Load() <= before && pick(key.identity) {
			delete(l.active, key)
			gone = append(gone, a.pid)
		}
	}
	l.mu.Unlock()
	for _, pid := range gone {
		l.system.Root.Send(pid, Passivate{})
	}
	return gone
}

// leave activates nothing any more, waits until no request is under way, and
// stops every grain.
func (l *lookup) leave(ctx context.Context) {
	l.closed.Do(func() { close(l.done) })
	l.mu.Lock()
	l.leaving = true
	l.mu.Unlock()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var gone []*actor.PID
	for l.count() > 0 {
		gone = append(gone, l.passivate(0, everyGrain)...)
		select {
		case <-ctx.Done():
			l.log.Warn("grains had requests under way when the node left", "count", l.count())
			return
		case <-tick.C:
		}
	}
	l.stopped(ctx, gone)
}

// stopped waits for grains that were told to stop.
func (l *lookup) stopped(ctx context.Context, pids []*actor.PID) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for _, pid := range pids {
		for l.alive(pid) {
			select {
			case <-ctx.Done():
				return false
			case <-tick.C:
			}
		}
	}
	return true
}

func everyGrain(string) bool { return true }

func (l *lookup) alive(pid *actor.PID) bool {
	_, ok := l.system.ProcessRegistry.GetLocal(pid.Id)
	return ok
}

func (l *lookup) count() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.active)
}

// The library's own lookups come this way.

func (l *lookup) Get(ci *proto.ClusterIdentity) *actor.PID {
	a, err := l.acquire(ci.Kind, ci.Identity)
	if err != nil {
		return nil
	}
	a.release()
	return a.pid
}

func (l *lookup) RemovePid(*proto.ClusterIdentity, *actor.PID) {}

func (l *lookup) Setup(*proto.Cluster, []string, bool) {}

func (l *lookup) Shutdown() {}
