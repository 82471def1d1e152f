package cluster

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"nowserving/messages"
)

// maxReplies wait for one node to read them; its stream is ended then.
const maxReplies = 4 * maxPending

// server is what this node does for the others.
type server struct {
	messages.UnimplementedNodeServiceServer
	node *Node
}

func newServer(n *Node) *grpc.Server {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxParcel), grpc.MaxSendMsgSize(maxParcel),
		grpc.InitialWindowSize(1 << 20), grpc.InitialConnWindowSize(4 << 20),
		grpc.MaxConcurrentStreams(8),
		grpc.ConnectionTimeout(dialWithin),
		// A node that was cut off leaves its connection behind.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	}
	if n.options.ServerTLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(n.options.ServerTLS)))
	}
	s := grpc.NewServer(options...)
	messages.RegisterNodeServiceServer(s, &server{node: n})
	return s
}

type talkServer = grpc.BidiStreamingServer[messages.TalkRequest, messages.TalkResponse]

// conversation is one stream of calls of another node, in one life of this one.
type conversation struct {
	node    *Node
	ctx     context.Context
	cancel  context.CancelFunc
	replies *outbox[*reply]
}

// reply is packed by who writes it, not by the grain that gives it.
type reply struct {
	id      uint64
	refusal messages.Refusal
	message proto.Message
	pong    uint64
}

// Talk serves another node's calls until its stream or this node's life ends.
func (s *server) Talk(stream talkServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	life := s.node.members.life.Load()
	g := first.Greeting
	switch {
	case g == nil || g.Cluster != s.node.options.Name:
		return status.Error(codes.PermissionDenied, "another cluster")
	case life == nil || g.To != life.name:
		return status.Error(codes.FailedPrecondition, "another life")
	}
	c := &conversation{node: s.node, replies: newOutbox[*reply]()}
	c.ctx, c.cancel = context.WithCancel(stream.Context())
	defer c.cancel()
	if err := stream.Send(&messages.TalkResponse{Greeting: &messages.Greeting{Cluster: g.Cluster, From: s.node.members.addr}}); err != nil {
		return err
	}
	read := make(chan error, 1)
	go func() { read <- c.read(stream) }() // ends with the stream
	var failed error
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		failed = c.write(stream)
	}()
	select {
	case err = <-read:
	case <-wrote:
		err = failed
	case <-life.over:
		err = status.Error(codes.Unavailable, "not a member any more")
	}
	c.cancel()
	<-wrote // nobody may send once this has returned
	return err
}

// read serves what comes, as long as it comes in time. The other node pings all
// the while, and gives its link up after silentLink without an answer; what was
// on its way for longer, held up by a network that was cut, or by a pause of this
// process, it has sent again or given up by then. It must not be done now, for
// whoever asked has another answer.
func (c *conversation) read(stream talkServer) error {
	for heard := time.Now(); ; heard = time.Now() {
		parcel, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case time.Since(heard) > silentLink:
			return status.Error(codes.DeadlineExceeded, errSilent.Error())
		}
		if parcel.Ping != 0 {
			c.give(&reply{pong: parcel.Ping})
		}
		for _, call := range parcel.Calls {
			c.serve(call)
		}
		for _, news := range parcel.News {
			if m, err := news.UnmarshalNew(); err == nil && c.node.options.Heard != nil {
				c.node.options.Heard(m)
			}
		}
	}
}

func (c *conversation) write(stream talkServer) error {
	for {
		select {
		case <-c.ctx.Done():
			return nil
		case <-c.replies.signal:
		}
		for more := true; more; {
			var items []*reply
			items, more = c.replies.take(maxInParcel)
			parcel, view := &messages.TalkResponse{}, c.node.members.view().Number
			for size := 0; len(items) > 0; items = items[1:] {
				if size += c.pack(parcel, items[0], view); size > fullParcel && len(items) > 1 {
					if err := stream.Send(parcel); err != nil {
						return err
					}
					parcel, size = &messages.TalkResponse{}, 0
				}
			}
			if err := stream.Send(parcel); err != nil {
				return err
			}
		}
	}
}

// pack puts a reply into a parcel and tells how many bytes it has.
func (c *conversation) pack(parcel *messages.TalkResponse, r *reply, view uint64) int {
	if r.pong != 0 {
		parcel.Pong = r.pong
		return 0
	}
	m := &messages.GrainReply{Id: r.id, View: view, Refusal: r.refusal}
	if r.message != nil {
		var err error
		if m.Message, err = pack(r.message); err != nil { // and will not be another time
			c.node.log.Error("an answer cannot be sent to another node", "error", err)
		}
	}
	parcel.Replies = append(parcel.Replies, m)
	return len(m.Message.GetValue())
}

// give never blocks. A node that does not read its replies is cut off.
func (c *conversation) give(r *reply) {
	if !c.replies.put(r, maxReplies) {
		c.cancel()
	}
}

func (c *conversation) refuse(call *messages.GrainCall, why messages.Refusal) {
	c.give(&reply{id: call.Id, refusal: why})
}

// serve has a call answered; it does not wait.
func (c *conversation) serve(call *messages.GrainCall) {
	if call.View <= c.node.members.view().Number {
		c.serveBy(call)
		return
	}
	came := time.Now()
	go func() { // who called knows more of the members
		if c.node.members.refresh(c.ctx, call.View); time.Since(came) > leaseCallWithin {
			c.refuse(call, messages.Refusal_REFUSAL_NOT_HERE) // see read
			return
		}
		c.serveBy(call)
	}()
}

func (c *conversation) serveBy(call *messages.GrainCall) {
	if c.ctx.Err() != nil {
		return // whoever called has sent it again
	}
	n, key := c.node, grainKey{call.Kind, call.Identity}
	if !n.members.holds() {
		c.refuse(call, messages.Refusal_REFUSAL_NOT_HERE)
		return
	}
	owner, found := n.members.view().owner(key)
	here := found && owner.Addr == n.members.addr
	switch {
	case call.Message == nil && here:
		c.refuse(call, messages.Refusal_REFUSAL_NOT_HERE) // it is this node's own
	case call.Message == nil:
		go c.release(call, key)
	case here:
		c.ask(call, key)
	case found && call.Pass:
		go c.pass(call, owner, key)
	default:
		c.refuse(call, messages.Refusal_REFUSAL_NOT_HERE)
	}
}

func (c *conversation) release(call *messages.GrainCall, key grainKey) {
	ctx, cancel := context.WithTimeout(c.ctx, handOverWithin)
	defer cancel()
	c.node.grains.release(ctx, key)
	c.give(&reply{id: call.Id})
}

// ask has a grain of this node answer.
func (c *conversation) ask(call *messages.GrainCall, key grainKey) {
	message, err := call.Message.UnmarshalNew()
	if err != nil {
		c.node.log.Error("a request of another node cannot be understood", "error", err)
		c.refuse(call, messages.Refusal_REFUSAL_NOT_HERE)
		return
	}
	trace, ended := c.node.traceCall(call)
	r, err := c.node.grains.ask(key, message, trace, func(answer any, err error) {
		ended(err)
		m, ok := answer.(proto.Message)
		switch {
		case errors.Is(err, errNotHere):
			c.refuse(call, messages.Refusal_REFUSAL_NOT_HERE)
		case err != nil || !ok:
			c.refuse(call, messages.Refusal_REFUSAL_LOST)
		default:
			c.give(&reply{id: call.Id, message: m})
		}
	})
	if err != nil {
		ended(err)
		c.refuse(call, messages.Refusal_REFUSAL_NOT_HERE)
		return
	}
	r.endWithGrain()
}

// pass sends a call on to its grain's node, which the caller cannot reach.
func (c *conversation) pass(call *messages.GrainCall, owner Member, key grainKey) {
	ctx, cancel := context.WithTimeout(c.ctx, time.Duration(call.WithinMs)*time.Millisecond)
	defer cancel()
	l := c.node.links.to(owner)
	if l == nil || !l.isUp() {
		c.refuse(call, messages.Refusal_REFUSAL_NOT_HERE)
		return
	}
	answer, err := l.ask(ctx, &outgoing{view: c.node.members.view().Number, key: key, content: call.Message, trace: call.Trace})
	m, ok := answer.(proto.Message)
	switch {
	case errors.Is(err, errNotHere):
		c.refuse(call, messages.Refusal_REFUSAL_NOT_HERE)
	case errors.Is(err, ErrNoAnswer):
		c.give(&reply{id: call.Id})
	case err != nil || !ok:
		c.refuse(call, messages.Refusal_REFUSAL_LOST)
	default:
		c.give(&reply{id: call.Id, message: m})
	}
}
