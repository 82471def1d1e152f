package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	v1 "nowserving/messages/nowserving/v1"
)

// callEnv is a liveEnv with the gRPC API.
type callEnv struct {
	*liveEnv
	server *GRPC
	at     string
	conn   *grpc.ClientConn
	v1.QueuesClient
}

func startCalls(t testing.TB, options ...func(*Options)) *callEnv {
	t.Helper()
	c := &callEnv{}
	options = append(options, func(o *Options) {
		c.server = NewGRPC(GRPCOptions{Log: o.Log, Ready: o.Ready, Closed: "Not yet."})
		o.GRPC = c.server
	})
	c.liveEnv = startLive(t, options...)
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.at = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- c.server.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(c.gateway.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	c.conn = c.connectGRPC()
	c.QueuesClient = v1.NewQueuesClient(c.conn)
	return c
}

// connectGRPC makes a connection of its own.
func (c *callEnv) connectGRPC(options ...grpc.DialOption) *grpc.ClientConn {
	c.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+c.at, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// as is the context of calls of a level's user, or of one by the e-mail address.
func (c *callEnv) as(who string) context.Context {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	if who == "-" {
		return ctx
	}
	if !strings.Contains(who, "@") {
		who += "@example.org"
	}
	token, _ := c.tokens.Load(who)
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token.(string))
}

// grpcRefusal is what a call was refused with.
type grpcRefusal struct {
	status codes.Code
	reason string
	fields string // that are bad
	retry  bool
	text   string
}

func refusalOf(err error) (r grpcRefusal) {
	s := status.Convert(err)
	r.status, r.text = s.Code(), s.Message()
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.Domain == "nowserving" {
				r.reason = d.Reason
			}
		case *errdetails.BadRequest:
			var names []string
			for _, f := range d.FieldViolations {
				names = append(names, f.Field)
			}
			r.fields = strings.Join(names, " ")
		case *errdetails.RetryInfo:
			r.retry = d.RetryDelay.AsDuration() > 0
		}
	}
	return r
}

// wantRefusal fails the test where a call was not refused so.
func wantRefusal(t testing.TB, err error, code codes.Code, reason string) grpcRefusal {
	t.Helper()
	r := refusalOf(err)
	if r.status != code || r.reason != reason {
		t.Fatalf("refused with %v %q (%v), not with %v %q", r.status, r.reason, err, code, reason)
	}
	return r
}

// must is for what has to succeed.
func must[T any](t testing.TB) func(T, error) T {
	return func(got T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}

// watcher is a client that watches.
type watcher struct {
	t testing.TB
	grpc.ServerStreamingClient[v1.WatchResponse]
	epoch   string
	version uint64
}

func (c *callEnv) watch(who string, in *v1.WatchRequest) *watcher {
	c.t.Helper()
	stream := must[grpc.ServerStreamingClient[v1.WatchResponse]](c.t)(c.Watch(c.as(who), in))
	return &watcher{t: c.t, ServerStreamingClient: stream}
}

// next gives what comes next.
func (w *watcher) next() *v1.WatchResponse {
	w.t.Helper()
	m, err := w.Recv()
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// event gives the next event, which must be the next version.
func (w *watcher) event() *v1.Event {
	w.t.Helper()
	e := w.next().GetEvent()
	if e == nil || e.Version != w.version+1 || e.Epoch != w.epoch {
		w.t.Fatalf("%v came behind %d of %s", e, w.version, w.epoch)
	}
	w.version = e.Version
	return e
}

// snapshot reads a whole one.
func (w *watcher) snapshot() (s *v1.Snapshot, parts []*v1.SnapshotPart) {
	w.t.Helper()
	m := w.next()
	if s = m.GetSnapshot(); s == nil {
		w.t.Fatalf("no snapshot, but %v", m)
	}
	w.epoch, w.version = s.Epoch, s.Queue.Version
	for parts = append(parts, s.First); parts[len(parts)-1].More; {
		part := w.next().GetSnapshotPart()
		if part == nil || part.Version != w.version {
			w.t.Fatalf("no part of the snapshot of %d, but %v", w.version, part)
		}
		parts = append(parts, part)
	}
	return s, parts
}

// resumed reads that the stream goes on.
func (w *watcher) resumed() {
	w.t.Helper()
	m := w.next()
	r := m.GetResumed()
	if r == nil {
		w.t.Fatalf("not resumed, but %v", m)
	}
	w.epoch, w.version = r.Epoch, r.Version
}

// ended reads on until the stream ends, and gives with what; nil: as it should.
func (w *watcher) ended() error {
	w.t.Helper()
	for {
		if _, err := w.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func dialTCP(t testing.TB, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}
