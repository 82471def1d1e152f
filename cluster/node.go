// Package cluster makes this process a member of a cluster of virtual actors:
// it knows which node a grain lives on, activates those that live here, and
// carries requests to the others. It does not know what the grains do; their
// kinds are handed to it.
//
// That a grain is active once only is what it aims at, and it is wrong about it
// for moments: when a node was paused, or is cut off. What makes that harmless
// is the fence of whatever the grains write to.
package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"nowserving/tracing"
)

// What a request may end with besides an answer.
var (
	// ErrUndelivered: the request certainly reached no grain.
	ErrUndelivered = errors.New("cluster: the request was not delivered")
	// ErrNoAnswer: the request may have reached a grain, and was not answered in time.
	ErrNoAnswer = errors.New("cluster: no answer in time")
)

// Options of a node.
type Options struct {
	Log      *slog.Logger
	ActorLog *slog.Logger // of the actor library; nil: Log
	// Kinds are the virtual actors, by name: an actor for an identity.
	Kinds map[string]func(identity string) actor.Actor
	// IdleAfter is how long a grain may be idle before it is passivated.
	IdleAfter time.Duration

	// RedisURL is where the members have their leases; empty: the node is
	// alone, and what follows is not looked at.
	RedisURL string
	Name     string   // nodes of one name form one cluster
	Addr     string   // host:port at which other nodes reach this one; port 0 takes a free one
	Roles    []string // grains live on members with HostRole
	// Dial makes the connections to other nodes; nil: as net.Dialer does.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// ServerTLS and ClientTLS are for other nodes' connections and for those to
	// them; nil: no TLS.
	ServerTLS, ClientTLS *tls.Config
	// Again marks a message that may have been delivered before, and gives the
	// one that is sent instead.
	Again func(message any) any
	// Heard is told of what another node has told; see Node.Tell. It must not block.
	Heard func(news any)
	// Gone is told that a host is gone, or that this node has joined: what a host,
	// or an earlier life of this one, has left undone for its grains may have
	// come to this node. It must not block.
	Gone func()
	// Tracer makes spans of requests between nodes that are part of a trace; nil: none.
	Tracer trace.Tracer
}

// Passivate is sent to a grain that is to write down what it must and stop.
// No request is under way to it, and none will come.
type Passivate struct{}

// Node is this process as a member.
type Node struct {
	options Options
	log     *slog.Logger
	system  *actor.ActorSystem
	grains  *grains
	members *membership
	links   *links
	joined  *life // of which Gone was told; see seen
	sent    sent

	listener net.Listener
	server   *grpc.Server
	serving  sync.WaitGroup
	ctx      context.Context // over at the end
	cancel   context.CancelFunc
	stop     sync.Once
}

// New makes a node that is no member yet, and runs nothing before Join. The error
// says that it cannot listen.
func New(o Options) (*Node, error) {
	if o.ActorLog == nil {
		o.ActorLog = o.Log
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	n := &Node{options: o, log: o.Log, system: newSystem(o.ActorLog)}
	n.grains = newGrains(n.system, o)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if o.RedisURL == "" {
		n.members = newMembership(Member{Addr: "alone", Roles: []string{HostRole}}, nil, o.Log)
		n.links = newLinks(n) // and never one
	} else if err := n.newMember(); err != nil {
		n.cancel()
		return nil, err
	}
	return n, nil
}

func (n *Node) newMember() error {
	listener, err := net.Listen("tcp", n.options.Addr)
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(n.options.Addr)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	l, err := newLeases(n.options.RedisURL, n.options.Name)
	if err != nil {
		_ = listener.Close()
		return err
	}
	n.members = newMembership(Member{Addr: net.JoinHostPort(host, port), Roles: n.options.Roles}, l, n.log)
	n.links = newLinks(n)
	n.members.ended = func(error) { n.grains.dropAll() }
	n.members.seen = n.seen
	n.grains.before = n.before
	n.listener, n.server = listener, newServer(n)
	return nil
}

// Join makes the node a member, or a member to be: it goes on trying. From now
// on others may ask its grains, so that whatever these need must be there.
func (n *Node) Join() {
	n.serving.Go(n.grains.sweep)
	if n.server != nil {
		n.serving.Go(func() { _ = n.server.Serve(n.listener) }) // ends with Shutdown
		n.serving.Go(func() { n.members.run(n.ctx) })
	}
}

func newSystem(log *slog.Logger) *actor.ActorSystem {
	log = slog.New(typesOnly{log.Handler()})
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return log }))
}

// System is the actor system, for actors that are not grains.
func (n *Node) System() *actor.ActorSystem { return n.system }

// Joined tells whether the node is a member at this moment.
func (n *Node) Joined() bool { return n.members.holds() }

// Addr is where other nodes reach this one.
func (n *Node) Addr() string { return n.members.addr }

// View is who the members are, as far as this node knows.
func (n *Node) View() *View { return n.members.view() }

// Times of a request.
const (
	// requestBudget bounds one whose context has no end.
	requestBudget = 10 * time.Second
	// outWait is how long one waits for a node that is no member to join again.
	outWait = time.Second
	// Between two attempts, unless the members change before.
	minPause = 5 * time.Millisecond
	maxPause = 100 * time.Millisecond
)

// Request sends a message to a grain, wherever it lives, and waits for its
// answer until the context is over. Where the grain's node is lost meanwhile, or
// another one takes over, it is sent again. The errors are ErrUndelivered and
// ErrNoAnswer. Messages and answers are of protobuf; those of more than 62 MiB
// cannot be sent to another node.
func (n *Node) Request(ctx context.Context, kind, identity string, message any) (any, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestBudget)
		defer cancel()
	}
	key := grainKey{kind, identity}
	v := n.members.view()
	answer, err := n.attempt(ctx, v, key, message)
	if err == nil {
		return answer, nil
	}
	return n.insist(ctx, v, key, message, err)
}

// insist goes on with a request after its first attempt has failed.
func (n *Node) insist(ctx context.Context, v *View, key grainKey, message any, err error) (answer any, _ error) {
	held, failed, lost := time.Now(), ErrUndelivered, false
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		switch {
		case errors.Is(err, errLost) && !lost:
			failed, lost = ErrNoAnswer, true
			if n.options.Again != nil {
				message = n.options.Again(message)
			}
		case errors.Is(err, ErrUndelivered):
			return nil, failed
		case errors.Is(err, ErrNoAnswer):
			return nil, err
		}
		switch {
		case n.members.leases == nil:
			return nil, failed
		case n.members.holds():
			held = time.Now()
		case time.Since(held) > outWait:
			return nil, failed
		}
		timer := time.NewTimer(pause/2 + rand.N(pause)) //nolint:gosec // jitter is no secret
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, failed
		case <-v.changed:
		case <-timer.C:
		}
		timer.Stop()
		v = n.members.view()
		if answer, err = n.attempt(ctx, v, key, message); err == nil {
			return answer, nil
		}
	}
}

// attempt sends a request once, by one view of who the members are.
func (n *Node) attempt(ctx context.Context, v *View, key grainKey, message any) (any, error) {
	if n.members.leases == nil {
		return n.askHere(ctx, key, message)
	}
	if !n.members.holds() {
		return nil, errNotHere
	}
	owner, found := v.owner(key)
	switch {
	case !found:
		return nil, errNotHere
	case owner.Addr == n.members.addr:
		return n.askHere(ctx, key, message)
	}
	answer, err := n.links.ask(ctx, v, owner, key, message)
	n.sent.count(err)
	return answer, err
}

// sent counts the attempts to ask another node.
type sent struct{ answered, refused, lost atomic.Uint64 }

func (s *sent) count(err error) {
	switch {
	case err == nil:
		s.answered.Add(1)
	case errors.Is(err, errNotHere), errors.Is(err, ErrUndelivered):
		s.refused.Add(1)
	default:
		s.lost.Add(1)
	}
}

// Sent counts what was asked of other nodes: what they answered, what certainly
// reached no grain of theirs, and what may have.
func (n *Node) Sent() (answered, refused, lost uint64) {
	return n.sent.answered.Load(), n.sent.refused.Load(), n.sent.lost.Load()
}

// askHere waits for an answer of a grain of this node.
func (n *Node) askHere(ctx context.Context, key grainKey, message any) (any, error) {
	type outcome struct {
		answer any
		err    error
	}
	answered := make(chan outcome, 1)
	r, err := n.grains.ask(key, message, tracing.Text(ctx), func(answer any, err error) { answered <- outcome{answer, err} })
	if err != nil {
		return nil, err
	}
	select {
	case o := <-answered:
		return o.answer, o.err
	case <-ctx.Done():
	case <-r.activation.gone.Done():
	}
	if !r.finish(nil, errLost) { // it was answered in the same moment
		o := <-answered
		return o.answer, o.err
	}
	return nil, errLost
}

// Hosts tells whether a grain lives here, as far as this node knows.
func (n *Node) Hosts(kind, identity string) bool {
	owner, found := n.members.view().owner(grainKey{kind, identity})
	return found && owner.Addr == n.members.addr && n.members.holds()
}

// before has the nodes that may have had a grain let go of it.
func (n *Node) before(ctx context.Context, key grainKey) {
	v := n.members.view()
	for _, had := range v.before(key, n.members.addr) {
		n.links.release(ctx, v, had, key)
	}
}

// seen goes on with a new view: other links, and grains that live elsewhere now.
// It is told of one view after the other.
func (n *Node) seen(v *View) {
	gone, now := n.links.follow(v), n.members.life.Load()
	if now != nil && now != n.joined {
		n.joined, gone = now, true
	}
	if gone && n.options.Gone != nil {
		n.options.Gone()
	}
	go n.grains.handOver(n.ctx, n.elsewhere)
}

func (n *Node) elsewhere(key grainKey) bool {
	owner, found := n.members.view().owner(key)
	return found && owner.Addr != n.members.addr
}

// Tell tells all other members some news, which may be lost. It does not block.
func (n *Node) Tell(news any) { n.links.tell(news) }

// Reached counts the other members that this node can speak to directly.
func (n *Node) Reached() int { return n.links.reached() }

// Activations counts the grains that live here.
func (n *Node) Activations() int { return n.grains.count() }

// Lives counts the activations that there have been here, and those that are over.
func (n *Node) Lives() (begun, over uint64) { return n.grains.lives() }

// Load counts the requests that are under way to the grains that live here, and
// those to the one that has the most.
func (n *Node) Load() (all, most int64) { return n.grains.load() }

// Passivate stops the grains that pick chooses by their identity and that no
// request is under way to, and waits until they have stopped. It is false
// where ctx was over before.
func (n *Node) Passivate(ctx context.Context, pick func(identity string) bool) bool {
	for _, a := range n.grains.passivate(0, func(key grainKey) bool { return pick(key.identity) }) {
		select {
		case <-a.stopped:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Leave hands all grains over to the other members, some at a time, until none
// is left or ctx is over; requests are passed on to them meanwhile. Where there
// is nobody to take them, they stay until Shutdown.
func (n *Node) Leave(ctx context.Context) {
	n.members.leaving(ctx)
	if !n.grains.handOver(ctx, n.elsewhere) {
		n.log.Warn("not all grains were handed over in time", "left", n.grains.count())
	}
}

// Shutdown lets every grain that is left write down what it must, stops it, and
// ends the membership; it gives up when ctx is over. Requests meanwhile get
// ErrUndelivered.
func (n *Node) Shutdown(ctx context.Context) {
	n.stop.Do(func() {
		n.grains.leave(ctx)
		n.members.left(ctx)
		n.cancel()
		n.links.close()
		if n.server != nil {
			n.server.Stop()
		}
		n.serving.Wait()
		if n.members.leases != nil {
			_ = n.members.leases.close()
		}
		n.system.Shutdown()
	})
}
