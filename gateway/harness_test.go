package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/cluster"
	"nowserving/gateway/webhook"
	"nowserving/persistence"
	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

// env is a whole node without its wiring: a gateway over real grains, a real
// journal and a real directory. Its clock can be moved.
type env struct {
	t       testing.TB
	gateway *Gateway
	queues  *actors.Queues
	feeds   *actors.Feeds
	journal actors.Journal
	dir     *directory.Directory
	files   string // where that is
	url     string
	client  *http.Client
	log     *bytes.Buffer
	skew    atomic.Int64 // of the clock
	prefix  string       // of the grains' identities
	tokens  sync.Map     // access tokens by e-mail
	noCheck atomic.Bool  // answers are not held against openapi.yaml
}

// shared has the one cluster node of this process: the library sets gRPC's
// logger, which is the whole process's, at every start.
var shared struct {
	once    sync.Once
	node    *cluster.Node
	grains  sync.Map // by an env's prefix: func(string) actor.Actor
	counter atomic.Int64
}

func sharedNode(t testing.TB) *cluster.Node {
	t.Helper()
	shared.once.Do(func() {
		node, err := cluster.New(cluster.Options{
			Name: "test", Addr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), IdleAfter: time.Hour,
			Kinds: map[string]func(string) actor.Actor{actors.QueueKind: func(identity string) actor.Actor {
				prefix, id, _ := strings.Cut(identity, "/")
				produce, _ := shared.grains.Load(prefix)
				return produce.(func(string) actor.Actor)(id)
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		node.Join()
		shared.node = node
	})
	return shared.node
}

// The users of every env; each may see the queues a and b but for the admin,
// who may see all.
var levels = []Level{Admin, Supervisor, Attendant, Integration, Viewer}

const password = "correct horse battery staple"

func start(t testing.TB, options ...func(*Options)) *env {
	t.Helper()
	e := prepare(t, options...)
	e.follow()
	e.listen()
	return e
}

// prepare makes an env that neither listens nor follows its directory.
func prepare(t testing.TB, options ...func(*Options)) *env {
	t.Helper()
	e := &env{t: t, prefix: fmt.Sprintf("e%d", shared.counter.Add(1)), log: &bytes.Buffer{}, files: t.TempDir()}
	log := slog.New(slog.NewTextHandler(&locked{w: e.log}, nil))
	journal, err := persistence.OpenSQLiteJournal(t.Context(), t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = journal.Close() })
	e.journal = journal
	e.startQueues(log)
	ring, err := seal.ParseRing("k1:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	if e.dir, err = directory.Open(t.Context(), directory.Options{Dir: e.files, Now: e.now, Keys: ring}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.dir.Close() })
	o := Options{
		Queues: e.queues, Directory: directoryOf{e.dir}, Users: userStore{e.dir}, APIKeys: keyStore{e.dir}, History: historyOf{e.dir}, People: peopleOf{e}, Passwords: directory.NewHasher(),
		Sealer: seal.NewDataKeys(ring, e.dir, log, e.now),
		Log:    log, Now: e.now, Ready: func() Readiness { return Readiness{Status: "ready"} },
		Rules: NewRulebook(ruleStore{e.dir}, log), Audit: NewAuditLog(auditStore{e.dir}, log, e.now), CheckInRate: 10, Cluster: nodesOf{}, Keys: keysOf{}, Attempts: attempts{e.dir},
		Webhooks: webhookStore{e.dir}, WebhookSender: pinger{webhook.NewSender(webhook.Options{Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Now: e.now})},
	}
	for _, k := range ring.SubKey("access-token") {
		o.TokenKeys = append(o.TokenKeys, TokenKey(k))
	}
	for _, k := range ring.SubKey("ticket-link") {
		o.LinkKeys = append(o.LinkKeys, TokenKey(k))
	}
	var indexKeys []TokenKey
	for _, k := range ring.SubKey("customer-index") {
		indexKeys = append(indexKeys, TokenKey(k))
	}
	o.IndexKeys = func() []TokenKey { return indexKeys }
	for _, option := range options {
		option(&o)
	}
	if e.gateway, err = New(o); err != nil {
		t.Fatal(err)
	}
	for _, level := range levels {
		e.addUser(string(level)+"@example.org", level, "a", "b")
	}
	return e
}

// follow has access end as it does on a node.
func (e *env) follow() {
	ctx, stop := context.WithCancel(context.Background())
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		_ = e.gateway.FollowAccess(ctx)
	}()
	e.t.Cleanup(func() {
		stop()
		<-followed
	})
}

// listen serves on a port of its own until the test's end.
func (e *env) listen() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	e.url = "http://" + ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- e.gateway.Serve(ln) }()
	e.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 30 * time.Second}
	e.t.Cleanup(func() {
		e.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.gateway.Shutdown(ctx); err != nil {
			e.t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			e.t.Errorf("serving: %v", err)
		}
	})
}

func (e *env) startQueues(log *slog.Logger) {
	node := sharedNode(e.t)
	request := func(ctx context.Context, kind, id string, m any) (any, error) {
		return node.Request(ctx, kind, e.prefix+"/"+id, m)
	}
	e.feeds = actors.NewFeeds(e.journal, log)
	shared.grains.Store(e.prefix, actors.NewGrain(actors.GrainDeps{
		Journal: e.journal, Log: log, Now: func() queue.Time { return queue.Time(e.now().UnixMilli()) },
		Request: request, Committed: e.feeds.Wake,
		Known:     func(context.Context, string) (uint64, error) { return 0, nil },
		Followed:  func(context.Context, string) (uint64, error) { return math.MaxUint64, nil },
		Passivate: func(m any) bool { _, ok := m.(cluster.Passivate); return ok },
		Tracer:    lateTracer{env: e},
	}))
	e.queues = actors.NewQueues(request, func(err error) bool { return errors.Is(err, cluster.ErrUndelivered) })
	e.t.Cleanup(func() {
		e.passivate()
		e.feeds.Close()
	})
}

// passivate stops the grains, which load their journals again when asked.
func (e *env) passivate() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	shared.node.Passivate(ctx, func(identity string) bool { return strings.HasPrefix(identity, e.prefix+"/") })
}

func (e *env) now() time.Time { return time.Now().Add(time.Duration(e.skew.Load())) }

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// directoryOf is what main's adapter is.
type directoryOf struct{ d *directory.Directory }

// addUser adds a user without a password and logs it in.
func (e *env) addUser(email string, level Level, queues ...string) User {
	e.t.Helper()
	kept, err := e.dir.CreateUser(context.Background(), directory.User{Email: email, Name: "N", Level: directory.Level(level), Queues: queues})
	if err != nil {
		e.t.Fatal(err)
	}
	u := userOf(kept)
	s, err := e.gateway.auth.begin(context.Background(), u)
	if err != nil {
		e.t.Fatal(err)
	}
	e.tokens.Store(email, s.access)
	return u
}

// call is one request; the zero values ask as the admin without a body.
type call struct {
	as      string // level or e-mail; "-" for nobody
	method  string
	path    string // below /api/v1, or a whole path
	body    string
	key     string
	ifMatch string
	header  http.Header
}

// reply is what came back.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
	json   map[string]any
}

func (r *reply) code() string { s, _ := r.json["code"].(string); return s }

func (r *reply) str(name string) string { s, _ := r.json[name].(string); return s }

// fields are the names of the fields that a problem complains of.
func (r *reply) fields() string {
	var names []string
	list, _ := r.json["errors"].([]any)
	for _, f := range list {
		names = append(names, f.(map[string]any)["field"].(string))
	}
	return strings.Join(names, " ")
}

func (r *reply) want(status int, code string) *reply {
	r.t.Helper()
	if r.status != status || r.code() != code {
		r.t.Fatalf("answered %d %q, want %d %q: %s", r.status, r.code(), status, code, r.body)
	}
	return r
}

func (e *env) request(c call) *http.Request {
	e.t.Helper()
	if !strings.HasPrefix(c.path, "/livez") && !strings.HasPrefix(c.path, "/readyz") && !strings.HasPrefix(c.path, "/api/") {
		c.path = "/api/v1" + c.path
	}
	r, err := http.NewRequest(c.method, e.url+c.path, strings.NewReader(c.body))
	if err != nil {
		e.t.Fatal(err)
	}
	for name, values := range c.header {
		r.Header[name] = values
	}
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	as := c.as
	if as == "" {
		as = "admin"
	}
	if !strings.Contains(as, "@") {
		as += "@example.org"
	}
	if token, ok := e.tokens.Load(as); ok {
		r.Header.Set("Authorization", "Bearer "+token.(string))
	}
	if c.key != "" {
		r.Header.Set("Idempotency-Key", c.key)
	}
	if c.ifMatch != "" {
		r.Header.Set("If-Match", c.ifMatch)
	}
	return r
}

// do sends a request and holds its answer against openapi.yaml.
func (e *env) do(c call) *reply {
	e.t.Helper()
	request := e.request(c)
	response, err := e.client.Do(request)
	if err != nil {
		e.t.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	r := &reply{t: e.t, status: response.StatusCode, header: response.Header, body: body}
	if strings.HasSuffix(strings.Split(response.Header.Get("Content-Type"), ";")[0], "json") {
		if err := json.Unmarshal(body, &r.json); err != nil {
			e.t.Fatalf("%s %s: bad JSON: %v: %s", c.method, c.path, err, body)
		}
	}
	if !e.noCheck.Load() {
		promised(e.t, request, r)
	}
	return r
}

func (e *env) get(path string) *reply {
	e.t.Helper()
	return e.do(call{method: "GET", path: path})
}

// ok is do for what must succeed.
func (e *env) ok(c call) *reply {
	e.t.Helper()
	r := e.do(c)
	if r.status >= 300 {
		e.t.Fatalf("%s %s: %d %s", c.method, c.path, r.status, r.body)
	}
	return r
}

// queue makes a queue; body is "" or fields to begin with a comma.
func (e *env) queue(id string, fields ...string) *reply {
	e.t.Helper()
	return e.ok(call{method: "POST", path: "/queues", body: `{"id":"` + id + `"` + strings.Join(fields, "") + `}`})
}

// ticket enqueues and gives the id.
func (e *env) ticket(queueID string, body ...string) string {
	e.t.Helper()
	return e.ok(call{method: "POST", path: "/queues/" + queueID + "/tickets", body: strings.Join(body, "")}).str("id")
}

func (e *env) version(queueID string) float64 {
	e.t.Helper()
	return e.ok(call{method: "GET", path: "/queues/" + queueID}).json["version"].(float64)
}

var promise struct {
	once   sync.Once
	doc    *openapi3.T
	router routers.Router
	err    error
}

func promisedDocument(t testing.TB) (*openapi3.T, routers.Router) {
	t.Helper()
	promise.once.Do(func() {
		openapi3filter.RegisterBodyDecoder(mimeProblem, openapi3filter.JSONBodyDecoder)
		promise.doc, promise.err = openapi3.NewLoader().LoadFromData(openAPI)
		if promise.err == nil {
			promise.router, promise.err = gorillamux.NewRouter(promise.doc)
		}
	})
	if promise.err != nil {
		t.Fatal(promise.err)
	}
	return promise.doc, promise.router
}

// promised fails the test where openapi.yaml does not promise such an answer.
func promised(t testing.TB, request *http.Request, r *reply) {
	t.Helper()
	_, router := promisedDocument(t)
	route, params, err := router.FindRoute(request)
	if err != nil {
		if r.status != http.StatusNotFound && r.status != http.StatusMethodNotAllowed {
			t.Errorf("%s %s is not in openapi.yaml and answered %d", request.Method, request.URL.Path, r.status)
		}
		return
	}
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: params, Route: route},
		Status:                 r.status, Header: r.header, Body: io.NopCloser(bytes.NewReader(r.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		t.Errorf("%s %s answered %d, which is not as promised: %v\n%s", request.Method, request.URL.Path, r.status, err, r.body)
	}
}
