// Package gateway is how the outside reaches queues: REST and WebSocket, and
// who may do what. It parses, authenticates and authorises, hands one message
// to the queue's grain, and renders the answer; no rule of the line is here.
package gateway

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"

	"nowserving/messages"
)

// Bounds of the HTTP server.
const (
	maxConnections   = 16_384 // WebSockets not counted
	spareConnections = 1_024  // above that, to be told so in; what comes beyond them the server refuses itself
	readBuffer       = 16 << 10
	readTimeout      = 15 * time.Second
	writeTimeout     = 15 * time.Second
	idleTimeout      = 75 * time.Second
	directoryTimeout = 5 * time.Second
	loginTimeout     = 15 * time.Second // passwords are checked a few at a time
	// serverBody is where reading a body ends. It is above maxBody, so that a
	// little too much is read to its end and the connection can go on.
	serverBody = 256 << 10
)

// What a Directory fails with, wrapped or not; anything else is taken for a
// fault that may pass.
var (
	ErrNotFound = errors.New("gateway: not found")
	ErrReused   = errors.New("gateway: a refresh token was used twice")
	// ErrJustUsed: so it was, within the grace.
	ErrJustUsed = errors.New("gateway: a refresh token has just been used")
)

// QueueService carries commands and questions to queues; actors.Queues is one.
type QueueService interface {
	Do(ctx context.Context, c *messages.Command) *messages.Answer
	Read(ctx context.Context, r *messages.Read) *messages.View
}

// User is a user as the directory knows it.
type User struct {
	ID           string
	Email        string
	Name         string
	Level        Level
	Queues       []string
	PasswordHash string
	Disabled     bool
	TokenEpoch   int64 // a token that bears another one is void
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// LogValue logs the id only.
func (u User) LogValue() slog.Value { return slog.StringValue(u.ID) }

// RefreshToken is the directory's row of one, kept by its SHA-256.
type RefreshToken struct {
	Hash      [32]byte
	Family    string // of all tokens that came of one login
	UserID    string
	UserEpoch int64
	ExpiresAt time.Time
	UsedAt    time.Time
}

// QueueRow is what the directory knows of a queue at one version.
type QueueRow struct {
	ID      string
	Name    string
	Prefix  string
	Status  string
	Version uint64
	Epoch   string
	// Config has the configuration's fields by their names in the contract.
	Config    json.RawMessage
	Waiting   int64
	Active    int64
	UpdatedAt time.Time
	Deleted   bool
	Line      QueueLine // of a list; PutQueue does not look at it
}

// QueueLine is what was in a queue at a version, which may be an earlier one
// than its row's.
type QueueLine struct {
	Version               uint64
	Called, Serving, Held int64
	Attendants            int64     // who had active tickets
	WaitingSince          time.Time // when the ticket was enqueued that waited the longest; zero: none did
}

// Directory is what the gateway needs of the store of users and queues. Where
// something is not there, the error is ErrNotFound.
type Directory interface {
	UserByEmail(ctx context.Context, email string) (User, error)
	UserByID(ctx context.Context, id string) (User, error)
	// RehashPassword keeps another hash of the same password, unless the password
	// was changed meanwhile.
	RehashPassword(ctx context.Context, userID, old, hash string) error
	AddRefresh(ctx context.Context, t RefreshToken) error
	// RotateRefresh marks a token as used and keeps the family's next one. A
	// second use ends the family with ErrReused, but within the grace after the
	// first one it does nothing and fails with ErrJustUsed.
	RotateRefresh(ctx context.Context, hash, next [32]byte, expiresAt, now time.Time, grace time.Duration) (RefreshToken, User, error)
	DropFamily(ctx context.Context, family string) error
	// AccessChanges gives the changes after a revision in their order, and the
	// revision that all of them have reached.
	AccessChanges(ctx context.Context, after uint64, limit int) ([]AccessChange, uint64, error)
	// ListQueues gives queues in the order of their ids, those after one; all
	// where ids is nil, else only those named.
	ListQueues(ctx context.Context, ids []string, after string, limit int) ([]QueueRow, error)
	PutQueue(ctx context.Context, q QueueRow) error
	// ReservePrefix gives the default prefix of a queue that is to be made.
	ReservePrefix(ctx context.Context, id string) (string, error)
	ReleasePrefix(ctx context.Context, id string) error
	// Statistics gives what happened in a queue between each edge and the next
	// one, and in all of them. A wait is within target where it took no more
	// than so many whole seconds.
	Statistics(ctx context.Context, id string, edges []time.Time, target int64) (parts []Statistics, total Statistics, err error)
	// StatisticsOf gives what happened in some queues, in their order.
	StatisticsOf(ctx context.Context, spans []Span) ([]Statistics, error)
}

// Passwords checks a password against a hash, in the same time for an empty
// hash, which no password has, and hashes new ones.
type Passwords interface {
	Hash(ctx context.Context, password string) (string, error)
	Verify(ctx context.Context, hash, password string) (bool, error)
	// NeedsRehash tells whether a hash was made with other costs than today's.
	NeedsRehash(hash string) bool
}

// Sealer seals personal data for one field of one visit to a queue, and hashes
// commands under its keys; seal.DataKeys is one.
type Sealer interface {
	Seal(queue, field string, visit [16]byte, plaintext []byte) []byte
	Open(field string, visit [16]byte, sealed []byte) ([]byte, error)
	// Prepare is called before many values are opened.
	Prepare(ctx context.Context, sealed ...[]byte)
	Fingerprints(parts ...[]byte) []uint64
}

// Readiness is what /readyz answers: 200 where Status is ready.
type Readiness struct {
	Status string   `json:"status"` // ready, starting, draining or unavailable
	Down   []string `json:"down"`   // journal, cluster, database, rabbitmq
}

// Options of a Gateway.
type Options struct {
	Queues    QueueService
	Directory Directory
	Users     UserStore
	APIKeys   APIKeys
	History   History
	People    People
	Cluster   Cluster
	Keys      Keys
	Webhooks  Webhooks
	Passwords Passwords
	Attempts  Attempts
	Sealer    Sealer
	TokenKeys []TokenKey // the first one signs, all verify
	LinkKeys  []TokenKey // for the tokens of tickets; the first one seals, all open
	// IndexKeys are those of the index of customers as they are now: the first
	// one makes tags, all find. It is called for every customer.
	IndexKeys     func() []TokenKey
	WebhookSender WebhookSender
	OIDC          *OIDC       // nil: no sign-in at a provider
	TLS           *tls.Config // nil: without
	GRPC          *GRPC       // the gRPC API; nil: without
	Log           *slog.Logger
	Now           func() time.Time
	Ready         func() Readiness
	Version       string
	// AllowedOrigins are browser origins beside the host's own.
	AllowedOrigins []string
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// CheckInRate is how often one address may check in, in a minute.
	CheckInRate int
	CheckIns    Pace
	// Filter decides by the rules of queues which requests from RabbitMQ are
	// taken; all are if it is nil.
	Filter RequestFilter
	// Rules are those of queues about requests from RabbitMQ.
	Rules *Rulebook
	// Audit is where administrative acts are recorded.
	Audit *AuditLog
	// DeadLetters are the requests that could not succeed; nil without RabbitMQ.
	DeadLetters DeadLetters
	// Tracer makes spans of requests; nil: none.
	Tracer trace.Tracer
	// NewEpoch names a new history of a queue; 128 random bits if nil.
	NewEpoch func() string
	Hooks    Hooks
}

// Gateway serves REST and WebSocket.
type Gateway struct {
	renderer
	queues    QueueService
	directory Directory
	auth      *Auth
	signIn    *signIn // nil: without
	links     atomic.Pointer[links]
	checkIns  *pace
	looks     *looks
	renewals  *pace // of logins
	misses    *pace // public queues asked for that are not there
	newEpoch  func() string
	live      *live // nil until StartSessions
	faults    faultLog
	options   Options
	app       *fiber.App
	counted   tally

	room      int32       // connections that are served
	draining  atomic.Bool // every answer is the last one of its connection
	serving   sync.Mutex
	listeners []net.Listener
	down      bool
}

// New makes a gateway that does not listen yet.
func New(o Options) (*Gateway, error) {
	if o.NewEpoch == nil {
		o.NewEpoch = rand.Text // at least 128 bits in base32
	}
	o.Hooks = o.Hooks.orNone()
	g := &Gateway{
		renderer: renderer{sealer: o.Sealer, log: o.Log, unopened: &unopened{log: o.Log, now: o.Now}},
		queues:   o.Queues, directory: o.Directory, auth: newAuth(&o), signIn: newSignIn(o.OIDC), newEpoch: o.NewEpoch,
		looks: &looks{now: o.Now}, checkIns: newPace(o.Now, o.CheckInRate), misses: newPace(o.Now, missesOfAddress), renewals: newPace(o.Now, renewalsOfAddress),
		options: o, room: maxConnections,
	}
	var stateKeys []TokenKey
	if o.OIDC != nil {
		stateKeys = o.OIDC.StateKeys
	}
	if err := g.UseTokenKeys(o.TokenKeys, o.LinkKeys, stateKeys); err != nil {
		return nil, err
	}
	g.app = fiber.New(fiber.Config{
		AppName:       "nowserving",
		CaseSensitive: true, StrictRouting: true,
		Immutable:             true, // parameters go into messages that outlive a request
		BodyLimit:             serverBody,
		Concurrency:           maxConnections + spareConnections,
		ReadBufferSize:        readBuffer,
		ReadTimeout:           readTimeout,
		WriteTimeout:          writeTimeout,
		IdleTimeout:           idleTimeout,
		ReduceMemoryUsage:     true, // else each WebSocket keeps the buffer of its upgrade request
		DisableStartupMessage: true,
		ErrorHandler:          g.sendError,
	})
	if o.Tracer != nil {
		g.app.Use(g.traced)
	}
	g.app.Use(g.guard)
	g.route()
	server := g.app.Server()
	server.Handler = g.bounded(server, server.Handler)
	return g, nil
}

// bounded refuses requests on connections that are too many, and has clients
// leave a node that drains: who is answered that the connection closes sends
// nothing more over it that could be cut off.
func (g *Gateway) bounded(server *fasthttp.Server, handle fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(c *fasthttp.RequestCtx) {
		g.counted.underway.Add(1)
		defer func() {
			g.counted.underway.Add(-1)
			g.counted.answers[c.Response.StatusCode()/100%6].Add(1)
		}()
		full := server.GetOpenConnectionsCount() > g.room
		if full {
			g.refuseConnection(c)
		} else {
			handle(c)
		}
		if (full || g.draining.Load()) && !c.Hijacked() {
			c.SetConnectionClose()
		}
	}
}

func (g *Gateway) refuseConnection(c *fasthttp.RequestCtx) {
	ctx := g.app.AcquireCtx(c)
	defer g.app.ReleaseCtx(ctx)
	g.sendProblem(ctx, unavailable("Too many connections are open here just now."))
}

// App is the HTTP application, for tests and for routes of other packages.
func (g *Gateway) App() *fiber.App { return g.app }

// Serve serves a listener until Shutdown, even one that came before, and the gRPC
// API.
func (g *Gateway) Serve(ln net.Listener) error {
	if tcp, ok := ln.(*net.TCPListener); ok {
		ln = newDoor(tcp)
	}
	g.serving.Lock()
	if g.down {
		g.serving.Unlock()
		return ln.Close()
	}
	g.listeners = append(g.listeners, ln)
	g.serving.Unlock()
	g.options.GRPC.open(g)
	if g.options.TLS != nil {
		ln = tls.NewListener(ln, g.options.TLS)
	}
	err := g.app.Listener(ln)
	g.serving.Lock()
	defer g.serving.Unlock()
	if g.down {
		return nil
	}
	return err
}

// Drain sends clients away, and serves them all the while: each answer is the
// last one of its connection, no session is opened any more, and those that are
// open are closed with 1012, spread over some seconds where they are many. It
// takes new connections for as long as notice, in which whoever deals requests
// out can learn that this node takes no more, and ends once sessions are told
// too, or with ctx.
func (g *Gateway) Drain(ctx context.Context, notice time.Duration) {
	g.draining.Store(true)
	timer := time.NewTimer(notice)
	defer timer.Stop()
	var told sync.WaitGroup
	defer told.Wait()
	told.Go(func() { g.options.GRPC.drain(ctx) })
	g.live.leave(ctx)
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// StandAside sends sessions away with 1012, as Drain does, and takes none, until
// it is called with false: a node that cannot serve its sessions, while others
// could, must not keep them. Requests are answered as before. ctx bounds it.
func (g *Gateway) StandAside(ctx context.Context, aside bool) {
	if g.live != nil {
		g.live.registry.standAside(ctx, aside)
	}
	if g.options.GRPC != nil {
		g.options.GRPC.watches.standAside(ctx, aside)
	}
}

// Shutdown takes no connection any more, ends the sessions that are left with
// 1012, and waits for the requests under way. Drain comes before it, so that no
// client is surprised.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.draining.Store(true)
	g.serving.Lock()
	g.down = true
	listeners := g.listeners
	g.serving.Unlock()
	for _, ln := range listeners {
		if d, ok := ln.(*door); ok {
			d.shut()
		}
	}
	var calls sync.WaitGroup
	defer calls.Wait()
	calls.Go(func() { g.options.GRPC.Shutdown(ctx) })
	g.live.close(ctx)
	err := g.app.ShutdownWithContext(ctx)
	for _, ln := range listeners {
		_ = ln.Close() // closed already, unless Fiber had not come to serve it yet
	}
	return err
}
