package gateway

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"nowserving/actors"
	"nowserving/actors/queue"
)

const (
	subprotocol = "nowserving.v1"
	maxFrame    = 64 << 10
	frameBuffer = 512 // of the library; a longer frame is read past it
	closeAllIn  = 5 * time.Second
)

// Close codes of the contract that the gateway gives.
const (
	closeUnsupported = websocket.CloseUnsupportedData
	closeTooBig      = websocket.CloseMessageTooBig
	closeNotLoggedIn = actors.CloseNotLoggedIn
	closeNoAuth      = 4408
	closeTooFast     = 4429
)

// live is the WebSocket side of a node.
//
// One goroutine of fasthttp's reads each session and carries out its commands
// one after the other; all that is written goes through the session's actor.
// The goroutine joins the actor before it returns, for the library uses the
// connection again afterwards.
type live struct {
	g        *Gateway
	deps     actors.SessionDeps
	registry *registry
	log      *slog.Logger
	upgrade  fiber.Handler
	buffers  sync.Pool // of *bytes.Buffer, held while a frame is read and carried out
}

// StartSessions makes the gateway take WebSockets; without it they are refused
// as unavailable. It is called once, before Serve. Renderer, Watches and
// Traffic are set here.
func (g *Gateway) StartSessions(deps actors.SessionDeps) {
	deps.Renderer, deps.Watches, deps.Traffic = frames{&g.renderer}, actors.NewWatches(deps.Queues, deps.Feeds), &g.counted.ws
	l := &live{g: g, deps: deps, registry: newRegistry(), log: g.log}
	l.upgrade = websocket.New(l.serve, websocket.Config{
		Subprotocols:   []string{subprotocol},
		ReadBufferSize: frameBuffer,
		// Frames are written past the library; what it still writes by itself,
		// the close frame after a breach of the protocol, needs no buffer.
		WriteBufferPool: new(sync.Pool),
		RecoverHandler:  func(*websocket.Conn) {}, // serve recovers, after it has joined the actor
	})
	g.live = l
}

// leave sends all sessions away with 1012, one after the other.
func (l *live) leave(ctx context.Context) {
	if l != nil {
		l.registry.leave(ctx)
	}
}

// close ends all sessions with 1012, within a bound. It comes before Fiber's
// own shutdown, which does not know of them.
func (l *live) close(ctx context.Context) {
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, closeAllIn)
	defer cancel()
	l.registry.close(ctx)
	l.deps.Watches.Close()
}

// openSession serves /ws.
func (g *Gateway) openSession(c *fiber.Ctx) error {
	if g.live == nil {
		return unavailable("No sessions are held here.")
	}
	return g.live.open(c)
}

// open checks all that can be refused as HTTP, and upgrades.
func (l *live) open(c *fiber.Ctx) error {
	if !websocket.IsWebSocketUpgrade(c) {
		c.Set(fiber.HeaderUpgrade, "websocket")
		p := malformed("This address speaks WebSocket only.")
		p.httpStatus = fiber.StatusUpgradeRequired
		return p
	}
	origin := c.Get(fiber.HeaderOrigin) // what is no browser sends none
	if origin != "" && !l.g.knownOrigin(origin, string(c.Context().Host())) {
		return newProblem(string(queue.Forbidden), "This origin may not connect.")
	}
	byFrame := c.Query("auth") == "frame"
	if !byFrame && c.Context().QueryArgs().Has("auth") {
		return invalid(queue.FieldError{Field: "auth", Message: "must be frame"})
	}
	if l.registry.full() {
		return unavailable("No more sessions can be held here just now.")
	}
	if c.Get(fiber.HeaderAuthorization) != "" {
		token := bearerOf(c)
		if _, p := l.g.auth.Authenticate(c.UserContext(), token); p != nil {
			return p
		}
		c.Locals(tokenLocal, token)
	} else if token := l.g.cookie(c, accessCookie); token != "" && origin != "" && !byFrame {
		c.Locals(tokenLocal, token) // one that is not good ends the session with 4401, which a page can see
	}
	c.Locals(addressLocal, l.g.clientAddr(c))
	forget(&c.Request().Header)
	return l.upgrade(c)
}

// forget drops the headers that the handshake does not need: the library keeps
// a copy of each for the session's whole life.
func forget(h *fasthttp.RequestHeader) {
	var names []string
	h.VisitAll(func(name, _ []byte) {
		if n := string(name); n != fiber.HeaderConnection && n != fiber.HeaderUpgrade && !strings.HasPrefix(n, "Sec-Websocket-") {
			names = append(names, n)
		}
	})
	for _, name := range names {
		h.Del(name)
	}
}

// What a session knows of its handshake.
const (
	tokenLocal   = "token"
	addressLocal = "address"
)

// serve is one session, from the upgrade to its end.
func (l *live) serve(conn *websocket.Conn) {
	token, _ := conn.Locals(tokenLocal).(string)
	s := &liveSession{live: l, id: "ws-" + strings.ToLower(rand.Text()[:16]), conn: conn.Conn, opened: time.Now()}
	s.from, _ = conn.Locals(addressLocal).(netip.Addr)
	s.in = newSocket(conn.NetConn())
	s.out = actors.OpenSession(l.deps, s.in)
	defer s.leave()
	if !l.registry.add(s) {
		s.out.Close(actors.CloseGoingAway, leaving)
		s.linger()
		return
	}
	defer l.registry.remove(s)
	s.watchControlFrames()
	s.run(token)
}
