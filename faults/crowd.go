package faults

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
)

// Crowd is thousands of screens, each with a session of its own that follows
// one queue. What they were sent is too much to keep: each keeps a hash of it.
type Crowd struct {
	load    *Load
	members []*screen
	dials   chan struct{}
	end     context.CancelFunc
	running sync.WaitGroup
}

// screen is one of a crowd.
type screen struct {
	crowd  *Crowd
	queue  string
	random *rand.Rand
	up     atomic.Bool

	mu    sync.Mutex
	conn  *websocket.Conn
	since uint64 // where its hash begins
	at    place
	sum   uint64
	wrong string
}

// dialsAtOnce is what one machine that stands for thousands of clients dials at
// once: more would only wait for each other.
const dialsAtOnce = 256

// NewCrowd lets so many sessions begin, and waits until all follow.
func (l *Load) NewCrowd(ctx context.Context, n int) (*Crowd, error) {
	run, end := context.WithCancel(context.Background())
	c := &Crowd{load: l, end: end, dials: make(chan struct{}, dialsAtOnce)}
	for i := range n {
		s := &screen{crowd: c, queue: l.queues[i%len(l.queues)], random: rand.New(rand.NewPCG(l.o.Seed, uint64(9000+i)))}
		c.members = append(c.members, s)
		c.running.Go(func() { s.run(run) })
	}
	return c, c.Back(ctx)
}

// Back waits until all follow.
func (c *Crowd) Back(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := 0
		for _, s := range c.members {
			if !s.up.Load() {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d sockets are not back: %w", missing, len(c.members), ctx.Err())
		case <-tick.C:
		}
	}
}

// Cut has all lose their connections at once.
func (c *Crowd) Cut() {
	for _, s := range c.members {
		s.up.Store(false)
	}
	for _, s := range c.members {
		s.mu.Lock()
		if s.conn != nil {
			s.conn.Close()
		}
		s.mu.Unlock()
	}
}

// Close ends them.
func (c *Crowd) Close() {
	c.end()
	c.Cut()
	c.running.Wait()
}

func (s *screen) run(ctx context.Context) {
	for ctx.Err() == nil {
		s.crowd.dials <- struct{}{}
		conn, err := s.begin()
		<-s.crowd.dials
		if err == nil {
			s.follow(conn)
		}
		s.up.Store(false)
		pause := time.NewTimer(retryAfter/2 + rand.N(retryAfter))
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
	}
}

func (s *screen) begin() (*websocket.Conn, error) {
	conn, err := dial(s.crowd.load.auth, s.crowd.load.o.Nodes.pick(s.random))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	more := ""
	if s.at.epoch != "" {
		more = fmt.Sprintf(`,"since":%d,"epoch":%q`, s.at.version, s.at.epoch)
	}
	if err := write(conn, fmt.Sprintf(`{"type":"subscribe","id":"1","queue":%q%s}`, s.queue, more)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// follow reads until the session ends. A quiet queue sends nothing but pings,
// so only they bound the silence.
func (s *screen) follow(conn *websocket.Conn) {
	defer conn.Close()
	for {
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		var f frame
		if err := conn.ReadJSON(&f); err != nil {
			return
		}
		s.mu.Lock()
		ok := s.take(&f)
		s.mu.Unlock()
		if !ok {
			return
		}
	}
}

func (s *screen) take(f *frame) bool {
	switch f.Type {
	case "snapshot":
		if f.Version < s.at.version || s.at.epoch == f.Epoch {
			s.wrong = fmt.Sprintf("a snapshot of %d after %d", f.Version, s.at.version)
		}
		s.at, s.since, s.sum = place{f.Version, f.Epoch}, f.Version, 0
		s.up.Store(true)
	case "resumed":
		if f.Version != s.at.version || f.Epoch != s.at.epoch {
			s.wrong = fmt.Sprintf("resumed at %d of %s, being at %d of %s", f.Version, f.Epoch, s.at.version, s.at.epoch)
		}
		s.up.Store(true)
	case "event":
		if f.Version != s.at.version+1 {
			s.wrong = fmt.Sprintf("version %d after %d", f.Version, s.at.version)
		}
		var t struct{ ID string }
		_ = json.Unmarshal(f.Data, &t)
		s.at.version, s.sum = f.Version, chain(s.sum, f.Version, f.Event, t.ID)
	case "reply": // the queue cannot be reached
		return false
	}
	return true
}

// chain is a hash of all events so far and one more.
func chain(sum, version uint64, event, ticket string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, sum), version))
	_, _ = h.Write([]byte(event + " " + ticket))
	return h.Sum64()
}

// Check waits until all have come to the ends of these journals, and holds what
// they were sent against them.
func (c *Crowd) Check(ctx context.Context, r *Report, journals map[string][]Event) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i, s := range c.members {
		for !s.check(r, journals[s.queue], i, ctx.Err() != nil) {
			<-tick.C
		}
	}
}

func (s *screen) check(r *Report, events []Event, i int, late bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(events); s.wrong == "" && !late && n > 0 && s.at.version < events[n-1].Version {
		return false
	}
	r.Frames += int(s.at.version - s.since)
	sum, last := uint64(0), uint64(0)
	for j := range events {
		e := &events[j]
		if last = e.Version; e.Version <= s.since || e.Version > s.at.version {
			continue
		}
		ticket := s.queue // of the queue's own events, data is the queue
		if e.Ticket != nil {
			ticket = e.Ticket.ID
		}
		sum = chain(sum, e.Version, e.Kind, ticket)
	}
	if s.wrong != "" || s.at.version != last || sum != s.sum {
		r.wrong("%s: socket %d of a crowd is at version %d of %d, from %d on; %s", s.queue, i, s.at.version, last, s.since, s.wrong)
	}
	return true
}
