package cluster

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"nowserving/messages"
)

// Bounds of a link.
const (
	pingEvery = 250 * time.Millisecond
	// silentLink: a link on which nothing came for so long is given up, and made
	// anew: pauses, and packets that are swallowed, are not told by TCP.
	silentLink  = 1500 * time.Millisecond
	dialWithin  = 1500 * time.Millisecond
	relinkPause = 50 * time.Millisecond
	// A page of tickets with the largest payloads there may be is below that.
	maxParcel = 64 << 20
	// Calls and replies in one parcel, and the bytes after which there is another.
	maxInParcel = 512
	fullParcel  = 1 << 20
	// One message: a larger one would end the link for all others.
	maxContent = maxParcel - 2*fullParcel
	// Calls of this node that are under way to another one.
	maxPending = 50_000
	maxNews    = 10_000
)

// link is a connection to one life of one member, made again while it is a member.
type link struct {
	node    *Node
	to      Member
	ctx     context.Context
	cancel  context.CancelFunc
	refused atomic.Bool // the last connection

	up  atomic.Bool
	out *outbox[*outgoing]

	mu      sync.Mutex
	pending map[uint64]chan<- *messages.GrainReply
	last    uint64 // id that was given to a call
}

// outgoing is a call, or news.
type outgoing struct {
	id      uint64
	view    uint64
	key     grainKey
	content *anypb.Any // of a call, nil: the grain is to be released
	pass    bool
	trace   string
	within  time.Duration
	news    bool
}

func newLink(n *Node, to Member) *link {
	l := &link{node: n, to: to, out: newOutbox[*outgoing](), pending: make(map[uint64]chan<- *messages.GrainReply)}
	l.ctx, l.cancel = context.WithCancel(n.ctx)
	return l
}

func (l *link) isUp() bool { return l.up.Load() }

// ask sends a call and waits for its reply.
func (l *link) ask(ctx context.Context, o *outgoing) (any, error) {
	o.within = within(ctx)
	replied := make(chan *messages.GrainReply, 1)
	l.mu.Lock()
	o.id = l.last + 1
	// It is put before the link can go down, or it would go out when it is up again.
	if !l.up.Load() || len(l.pending) >= maxPending || !l.out.put(o, maxPending+maxNews) {
		l.mu.Unlock()
		return nil, errNotHere
	}
	l.last, l.pending[o.id] = o.id, replied
	l.mu.Unlock()
	select {
	case reply := <-replied:
		return l.understand(ctx, reply)
	case <-ctx.Done():
		l.mu.Lock()
		delete(l.pending, o.id)
		l.mu.Unlock()
		return nil, errLost
	}
}

func (l *link) understand(ctx context.Context, r *messages.GrainReply) (any, error) {
	switch {
	case r == nil:
		return nil, errLost // the link is down
	case r.Refusal == messages.Refusal_REFUSAL_LOST:
		return nil, errLost
	case r.Refusal == messages.Refusal_REFUSAL_NOT_HERE:
		l.node.members.refresh(ctx, r.View)
		return nil, errNotHere
	case r.Message == nil: // it cannot be sent, or there is none: the grain was released
		return nil, ErrNoAnswer
	}
	answer, err := r.Message.UnmarshalNew()
	if err != nil {
		l.node.log.Error("an answer of another node cannot be understood", "addr", l.to.Addr, "error", err)
		return nil, errLost
	}
	return answer, nil
}

// run keeps the link up while its member is one.
func (l *link) run() {
	defer l.down()
	for l.ctx.Err() == nil {
		err := l.talk()
		was := l.isUp()
		l.down()
		if l.ctx.Err() != nil {
			return
		}
		if was {
			l.node.log.Warn("another node cannot be reached", "addr", l.to.Addr, "error", err)
		}
		if l.refused.Swap(false) {
			l.node.members.evict(l.ctx, l.to)
		}
		select {
		case <-time.After(relinkPause):
		case <-l.ctx.Done():
		}
	}
}

// down fails all that is under way; whoever asks again finds another way.
func (l *link) down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up.Store(false)
	for id, replied := range l.pending {
		replied <- nil
		delete(l.pending, id)
	}
	l.out.take(maxPending + maxNews)
}

// talk makes a connection and uses it until it breaks.
func (l *link) talk() error {
	conn, err := grpc.NewClient("passthrough:///"+l.to.Addr, l.dialOptions()...)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	// Until the greeting, and from there, and from each reply, to the next one.
	silence := time.AfterFunc(silentLink, func() { cancel(errSilent) })
	defer silence.Stop()
	stream, err := messages.NewNodeServiceClient(conn).Talk(ctx)
	if err == nil {
		err = l.greet(stream)
	}
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	silence.Reset(silentLink)
	l.up.Store(true)
	l.node.log.Info("another node can be reached", "addr", l.to.Addr)
	var writing sync.WaitGroup
	writing.Go(func() {
		if err := l.write(ctx, stream); err != nil {
			cancel(err)
		}
	})
	err = l.read(stream, silence)
	cancel(err)
	writing.Wait()
	return errors.Join(err, context.Cause(ctx))
}

var errSilent = errors.New("nothing came for too long")

type talkClient = grpc.BidiStreamingClient[messages.TalkRequest, messages.TalkResponse]

func (l *link) greet(stream talkClient) error {
	err := stream.Send(&messages.TalkRequest{Greeting: &messages.Greeting{
		Cluster: l.node.options.Name, From: l.node.members.addr, To: l.to.Life,
	}})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

func (l *link) read(stream talkClient, silence *time.Timer) error {
	for {
		parcel, err := stream.Recv()
		if err != nil {
			return err
		}
		silence.Reset(silentLink)
		l.mu.Lock()
		for _, r := range parcel.Replies {
			if replied, ok := l.pending[r.Id]; ok {
				delete(l.pending, r.Id)
				replied <- r
			}
		}
		l.mu.Unlock()
	}
}

func (l *link) write(ctx context.Context, stream talkClient) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for pings := uint64(0); ; {
		parcel := &messages.TalkRequest{}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			pings++
			parcel.Ping = pings
		case <-l.out.signal:
		}
		for more := true; more; {
			var items []*outgoing
			items, more = l.take()
			for size := 0; len(items) > 0; items = items[1:] {
				if size += items[0].into(parcel); size > fullParcel && len(items) > 1 {
					if err := stream.Send(parcel); err != nil {
						return err
					}
					parcel, size = &messages.TalkRequest{}, 0
				}
			}
			if err := stream.Send(parcel); err != nil {
				return err
			}
			parcel = &messages.TalkRequest{}
		}
	}
}

// take gives what goes out next. What nobody waits for any more does not: whoever
// asked has another answer.
func (l *link) take() (items []*outgoing, more bool) {
	items, more = l.out.take(maxInParcel)
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(items, func(o *outgoing) bool { return !o.news && l.pending[o.id] == nil }), more
}

// into puts a call or news into a parcel and tells how many bytes it has.
func (o *outgoing) into(parcel *messages.TalkRequest) int {
	if o.news {
		parcel.News = append(parcel.News, o.content)
	} else {
		parcel.Calls = append(parcel.Calls, &messages.GrainCall{
			Id: o.id, View: o.view, Kind: o.key.kind, Identity: o.key.identity,
			Message: o.content, Pass: o.pass, WithinMs: uint64(o.within.Milliseconds()), Trace: o.trace,
		})
	}
	return len(o.content.GetValue())
}

var errTooLarge = errors.New("it is too large")

// pack encodes what another node is to have.
func pack(m proto.Message) (*anypb.Any, error) {
	content, err := anypb.New(m)
	if err == nil && len(content.Value) > maxContent {
		return nil, errTooLarge
	}
	return content, err
}

func (l *link) dialOptions() []grpc.DialOption {
	secure := insecure.NewCredentials()
	if l.node.options.ClientTLS != nil {
		secure = credentials.NewTLS(l.node.options.ClientTLS)
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(secure),
		grpc.WithContextDialer(l.dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: relinkPause, Multiplier: 1.5, MaxDelay: time.Second},
			MinConnectTimeout: dialWithin,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxParcel), grpc.MaxCallSendMsgSize(maxParcel)),
		grpc.WithInitialWindowSize(1 << 20), grpc.WithInitialConnWindowSize(4 << 20),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
	}
}

func (l *link) dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	conn, err := l.node.options.Dial(ctx, "tcp", addr)
	l.refused.Store(errors.Is(err, syscall.ECONNREFUSED))
	return conn, err
}
