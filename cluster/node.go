// Package cluster makes this process a member of a cluster of virtual actors:
// it knows which node a grain lives on, activates those that live here, and
// carries requests to them. It does not know what the grains do; their kinds
// are handed to it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	proto "github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"
)

// What a request may end with besides an answer.
var (
	// ErrLeaving: this node is leaving and activates nothing any more. The
	// request was certainly not delivered.
	ErrLeaving = errors.New("cluster: the node is leaving")
	// ErrNoAnswer: the request was delivered and not answered in time.
	ErrNoAnswer = errors.New("cluster: no answer in time")
)

// Options of a node.
type Options struct {
	Name string // nodes of one name form one cluster
	Addr string // host:port at which other nodes reach this one; port 0 takes a free one
	Log  *slog.Logger
	// Kinds are the virtual actors, by name: an actor for an identity.
	Kinds map[string]func(identity string) actor.Actor
	// IdleAfter is how long a grain may be idle before it is passivated.
	IdleAfter time.Duration
}

// Passivate is sent to a grain that is to write down what it must and stop.
// No request is under way to it, and none will come.
type Passivate struct{}

// Node is this process as a member.
type Node struct {
	cluster *proto.Cluster
	system  *actor.ActorSystem
	lookup  *lookup
	log     *slog.Logger
	stop    sync.Once
}

// starting lets one node of a process start at a time: the library sets gRPC's
// logger, which is the whole process's, at every start.
var starting sync.Mutex

// Start joins the cluster and answers when the node can be reached.
func Start(o Options) (*Node, error) {
	host, portText, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("cluster address %q: %w", o.Addr, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("cluster address %q: %w", o.Addr, err)
	}
	system := newSystem(o.Log)
	l := newLookup(system, o)
	kinds := make([]*proto.Kind, 0, len(o.Kinds))
	for name := range o.Kinds {
		kinds = append(kinds, proto.NewKind(name, actor.PropsFromFunc(func(actor.Context) {})))
	}
	config := proto.Configure(o.Name, &single{}, l, remote.Configure(host, port), proto.WithKinds(kinds...))
	n := &Node{cluster: proto.New(system, config), system: system, lookup: l, log: o.Log}
	starting.Lock()
	n.cluster.StartMember()
	starting.Unlock()
	go l.sweep()
	return n, nil
}

func newSystem(log *slog.Logger) *actor.ActorSystem {
	log = slog.New(typesOnly{log.Handler()})
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return log }))
}

// System is the actor system, for actors that are not grains.
func (n *Node) System() *actor.ActorSystem { return n.system }

// Request sends a message to a grain, wherever it lives, and waits for its
// answer until the context is over. The errors are ErrLeaving and ErrNoAnswer.
func (n *Node) Request(ctx context.Context, kind, identity string, message any) (any, error) {
	a, err := n.lookup.acquire(kind, identity)
	if err != nil {
		return nil, err
	}
	defer a.release()
	budget := requestBudget
	if deadline, ok := ctx.Deadline(); ok {
		budget = time.Until(deadline)
	}
	if budget <= 0 {
		return nil, ErrNoAnswer
	}
	answer, err := n.system.Root.RequestFuture(a.pid, message, budget).Result()
	if err != nil {
		return nil, ErrNoAnswer
	}
	return answer, nil
}

// requestBudget bounds a request whose context has no end.
const requestBudget = 10 * time.Second

// Activations counts the grains that live here.
func (n *Node) Activations() int { return n.lookup.count() }

// Passivate stops the grains that pick chooses by their identity and that no
// request is under way to, and waits until they have stopped. It is false
// where ctx was over before.
func (n *Node) Passivate(ctx context.Context, pick func(identity string) bool) bool {
	return n.lookup.stopped(ctx, n.lookup.passivate(0, pick))
}

// Shutdown lets every grain write down what it must, stops it, and leaves the
// cluster; it gives up when ctx is over. Requests meanwhile get ErrLeaving.
func (n *Node) Shutdown(ctx context.Context) {
	n.stop.Do(func() {
		n.lookup.leave(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			// The library's own graceful way sleeps for two seconds to hand
			// over grains; ours are handed over already.
			n.cluster.Shutdown(false)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			n.log.Warn("the actor system did not stop in time")
		}
	})
}

// single is the membership of a cluster of one.
type single struct{}

func (*single) StartMember(c *proto.Cluster) error {
	host, port, err := c.ActorSystem.GetHostPort()
	if err != nil {
		return err
	}
	c.MemberList.UpdateClusterTopology(proto.Members{{
		Id: c.ActorSystem.ID, Host: host, Port: int32(port), Kinds: c.GetClusterKinds(),
	}})
	return nil
}

func (*single) StartClient(*proto.Cluster) error { return nil }

func (*single) Shutdown(bool) error { return nil }
