package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	fastws "github.com/fasthttp/websocket"

	"nowserving/actors"
	"nowserving/messages"
)

// keepAlive sends requests over one connection for as long as it is told that
// it may, with a pause between them, and then over a new one. It ends where no
// connection is to be had any more: there it would go to another node. What
// fails in between is an error.
func keepAlive(addr, request string, pause time.Duration, answered, last *atomic.Int64) error {
	for {
		conn, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		if err != nil {
			return err
		}
		err = sendOver(conn, request, pause, answered, last)
		_ = conn.Close()
		if err != nil {
			return err
		}
	}
}

func sendOver(conn net.Conn, request string, pause time.Duration, answered, last *atomic.Int64) error {
	r := bufio.NewReader(conn)
	for n := 1; ; n++ {
		if _, err := io.WriteString(conn, request); err != nil {
			return fmt.Errorf("request %d of its connection: %w", n, err)
		}
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			return fmt.Errorf("answer %d of its connection: %w", n, err)
		}
		if _, err = io.Copy(io.Discard, response.Body); err != nil {
			return fmt.Errorf("body %d of its connection: %w", n, err)
		}
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		answered.Add(1)
		if response.Close {
			last.Add(1)
			return nil
		}
		if pause > 0 {
			<-time.After(pause) // a client that thinks
		}
	}
}

// awaitMore waits until a number has grown by so much.
func awaitMore(t *testing.T, n *atomic.Int64, by int64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for from, until := n.Load(), time.Now().Add(patience); n.Load() < from+by; <-tick.C {
		if time.Now().After(until) {
			t.Fatalf("%d more were to come, and %d did", by, n.Load()-from)
		}
	}
}

func TestDrainCutsNoRequest(t *testing.T) {
	for _, pause := range []time.Duration{0, time.Millisecond, 100 * time.Millisecond} {
		t.Run(pause.String(), func(t *testing.T) {
			e := startLive(t)
			e.queue("a")
			request := "GET /api/v1/queues/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + e.token(Admin) + "\r\n\r\n"
			var answered, last atomic.Int64
			var clients sync.WaitGroup
			for range 16 {
				clients.Go(func() {
					if err := keepAlive(e.addr, request, pause, &answered, &last); err != nil {
						t.Error(err)
					}
				})
			}
			awaitMore(t, &answered, 200)
			if last.Load() != 0 {
				t.Error("a client was sent away before the drain")
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			e.gateway.Drain(ctx, 300*time.Millisecond)
			awaitMore(t, &last, 1) // it still takes new connections
			if err := e.gateway.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			clients.Wait()
			t.Logf("%d answers, %d of them the last of their connection", answered.Load(), last.Load())
		})
	}
}

// serveOut has a session enqueue for as long as it is served. It gives how many
// replies came, when it was sent away, and why.
func (p *peer) serveOut(queue string) (replies int, gone time.Time, err error) {
	for {
		text := fmt.Sprintf(`{"type":"command","id":"c","queue":%q,"command":"enqueue"}`, queue)
		// Who is sent away meanwhile reads so.
		_ = p.conn.WriteMessage(fastws.TextMessage, []byte(text))
		f, err := p.read()
		if err != nil {
			return replies, time.Now(), err
		}
		if f["ok"] != true {
			return replies, time.Now(), fmt.Errorf("refused: %v", f)
		}
		replies++
	}
}

func TestTooManyConnectionsAreToldSo(t *testing.T) {
	e := startLive(t)
	e.gateway.room = 4
	ask := func(conn net.Conn) *http.Response {
		t.Helper()
		if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response
	}
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", e.addr)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	var open []net.Conn
	for range 3 { // the server counts its listeners in, but for one, and there are two
		conn := dial()
		defer conn.Close()
		open = append(open, conn)
		if response := ask(conn); response.StatusCode != http.StatusOK {
			t.Fatal(response.Status)
		}
	}
	one := dial()
	defer one.Close()
	response := ask(one)
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || !response.Close {
		t.Errorf("%s %v", response.Status, response.Header)
	}
	_ = open[0].Close()
	for until := time.Now().Add(patience); ; { // the server sees that it is gone
		conn := dial()
		response := ask(conn)
		_ = conn.Close()
		if response.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(until) {
			t.Fatal("there is no room again")
		}
	}
}

func TestDrainSpreadsSessions(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	const sessions = 300
	var all sync.WaitGroup
	var replies atomic.Int64
	gone := make([]time.Time, sessions)
	for i := range sessions {
		p := e.join(Admin)
		all.Go(func() {
			n, when, err := p.serveOut("a")
			replies.Add(int64(n))
			gone[i] = when
			if closed := new(fastws.CloseError); !errors.As(err, &closed) || closed.Code != actors.CloseGoingAway {
				t.Errorf("a session ended with %v", err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	e.gateway.Drain(ctx, 0)
	all.Wait()
	if _, status := e.connect(nil); status != http.StatusServiceUnavailable {
		t.Errorf("a new session is answered with %d", status)
	}
	slices.SortFunc(gone, time.Time.Compare)
	// A busy machine makes it longer, and never shorter.
	if half := gone[sessions/2].Sub(gone[0]); half < sessions*leaveEach/4 {
		t.Errorf("half of the sessions were sent away in %s", half)
	}
	if took := gone[sessions-1].Sub(began); took > leaveWithin {
		t.Errorf("the last session went after %s", took)
	}
	// What was carried out was replied to, up to the last moment.
	if waiting := e.waiting("a"); waiting != replies.Load() {
		t.Errorf("%d tickets of %d replies", waiting, replies.Load())
	}
}

func (e *env) waiting(id string) int64 {
	e.t.Helper()
	v := e.queues.Read(context.Background(), &messages.Read{Queue: id, Question: &messages.Read_Describe{Describe: &messages.ReadQueue{}}})
	if v.Problem != nil {
		e.t.Fatal(v.Problem)
	}
	return int64(v.Waiting)
}
