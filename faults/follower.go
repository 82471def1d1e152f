package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
)

const (
	pingEvery = time.Second
	// silence is how long a follower hears nothing, not even an answer to its
	// pings, until it goes elsewhere.
	silence = 4 * time.Second
)

// follower follows all queues over one session at a time, and comes back to
// where it was when that ends.
type follower struct {
	*Load
	name    string
	random  *rand.Rand
	streams map[string]*Stream

	mu    sync.Mutex
	where map[string]place // by queue
	conn  *websocket.Conn
	// slow: it does not read for the moment.
	slow chan struct{}
}

type place struct {
	version uint64
	epoch   string
}

func (l *Load) newFollower(name string, seed uint64) *follower {
	f := &follower{
		Load: l, name: name, random: rand.New(rand.NewPCG(seed, l.o.Seed)),
		streams: make(map[string]*Stream), where: make(map[string]place),
	}
	for _, queue := range l.followed {
		f.streams[queue] = &Stream{Follower: name, Queue: queue}
		l.o.History.addStream(f.streams[queue])
	}
	return f
}

// run follows until ctx is over.
func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := dial(f.auth, f.o.Nodes.pick(f.random))
		if err != nil {
			time.Sleep(retryAfter)
			continue
		}
		f.session(ctx, conn)
	}
}

func (f *follower) session(ctx context.Context, conn *websocket.Conn) {
	f.mu.Lock()
	f.conn = conn
	f.mu.Unlock()
	ended := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { f.keepUp(ctx, conn, ended) })
	defer beside.Wait()
	defer conn.Close()
	defer close(ended)
	for {
		f.mu.Lock()
		slow := f.slow
		f.mu.Unlock()
		if slow != nil {
			<-slow
		}
		_ = conn.SetReadDeadline(time.Now().Add(silence))
		_, text, err := conn.ReadMessage()
		if err != nil {
			f.figures.closed(err)
			return
		}
		if err := f.take(text); err != nil {
			f.figures.unexpected("%s was sent %s: %v", f.name, text[:min(len(text), 200)], err)
			return
		}
	}
}

// keepUp subscribes, and sends pings until the session has ended. Nothing else
// writes to the connection.
func (f *follower) keepUp(ctx context.Context, conn *websocket.Conn, ended chan struct{}) {
	for queue := range f.streams {
		f.mu.Lock()
		at := f.where[queue]
		f.mu.Unlock()
		more := ""
		if at.epoch != "" {
			more = fmt.Sprintf(`,"since":%d,"epoch":%q`, at.version, at.epoch)
		}
		f.o.History.addItem(f.streams[queue], Item{Kind: "subscribe", Version: at.version, Epoch: at.epoch})
		if write(conn, fmt.Sprintf(`{"type":"subscribe","id":%q,"queue":%q%s}`, queue, queue, more)) != nil {
			return
		}
	}
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ctx.Done():
			conn.Close()
			return
		case <-tick.C:
			if write(conn, `{"type":"ping"}`) != nil {
				return
			}
		}
	}
}

func write(conn *websocket.Conn, text string) error {
	_ = conn.SetWriteDeadline(time.Now().Add(silence))
	return conn.WriteMessage(websocket.TextMessage, []byte(text))
}

// take writes a frame down.
func (f *follower) take(text []byte) error {
	var m frame
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	switch m.Type {
	case "pong":
		return nil
	case "reply": // a refused subscription: the queue cannot be reached
		f.figures.failed(m.Error.Code)
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.conn.Close() // it comes back
	}
	s := f.streams[m.Queue]
	if s == nil {
		return fmt.Errorf("the queue %q is not followed", m.Queue)
	}
	item := Item{Kind: m.Type, Version: m.Version, Epoch: m.Epoch, Event: m.Event}
	switch m.Type {
	case "event":
		var t Ticket
		if err := json.Unmarshal(m.Data, &t); err != nil {
			return err
		}
		item.Ticket, item.Number, item.State, item.Position = t.ID, t.Number, t.State, t.Position
	case "snapshot":
		var d struct{ Waiting, Active, Held []Ticket }
		if err := json.Unmarshal(m.Data, &d); err != nil {
			return err
		}
		item.Waiting, item.Active, item.Held = ids(d.Waiting), ids(d.Active), ids(d.Held)
	case "snapshot_part":
		f.o.History.addPart(s, ids(m.Waiting))
		return nil
	}
	f.o.History.addItem(s, item)
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.where[m.Queue]
	if at.version = m.Version; m.Type == "snapshot" {
		at.epoch = m.Epoch
	}
	if m.Type == "gone" {
		at = place{}
	}
	f.where[m.Queue] = at
	return nil
}

func ids(tickets []Ticket) (all []string) {
	for _, t := range tickets {
		all = append(all, t.ID)
	}
	return all
}

// has tells whether the follower has come to a version of a queue.
func (f *follower) has(queue string, version uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.where[queue].version >= version
}

func (h *History) addItem(s *Stream, item Item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Items = append(s.Items, item)
}

// addPart adds to the snapshot that was sent last.
func (h *History) addPart(s *Stream, waiting []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(s.Items); n > 0 {
		s.Items[n-1].Waiting = append(s.Items[n-1].Waiting, waiting...)
	}
}
