package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.opentelemetry.io/otel/trace"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/cluster"
	"nowserving/gateway"
	"nowserving/messages"
	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

// Bounds of a node's life.
const (
	// idleAfter is how long a queue that nobody asks stays in memory.
	idleAfter = 5 * time.Minute
	// stopWithin ends a shutdown that hangs; the contract's bound is 30 s.
	stopWithin = 25 * time.Second
	// transitWithin bounds what a start waits for; see awaitTransit.
	transitWithin = 5 * time.Second
	// notice is how long a node that leaves takes new connections while it says
	// at /readyz that it leaves, and tells clients so in every answer. One that is
	// alone has nobody to whom its clients could go, and only lets those finish
	// that are in the middle of something.
	notice      = 4 * time.Second
	noticeAlone = 300 * time.Millisecond
	// answerWithin is the part of it for requests that are under way. A grain
	// answers within 10 s, and what is left is for the grains to stop.
	answerWithin = 12 * time.Second
	// leaveWithin is for handing the queues over to other nodes, which comes before.
	leaveWithin = 6 * time.Second
)

// journal is what a node needs of a store of journals beside what its actors do.
type journal interface {
	actors.Journal
	Ping(ctx context.Context) error
	Close() error
}

// Node is one running node.
type Node struct {
	config Config
	log    *slog.Logger
	health *health

	journal   journal
	directory *directory.Directory
	tokenKeys *seal.Ring
	dataKeys  *seal.Ring
	// Nil until the directory is open.
	sealer      *seal.DataKeys
	ringKeepers []*ringKeeper
	indexKeys   []gateway.TokenKey
	feeds       *actors.Feeds
	projector   *actors.Projector
	// sinks must have every event; their followers see to it.
	sinks     []actors.Sink
	followers []*actors.JournalFollower
	queues    *actors.Queues
	member    *cluster.Node
	announcer *actors.Announcer
	gateway   *gateway.Gateway
	audit     *gateway.AuditLog
	erasing   *erasing
	filtering filtering
	rabbit    *rabbitParts // nil: without --amqp-url
	webhooks  *webhooks

	metrics *meter
	tracer  trace.Tracer // nil: without
	http    net.Listener
	grpc    *gateway.GRPC // nil: without --grpc-addr
	early   *early        // serves http until the gateway does
	running sync.WaitGroup
	failed  chan error
	// closers undo what Start has done so far, the last one first.
	closers []func(context.Context) error
	newborn credentials
}

// Start makes a node that serves, or an error that says what was wrong.
func Start(ctx context.Context, c Config, log *slog.Logger) (*Node, error) {
	n := &Node{config: c, log: log, health: newHealth(), metrics: newMeter(), failed: make(chan error, 4)}
	for _, step := range []func(context.Context) error{
		n.startTraces, n.listen, n.openKeys, n.openStores, n.openRings, n.openRabbit, n.startQueues, n.startGateway, n.learnAccess, n.startRabbit, n.ensureAdmin,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, n.Shutdown())
		}
	}
	n.serve()
	return n, nil
}

// closing has something undone at the end.
func (n *Node) closing(undo func(context.Context) error) { n.closers = append(n.closers, undo) }

// listen takes the addresses first: that one is in use is found before
// anything has been made.
func (n *Node) listen(context.Context) (err error) {
	if n.config.OpsAddr != "" {
		ops, err := net.Listen("tcp", n.config.OpsAddr)
		if err != nil {
			return usage("--ops-addr: %w", err)
		}
		n.measureHealth()
		n.closing(serveOps(ops, n.health, n.metrics.handler()))
		n.log.Info("operators are served", "url", "http://"+ops.Addr().String())
	}
	if n.http, err = gateway.Listen(n.config.HTTPAddr); err != nil {
		return usage("--http-addr: %w", err)
	}
	n.closing(func(context.Context) error {
		n.early.stop()
		_ = n.http.Close() // the server has closed it, unless the start failed
		return nil
	})
	early := n.http
	if secure := n.tls(); secure != nil {
		early = tls.NewListener(early, secure)
	}
	says := "The node is starting. Nothing was changed."
	if !n.config.has(roleGateway) { // then it goes on to the end
		says = "This node is not for clients. Nothing was changed."
	}
	n.early = serveEarly(n.http, early, n.health, says)
	if err := n.listenGRPC(says); err != nil {
		return err
	}
	if n.config.ClusterProvider == providerRedis {
		member, err := net.Listen("tcp", n.config.ClusterAddr)
		if err != nil {
			return usage("--cluster-addr: %w", err)
		}
		if err := member.Close(); err != nil { // it is taken again once there are queues to serve
			return fmt.Errorf("--cluster-addr: %w", err)
		}
	}
	return nil
}

func (n *Node) openKeys(context.Context) (err error) {
	if n.config.keepsFiles() { // else it may run where nothing can be written
		if err := os.MkdirAll(n.config.DataDir, 0o700); err != nil {
			return usage("--data-dir: %w", err)
		}
	}
	if n.tokenKeys, err = n.ring(n.config.TokenKeys, tokenKeysFile); err != nil {
		return fmt.Errorf("token keys: %w", err)
	}
	if n.dataKeys, err = n.ring(n.config.DataKeys, dataKeysFile); err != nil {
		return fmt.Errorf("data keys: %w", err)
	}
	return nil
}

// The rings in the data dir.
const (
	dataKeysFile  = "data.keys"
	tokenKeysFile = "token.keys"
)

func (n *Node) ring(configured *seal.Ring, file string) (*seal.Ring, error) {
	if configured != nil {
		return configured, nil
	}
	return seal.LoadOrCreateRing(filepath.Join(n.config.DataDir, file))
}

// follow has a sink fed with every event. It must be called before the queues start.
func (n *Node) follow(name string, sink actors.Sink) {
	if !n.config.has(roleActors) { // whoever has a queue follows it
		return
	}
	f := actors.NewJournalFollower(name, n.journal, sink, n.log)
	f.Only(func(id string) bool { return n.member.Hosts(actors.QueueKind, id) })
	f.WhereShort(func(id string) { n.projector.Note(id) }) // it reads the queue
	n.sinks, n.followers = append(n.sinks, sink), append(n.followers, f)
	gauge(n.metrics, "nowserving_events_not_followed", "Events that this node knows of and that have not been followed yet.", f.Behind, "follower", name)
	gauge(n.metrics, "nowserving_follower_lag_seconds", "For how long the oldest of them has been known.",
		func() float64 { return f.Lag().Seconds() }, "follower", name)
}

// startQueues joins the cluster with the queue grains, and starts what follows
// their journals.
func (n *Node) startQueues(context.Context) (err error) {
	n.feeds = actors.NewFeeds(n.journal, n.log)
	n.closing(func(context.Context) error {
		n.feeds.Close()
		return nil
	})
	request := func(ctx context.Context, kind, identity string, message any) (any, error) {
		return n.member.Request(ctx, kind, identity, message)
	}
	n.queues = actors.NewQueues(request, func(err error) bool { return errors.Is(err, cluster.ErrUndelivered) })
	lines := newLines(func(id string) bool { return n.member.Hosts(actors.QueueKind, id) }, n.config.Now)
	n.projector = actors.NewProjector(n.queues, n.journal, queueList{n.directory, lines}, n.log)
	grains := actors.NewGrain(actors.GrainDeps{
		Journal: n.journal,
		Log:     n.log,
		Now:     func() queue.Time { return queue.Time(n.config.Now().UnixMilli()) },
		Request: request,
		Committed: func(id string, version uint64) {
			n.feeds.Wake(id, version)
			n.announcer.Note(id, version)
			n.projector.Note(id)
			for _, f := range n.followers {
				f.Note(id, version)
			}
		},
		Known:     n.known,
		Trouble:   n.countTrouble(),
		Appended:  n.metrics.appended(),
		Followed:  func(ctx context.Context, id string) (uint64, error) { return actors.Followed(ctx, id, n.sinks...) },
		Passivate: func(message any) bool { _, ok := message.(cluster.Passivate); return ok },
		Hosted:    func(id string) bool { return n.member.Hosts(actors.QueueKind, id) },
		Moved:     cluster.Moved{},
		Tracer:    n.tracer,
	})
	n.announcer = actors.NewAnnouncer(func(news *messages.News) { n.member.Tell(news) })
	o := cluster.Options{
		Log: n.log, ActorLog: quieter(n.log), IdleAfter: idleAfter, Kinds: map[string]func(string) actor.Actor{actors.QueueKind: grains},
		Name: n.config.ClusterName, Addr: n.config.ClusterAddr, Dial: n.config.Dial, Roles: n.config.roles,
		Heard: func(news any) {
			if m, ok := news.(*messages.News); ok {
				n.feeds.Heard(m)
			}
		},
		Again: actors.Again, Tracer: n.tracer,
	}
	if n.config.has(roleActors) {
		o.Gone = n.takeOver
	}
	if n.config.ClusterProvider == providerRedis {
		o.RedisURL = n.config.RedisURL
	}
	if secure := n.config.ClusterTLS; secure != nil {
		o.ServerTLS, o.ClientTLS = secure.Server(n.log), secure.Client(n.log)
	}
	if n.member, err = cluster.New(o); err != nil {
		return usage("--cluster-addr: %w", err)
	}
	n.member.Join()
	n.measureQueues(lines)
	n.closing(func(ctx context.Context) error {
		n.member.Shutdown(ctx)
		return nil
	})
	return nil
}

// takeOver looks after what another node had still to do for its queues.
func (n *Node) takeOver() {
	n.projector.Again()
	for _, f := range n.followers {
		f.Again()
	}
}

func (n *Node) startGateway(context.Context) (err error) {
	n.erasing = newErasing(n)
	o := gateway.Options{
		People: people{n.directory, n.erasing.wake}, Cluster: members{n}, Keys: rings{n}, Attempts: attempts{n.directory},
		Webhooks: webhookStore{n.directory}, WebhookSender: n.webhooks,
		Queues: n.queues, Directory: users{n.directory}, Users: userStore{n.directory}, APIKeys: keyStore{n.directory}, History: finishedTickets{n.directory}, Passwords: directory.NewHasher(),
		Sealer: n.sealer, TokenKeys: tokenKeys(n.tokenKeys, "access-token"), IndexKeys: func() []gateway.TokenKey { return n.indexKeys },
		LinkKeys: tokenKeys(n.tokenKeys, "ticket-link"), TLS: n.tls(), GRPC: n.grpc, Log: n.log, Tracer: n.tracer, Now: n.config.Now,
		Ready: n.health.readiness, Version: version,
		AllowedOrigins: n.config.AllowedOrigins, TrustedProxies: n.config.TrustedProxies, CheckInRate: n.config.CheckInRate, CheckIns: n.checkIns(),
		Audit: gateway.NewAuditLog(auditStore{n.directory}, n.log, n.config.Now), Hooks: n.metrics.hooks(),
	}
	if err := n.openFiltering(&o); err != nil {
		return err
	}
	n.openOIDC(&o)
	if n.gateway, err = gateway.New(o); err != nil {
		return err
	}
	n.audit = o.Audit
	n.gateway.StartSessions(actors.SessionDeps{
		System: n.member.System(), Queues: n.queues, Feeds: n.feeds, Journal: n.journal, Log: n.log,
	})
	n.measureGateway()
	return nil
}

// tokenKeys are the keys for one kind of token.
func tokenKeys(ring *seal.Ring, purpose string) []gateway.TokenKey {
	var keys []gateway.TokenKey
	for _, key := range ring.SubKey(purpose) {
		keys = append(keys, gateway.TokenKey(key))
	}
	return keys
}

// serve starts all that runs until the end.
func (n *Node) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	run := func(what string, work func(context.Context) error) {
		n.running.Go(func() {
			if err := work(ctx); err != nil {
				n.failed <- fmt.Errorf("%s: %w", what, err)
			}
		})
	}
	n.closing(func(context.Context) error {
		cancel()
		n.running.Wait()
		return nil
	})
	run("news", n.announcer.Run)
	run("audit log", n.audit.Run)
	run("access", n.gateway.FollowAccess)
	run("logins", n.gateway.EndLogins)
	run("data keys", n.sealer.Run)
	for _, k := range n.ringKeepers {
		run("key ring", k.Run)
	}
	if n.config.has(roleActors) {
		run("list of queues", n.projector.Run)
		run("erasures", n.erasing.Run)
		run("retention", newRetention(n).Run)
		run("webhooks", n.webhooks.Run)
	}
	for _, f := range n.followers {
		run("follower", f.Run)
	}
	run("health", func(ctx context.Context) error {
		if n.config.has(roleActors) {
			n.awaitTransit(ctx)
		}
		parts := append(n.rabbit.parts(), part{name: "cluster", up: n.member.Joined, must: true})
		return n.health.watch(ctx, n.log, n.journal, n.directory, parts...)
	})
	drained := n.serveGateway(run)
	if n.config.ClusterProvider == providerRedis && n.config.has(roleGateway) {
		run("sessions", n.standAside)
	}
	n.filtering.serve(run)
	n.rabbit.serve(n, run)
	n.closing(func(ctx context.Context) error {
		go func() { // beside the queues and the ingestion, which end meanwhile
			defer close(drained)
			if n.config.has(roleGateway) {
				n.gateway.Drain(ctx, n.notice())
			}
		}()
		leave, cancel := context.WithTimeout(ctx, leaveWithin)
		defer cancel()
		n.member.Leave(leave)
		return nil
	})
	n.log.Info("serving", "url", n.URL(), "journal", n.journalName(), "directory", n.directoryName(), "data", n.dataDir(), "version", version)
}

// awaitTransit keeps the node from being ready while transfers that a crash cut
// in two are still to arrive; one that cannot arrive now does not hold it up for long.
func (n *Node) awaitTransit(ctx context.Context) {
	timer := time.NewTimer(transitWithin)
	defer timer.Stop()
	select {
	case <-n.projector.CaughtUp():
	case <-timer.C:
		n.log.Warn("the list of queues is not up with the journals yet")
	case <-ctx.Done():
	}
}

// Failed tells of a fault that the node cannot go on with.
func (n *Node) Failed() <-chan error { return n.failed }

// Shutdown drains the node: no new requests, answers to those under way,
// sessions closed with 1012, queues at rest, stores closed.
func (n *Node) Shutdown() error {
	n.health.drain()
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		var errs []error
		for _, undo := range slices.Backward(n.closers) {
			errs = append(errs, undo(ctx))
		}
		done <- errors.Join(errs...)
	}()
	select {
	case err := <-done:
		if len(n.closers) > 0 && n.gateway != nil {
			n.log.Info("stopped")
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("not stopped after %s; what was acknowledged is safe", stopWithin)
	}
}

// URL is where the node can be reached from this machine.
func (n *Node) URL() string {
	scheme := "http://"
	if n.config.Certificate != nil {
		scheme = "https://"
	}
	host, port, _ := net.SplitHostPort(n.http.Addr().String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + net.JoinHostPort(host, port)
}
