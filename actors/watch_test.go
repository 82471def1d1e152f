package actors_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/cluster"
	"nowserving/messages"
)

// standings render nothing but how a ticket stands.
type standings struct{ actors.Renderer }

func (standings) Ticket(id string, p *messages.Placed) []byte {
	return fmt.Appendf(nil, "%s %d in %s", p.Ticket.Number, p.Position, id)
}

// listener is a socket whose frames can be waited for.
type listener struct {
	t      *testing.T
	frames chan string
	closed chan int
}

func (l *listener) Write(frame []byte) error { l.frames <- string(frame); return nil }
func (l *listener) Ping() error              { return nil }
func (l *listener) Close(code int, _ string) { l.closed <- code }

func (l *listener) want(frame string) {
	l.t.Helper()
	select {
	case got := <-l.frames:
		if got != frame {
			l.t.Fatalf("shown %q, want %q", got, frame)
		}
	case code := <-l.closed:
		l.t.Fatalf("closed with %d, want %q", code, frame)
	case <-time.After(patience):
		l.t.Fatalf("%q is not shown", frame)
	}
}

// watching are watches whose reads of queues can be made to fail.
type watching struct {
	t    *testing.T
	node *node
	deps actors.SessionDeps
	away atomic.Bool
	lost atomic.Int64 // reads that failed
}

func newWatching(t *testing.T) *watching {
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	w := &watching{t: t, node: startNode(t, j)}
	queues := actors.NewQueues(func(ctx context.Context, kind, id string, m any) (any, error) {
		if w.away.Load() {
			w.lost.Add(1)
			return nil, cluster.ErrUndelivered
		}
		return sharedNode(t).Request(ctx, kind, w.node.name+"/"+id, m)
	}, func(err error) bool { return errors.Is(err, cluster.ErrUndelivered) })
	w.deps = actors.SessionDeps{
		System: sharedNode(t).System(), Renderer: standings{}, Watches: actors.NewWatches(queues, w.node.feeds), Log: slog.New(slog.DiscardHandler),
	}
	t.Cleanup(w.deps.Watches.Close)
	return w
}

// watch opens a session that is shown frame, and then what has become of a ticket.
func (w *watching) watch(id string, ticket []byte, frame string) *listener {
	l := &listener{t: w.t, frames: make(chan string, 100), closed: make(chan int, 100)}
	s := actors.OpenSession(w.deps, l)
	w.t.Cleanup(func() {
		s.Close(1000, "")
		<-s.Done()
	})
	s.Watch(actors.Watch{Ticket: queue.TicketID(ticket), Queue: id, ID: ticket, Frame: []byte(frame)})
	l.want(frame)
	return l
}

// What happens between the first look at a ticket and the watching of it is not
// missed, also where nothing more happens.
func TestWatchMissesNothing(t *testing.T) {
	t.Parallel()
	w := newWatching(t)
	w.node.do(t, "q", create(1))
	ticket := w.node.do(t, "q", enqueue()).Event.Ticket.Id
	w.watch("q", ticket, "as it was").want("A001 1 in q")
	w.watch("q", ticket, "as it was then").want("A001 1 in q") // with a feed that has nothing to tell
}

// While a queue cannot be read its watchers are told nothing, and what they
// missed when it can be again, also where nothing more happens.
func TestWatchOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	w := newWatching(t)
	w.node.do(t, "q", create(1))
	ticket := w.node.do(t, "q", enqueue()).Event.Ticket.Id
	l := w.watch("q", ticket, "as it was")
	l.want("A001 1 in q")
	w.away.Store(true)
	if a := w.node.do(t, "q", callNext()); a.Event.Ticket.Desk != "" {
		t.Fatal(a)
	}
	late := w.watch("q", ticket, "as it was then")
	eventually(t, "both were looked at in vain, and once more", func() bool { return w.lost.Load() > 3 })
	w.away.Store(false)
	l.want("A001 0 in q")
	late.want("A001 0 in q")
}

// Sessions that end leave nothing behind.
func TestWatchesEnd(t *testing.T) {
	t.Parallel()
	w := newWatching(t)
	for i := range 3 {
		id := fmt.Sprint("q", i)
		w.node.do(t, id, create(1))
		ticket := w.node.do(t, id, enqueue()).Event.Ticket.Id
		l := &listener{t: t, frames: make(chan string, 100), closed: make(chan int, 100)}
		s := actors.OpenSession(w.deps, l)
		s.Watch(actors.Watch{Ticket: queue.TicketID(ticket), Queue: id, ID: ticket, Frame: []byte("now")})
		l.want("now")
		s.Close(1000, "")
		<-s.Done()
	}
	if n := w.deps.Watches.Held(); n != 0 {
		t.Errorf("%d things are held", n)
	}
}
