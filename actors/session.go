package actors

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// Bounds of a session.
const (
	maxSubscriptions  = 1_000
	snapshotWaiting   = 1_000 // waiting tickets in one frame
	snapshotTries     = 3
	eventsInARow      = 256 // sent before the session looks at what else there is to do
	sessionReadWithin = 5 * time.Second
	// maxHanded is how much may be handed over to a session that it has not come
	// to yet. Whoever hands over waits then: a client that asks for more than it
	// reads is not read from meanwhile.
	maxHanded = 64
)

// Close codes of the contract.
const (
	CloseGoingAway   = 1012 // the node is leaving
	CloseTryLater    = 1013 // of a ticket's holder: there are too many
	CloseNotLoggedIn = 4401
	CloseTooSlow     = 4413
)

// Socket is the client's end of a session. Write and Ping block for a bounded
// time only and fail where the client does not take the frame in it. Only the
// session's actor calls them. A frame is what a Renderer made, and shared: the
// socket must not change it.
type Socket interface {
	Write(frame []byte) error
	Ping() error
	// Close sends a close frame, or cuts the connection where it cannot.
	Close(code int, reason string)
}

// Renderer makes the frames of the contract, ready for a Socket. full is false
// for those who may not see customer data.
type Renderer interface {
	Event(queue string, e *messages.Event, full bool) []byte
	Snapshot(id, queue string, v *messages.View, full bool) []byte
	SnapshotPart(queue string, v *messages.View, full bool) []byte
	Resumed(id, queue string, version uint64, epoch string) []byte
	Gone(queue string) []byte
	Refused(id string, p *messages.Problem) []byte
	Done(id string) []byte
	Ticket(queue string, p *messages.Placed) []byte // for its holder
}

// SessionDeps is what sessions need of their surroundings.
type SessionDeps struct {
	System   *actor.ActorSystem
	Queues   *Queues
	Feeds    *Feeds
	Journal  Journal
	Renderer Renderer
	Form     Form // what the renderer makes
	Watches  *Watches
	Traffic  *Traffic // counts, if it is not nil
	Log      *slog.Logger
}

// Traffic is what went to the clients of sessions.
type Traffic struct {
	Frames atomic.Uint64
	Slow   atomic.Uint64 // sessions that were ended, for the client did not read
}

// session is the actor. An idle one holds no goroutine.
type session struct {
	SessionDeps
	handle        *Session
	socket        Socket
	subscriptions map[string]*subscription
	watcher       *watcher // of a ticket's holder, who has no subscriptions
	closed        bool
}

// subscription is where one queue's stream stands. Every version after it is
// sent once, in order, without a gap. It is the feed's Follower, and, as a
// message to the session's actor, the wake-up itself.
type subscription struct {
	Subscription
	handle  *Session
	feed    *Feed
	version uint64
	epoch   string
	losses  int         // of the feed, when this began
	woken   atomic.Bool // a wake-up lies in the mailbox, and one is enough
}

// Wake makes the session look for news of the queue.
func (s *subscription) Wake(*Feed) {
	if s.woken.CompareAndSwap(false, true) {
		s.handle.send(s)
	}
}

// Receive is the actor's only entry. A fault ends this session and no other;
// the client comes back from where it was.
func (s *session) Receive(ctx actor.Context) {
	defer func() {
		if r := recover(); r != nil {
			s.Log.Error("a session panicked", "panic", r, "stack", string(debug.Stack()))
			s.end(CloseGoingAway, "The session has failed.")
		}
	}()
	switch m := ctx.Message().(type) {
	case *writeFrame:
		<-s.handle.room
		s.write(m.frame)
	case *subscribe:
		<-s.handle.room
		s.subscribe(m.Subscription)
	case *unsubscribe:
		<-s.handle.room
		s.drop(m.queue)
		s.write(s.Renderer.Done(m.id))
	case *subscription:
		if s.subscriptions[m.Queue] == m {
			s.catchUp(m)
		}
	case *watch:
		<-s.handle.room
		s.watch(m.Watch)
	case *watcher:
		s.showNews(m)
	case *pingClient:
		if s.closed {
			return
		}
		if err := s.socket.Ping(); err != nil {
			s.cut(err, "The client does not read.")
		}
	case *closeSession:
		s.end(m.code, m.reason)
		ctx.Stop(ctx.Self())
	case *actor.Stopped:
		s.end(CloseGoingAway, "The session has ended.")
		close(s.handle.done)
	}
}

// write ends the session where the client does not take the frame.
func (s *session) write(frame []byte) {
	if s.closed {
		return
	}
	if err := s.socket.Write(frame); err != nil {
		s.cut(err, "The client reads too slowly.")
		return
	}
	s.Traffic.Frames.Add(1)
}

// cut ends the session of a client that has not taken something, or has gone.
func (s *session) cut(err error, reason string) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.Traffic.Slow.Add(1)
	}
	s.end(CloseTooSlow, reason)
}

func (s *session) end(code int, reason string) {
	if s.closed {
		return
	}
	s.closed = true
	for id := range s.subscriptions {
		s.drop(id)
	}
	if s.watcher != nil {
		s.Watches.leave(s.watcher)
	}
	s.socket.Close(code, reason)
}

func (s *session) drop(id string) {
	if sub := s.subscriptions[id]; sub != nil {
		s.Feeds.Leave(sub.feed, sub)
		delete(s.subscriptions, id)
	}
}

// subscribe joins the feed first, so that nothing can fall between the
// snapshot and the events that follow it.
func (s *session) subscribe(wish Subscription) {
	if s.closed {
		return
	}
	s.drop(wish.Queue)
	if len(s.subscriptions) >= maxSubscriptions {
		s.write(s.Renderer.Refused(wish.ID, problem(&queue.Error{Code: queue.Invalid, Detail: "The session has too many subscriptions."})))
		return
	}
	sub := &subscription{Subscription: wish, handle: s.handle}
	sub.feed = s.Feeds.Join(wish.Queue, sub)
	sub.losses = sub.feed.Losses()
	if s.subscriptions == nil {
		s.subscriptions = make(map[string]*subscription)
	}
	s.subscriptions[wish.Queue] = sub
	resumed, refusal := s.resume(sub)
	if !resumed && refusal == nil {
		refusal = s.snapshot(sub)
	}
	if refusal != nil {
		s.write(s.Renderer.Refused(sub.ID, refusal))
		s.drop(wish.Queue)
		return
	}
	s.catchUp(sub)
}

// resume goes on where the client was, if that is still possible. Where it
// cannot be known now, the client is refused: it need not start over for that.
func (s *session) resume(sub *subscription) (bool, *messages.Problem) {
	if !sub.Resume {
		return false, nil
	}
	v := s.read(&messages.Read{Queue: sub.Queue, Question: &messages.Read_Describe{Describe: &messages.ReadQueue{}}})
	if v.Problem != nil || v.Epoch != sub.Epoch || sub.Since > v.Version {
		return false, v.Problem
	}
	if sub.Since < v.Version {
		if _, known := sub.feed.After(sub.Since); !known {
			ctx, cancel := context.WithTimeout(context.Background(), sessionReadWithin)
			_, err := s.Journal.Read(ctx, sub.Queue, sub.Since, 1)
			cancel()
			switch {
			case errors.Is(err, queue.ErrTrimmed) || errors.Is(err, queue.ErrLost):
				return false, nil
			case err != nil:
				return false, problem(queue.ErrUnavailableNow)
			}
		}
	}
	sub.version, sub.epoch = sub.Since, v.Epoch
	sub.feed.Shown(v.Version)
	s.write(s.Renderer.Resumed(sub.ID, sub.Queue, sub.version, sub.epoch))
	return true, nil
}

// snapshot sends the queue as it is at one version, or tells why it cannot.
func (s *session) snapshot(sub *subscription) *messages.Problem {
	for range snapshotTries {
		v := s.read(snapshotQuestion(sub.Queue, 0, 0))
		if v.Problem != nil {
			return v.Problem
		}
		parts, whole := s.parts(sub.Queue, v)
		if !whole {
			continue
		}
		sub.version, sub.epoch, sub.First = v.Version, v.Epoch, nil
		sub.feed.Shown(v.Version)
		s.write(s.Renderer.Snapshot(sub.ID, sub.Queue, v, sub.Full))
		for _, part := range parts {
			s.write(s.Renderer.SnapshotPart(sub.Queue, part, sub.Full))
		}
		return nil
	}
	return problem(queue.ErrUnavailableNow)
}

// parts fetches what did not fit into the first frame, all of the same version.
func (s *session) parts(id string, first *messages.View) (parts []*messages.View, whole bool) {
	from := len(first.Tickets)
	for capture := first.Capture; capture != 0; {
		part := s.read(snapshotQuestion(id, capture, uint64(from)))
		if part.Problem != nil || part.Version != first.Version {
			return nil, false
		}
		from += len(part.Tickets)
		capture = part.Capture
		parts = append(parts, part)
	}
	return parts, true
}

func snapshotQuestion(id string, capture, from uint64) *messages.Read {
	return &messages.Read{Queue: id, Question: &messages.Read_Snapshot{Snapshot: &messages.ReadSnapshot{
		WaitingLimit: snapshotWaiting, Capture: capture, From: from,
	}}}
}

func (s *session) read(q *messages.Read) *messages.View {
	ctx, cancel := context.WithTimeout(context.Background(), sessionReadWithin)
	defer cancel()
	return s.Queues.Read(ctx, q)
}

// catchUp sends the events that the client has not had. Of many it sends some,
// and comes back for the rest, so that replies and a close have their turn.
func (s *session) catchUp(sub *subscription) {
	sub.woken.Store(false) // before the look: what comes after it wakes again
	if sub.feed.Losses() != sub.losses && !s.startOver(sub) {
		return
	}
	items, known := sub.feed.After(sub.version)
	if !known {
		var err error
		if items, err = readItems(context.Background(), s.Journal, sub.Queue, sub.version); err != nil {
			s.readFailed(sub, err)
			return
		}
	}
	// There may be more in the journal than one read gives.
	more := len(items) > eventsInARow || !known && len(items) > 0
	for _, item := range items[:min(len(items), eventsInARow)] {
		if !s.event(sub, item) {
			return
		}
	}
	if more {
		sub.Wake(sub.feed)
	}
}

// event sends one event. It is false where the stream does not go on behind it.
func (s *session) event(sub *subscription, item *FeedItem) bool {
	e := item.Event
	switch {
	case e.Version <= sub.version:
		return true
	case e.Kind == messages.EventKind_EVENT_KIND_QUEUE_DELETED:
		s.write(s.Renderer.Gone(sub.Queue))
		s.drop(sub.Queue)
		return false
	case e.Epoch != sub.epoch || e.Version != sub.version+1:
		return s.startOver(sub)
	}
	if first := sub.First; first != nil {
		sub.First = nil
		first(e)
	}
	s.write(item.Frame(s.Form, sub.Full, func(e *messages.Event, full bool) []byte {
		return s.Renderer.Event(sub.Queue, e, full)
	}))
	sub.version = e.Version
	return !s.closed
}

// startOver sends a fresh snapshot: the history that the client followed has
// ended, or is no longer kept. It is false where there is no way on from it now.
func (s *session) startOver(sub *subscription) bool {
	losses := sub.feed.Losses()
	refusal := s.snapshot(sub)
	switch {
	case refusal == nil:
		sub.losses = losses
		return !s.closed
	case refusal.Code == string(queue.QueueNotFound):
		s.write(s.Renderer.Gone(sub.Queue))
		s.drop(sub.Queue)
	default:
		s.later(sub)
	}
	return false
}

func (s *session) readFailed(sub *subscription, err error) {
	if errors.Is(err, queue.ErrTrimmed) || errors.Is(err, queue.ErrLost) {
		if s.startOver(sub) {
			sub.Wake(sub.feed)
		}
		return
	}
	s.Log.Warn("a session cannot read the journal", "queue", sub.Queue, "error", err)
	s.later(sub)
}

// later tries again where a queue or its journal could not be reached: until
// then the client is behind, but misses nothing.
func (s *session) later(sub *subscription) {
	time.AfterFunc(feedReadsEvery, func() { sub.Wake(sub.feed) })
}
