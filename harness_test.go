package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"nowserving/gateway/rabbit/rabbittest"
)

// These tests run real processes: this test binary, which is the program when
// the variable below is set. So the nodes under test are built with -race
// where the tests are, and nothing has to be built twice.
const runAsProgram = "NOWSERVING_TEST_IS_PROGRAM"

// patience is how long a test waits for what must come.
const patience = time.Minute

const adminPassword = "correct horse battery staple"

func TestMain(m *testing.M) {
	if os.Getenv(runAsProgram) == "" {
		os.Exit(rabbittest.Run(m))
	}
	p := newProgram()
	surround(p)
	if os.Getenv(runAsProgram) == "node" {
		go func() { // a node ends with the test that started it
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(exitFailed)
		}()
	}
	os.Exit(p.run(os.Args[1:]))
}

// program makes a command of this program; its variables are those of the
// test, without any that would configure it, and env.
func programCommand(as string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "NOWSERVING_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(append(cmd.Env, env...), runAsProgram+"="+as)
	return cmd
}

// outcome is how a command that ends by itself did.
type outcome struct {
	code           int
	stdout, stderr string
}

// runProgram runs a command to its end.
func runProgram(t testing.TB, stdin string, env []string, args ...string) outcome {
	t.Helper()
	cmd := programCommand("command", env, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	// One that should have refused its flags runs as a node: end it.
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// process is a running node.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	url    string
	exited chan struct{}
	// serving gets its URL, once
	serving chan string

	mu   sync.Mutex
	said strings.Builder // on standard error
}

// startNode starts a node on free ports and waits until it serves.
func startNode(t testing.TB, dir string, args ...string) *process {
	t.Helper()
	return startNodeWith(t, []string{"NOWSERVING_ADMIN_PASSWORD=" + adminPassword}, dir, args...)
}

func startNodeWith(t testing.TB, env []string, dir string, args ...string) *process {
	t.Helper()
	args = append([]string{"--http-addr", "127.0.0.1:0", "--data-dir", dir}, args...)
	return startCommand(t, programCommand("node", env, args...))
}

func startCommand(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := launch(t, cmd)
	p.awaitServing()
	return p
}

func (p *process) awaitServing() {
	p.t.Helper()
	select {
	case p.url = <-p.serving:
	case <-time.After(patience):
	}
	if p.url == "" {
		p.t.Fatalf("the node does not serve:\n%s", p.log())
	}
}

// launch starts a node and waits for nothing.
func launch(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, exited: make(chan struct{}), serving: make(chan string, 1)}
	stdin, err := cmd.StdinPipe() // held open: see TestMain
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		defer close(p.serving)
		p.read(stderr)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		p.kill()
		if t.Failed() {
			t.Logf("the node said:\n%s", p.log())
		}
		if strings.Contains(p.log(), "DATA RACE") {
			t.Errorf("the node has a data race:\n%s", p.log())
		}
	})
	return p
}

// read keeps what a node says and finds where it serves.
func (p *process) read(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.said.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		var line struct{ Msg, URL string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			p.serving <- line.URL
		}
	}
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// logged gives the value of an attribute in the log's first line that has it.
func (p *process) logged(message, attribute string) string {
	for line := range strings.Lines(p.log()) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["msg"] == message {
			return fmt.Sprint(fields[attribute])
		}
	}
	return ""
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop sends SIGTERM and gives the exit code and how long it took.
func (p *process) stop() (code int, took time.Duration) {
	p.t.Helper()
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatal("the node does not stop")
	}
	return p.cmd.ProcessState.ExitCode(), time.Since(began)
}

// answered is what came back of one request.
type answered struct {
	status int
	header http.Header
	body   string
}

func (a answered) fields(t testing.TB) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(a.body), &fields); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return fields
}

func (a answered) str(t testing.TB, name string) string { s, _ := a.fields(t)[name].(string); return s }

// version is the entity tag's, 0 where there is none.
func (a answered) version() uint64 {
	v, _ := strconv.ParseUint(strings.Trim(a.header.Get("ETag"), `"`), 10, 64)
	return v
}

// caller is one user's HTTP client.
type caller struct {
	http.Client
	token string
}

// call sends one request; path is below /api/v1.
func (c *caller) call(url, method, path, body, key string) (answered, error) {
	r, err := http.NewRequest(method, url+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		return answered{}, err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	response, err := c.Do(r)
	if err != nil {
		return answered{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answered{response.StatusCode, response.Header, string(text)}, err
}

// must is call for what has to succeed.
func (c *caller) must(t testing.TB, url, method, path, body string) answered {
	t.Helper()
	a, err := c.call(url, method, path, body, "")
	if err != nil {
		t.Fatal(err)
	}
	if a.status >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

// login gives a caller who is logged in.
func login(t testing.TB, url, email, password string) *caller {
	t.Helper()
	c := &caller{Client: http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(c.CloseIdleConnections)
	a := c.must(t, url, "POST", "/auth/login", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password))
	c.token = a.str(t, "access_token")
	return c
}

func admin(t testing.TB, url string) *caller {
	t.Helper()
	return login(t, url, defaultAdmin, adminPassword)
}

// socket is a WebSocket that is logged in.
type socket struct {
	t    testing.TB
	conn *websocket.Conn
}

func (c *caller) dial(t testing.TB, url string) *socket {
	t.Helper()
	conn, _, err := c.upgrade(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := &socket{t, conn}
	s.next("ready")
	return s
}

func (c *caller) upgrade(url string) (*websocket.Conn, *http.Response, error) {
	dialer := websocket.Dialer{Subprotocols: []string{"nowserving.v1"}, HandshakeTimeout: patience}
	if transport, ok := c.Transport.(*http.Transport); ok {
		dialer.TLSClientConfig = transport.TLSClientConfig
	}
	return dialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/api/v1/ws", http.Header{"Authorization": {"Bearer " + c.token}})
}

// refused gives the status with which a session is refused.
func (c *caller) refused(t testing.TB, url string) int {
	t.Helper()
	conn, response, err := c.upgrade(url)
	if err == nil {
		_ = conn.Close()
		t.Fatal("a session was taken")
	}
	if response == nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// closedWith reads on until the session ends, with that code.
func (s *socket) closedWith(code int) {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		_, _, err := s.conn.ReadMessage()
		if websocket.IsCloseError(err, code) {
			return
		}
		if err != nil {
			s.t.Fatalf("the session ended with %v, not with %d", err, code)
		}
	}
}

func (s *socket) send(text string) {
	s.t.Helper()
	if err := s.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

// frame is what came from the server.
type frame struct {
	Type, Event, Queue, Epoch string
	Version                   uint64
	Data                      struct {
		ID, Number, State string
		Position          int
		TransferredFrom   string `json:"transferred_from"`
		TransferredTo     string `json:"transferred_to"`
	}
}

// next reads the next frame, which must be of that type; the parts of a long line
// that come before it are of no interest.
func (s *socket) next(kind string) (f frame) {
	s.t.Helper()
	for f = s.read(kind); f.Type == "snapshot_part"; f = s.read(kind) {
	}
	if f.Type != kind {
		s.t.Fatalf("%s where %s was to come", f.Type, kind)
	}
	return f
}

func (s *socket) read(kind string) (f frame) {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	_, text, err := s.conn.ReadMessage()
	if err != nil {
		s.t.Fatalf("waiting for %s: %v", kind, err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		s.t.Fatalf("waiting for %s: %v %.200s", kind, err, text)
	}
	return f
}

// eventually asks again and again until the answer is yes.
func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if ask() {
			return
		}
	}
	t.Fatalf("it did not come to be: %s", what)
}

// get asks without logging in, for a whole address.
func get(t testing.TB, url string) answered {
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
	return answered{response.StatusCode, response.Header, string(text)}
}

// ready is what /readyz says.
func ready(t testing.TB, url string) string {
	t.Helper()
	a := get(t, url+"/readyz")
	return fmt.Sprint(a.status, " ", a.str(t, "status"))
}
