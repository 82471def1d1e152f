package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"nowserving/messages"
)

// Session is the handle of one WebSocket's actor. Everything that goes to the
// client goes through the actor, in the order in which it was handed over.
type Session struct {
	deps SessionDeps
	pid  *actor.PID
	room chan struct{} // for what is handed over
	done chan struct{}
}

// Subscription is a client's wish to follow a queue.
type Subscription struct {
	ID, Queue string
	Full      bool
	// Since and Epoch are where the client was; Resume tells that it sent both.
	Resume bool
	Since  uint64
	Epoch  string
	// First is told of the first event that follows a resume, before the client
	// has it; nil: nobody wants to know.
	First func(e *messages.Event)
}

// Messages to the actor.
type (
	writeFrame   struct{ frame []byte }
	subscribe    struct{ Subscription }
	unsubscribe  struct{ id, queue string }
	watch        struct{ Watch }
	pingClient   struct{}
	closeSession struct {
		code   int
		reason string
	}
)

// A message for a session that has just ended is of no interest, and must not
// be logged: frames hold customer data.
func (*writeFrame) IgnoreDeadLetterLogging()   {}
func (*subscribe) IgnoreDeadLetterLogging()    {}
func (*unsubscribe) IgnoreDeadLetterLogging()  {}
func (*subscription) IgnoreDeadLetterLogging() {}
func (*watch) IgnoreDeadLetterLogging()        {}
func (*watcher) IgnoreDeadLetterLogging()      {}
func (*pingClient) IgnoreDeadLetterLogging()   {}
func (*closeSession) IgnoreDeadLetterLogging() {}

// OpenSession starts the actor of a socket. Whoever opened it must Close it
// and wait for Done before the socket is let go.
func OpenSession(deps SessionDeps, socket Socket) *Session {
	if deps.Traffic == nil {
		deps.Traffic = new(Traffic)
	}
	s := &Session{deps: deps, room: make(chan struct{}, maxHanded), done: make(chan struct{})}
	a := &session{SessionDeps: deps, handle: s, socket: socket}
	s.pid = deps.System.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return a }))
	return s
}

// Write hands a frame over. Like Subscribe and Unsubscribe it waits while the
// session has too much to do.
func (s *Session) Write(frame []byte) { s.hand(&writeFrame{frame}) }

// Subscribe begins to follow a queue; the answer goes to the client.
func (s *Session) Subscribe(sub Subscription) { s.hand(&subscribe{sub}) }

// Unsubscribe ends that; the answer goes to the client.
func (s *Session) Unsubscribe(id, queue string) { s.hand(&unsubscribe{id, queue}) }

// Watch shows a ticket to its holder, now and whenever it has changed.
func (s *Session) Watch(w Watch) { s.hand(&watch{w}) }

// Ping asks the client for a sign of life.
func (s *Session) Ping() { s.send(&pingClient{}) }

// Close ends the session after all that was handed over before.
func (s *Session) Close(code int, reason string) { s.send(&closeSession{code, reason}) }

// Done is closed when nothing is written to the socket any more.
func (s *Session) Done() <-chan struct{} { return s.done }

func (s *Session) hand(m any) {
	select {
	case s.room <- struct{}{}:
		s.send(m)
	case <-s.done: // nobody is there any more
	}
}

func (s *Session) send(m any) { s.deps.System.Root.Send(s.pid, m) }
