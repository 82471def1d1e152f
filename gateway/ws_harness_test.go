package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	fastws "github.com/fasthttp/websocket"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
	yaml "go.yaml.in/yaml/v2"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// liveEnv is an env that listens, and takes WebSockets.
type liveEnv struct {
	*env
	addr       string
	unreadable atomic.Bool // sessions cannot read the journal
}

// unreadable is a journal that cannot be read while on is set.
type unreadable struct {
	actors.Journal
	on *atomic.Bool
}

func (u *unreadable) Read(ctx context.Context, id string, after uint64, most int) ([]queue.Entry, error) {
	if u.on.Load() {
		return nil, queue.ErrUnavailable
	}
	return u.Journal.Read(ctx, id, after, most)
}

func startLive(t testing.TB, options ...func(*Options)) *liveEnv {
	t.Helper()
	e := &liveEnv{env: prepare(t, options...)}
	log := slog.New(slog.NewTextHandler(&locked{w: e.log}, nil))
	e.gateway.StartSessions(actors.SessionDeps{
		System: sharedNode(t).System(), Queues: e.queues, Feeds: e.feeds, Journal: &unreadable{Journal: e.journal, on: &e.unreadable}, Log: log,
	})
	e.follow()
	e.listen()
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- e.gateway.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(e.gateway.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *liveEnv) token(level Level) string {
	token, _ := e.tokens.Load(string(level) + "@example.org")
	return token.(string)
}

// tokenFor makes a token of a user that lives as long as told.
func (e *liveEnv) tokenFor(u User, life time.Duration) string {
	e.t.Helper()
	a := *e.gateway.auth
	a.now = func() time.Time { return e.now().Add(life - accessLife) }
	token, err := a.issue(u, "family")
	if err != nil {
		e.t.Fatal(err)
	}
	return token
}

// give gives a queue a command of the admin's, past the gateway.
func (e *liveEnv) give(id string, c *messages.Command) *messages.Answer {
	op := uuid.New()
	c.Queue, c.By, c.Op = id, "root", op[:]
	a := e.queues.Do(context.Background(), c)
	if a.Problem != nil {
		e.t.Errorf("%s: %s %s", id, a.Problem.Code, a.Problem.Detail)
	}
	return a
}

// fill enqueues so many tickets, from many clients at once.
func (e *liveEnv) fill(id string, tickets int) {
	const clients = 50
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range tickets / clients {
				e.enqueue(id)
			}
		})
	}
	all.Wait()
}

func (e *liveEnv) enqueue(id string) *messages.Answer {
	ticket := uuid.Must(uuid.NewV7())
	return e.give(id, &messages.Command{Action: &messages.Command_Enqueue{Enqueue: &messages.Enqueue{
		Id: ticket[:], Source: messages.Source_SOURCE_REST, Service: "bench",
		Customer: e.gateway.options.Sealer.Seal("a", sealedCustomer, ticket, []byte(`{"name":"Ada Marsh","phone":null,"email":null,"ref":null}`)),
		Payload:  e.gateway.options.Sealer.Seal("a", sealedPayload, ticket, []byte(`{"documents":2}`)),
	}}})
}

// peer is a client.
type peer struct {
	t    testing.TB
	conn *fastws.Conn
}

// frame is what came from the server.
type frame map[string]any

func (f frame) str(name string) string { s, _ := f[name].(string); return s }

func (f frame) num(name string) int { n, _ := f[name].(float64); return int(n) }

func (f frame) sub(name string) frame { m, _ := f[name].(map[string]any); return m }

func (f frame) code() string { return f.sub("error").str("code") }

// connect opens a WebSocket; its status is that of a refused upgrade.
func (e *liveEnv) connect(header http.Header) (*peer, int) { return e.connectTo("", header) }

// page opens a WebSocket as a page of this host would.
func (e *liveEnv) page(query, cookie string) *peer {
	e.t.Helper()
	p, status := e.connectTo(query, http.Header{"Origin": {"http://" + e.addr}, "Cookie": {cookie}})
	if p == nil {
		e.t.Fatalf("the upgrade was refused with %d", status)
	}
	return p
}

func (e *liveEnv) connectTo(query string, header http.Header) (*peer, int) {
	e.t.Helper()
	dialer := fastws.Dialer{Subprotocols: []string{"nowserving.v1"}, HandshakeTimeout: patience}
	conn, response, err := dialer.Dial("ws://"+e.addr+"/api/v1/ws"+query, header)
	if err != nil {
		if response == nil {
			e.t.Fatal(err)
		}
		return nil, response.StatusCode
	}
	if conn.Subprotocol() != "nowserving.v1" {
		e.t.Errorf("subprotocol %q", conn.Subprotocol())
	}
	e.t.Cleanup(func() { _ = conn.Close() })
	return &peer{e.t, conn}, http.StatusSwitchingProtocols
}

// dial opens a WebSocket that is not logged in.
func (e *liveEnv) dial() *peer {
	e.t.Helper()
	p, status := e.connect(nil)
	if p == nil {
		e.t.Fatalf("the upgrade was refused with %d", status)
	}
	return p
}

// join opens a WebSocket and logs in.
func (e *liveEnv) join(level Level) *peer {
	e.t.Helper()
	p := e.dial()
	p.send(map[string]any{"type": "auth", "token": e.token(level)})
	p.want("ready")
	return p
}

func (p *peer) send(v any) {
	p.t.Helper()
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			p.t.Fatal(err)
		}
		text = string(b)
	}
	if err := p.conn.WriteMessage(fastws.TextMessage, []byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

// read gives the next frame, held against asyncapi.yaml.
func (p *peer) read() (frame, error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	_, text, err := p.conn.ReadMessage()
	if err != nil {
		return nil, err
	}
	var f frame
	if err := json.Unmarshal(text, &f); err != nil {
		p.t.Errorf("not JSON: %v: %s", err, text)
	}
	livePromised(p.t, f, text)
	return f, nil
}

// want gives the next frame, which must be of that type.
func (p *peer) want(kind string) frame {
	p.t.Helper()
	f, err := p.read()
	if err != nil {
		p.t.Fatalf("%v where %s was to come", err, kind)
	}
	if f.str("type") != kind {
		p.t.Fatalf("got %v where %s was to come", f, kind)
	}
	return f
}

// ask sends a frame and gives the reply to it; other frames are let pass.
func (p *peer) ask(v any) frame {
	p.t.Helper()
	p.send(v)
	for {
		f, err := p.read()
		if err != nil {
			p.t.Fatal(err)
		}
		if f.str("type") == "reply" {
			return f
		}
	}
}

// command gives a command and wants it done.
func (p *peer) command(queue, name string, args map[string]any) frame {
	p.t.Helper()
	in := map[string]any{"type": "command", "id": "c", "queue": queue, "command": name}
	if args != nil {
		in["args"] = args
	}
	f := p.ask(in)
	if f["ok"] != true {
		p.t.Fatalf("%s: %v", name, f)
	}
	return f
}

// subscribe gives the frame that answers it.
func (p *peer) subscribe(queue string, more ...any) frame {
	p.t.Helper()
	f := frame{"type": "subscribe", "id": "s", "queue": queue}
	for i := 0; i < len(more); i += 2 {
		f[more[i].(string)] = more[i+1]
	}
	p.send(f)
	answer, err := p.read()
	if err != nil {
		p.t.Fatal(err)
	}
	return answer
}

// closed reads until the session ends and gives the close code.
func (p *peer) closed() int {
	p.t.Helper()
	for {
		_, err := p.read()
		var closed *fastws.CloseError
		if errors.As(err, &closed) {
			return closed.Code
		}
		if err != nil {
			p.t.Fatalf("cut: %v", err)
		}
	}
}

var livePromise struct {
	once    sync.Once
	schemas openapi3.Schemas
	err     error
}

// liveSchemas are the schemas of asyncapi.yaml, which are those of OpenAPI 3.1.
func liveSchemas() (openapi3.Schemas, error) {
	livePromise.once.Do(func() {
		var doc struct {
			Components struct {
				Schemas yaml.MapSlice `yaml:"schemas"`
			} `yaml:"components"`
		}
		if livePromise.err = yaml.Unmarshal(asyncAPI, &doc); livePromise.err != nil {
			return
		}
		text, err := yaml.Marshal(yaml.MapSlice{
			{Key: "openapi", Value: "3.1.0"}, {Key: "info", Value: map[string]string{"title": "live", "version": "1"}},
			{Key: "paths", Value: map[string]any{}},
			{Key: "components", Value: yaml.MapSlice{{Key: "schemas", Value: doc.Components.Schemas}}},
		})
		if err != nil {
			livePromise.err = err
			return
		}
		loaded, err := openapi3.NewLoader().LoadFromData(text)
		if err != nil {
			livePromise.err = err
			return
		}
		livePromise.schemas = loaded.Components.Schemas
	})
	return livePromise.schemas, livePromise.err
}

// livePromised fails the test where asyncapi.yaml does not promise such a frame.
func livePromised(t testing.TB, f frame, text []byte) {
	schemas, err := liveSchemas()
	if err != nil {
		t.Error(err)
		return
	}
	name := map[string]string{
		"ready": "ReadyFrame", "snapshot": "SnapshotFrame", "snapshot_part": "SnapshotPartFrame", "resumed": "ResumedFrame",
		"event": "EventFrame", "pong": "PongFrame", "gone": "GoneFrame", "reply": "ErrorReplyFrame", "ticket": "TicketFrame",
	}[f.str("type")]
	if f["ok"] == true {
		name = "CommandReplyFrame"
		if _, command := f["version"]; !command {
			name = "UnsubscribeReplyFrame"
		}
	}
	schema := schemas[name]
	if schema == nil {
		t.Errorf("a frame that asyncapi.yaml does not know: %.500s", text)
		return
	}
	if err := schema.Value.VisitJSON(map[string]any(f)); err != nil {
		t.Errorf("a frame that asyncapi.yaml does not promise: %v\n%.1000s", err, text)
	}
}

func newTestID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// anyClosing tells whether a session is about to end, or the last one has.
func (r *registry) anyClosing() (closing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == 0 {
		return true
	}
	r.each(func(s *liveSession) { closing = closing || s.in.closing.Load() })
	return closing
}
