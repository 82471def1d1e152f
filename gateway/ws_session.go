package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	fastws "github.com/fasthttp/websocket"

	"nowserving/actors"
)

// The bucket of frames: what the contract allows.
const (
	framesPerSecond = 100
	framesBurst     = 500
)

var errTooFast = errors.New("the client sends too fast")

// liveSession is the reading end of one WebSocket. Its fields belong to the
// reading goroutine, but for those that the registry looks at.
type liveSession struct {
	live    *live
	id      string
	conn    *fastws.Conn
	in      *socket         // its deadlines are the reader's, its writes the actor's
	out     *actors.Session // everything that goes to the client
	opened  time.Time
	from    netip.Addr
	slot    int                       // the registry's
	expires atomic.Int64              // of the token, in Unix milliseconds; 0 where nobody is logged in
	user    atomic.Pointer[Principal] // who, for the registry

	who    *Principal // nil until the login, and for the holder of a ticket
	token  string
	ticket []byte // the holder's, as the token names it; nil for a user
	ended  bool   // a close was asked for; what the client still sends is of no interest

	turn sync.Mutex  // held while a frame is obeyed
	away atomic.Bool // the node is leaving: no frame is obeyed any more

	frames float64 // left in the bucket
	filled time.Time
}

// run reads and obeys until the session ends.
func (s *liveSession) run(token string) {
	if token != "" {
		s.aside(func() { s.login(token) })
	}
	for !s.ended {
		if err := s.next(); err != nil {
			s.failed(err)
		}
	}
	s.linger()
}

// aside does something on a stack of its own and waits for it: the reader's
// would grow with it, and a session is idle most of its time.
func (s *liveSession) aside(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.caught()
		do()
	}()
	<-done
}

// caught ends the session, and nothing else, where its frame led to a fault.
func (s *liveSession) caught() {
	if r := recover(); r != nil {
		s.live.log.Error("a session panicked", "session", s.id, "stack", string(debug.Stack()))
		s.end(actors.CloseGoingAway, "The session has failed.")
	}
}

// end asks the actor to close, after all that was handed over before.
func (s *liveSession) end(code int, reason string) {
	s.ended = true
	s.out.Close(code, reason)
}

// failed finds out what the end of the stream means.
func (s *liveSession) failed(err error) {
	var closed *fastws.CloseError
	switch {
	case errors.Is(err, errTooFast):
		s.end(closeTooFast, "More than 100 frames a second.")
	case errors.As(err, &closed) && closed.Code != fastws.CloseAbnormalClosure:
		s.end(closed.Code, "") // the answer to the client's close frame
	default:
		// The line is gone, silent for too long, or has broken the protocol,
		// of which the library has told the client.
		s.in.closing.Store(true)
		s.end(actors.CloseTooSlow, "There was no sign of life.")
		s.in.cut()
	}
}

// leave joins the actor: nothing is written to the connection afterwards.
func (s *liveSession) leave() {
	s.out.Close(fastws.CloseNormalClosure, "")
	<-s.out.Done()
}

// linger reads on, and drops what it reads, until the client has answered the
// close frame or a moment is over: the socket sets the deadline.
func (s *liveSession) linger() {
	<-s.out.Done()
	for {
		if _, _, err := s.conn.NextReader(); err != nil {
			return
		}
	}
}

// watchControlFrames has the actor answer pings, so that there is one writer,
// and counts control frames like any other.
func (s *liveSession) watchControlFrames() {
	s.conn.SetPingHandler(func(text string) error {
		s.out.Write(controlFrame(opPong, text))
		return s.alive()
	})
	s.conn.SetPongHandler(func(string) error {
		if s.who != nil && !s.ended {
			s.aside(s.confirm)
		}
		return s.alive()
	})
	s.conn.SetCloseHandler(func(int, string) error { return nil }) // failed answers it
}

// alive counts a frame and gives the client time for the next one.
func (s *liveSession) alive() error {
	if s.ended {
		return nil
	}
	now := time.Now()
	s.frames = min(framesBurst, s.frames+now.Sub(s.filled).Seconds()*framesPerSecond)
	s.filled = now
	if s.frames < 1 {
		return errTooFast
	}
	s.frames--
	return s.in.extend()
}

// next reads a frame and obeys it.
func (s *liveSession) next() error {
	kind, r, err := s.conn.NextReader()
	if err != nil {
		return err
	}
	if err := s.alive(); err != nil {
		return err
	}
	if kind != fastws.TextMessage {
		s.unfit(closeUnsupported, "Frames are text.")
		return nil
	}
	buffer, _ := s.live.buffers.Get().(*bytes.Buffer)
	if buffer == nil {
		buffer = new(bytes.Buffer)
	}
	defer func() {
		buffer.Reset()
		s.live.buffers.Put(buffer)
	}()
	n, err := buffer.ReadFrom(io.LimitReader(r, maxFrame+1))
	switch {
	case err != nil:
		return err
	case n > maxFrame:
		s.unfit(closeTooBig, "A frame is at most 65,536 bytes.")
	default:
		s.aside(func() { s.serve(buffer.Bytes()) })
		return s.in.extend() // a command may have taken a while
	}
	return nil
}

// serve obeys a frame, unless the node is leaving: a command that crosses the
// close frame is not carried out, for its reply would not reach the client.
func (s *liveSession) serve(text []byte) {
	func() {
		s.turn.Lock()
		defer s.turn.Unlock()
		if !s.away.Load() {
			s.obey(text)
		}
	}()
	if s.away.Load() {
		s.end(actors.CloseGoingAway, leaving)
	}
}

// sendAway closes the session for a node that leaves: now, or behind the reply
// to the command that is under way.
func (s *liveSession) sendAway() {
	s.away.Store(true)
	if s.turn.TryLock() { // else serve sees that it is to end
		s.turn.Unlock()
		s.out.Close(actors.CloseGoingAway, leaving)
	}
}

// unfit ends the session for a frame that cannot even be looked at. Who is not
// logged in yet has thereby not sent auth.
func (s *liveSession) unfit(code int, reason string) {
	if s.strange() {
		code, reason = closeNotLoggedIn, notAuth
	}
	s.end(code, reason)
}

// login takes a token, the first one or one that renews the session.
func (s *liveSession) login(token string) {
	if s.ticket != nil || isLink(token) {
		s.hold(token)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), directoryTimeout)
	defer cancel()
	who, p := s.live.g.auth.Authenticate(ctx, token)
	switch {
	case p != nil && p.status() >= 500:
		s.out.Write(refusalFrame(nil, p))
		s.end(actors.CloseGoingAway, "The login cannot be checked here just now.")
		return
	case p != nil:
		s.end(closeNotLoggedIn, "The token is not good.")
		return
	case s.who != nil && s.who.UserID != who.UserID:
		s.end(closeNotLoggedIn, "The token is another user's.")
		return
	case s.who != nil && !sameRights(s.who, who):
		s.end(closeNotLoggedIn, "What you may see or do has changed. Come back.")
		return
	}
	s.who, s.token = who, token
	s.live.registry.loggedIn(s)
	s.expires.Store(who.ExpiresAt.UnixMilli())
	s.user.Store(who)
	if s.live.g.auth.ended.has(who) { // since the token was looked at; the registry has not seen this session
		s.end(closeNotLoggedIn, loginEnded)
		return
	}
	s.out.Write(readyFrame(s.id, s.describe(ctx), who.ExpiresAt))
}

// describe is what ready tells of the user. While the directory is down it is what
// the token says.
func (s *liveSession) describe(ctx context.Context) *User {
	user, err := s.live.g.auth.directory.UserByID(ctx, s.who.UserID)
	if err != nil {
		s.live.log.WarnContext(ctx, "a user cannot be read", "user", s.who.UserID, "error", err)
		return &User{ID: s.who.UserID, Email: unknownEmail, Name: s.who.Name, Level: s.who.Level, Queues: s.who.Queues}
	}
	return &user
}

const (
	loginEnded = "The login has ended."
	notAuth    = "The first frame must be auth."
	leaving    = "The node is leaving."
)

func sameRights(a, b *Principal) bool { return a.Level == b.Level && slices.Equal(a.Queues, b.Queues) }

// confirm holds the token against what is known of it now. Where the registry
// has ended the session just before, no frame is obeyed any more.
func (s *liveSession) confirm() {
	ctx, cancel := context.WithTimeout(context.Background(), directoryTimeout)
	defer cancel()
	if _, p := s.live.g.auth.Authenticate(ctx, s.token); p != nil && p.status() < 500 {
		s.end(closeNotLoggedIn, loginEnded)
	}
}

// endNow closes the session of somebody whose access or token has ended. Who does not
// take what was sent before is cut.
func (s *liveSession) endNow(reason string) {
	s.out.Close(closeNotLoggedIn, reason)
	time.AfterFunc(cutWithin, func() {
		if !s.in.closing.Load() {
			s.in.cut()
		}
	})
}
