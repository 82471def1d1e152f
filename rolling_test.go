package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"nowserving/cluster/certtest"
	"nowserving/gateway/rabbit/rabbittest"
	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

const (
	// propagation is how long the load balancer goes by what is past: more than a
	// sound cluster takes, and what preStop is for. A node that has had its SIGTERM
	// still answers requests, but takes no session.
	propagation  = 4 * time.Second
	rollingREST  = 4
	rollingPace  = 10 * time.Millisecond
	rollingAfter = 50 // rounds of each client before and after
)

// An update of all roles at once, by the manifests' arguments, probes, grace and
// strategy, costs no request: none is sent a second time, and live sessions are
// told to come back and miss nothing. It runs alone, for it goes by the clock.
func TestRollingUpdate(t *testing.T) {
	dir := t.TempDir()
	authority := certtest.New(t)
	issued := authority.Issue(t, &x509.Certificate{})
	for name, text := range map[string]string{
		"stores/redis-url": redistest.Start(t), "stores/database-url": mariadbtest.StartWith(t, mariadbtest.Options{}).Database(t), "stores/amqp-url": rabbittest.Start(t),
		"keys/token-keys": testRing, "keys/data-keys": testRing,
		"cluster-tls/tls.crt": string(issued.Certificate), "cluster-tls/tls.key": string(issued.Key), "cluster-tls/ca.crt": string(authority.PEM),
	} {
		path := filepath.Join(dir, "etc/nowserving", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	all := readManifests(t, "overlays/staging")
	k := &kube{t: t, network: fmt.Sprintf("127.%d.%d.", 128+rand.IntN(64), rand.IntN(256))}
	pods := make(map[*deployment][]*pod)
	for _, role := range []string{"gateway", "actors", "ingest"} {
		d := deploymentOf(t, all, "nowserving-"+role, dir)
		for range d.replicas {
			pods[d] = append(pods[d], k.start(d))
		}
	}
	t.Cleanup(func() { // before the pods' own
		for _, p := range k.pods {
			p.kill()
		}
		k.ending.Wait()
	})
	for _, of := range pods {
		for _, p := range of {
			k.await(p)
		}
	}
	front := httptest.NewServer(k)
	t.Cleanup(front.Close)
	eventually(t, "the service leads somewhere", func() bool { return k.endpoint() != nil })
	l := startRolling(t, front.URL)
	l.after(rollingAfter)
	began := time.Now()
	var rolling sync.WaitGroup
	for d, old := range pods {
		rolling.Go(func() { k.roll(d, old) })
	}
	rolling.Wait()
	for _, old := range pods {
		for _, p := range old {
			select {
			case <-p.exited:
			case <-time.After(patience):
				t.Fatalf("%s has not ended", p.name)
			}
		}
	}
	during := time.Since(began)
	l.after(rollingAfter)
	l.prove()
	t.Logf("%d nodes were replaced within %s, during which %d requests were answered and sessions came back %d times",
		k.count.Load()/2, during.Round(time.Second), l.answered.Load(), l.resumed.Load())
	if l.resumed.Load() == 0 {
		t.Error("no session was sent elsewhere")
	}
}

// rolling is the load: clients that send everything once.
type rolling struct {
	t        *testing.T
	url      string
	who      *caller
	asking   sync.WaitGroup
	ending   chan struct{}
	followed func() // ends the sessions
	rounds   [rollingREST]atomic.Int64
	seen     [rollingREST]atomic.Uint64 // by the socket that follows
	answered atomic.Int64
	resumed  atomic.Int64
}

func startRolling(t *testing.T, url string) *rolling {
	t.Helper()
	l := &rolling{t: t, url: url, who: admin(t, url), ending: make(chan struct{})}
	for i := range rollingREST {
		l.who.must(t, url, "POST", "/queues", fmt.Sprintf(`{"id":"line-%d"}`, i))
	}
	for i := range rollingREST {
		l.asking.Go(func() { l.ask(i) })
	}
	ctx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	for i := range rollingREST {
		following.Go(func() { l.follow(ctx, i) })
	}
	l.followed = sync.OnceFunc(func() {
		stop()
		following.Wait()
	})
	t.Cleanup(func() {
		l.end()
		l.followed()
	})
	return l
}

func (l *rolling) end() {
	select {
	case <-l.ending:
	default:
		close(l.ending)
	}
	l.asking.Wait()
}

// ask has a ticket made, looked at, called and completed, again and again.
func (l *rolling) ask(i int) {
	pace := time.NewTicker(rollingPace)
	defer pace.Stop()
	once := func(method, path, body string, want int) answered {
		a, err := l.who.call(l.url, method, fmt.Sprintf("/queues/line-%d%s", i, path), body, "")
		if l.answered.Add(1); err != nil || a.status != want {
			l.t.Errorf("%s %s: %v %d %s", method, path, err, a.status, a.body)
		}
		return a
	}
	for !l.t.Failed() {
		select {
		case <-l.ending:
			return
		case <-pace.C:
		}
		var made struct{ ID string }
		if err := json.Unmarshal([]byte(once("POST", "/tickets", `{"customer":{"name":"Ada"}}`, http.StatusCreated).body), &made); err != nil {
			continue
		}
		once("GET", "/tickets/"+made.ID, "", http.StatusOK)
		once("POST", "/call-next", `{"desk":"1"}`, http.StatusOK)
		once("POST", "/tickets/"+made.ID+"/complete", `{}`, http.StatusOK)
		l.rounds[i].Add(1)
	}
}

// follow has all events of a queue by WebSocket, and comes back where it was when
// it is told to, and for no other reason.
func (l *rolling) follow(ctx context.Context, i int) {
	for epoch, first := "", true; ctx.Err() == nil && !l.t.Failed(); first = false {
		conn, _, err := l.who.upgrade(l.url)
		if err != nil {
			l.t.Errorf("a session is refused: %v", err)
			return
		}
		if !first {
			l.resumed.Add(1)
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		subscribe := fmt.Sprintf(`{"type":"subscribe","id":"1","queue":"line-%d"}`, i)
		if !first {
			subscribe = fmt.Sprintf(`{"type":"subscribe","id":"1","queue":"line-%d","since":%d,"epoch":%q}`, i, l.seen[i].Load(), epoch)
		}
		err = conn.WriteMessage(websocket.TextMessage, []byte(subscribe))
		for err == nil {
			var f frame
			if err = conn.ReadJSON(&f); err != nil {
				break
			}
			switch {
			case f.Type == "snapshot" && first:
				l.seen[i].Store(f.Version)
				epoch = f.Epoch
			case f.Type == "event" && f.Version == l.seen[i].Load()+1:
				l.seen[i].Add(1)
			case f.Type != "ready" && f.Type != "resumed":
				l.t.Errorf("after version %d came %+v", l.seen[i].Load(), f)
			}
		}
		stop()
		_ = conn.Close()
		if !websocket.IsCloseError(err, websocket.CloseServiceRestart) && ctx.Err() == nil {
			l.t.Errorf("a session ended with %v, not with 1012", err)
		}
	}
}

// after waits until each client has done so many more rounds.
func (l *rolling) after(n int64) {
	l.t.Helper()
	for i := range l.rounds {
		until := l.rounds[i].Load() + n
		eventually(l.t, "clients go on", func() bool { return l.rounds[i].Load() >= until || l.t.Failed() })
	}
}

// prove holds the queues against what was answered, and the sessions against both.
func (l *rolling) prove() {
	l.t.Helper()
	l.end()
	if l.t.Failed() {
		return
	}
	for i := range l.rounds {
		want := uint64(1 + 3*l.rounds[i].Load())
		if got := l.who.must(l.t, l.url, "GET", fmt.Sprintf("/queues/line-%d", i), "").version(); got != want {
			l.t.Errorf("line-%d is at version %d, not at %d", i, got, want)
		}
		eventually(l.t, "the session has all events", func() bool { return l.seen[i].Load() == want || l.t.Failed() })
	}
	l.followed() // before the nodes end, without a word
}
