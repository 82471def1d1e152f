package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	v1 "nowserving/messages/nowserving/v1"
)

// Bounds of the gRPC server.
const (
	maxGRPCConnections = 1_024
	// maxGRPCStreams are calls under way on one connection, watches among them.
	maxGRPCStreams  = 256
	maxGRPCMetadata = 16 << 10
	// streamWindow is what one stream may send before it is read. connectionWindow
	// bounds only what is on its way: grpc-go opens it again for what has come, read
	// or not. Both are given so that they do not grow by themselves.
	streamWindow     = 64 << 10
	connectionWindow = 1 << 20
	// How long a call may take, its message among it, which is read before anybody
	// asks who calls: without a login, and with what may be one.
	strangersCall = 5 * time.Second
	grpcCall      = 30 * time.Second
	// How long streams without a login last. Whoever watches the health starts anew.
	reflectionStream = time.Minute
	healthStream     = 15 * time.Minute
	// maxOpenStreams are those of health and reflection, which need no login.
	maxOpenStreams = 1_000
	handshakeTime  = 15 * time.Second
	// A client may ping as often as that, and is asked for a sign of life itself.
	clientPings = 10 * time.Second
	serverPings = 25 * time.Second
	pongWithin  = 20 * time.Second
	// idleGRPC is when a connection without calls is closed.
	idleGRPC = 5 * time.Minute
	// healthEvery is how often the health service looks at the node's.
	healthEvery = 250 * time.Millisecond
)

// GRPCOptions of a GRPC.
type GRPCOptions struct {
	TLS   *tls.Config // nil: without
	Log   *slog.Logger
	Ready func() Readiness
	// Closed is what is answered while no gateway is open.
	Closed string
}

// GRPC serves the gRPC API. It listens before there is a gateway, as HTTP does:
// until one is open, all calls are unavailable.
type GRPC struct {
	options GRPCOptions
	server  *grpc.Server
	health  *health.Server
	gateway atomic.Pointer[Gateway]
	watches *watches
	streams chan struct{}   // has room for those that need no login
	over    context.Context // of the server
	stop    context.CancelFunc
	own     sync.WaitGroup // goroutines of the server itself

	mu    sync.Mutex
	doors []*door
	down  bool
}

// NewGRPC makes a server that does not listen yet. Shutdown ends it.
func NewGRPC(o GRPCOptions) *GRPC {
	over, stop := context.WithCancel(context.Background())
	r := &GRPC{
		options: o, health: health.NewServer(), watches: newWatches(),
		streams: make(chan struct{}, maxOpenStreams), over: over, stop: stop,
	}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxBody), grpc.MaxConcurrentStreams(maxGRPCStreams), grpc.MaxHeaderListSize(maxGRPCMetadata),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connectionWindow), grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleGRPC, Time: serverPings, Timeout: pongWithin}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: clientPings, PermitWithoutStream: true}),
		grpc.InTapHandle(inTime), grpc.UnaryInterceptor(r.unary), grpc.StreamInterceptor(r.stream),
		grpc.ForceServerCodecV2(rendered{encoding.GetCodecV2("proto")}),
	}
	if o.TLS != nil {
		secure := o.TLS.Clone()
		secure.NextProtos = []string{"h2"}
		options = append(options, grpc.Creds(credentials.NewTLS(secure)))
	}
	r.server = grpc.NewServer(options...)
	v1.RegisterQueuesServer(r.server, queuesService{})
	grpc_health_v1.RegisterHealthServer(r.server, r.health)
	reflection.RegisterV1(r.server)
	r.own.Go(r.follow)
	return r
}

// follow has the health service say what /readyz does.
func (r *GRPC) follow() {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		is := grpc_health_v1.HealthCheckResponse_NOT_SERVING
		if r.gateway.Load() != nil && r.options.Ready().Status == "ready" {
			is = grpc_health_v1.HealthCheckResponse_SERVING
		}
		r.health.SetServingStatus("", is)
		r.health.SetServingStatus(v1.Queues_ServiceDesc.ServiceName, is)
		select {
		case <-tick.C:
		case <-r.over.Done():
			return
		}
	}
}

// Serve serves a listener until Shutdown, even one that came before.
func (r *GRPC) Serve(ln net.Listener) error {
	r.mu.Lock()
	if r.down {
		r.mu.Unlock()
		return ln.Close()
	}
	if tcp, ok := ln.(*net.TCPListener); ok {
		d := newDoor(tcp)
		r.doors, ln = append(r.doors, d), d
	}
	r.mu.Unlock()
	err := r.server.Serve(&crowd{Listener: ln})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil
	}
	return err
}

// open answers for a gateway from now on.
func (r *GRPC) open(g *Gateway) {
	if r != nil {
		r.gateway.Store(g)
	}
}

// drain sends away whoever watches, and takes no watches any more.
func (r *GRPC) drain(ctx context.Context) {
	if r != nil {
		r.health.Shutdown()
		sendAway(ctx, r.watches.shut())
	}
}

// Shutdown takes no connection any more, ends the watches that are left, and
// waits for the calls under way until ctx is over; then they are cut.
func (r *GRPC) Shutdown(ctx context.Context) {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.down = true
	doors := r.doors
	r.mu.Unlock()
	r.stop()
	r.drain(ctx)
	for _, d := range doors {
		d.shut()
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		r.server.GracefulStop()
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		r.options.Log.Warn("gRPC connections are cut that did not end in time")
		r.server.Stop()
		<-finished
	}
	r.watches.sending.Wait()
	r.own.Wait()
}

// crowd is a listener that lets in so many at once.
type crowd struct {
	net.Listener
	inside atomic.Int32
}

func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c.inside.Add(1) <= maxGRPCConnections {
			return &guest{Conn: conn, of: c}, nil
		}
		c.inside.Add(-1)
		_ = conn.Close() // who is refused needs no farewell
	}
}

type guest struct {
	net.Conn
	of   *crowd
	once sync.Once
}

func (g *guest) Close() error {
	g.once.Do(func() { g.of.inside.Add(-1) })
	return g.Conn.Close()
}

// caller is who calls, and by way of which gateway.
type caller struct {
	*Gateway
	who   *Principal
	token string
	from  netip.Addr
}

type callerKey struct{}

// callerOf is only asked for calls that the interceptors have let in.
func callerOf(ctx context.Context) *caller { return ctx.Value(callerKey{}).(*caller) }

// needsNoLogin: health and reflection tell nothing that is anybody's.
func needsNoLogin(method string) bool {
	return strings.HasPrefix(method, "/grpc.health.v1.Health/") || strings.HasPrefix(method, "/grpc.reflection.v1.ServerReflection/")
}

// callTime is how long a call may take by its headers alone; 0 where something
// else ends it.
func callTime(method string, header metadata.MD) time.Duration {
	switch {
	case method == grpc_health_v1.Health_Watch_FullMethodName:
		return healthStream
	case strings.HasPrefix(method, "/grpc.reflection.v1.ServerReflection/"):
		return reflectionStream
	case !needsNoLogin(method) && len(header.Get("authorization")) == 0:
		return strangersCall
	case method == v1.Queues_Watch_FullMethodName:
		return 0 // who watches has a login before the message is read
	}
	return grpcCall
}

// inTime gives every call its time before any of its message has come. It
// refuses none: grpc-go would keep the timer of a refused call for as long as its
// client says.
func inTime(ctx context.Context, info *tap.Info) (context.Context, error) {
	limit := callTime(info.FullMethodName, info.Header)
	if limit == 0 {
		return ctx, nil
	}
	within, cancel := context.WithTimeout(ctx, limit)
	context.AfterFunc(ctx, cancel) // which grpc-go ends with the call
	return within, nil
}

// let finds out who calls. It is the one door to every call that needs a login.
func (r *GRPC) let(ctx context.Context) (context.Context, *problem) {
	g := r.gateway.Load()
	if g == nil {
		return nil, unavailable(r.options.Closed)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	c := &caller{Gateway: g}
	if values := md.Get("authorization"); len(values) == 1 {
		c.token = bearerIn(values[0])
	}
	var p *problem
	if c.who, p = g.auth.Authenticate(ctx, c.token); p != nil {
		return nil, p
	}
	if other, ok := grpcpeer.FromContext(ctx); ok {
		if at, err := netip.ParseAddrPort(other.Addr.String()); err == nil {
			c.from = g.believed(at.Addr().Unmap(), md.Get("x-forwarded-for"))
		}
	}
	return context.WithValue(ctx, callerKey{}, c), nil
}

func (r *GRPC) unary(ctx context.Context, in any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (out any, err error) {
	defer r.settle(&ctx, info.FullMethod, &err)
	if !needsNoLogin(info.FullMethod) {
		within, p := r.let(ctx)
		if p != nil {
			return nil, p
		}
		ctx = callerOf(within).beginCall(within, info.FullMethod)
	}
	return handle(ctx, in)
}

func (r *GRPC) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	ctx := s.Context()
	defer r.settle(&ctx, info.FullMethod, &err)
	if needsNoLogin(info.FullMethod) {
		return r.streamToAnyone(info.FullMethod, func() error { return handle(srv, s) })
	}
	within, p := r.let(ctx)
	if p != nil {
		return p
	}
	return handle(srv, streamOf{s, within})
}

// streamToAnyone ends with the server, whatever the other end does.
func (r *GRPC) streamToAnyone(method string, handle func() error) error {
	select {
	case r.streams <- struct{}{}:
	default:
		return unavailable("Too many streams are open here just now.")
	}
	ended := make(chan error, 1)
	r.own.Go(func() {
		var err error
		defer func() {
			<-r.streams
			ended <- err
		}()
		defer r.settle(&r.over, method, &err)
		err = handle()
	})
	select {
	case err := <-ended:
		return err
	case <-r.over.Done():
		return unavailable(leaving)
	}
}

type streamOf struct {
	grpc.ServerStream
	ctx context.Context
}

func (s streamOf) Context() context.Context { return s.ctx }

// settle turns what a call ended with into a status, and a panic too, and ends
// the call's span.
func (r *GRPC) settle(in *context.Context, method string, err *error) {
	ctx := *in
	if fault := recover(); fault != nil {
		// The value may hold anything, so only where it came from is logged.
		r.options.Log.ErrorContext(ctx, "a call panicked", "method", method, "stack", string(debug.Stack()))
		*err = newProblem(codeInternal, "Something went wrong here.")
	}
	var p *problem
	if !errors.As(*err, &p) {
		endCall(ctx, status.Code(*err), nil)
		return
	}
	code := p.kind().rpc
	if deadline, ok := ctx.Deadline(); ok && p.status() == http.StatusServiceUnavailable && !time.Now().Before(deadline) {
		code = codes.DeadlineExceeded // which is why; the reason still says what is known
	}
	endCall(ctx, code, p)
	if g := r.gateway.Load(); g != nil {
		p = g.inTrace(ctx, p)
	}
	*err = p.grpc(code)
}
