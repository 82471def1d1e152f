package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

// gate holds back what a connection sends, and lets it through later, even after
// the connection was closed: as a network does that is cut for a while.
type gate struct {
	mu    sync.Mutex
	shut  bool
	conns []*gatedConn
}

type gatedConn struct {
	net.Conn
	gate   *gate
	held   []byte
	closed bool
}

func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &gatedConn{Conn: conn, gate: g}
	g.conns = append(g.conns, c)
	return c, nil
}

func (c *gatedConn) Write(b []byte) (int, error) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	if c.gate.shut {
		c.held = append(c.held, b...)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *gatedConn) Close() error {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	if c.closed = true; c.gate.shut {
		return nil
	}
	return c.Conn.Close()
}

func (g *gate) set(t *testing.T, shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	for _, c := range g.conns {
		if _, err := c.Conn.Write(c.held); err != nil {
			t.Logf("what was held back is not taken any more: %v", err)
		}
		if c.held = nil; c.closed {
			_ = c.Conn.Close()
		}
	}
}

// What comes late, when its sender has given the link up, is not done: whoever
// asked has another answer.
func TestLateRequestIsNotServed(t *testing.T) {
	w := newWorld(t)
	g := new(gate)
	first := w.start(func(o *Options) { o.Dial = g.dial })
	second := w.start()
	w.together(first, second)
	var id string
	for i := 0; id == ""; i++ {
		if second.Hosts("echo", fmt.Sprint(i)) {
			id = fmt.Sprint(i)
		}
	}
	if _, err := ask(first, id); err != nil {
		t.Fatal(err)
	}
	g.set(t, true)
	ctx, cancel := context.WithTimeout(t.Context(), silentLink+500*time.Millisecond)
	defer cancel()
	if _, err := first.Request(ctx, "echo", id, wrapperspb.String("add")); !errors.Is(err, ErrNoAnswer) {
		t.Fatalf("a request over a cut link: %v", err)
	}
	g.set(t, false)
	w.together(first, second)
	answer, err := first.Request(t.Context(), "echo", id, wrapperspb.String("count"))
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.(*wrapperspb.StringValue).Value; got != "0" {
		t.Errorf("it was served %s times after its sender had given it up", got)
	}
}
