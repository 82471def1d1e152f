package gateway

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
	v1 "nowserving/messages/nowserving/v1"
)

// A watch is a session of one subscription: the same actor sends it what it sends
// over WebSocket, in the same order.

const (
	// takenWithin is how long a client may leave a message unread, beyond what
	// flow control lets through.
	takenWithin = 5 * time.Second
	codeTooSlow = "too_slow" // gRPC's alone; over WebSocket it is a close code
)

// watches are those of a node.
type watches struct {
	// sending has the goroutine of each watch that speaks to the client, which
	// outlives its call by what it takes to notice.
	sending sync.WaitGroup
	// confirm is how often a token is held against what is known of it.
	confirm time.Duration

	mu     sync.Mutex
	all    map[*grpcWatch]struct{}
	aside  bool // no more for now
	closed bool // no more for good
}

func newWatches() *watches { return &watches{confirm: pingEvery, all: make(map[*grpcWatch]struct{})} }

// add is false where the node is leaving, stands aside, or has no room.
func (w *watches) add(one *grpcWatch) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.aside || len(w.all) >= maxSessions {
		return false
	}
	w.all[one] = struct{}{}
	w.sending.Add(1)
	return true
}

func (w *watches) remove(one *grpcWatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, one)
}

// shut takes no more, and gives those that are there.
func (w *watches) shut() []*grpcWatch {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return w.everyone()
}

func (w *watches) standAside(ctx context.Context, aside bool) {
	w.mu.Lock()
	w.aside = aside
	var all []*grpcWatch
	if aside {
		all = w.everyone()
	}
	w.mu.Unlock()
	sendAway(ctx, all)
}

// everyone is called with the mutex held.
func (w *watches) everyone() []*grpcWatch {
	all := make([]*grpcWatch, 0, len(w.all))
	for one := range w.all {
		all = append(all, one)
	}
	return all
}

// endVoid ends the watches of those whose access has ended.
func (w *watches) endVoid(over *ended) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.all {
		if over.has(one.who) {
			one.end(newProblem(codeUnauthenticated, loginEnded))
		}
	}
}

// grpcWatch is one call of Watch: an actors.Socket. The call itself only waits for
// its end: who speaks to the client is another goroutine, since it is blocked
// where the client does not read, until the call has ended.
type grpcWatch struct {
	who    *Principal
	frames chan []byte   // messages for the client; nil: the last one was before
	over   chan struct{} // closed when the call is to end
	once   sync.Once
	why    error // with what; nil: as it should
}

// end has the call end, if it has not been told so before.
func (w *grpcWatch) end(why error) {
	w.once.Do(func() {
		w.why = why
		close(w.over)
	})
}

// sendAway ends it for a node that leaves.
func (w *grpcWatch) sendAway() { w.end(unavailable(leaving)) }

var errUnread = fmt.Errorf("the client does not read: %w", os.ErrDeadlineExceeded)

// Write hands the messages of a frame over. It fails where the client does not
// take one in time.
func (w *grpcWatch) Write(frame []byte) error {
	if frame[0] == markRefused {
		p := &messages.Problem{}
		_ = proto.Unmarshal(frame[1:], p) // this program wrote it
		w.end(problemOf(p))
		return nil
	}
	taken := messagesIn(frame[1:], w.hand)
	if taken && frame[0] == markLast {
		taken = w.hand(nil)
	}
	if !taken {
		return errUnread
	}
	return nil
}

// hand is true where the client needs the message no more.
func (w *grpcWatch) hand(message []byte) bool {
	timer := time.NewTimer(takenWithin)
	defer timer.Stop()
	select {
	case w.frames <- message:
		return true
	case <-w.over:
		return true
	case <-timer.C:
		return false
	}
}

// Ping does nothing: gRPC asks for signs of life itself.
func (w *grpcWatch) Ping() error { return nil }

// Close ends the call by one of the codes that sessions are closed with.
func (w *grpcWatch) Close(code int, reason string) {
	if code == actors.CloseTooSlow {
		p := newProblem(codeTooSlow, reason)
		w.end(p.grpc(codes.ResourceExhausted))
		return
	}
	w.end(unavailable(reason))
}

// send speaks to the client until the end.
func (w *grpcWatch) send(stream grpc.ServerStream) {
	for {
		select {
		case message := <-w.frames:
			if message == nil {
				w.end(nil)
				return
			}
			if stream.SendMsg(readyMessage(message)) != nil { // the call has ended
				return
			}
		case <-w.over:
			return
		}
	}
}

// Watch follows a queue.
func (queuesService) Watch(in *v1.WatchRequest, stream grpc.ServerStreamingServer[v1.WatchResponse]) error {
	c := callerOf(stream.Context())
	switch {
	case !c.who.sees(in.Queue):
		return refused(queue.ErrQueueNotFound)
	case c.who.may(ReadQueue, in.Queue) != nil:
		return c.who.may(ReadQueue, in.Queue)
	case len(in.Epoch) > maxEpoch:
		return invalid(queue.FieldError{Field: "epoch", Message: "must be at most 64 characters"})
	case c.live == nil:
		return unavailable("No queue can be followed here.")
	}
	w := &grpcWatch{who: c.who, frames: make(chan []byte), over: make(chan struct{})}
	all := c.options.GRPC.watches
	if !all.add(w) {
		return unavailable("No more queues can be followed here just now.")
	}
	defer all.remove(w)
	deps := c.live.deps
	deps.Renderer, deps.Form, deps.Traffic = grpcFrames{&c.renderer}, actors.FormProto, &c.counted.grpc
	session := actors.OpenSession(deps, w)
	go func() {
		defer all.sending.Done()
		w.send(stream)
		<-w.over
		session.Close(actors.CloseGoingAway, leaving)
		<-session.Done()
	}()
	session.Subscribe(c.auditReplay(c.who, c.from, actors.Subscription{
		Queue: in.Queue, Full: c.who.full(), Since: in.GetSince(), Epoch: in.Epoch, Resume: in.Since != nil && in.Epoch != "",
	}))
	c.await(stream.Context(), w)
	return w.why
}

// await waits for the end of a watch, and sees to it that it ends with the access,
// the token or the client.
func (c *caller) await(ctx context.Context, w *grpcWatch) {
	ends := time.NewTimer(c.who.ExpiresAt.Sub(c.auth.now()))
	defer ends.Stop()
	confirm := time.NewTicker(c.options.GRPC.watches.confirm)
	defer confirm.Stop()
	for first := true; ; first = false {
		if first && c.auth.ended.has(c.who) { // since the token was looked at; endVoid had not seen this watch
			w.end(newProblem(codeUnauthenticated, loginEnded))
		}
		select {
		case <-w.over:
			return
		case <-ctx.Done():
			w.end(status.FromContextError(ctx.Err()).Err())
		case <-ends.C:
			w.end(newProblem(codeTokenExpired, "The token has ended."))
		case <-confirm.C:
			if _, p := c.auth.Authenticate(ctx, c.token); p != nil && p.status() < 500 {
				w.end(p)
			}
		}
	}
}
