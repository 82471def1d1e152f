package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	amqp "github.com/rabbitmq/amqp091-go"
)

const patience = 90 * time.Second

var nodes = []string{"node-1", "node-2", "node-3"}

// running is the stack under test, and a client of its load balancer.
type running struct {
	*stack
	t     *testing.T
	said  *said
	url   string
	token string
}

func TestComposeFileRuns(t *testing.T) {
	t.Parallel()
	compose, err := filepath.Abs("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir, said := t.TempDir(), &said{}
	env, err := environment(t.Context(), compose, dir)
	if err != nil {
		t.Fatal(err)
	}
	st, err := start(t.Context(), options{
		compose: compose, getenv: func(name string) string { return env[name] }, dir: dir, log: said,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			_ = st.stop()
		}
		if t.Failed() {
			t.Log(said)
		}
	})
	r := &running{stack: st, t: t, said: said, url: st.published()}
	login := fmt.Sprintf(`{"email":%q,"password":%q}`, env["NOWSERVING_ADMIN_EMAIL"], env["NOWSERVING_ADMIN_PASSWORD"])
	r.token = r.must("POST", "/auth/login", login)["access_token"].(string)

	t.Run("health", func(t *testing.T) { r.proveHealth(t) })
	t.Run("secrecy", func(t *testing.T) { r.proveSecrecy(t) })
	t.Run("queues", func(t *testing.T) { r.proveQueues(t) })
	t.Run("session", func(t *testing.T) { r.proveSession(t) })
	t.Run("too large", func(t *testing.T) { r.proveTooLarge(t) })
	t.Run("requests", func(t *testing.T) { r.proveRequests(t) })
	t.Run("rolling restart", func(t *testing.T) { r.proveRollingRestart(t) })
	t.Run("failures", func(t *testing.T) { r.proveFailures(t) })

	for name, secret := range secretsIn(t, env["NOWSERVING_SECRETS"]) {
		if strings.Contains(said.String(), secret) {
			t.Errorf("the log shows the secret %s", name)
		}
	}
	stopped = true
	if err := st.stop(); err != nil {
		t.Error(err)
	}
	if conn, err := http.Get(r.url + "/livez"); err == nil {
		conn.Body.Close()
		t.Error("something still serves after the stop")
	}
}

func (r *running) proveHealth(t *testing.T) {
	for _, node := range nodes {
		for _, port := range []string{"8080", "8081"} {
			var said string
			eventually(t, &said, func() bool {
				status, body := get(t, r.stack.url(node, port)+"/readyz")
				said = fmt.Sprintf("%s:%s/readyz: %d %s", node, port, status, body)
				return status == 200 && strings.Contains(body, `"down":[]`)
			})
		}
	}
}

// proveTooLarge: what the load balancer refuses by itself is a problem, too.
func (r *running) proveTooLarge(t *testing.T) {
	response, err := http.Post(r.url+"/api/v1/queues/q0/tickets", "application/json", strings.NewReader(strings.Repeat(" ", 2<<20)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 413 || !json.Valid(text) || response.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %s %v: %s", response.StatusCode, response.Header.Get("Content-Type"), err, text)
	}
}

// proveRequests: what is published to RabbitMQ, with the password that the
// nodes have, becomes a ticket.
func (r *running) proveRequests(t *testing.T) {
	r.must("POST", "/queues", `{"id":"drained"}`)
	url, err := os.ReadFile(r.services["node-1"].place.path("/run/secrets/amqp-url"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := amqp.DialConfig(strings.TrimSpace(string(url)), amqp.Config{Dial: amqp.DefaultDial(patience)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	err = channel.PublishWithContext(t.Context(), "nowserving.requests", "drained", true, false, amqp.Publishing{
		ContentType: "application/json", DeliveryMode: amqp.Persistent, MessageId: "one", Body: []byte(`{"queue":"drained","service":"parcels"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	var said string
	eventually(t, &said, func() bool {
		items, _ := r.must("GET", "/queues/drained/tickets", "")["items"].([]any)
		said = fmt.Sprintf("tickets of the request: %v", items)
		return len(items) == 1 && items[0].(map[string]any)["source"] == "amqp"
	})
}

func eventually(t *testing.T, said *string, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if ask() {
			return
		}
	}
	t.Fatal(*said)
}

// proveQueues: each queue lives on one of the nodes, all nodes have some, and any
// of them answers for all.
func (r *running) proveQueues(t *testing.T) {
	const queues = 20
	for i := range queues {
		id := fmt.Sprint("q", i)
		r.must("POST", "/queues", fmt.Sprintf(`{"id":%q,"prefix":"Q"}`, id))
		r.must("POST", "/queues/"+id+"/tickets", `{"customer":{"name":"Ada"}}`)
		r.must("POST", "/queues/"+id+"/tickets", `{}`)
		next := r.must("POST", "/queues/"+id+"/call-next", `{"desk":"1"}`)
		if next["number"] != "Q001" || next["customer"].(map[string]any)["name"] != "Ada" {
			t.Errorf("%s: the next is %v", id, next)
		}
	}
	active := 0
	for _, node := range nodes {
		_, metrics := get(t, r.stack.url(node, "8081")+"/metrics")
		here := 0
		if _, rest, found := strings.Cut(metrics, "\nnowserving_active_queues "); found {
			_, _ = fmt.Sscan(rest, &here)
		}
		if active += here; here == 0 {
			t.Errorf("%s has no queues", node)
		}
	}
	if active != queues {
		t.Errorf("%d queues are active %d times", queues, active)
	}
	if n := strings.Count(r.said.String(), "claimed elsewhere"); n > 0 {
		t.Errorf("the nodes took queues from each other %d times", n)
	}
}

// proveSecrecy: the nodes' own port is for nodes alone.
func (r *running) proveSecrecy(t *testing.T) {
	for _, node := range nodes {
		conn, err := tls.Dial("tcp", r.services[node].place.addr+":7000", &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			continue
		}
		// With TLS 1.3 a client learns only from what it reads that it is not believed.
		if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate required") {
			t.Errorf("%s takes anybody for a node: %v", node, err)
		}
		conn.Close()
	}
}

func (r *running) proveSession(t *testing.T) {
	r.must("POST", "/queues", `{"id":"live"}`)
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(r.url, "http")+"/api/v1/ws",
		http.Header{"Authorization": {"Bearer " + r.token}, "Sec-WebSocket-Protocol": {"nowserving.v1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	next := func(kind string) {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, text, err := conn.ReadMessage(); err != nil || !strings.Contains(string(text), `"type":"`+kind+`"`) {
			t.Fatalf("waiting for %s: %v %s", kind, err, text)
		}
	}
	next("ready")
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"subscribe","id":"1","queue":"live"}`)); err != nil {
		t.Fatal(err)
	}
	next("snapshot")
	r.must("POST", "/queues/live/tickets", `{}`)
	next("event")
}

// proveRollingRestart: nodes that are restarted one after the other cost no
// request, none of which is sent twice.
func (r *running) proveRollingRestart(t *testing.T) {
	done := make(chan struct{})
	var load sync.WaitGroup
	var sent atomic.Int64
	for i := range 4 {
		load.Go(func() {
			tickets := fmt.Sprint("/queues/q", i, "/tickets")
			for {
				select {
				case <-done:
					return
				default:
				}
				sent.Add(3)
				status, fields := r.once("POST", tickets, `{}`)
				if status != http.StatusCreated {
					t.Errorf("an enqueue is answered with %d %v", status, fields)
					continue
				}
				ticket := fmt.Sprint(tickets, "/", fields["id"])
				if status, fields := r.once("GET", ticket, ""); status != http.StatusOK {
					t.Errorf("a read is answered with %d %v", status, fields)
				}
				if status, fields := r.once("DELETE", ticket, ""); status != http.StatusOK {
					t.Errorf("a removal is answered with %d %v", status, fields)
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, name := range nodes {
		s := r.services[name]
		s.restart()
		if err := s.awaitHealthy(ctx); err != nil {
			t.Error(err)
		}
	}
	close(done)
	load.Wait()
	t.Logf("%d requests", sent.Load())
}

// once sends a request through the load balancer once.
func (r *running) once(method, path, body string) (status int, fields map[string]any) {
	request, err := http.NewRequest(method, r.url+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		r.t.Error(err)
		return 0, nil
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, map[string]any{"error": err}
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&fields); err != nil {
		return 0, map[string]any{"error": err}
	}
	return response.StatusCode, fields
}

// proveFailures: what is killed comes back by the file's restart policy, and
// commands go on through the load balancer.
func (r *running) proveFailures(t *testing.T) {
	for _, names := range [][]string{{"node-1"}, {"mysql"}, {"redis"}, {"rabbitmq"}, {"node-2"}, {"node-1", "node-3"}, nodes} {
		for _, name := range names {
			r.services[name].kill()
		}
		began := time.Now()
		for i := range 20 {
			r.must("POST", fmt.Sprint("/queues/q", i, "/tickets"), `{}`)
		}
		t.Logf("without %v, 20 queues took a ticket in %s", names, time.Since(began).Round(time.Millisecond))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for _, again := range append(slices.Clone(names), nodes...) {
			if err := r.services[again].awaitHealthy(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.proveHealth(t)
}

// must sends a request through the load balancer until it is answered by
// anything but a failure on the way, with one key.
func (r *running) must(method, path, body string) map[string]any {
	r.t.Helper()
	key := fmt.Sprint(time.Now().UnixNano())
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		request, err := http.NewRequest(method, r.url+"/api/v1"+path, bytes.NewReader([]byte(body)))
		if err != nil {
			r.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+r.token)
		request.Header.Set("Idempotency-Key", key)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			continue
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			continue
		}
		if response.StatusCode >= 500 {
			if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || !json.Valid(text) {
				r.t.Errorf("%s %s: %d %s", method, path, response.StatusCode, text)
			}
			continue
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil || response.StatusCode >= 300 {
			r.t.Fatalf("%s %s: %d %s", method, path, response.StatusCode, text)
		}
		return fields
	}
	r.t.Fatalf("%s %s was never answered", method, path)
	return nil
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// secretsIn gives the passwords and keys in a folder, by their file.
func secretsIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	secrets := make(map[string]string)
	for _, name := range []string{"mysql-password", "mysql-root-password", "redis-password", "rabbitmq-password", "token-keys", "data-keys", "cluster-key"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		secrets[name] = strings.TrimPrefix(strings.TrimSpace(string(text)), "k1:")
	}
	return secrets
}

// said keeps what the services say.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestVariablesAreFilledIn(t *testing.T) {
	t.Parallel()
	env := map[string]string{"A": "a: b", "DOLLAR": "$A"}
	tree := map[any]any{"k": []any{"${A}/x", "$$A", "${NONE:-else}", "${A:-else}", "${DOLLAR}", "${NONE}", 7}}
	got, err := fillIn(tree, func(name string) string { return env[name] })
	if want := "map[k:[a: b/x $A else a: b $A  7]]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v", got, err)
	}
	_, err = fillIn([]any{"${NONE:?set it, please}"}, func(string) string { return "" })
	if err == nil || err.Error() != "NONE: set it, please" {
		t.Errorf("%v", err)
	}
}

// The file commits no password, and cannot be started without those of .env.
func TestNothingStartsWithoutSecrets(t *testing.T) {
	t.Parallel()
	for _, missing := range []string{"NOWSERVING_SECRETS", "NOWSERVING_ADMIN_EMAIL", "NOWSERVING_ADMIN_PASSWORD"} {
		_, err := readCompose("../../docker-compose.yml", func(name string) string {
			if name == missing {
				return ""
			}
			return "set"
		})
		if err == nil || !strings.Contains(err.Error(), missing+": set it in .env") {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	example, err := readEnv("../../.env.example")
	if err != nil || example["NOWSERVING_ADMIN_PASSWORD"] != "" || example["NOWSERVING_SECRETS"] != "./deploy/secrets" {
		t.Errorf("%v, %v", example, err)
	}
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	p := &place{addr: "127.5.5.2", addresses: map[string]string{"redis": "127.5.5.3", "node-1": "127.5.5.4"},
		paths: map[string]string{"/data": "/tmp/x/data", "/run/secrets/redis": "/tmp/x/run/secrets/redis", "/run/secrets/redis-url": "/tmp/x/url"}}
	for text, want := range map[string]string{
		"0.0.0.0:8080":                     "127.5.5.2:8080",
		"http://127.0.0.1:8081/readyz":     "http://127.5.5.2:8081/readyz",
		"10.0.0.0/8,172.16.0.0/12":         "10.0.0.0/8,172.16.0.0/12",
		"redis://:secret@redis:6379":       "redis://:secret@127.5.5.3:6379",
		"server node-1:8080;":              "server 127.5.5.4:8080;",
		"my-node-1:8080":                   "my-node-1:8080",
		"dir /data\nx /database /data/aof": "dir /tmp/x/data\nx /database /tmp/x/data/aof",
		"/run/secrets/redis /run/secrets/redis-url /a/run/secrets/redis": "/tmp/x/run/secrets/redis /tmp/x/url /a/run/secrets/redis",
	} {
		if got := p.rewrite(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	if _, err := url.Parse(p.rewrite("redis://:a%40b@redis:6379")); err != nil {
		t.Error(err)
	}
}
