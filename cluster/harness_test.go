package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"nowserving/persistence/redistest"
)

const patience = time.Minute

// world is a cluster of nodes in this process, on a Redis of its own.
type world struct {
	t     *testing.T
	redis *redistest.Server
	name  string

	mu      sync.Mutex
	alive   map[string]int // activations by identity
	twice   []string       // identities that were active twice at once
	active  atomic.Int64   // activations ever
	flushed atomic.Int64   // that were passivated in an orderly way
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return &world{t: t, redis: redistest.StartWith(t, redistest.Options{}), name: "test", alive: make(map[string]int)}
}

func (w *world) start(change ...func(*Options)) *Node {
	w.t.Helper()
	o := Options{
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})), IdleAfter: time.Hour,
		RedisURL: w.redis.URL(), Name: w.name, Addr: "127.0.0.1:0", Roles: []string{HostRole, "gateway"},
	}
	var n *Node
	o.Kinds = map[string]func(string) actor.Actor{"echo": func(id string) actor.Actor { return &echo{world: w, node: func() *Node { return n }, id: id} }}
	for _, f := range change {
		f(&o)
	}
	n, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	n.Join()
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		n.Shutdown(ctx)
	})
	return n
}

// startAll starts nodes and waits until each knows and reaches all of them.
func (w *world) startAll(count int) []*Node {
	w.t.Helper()
	nodes := make([]*Node, count)
	for i := range nodes {
		nodes[i] = w.start()
	}
	w.together(nodes...)
	return nodes
}

func (w *world) together(nodes ...*Node) {
	w.t.Helper()
	w.eventually("all nodes reach each other", func() bool {
		for _, n := range nodes {
			if !n.Joined() || len(n.View().Members) != len(nodes) || n.Reached() != len(nodes)-1 {
				return false
			}
		}
		return true
	})
}

func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("it did not come about that %s", what)
		}
	}
}

// ask gives the address of the node that answers.
func ask(n *Node, id string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := n.Request(ctx, "echo", id, wrapperspb.String("hello"))
	if err != nil {
		return "", err
	}
	return answer.(*wrapperspb.StringValue).Value, nil
}

// load asks for so many grains by all nodes until it is stopped, and gives
// what went wrong and how long the slowest answer took.
func (w *world) load(grains int, nodes ...*Node) (stop func() (errs []error, slowest time.Duration)) {
	done := make(chan struct{})
	var mu sync.Mutex
	var all sync.WaitGroup
	var errs []error
	var slowest time.Duration
	for i, n := range nodes {
		all.Go(func() {
			for k := i; ; k++ {
				select {
				case <-done:
					return
				default:
				}
				began := time.Now()
				_, err := ask(n, fmt.Sprint(k%grains))
				mu.Lock()
				slowest = max(slowest, time.Since(began))
				if err != nil {
					errs = append(errs, fmt.Errorf("%s asked %d: %w", n.Addr(), k%grains, err))
				}
				mu.Unlock()
			}
		})
	}
	return func() ([]error, time.Duration) {
		close(done)
		all.Wait()
		return errs, slowest
	}
}

// noneTwice fails the test where a grain was active on two nodes at once.
func (w *world) noneTwice() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.twice) > 0 {
		w.t.Errorf("active twice at once: %v", w.twice)
	}
}

// echo answers with its node's address.
type echo struct {
	world *world
	node  func() *Node
	id    string
	held  []*actor.PID
	added int
}

// Receive is the actor's only entry.
func (e *echo) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		e.world.active.Add(1)
		e.world.count(e.id, 1)
	case *actor.Stopped:
		e.world.count(e.id, -1)
	case Passivate:
		e.world.flushed.Add(1)
		ctx.Stop(ctx.Self())
	case *wrapperspb.StringValue:
		switch m.Value {
		case "hold": // nothing is answered until "free"
			e.held = append(e.held, ctx.Sender())
			return
		case "free":
			for _, pid := range e.held {
				ctx.Send(pid, wrapperspb.String("freed"))
			}
			e.held = nil
		case "add":
			e.added++
		case "count":
			ctx.Respond(wrapperspb.String(fmt.Sprint(e.added)))
			return
		case "moved":
			ctx.Respond(Moved{})
			return
		case "again":
			ctx.Respond(wrapperspb.String("again"))
			return
		case "large":
			ctx.Respond(wrapperspb.String(strings.Repeat("x", maxParcel)))
			return
		case "quit":
			ctx.Stop(ctx.Self())
			return
		}
		ctx.Respond(wrapperspb.String(e.node().Addr()))
	}
}

func (w *world) count(id string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.alive[id] += n; w.alive[id] > 1 {
		w.twice = append(w.twice, id)
	}
}
