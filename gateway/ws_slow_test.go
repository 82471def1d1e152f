package gateway

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	fastws "github.com/fasthttp/websocket"

	"nowserving/messages"
)

// joinSmall logs a client in whose kernel takes little ahead of it.
func (e *liveEnv) joinSmall() *peer {
	e.t.Helper()
	small := fastws.Dialer{NetDial: func(network, addr string) (net.Conn, error) {
		conn, err := net.Dial(network, addr)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return conn, err
	}}
	conn, _, err := small.Dial("ws://"+e.addr+"/api/v1/ws", http.Header{"Authorization": {"Bearer " + e.token(Admin)}})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = conn.Close() })
	p := &peer{e.t, conn}
	p.want("ready")
	return p
}

// awaitClosing waits until a session is about to end.
func (e *liveEnv) awaitClosing() {
	e.t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for until := time.Now().Add(patience); !e.gateway.live.registry.anyClosing(); <-look.C {
		if time.Now().After(until) {
			e.t.Fatal("the session is not cut off")
		}
	}
}

// enqueueLong enqueues a ticket with that payload, past the bounds of REST.
func (e *liveEnv) enqueueLong(id string, payload []byte) {
	ticket := newTestID()
	e.give(id, &messages.Command{Action: &messages.Command_Enqueue{Enqueue: &messages.Enqueue{
		Id: ticket[:], Source: messages.Source_SOURCE_REST, Payload: e.gateway.options.Sealer.Seal(id, sealedPayload, ticket, payload),
	}}})
}

// comesBack resumes behind a version, and gets every event up to another one.
func (e *liveEnv) comesBack(snapshot frame, version, last int) {
	e.t.Helper()
	p := e.join(Admin)
	if f := p.subscribe("a", "since", version, "epoch", snapshot.str("epoch")); f.str("type") != "resumed" {
		e.t.Fatalf("%v", f)
	}
	for ; version < last; version++ {
		if f := p.want("event"); f.num("version") != version+1 {
			e.t.Fatalf("version %d after %d", f.num("version"), version)
		}
	}
}

// A client that does not read is cut off, and comes back to where it was.
func TestLiveSlowReader(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	p := e.joinSmall()
	snapshot := p.subscribe("a")
	payload := []byte(`"` + strings.Repeat("x", maxPayload-2) + `"`)
	const events = 60 // of 16 kB: more than the buffers hold
	for range events {
		e.enqueueLong("a", payload)
	}
	e.awaitClosing() // the actor has given up; only then is it read
	version := snapshot.num("version")
	for {
		f, err := p.read()
		var closed *fastws.CloseError
		if errors.As(err, &closed) && closed.Code == 4413 {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.num("version") != version+1 {
			t.Fatalf("version %d after %d", f.num("version"), version)
		}
		version++
	}
	if ws, _ := e.gateway.Traffic(); ws.Slow.Load() != 1 || ws.Frames.Load() < uint64(version) {
		t.Errorf("%d slow clients and %d frames are counted", ws.Slow.Load(), ws.Frames.Load())
	}
	e.comesBack(snapshot, version, 1+events)
}

// A client that stops reading for good is cut off while thousands of events come,
// more than its queue's feed keeps, and then has them all.
func TestLiveReaderThatStops(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	p := e.joinSmall()
	snapshot := p.subscribe("a")
	const events, writers = 5_000, 8
	payload := []byte(`"` + strings.Repeat("x", 512) + `"`)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range events / writers {
				e.enqueueLong("a", payload)
			}
		})
	}
	e.awaitClosing()
	all.Wait()
	e.comesBack(snapshot, snapshot.num("version"), 1+events)
}

// A client that commands and does not read what it is answered is cut off: it
// is not listened to for as long as its answers wait.
func TestLiveCommandsWithoutReading(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	p := e.joinSmall()
	command := map[string]any{"type": "command", "id": "c", "queue": "a", "command": "enqueue",
		"args": map[string]any{"payload": strings.Repeat("x", maxPayload-2)}}
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	for range framesBurst { // it is cut off long before, or it waits for ever
		if p.conn.WriteJSON(command) != nil {
			break
		}
	}
	e.awaitClosing()
	if code := p.closedOrCut(); code != 4413 && code != 0 {
		t.Errorf("closed with %d", code)
	}
	// The kernel takes up to 4 MiB of answers of 16 KiB, and 64 are handed over.
	if waiting := e.waiting("a"); waiting > 400 {
		t.Errorf("%d commands of a client that does not read were carried out", waiting)
	}
}

// closedOrCut is closed for a client that may not get the close frame: 0 then.
func (p *peer) closedOrCut() int {
	for {
		_, err := p.read()
		if closed := new(fastws.CloseError); errors.As(err, &closed) && closed.Code != fastws.CloseAbnormalClosure {
			return closed.Code
		}
		if err != nil {
			return 0
		}
	}
}
