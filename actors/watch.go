package actors

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// Bounds of watching.
const (
	watchEvery    = time.Second // from one round of a queue's tickets to the next
	watchAtOnce   = 8           // tickets of one queue that are looked at together
	watchedAtOnce = 128         // of all
	maxWatchers   = 20_000
	maxOfTicket   = 16
)

// Watches show the holders of tickets, who may see nothing else, how these
// stand. The watched tickets of a queue are looked at in rounds, one when there
// is news of the queue but no more than one a second, for a call moves
// everybody's position. Where a ticket is transferred it is followed.
type Watches struct {
	read  func(context.Context, *messages.Read) *messages.View
	feeds *Feeds
	slots chan struct{}

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	lines    map[string]*watchedLine
	ofTicket map[queue.TicketID]int
	count    int
}

// watchedLine is a queue of which tickets are watched.
type watchedLine struct {
	id       string
	watchers map[*watcher]struct{}
	signal   chan struct{}
	cancel   context.CancelFunc
}

// Wake asks for a round.
func (l *watchedLine) Wake(*Feed) {
	select {
	case l.signal <- struct{}{}:
	default: // one is due anyway
	}
}

// Watch is a holder's wish to follow a ticket.
type Watch struct {
	Ticket queue.TicketID // as the holder knows it
	Queue  string         // where it is by now, and as what
	ID     []byte
	Frame  []byte // how it stands, to be shown at once
}

// watcher is a session that shows a ticket, and the message to its actor that
// there is news of it.
type watcher struct {
	Watch
	handle *Session
	render func(queue string, p *messages.Placed) []byte
	line   *watchedLine           // nil once it has left
	news   atomic.Pointer[[]byte] // a frame that the actor has not had yet
}

// NewWatches makes a node's watches. Close ends them, once no session is left.
func NewWatches(queues *Queues, feeds *Feeds) *Watches {
	ctx, cancel := context.WithCancel(context.Background())
	return &Watches{
		read: queues.Read, feeds: feeds, slots: make(chan struct{}, watchedAtOnce), ctx: ctx, cancel: cancel,
		lines: make(map[string]*watchedLine), ofTicket: make(map[queue.TicketID]int),
	}
}

// Close waits for the rounds that are under way.
func (m *Watches) Close() {
	m.cancel()
	m.running.Wait()
}

// Count counts the holders who watch.
func (m *Watches) Count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// join is false where too many watch.
func (m *Watches) join(w *watcher) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil || m.count >= maxWatchers || m.ofTicket[w.Ticket] >= maxOfTicket {
		return false
	}
	m.count++
	m.ofTicket[w.Ticket]++
	m.place(w)
	return true
}

func (m *Watches) leave(w *watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count--
	if m.ofTicket[w.Ticket]--; m.ofTicket[w.Ticket] == 0 {
		delete(m.ofTicket, w.Ticket)
	}
	m.displace(w)
}

// place has a ticket looked at with those of its queue, the first time at once:
// something may have happened since it was read.
func (m *Watches) place(w *watcher) {
	line := m.lines[w.Queue]
	if line == nil {
		ctx, cancel := context.WithCancel(m.ctx)
		line = &watchedLine{id: w.Queue, watchers: make(map[*watcher]struct{}), signal: make(chan struct{}, 1), cancel: cancel}
		m.lines[w.Queue] = line
		m.running.Go(func() { m.run(ctx, line) })
	}
	line.watchers[w], w.line = struct{}{}, line
	line.Wake(nil)
}

// displace also ends what looks at the queue, if nobody else watches.
func (m *Watches) displace(w *watcher) {
	line := w.line
	w.line = nil
	delete(line.watchers, w)
	if len(line.watchers) == 0 {
		delete(m.lines, line.id)
		line.cancel()
	}
}

func (m *Watches) run(ctx context.Context, line *watchedLine) {
	feed := m.feeds.Join(line.id, line)
	defer m.feeds.Leave(feed, line)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-line.signal:
		}
		m.round(ctx, line)
		pause.Reset(watchEvery)
	}
}

// round looks at each ticket once. Those that cannot be read have another one.
func (m *Watches) round(ctx context.Context, line *watchedLine) {
	m.mu.Lock()
	watchers := make([]*watcher, 0, len(line.watchers))
	for w := range line.watchers {
		watchers = append(watchers, w)
	}
	m.mu.Unlock()
	var looks errgroup.Group
	looks.SetLimit(watchAtOnce)
	for _, w := range watchers {
		looks.Go(func() error {
			select {
			case m.slots <- struct{}{}:
				defer func() { <-m.slots }()
			case <-ctx.Done():
				return nil
			}
			if !m.look(ctx, w) {
				line.Wake(nil)
			}
			return nil
		})
	}
	_ = looks.Wait() // none fails
}

// look tells the session what has changed. It is false where that is not known.
func (m *Watches) look(ctx context.Context, w *watcher) bool {
	ctx, cancel := context.WithTimeout(ctx, sessionReadWithin)
	defer cancel()
	v, at := Follow(ctx, m.read, w.Queue, w.ID)
	switch {
	case v.Problem.GetCode() == string(queue.TicketNotFound):
		w.handle.Close(CloseNotLoggedIn, "The ticket is not there any more.")
		return true
	case v.Problem != nil:
		return false
	}
	if frame := w.render(at, v.Tickets[0]); !bytes.Equal(frame, w.Frame) {
		w.Frame = frame
		if w.news.Swap(&frame) == nil {
			w.handle.send(w)
		}
	}
	if at != w.Queue {
		m.move(w, at, v.Tickets[0].Ticket.Id)
	}
	return true
}

// move goes on with a ticket in the queue that it was transferred to.
func (m *Watches) move(w *watcher, to string, id []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.line == nil {
		return
	}
	m.displace(w)
	w.Queue, w.ID = to, id
	m.place(w)
}

// watch shows a ticket and follows it.
func (s *session) watch(wish Watch) {
	if s.closed {
		return
	}
	s.write(wish.Frame)
	w := &watcher{Watch: wish, handle: s.handle, render: s.Renderer.Ticket}
	switch {
	case s.closed:
	case s.Watches.join(w):
		s.watcher = w
	default:
		s.end(CloseTryLater, "Too many watch tickets here just now.")
	}
}

// showNews shows what the newest look at the ticket has found.
func (s *session) showNews(w *watcher) {
	if frame := w.news.Swap(nil); frame != nil && s.watcher == w {
		s.write(*frame)
	}
}
