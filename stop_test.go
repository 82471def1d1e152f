package main

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

func TestSIGTERMDrains(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startNode(t, dir)
	l := startLoad(t, p)
	s := l.admin.dial(t, p.url)
	l.after(crashesEach)
	code, took := p.stop()
	if code != 0 || took > 10*time.Second {
		t.Errorf("exit code %d after %s", code, took)
	}
	var closed *websocket.CloseError
	if _, _, err := s.conn.ReadMessage(); !errors.As(err, &closed) || closed.Code != websocket.CloseServiceRestart {
		t.Errorf("the session ended with %v, not with 1012", err)
	}
	p = startNode(t, dir)
	l.nodes(p)
	l.after(crashesEach)
	l.prove()
	t.Logf("stopped in %s under load", took)
}

// hold opens a connection and sends half a request over it: the node waits for
// the rest when it stops, a while in which it can be looked at.
func hold(t *testing.T, url string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte("POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\n")); err != nil {
		t.Fatal(err)
	}
	ready(t, url) // over a connection that was accepted after that one
}

func TestHalfARequestDoesNotKeepTheNode(t *testing.T) {
	t.Parallel()
	p := startNode(t, t.TempDir())
	hold(t, p.url)
	if code, took := p.stop(); code != 0 || took > stopWithin {
		t.Errorf("exit code %d after %s", code, took)
	}
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	p := startNode(t, t.TempDir(), "--ops-addr", "127.0.0.1:0")
	hold(t, p.url)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ops := p.logged("operators are served", "url")
	eventually(t, "the node drains", func() bool { return ready(t, ops) == "503 draining" })
	if code, took := p.stop(); code != exitFailed || took > time.Second {
		t.Errorf("exit code %d after %s", code, took)
	}
}

func TestOperatorsPages(t *testing.T) {
	t.Parallel()
	p := startNode(t, t.TempDir(), "--ops-addr", "127.0.0.1:0")
	ops := p.logged("operators are served", "url")
	eventually(t, "the node is ready", func() bool { return ready(t, ops) == "200 ready" })
	for path, want := range map[string]string{
		"/livez": `{"status":"ok"}`, "/readyz": `"down":[]`, "/metrics": "nowserving_ready 1", "/debug/pprof/goroutine?debug=1": "goroutine profile",
	} {
		a := get(t, ops+path)
		if a.status != http.StatusOK || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := get(t, p.url+"/metrics"); a.status != http.StatusNotFound {
		t.Errorf("/metrics is for everyone: %d", a.status)
	}
}
