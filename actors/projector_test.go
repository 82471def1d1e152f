package actors_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/messages"
)

// listed is a list of queues in memory.
type listed struct {
	mu    sync.Mutex
	views map[string]*messages.View
}

func (l *listed) PutViews(_ context.Context, views map[string]*messages.View) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, v := range views {
		l.views[id] = v
	}
	return nil
}

func (l *listed) KnownVersions(_ context.Context, ids []string) ([]uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	versions := make([]uint64, len(ids))
	for i, id := range ids {
		versions[i] = l.views[id].GetVersion()
	}
	return versions, nil
}

// A node that starts finds the transfer that a crash cut in two, by the list
// that stayed behind, and has the ticket arrive before it says that it is ready.
func TestStartDeliversWhatACrashLeftInTransit(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	// The first node's target never answers: its transfer stops half way.
	lost := startNode(t, j, func(d *actors.GrainDeps) {
		request := d.Request
		d.Request = func(ctx context.Context, kind, id string, m any) (any, error) {
			if c, ok := m.(*messages.Command); ok && c.GetArrive() != nil {
				return nil, context.DeadlineExceeded
			}
			return request(ctx, kind, id, m)
		}
	})
	lost.do(t, "a", create(1))
	lost.do(t, "b", create(1))
	ticket := lost.do(t, "a", enqueue()).Event.Ticket
	go lost.try("a", transfer(ticket.Id, "b")) // nobody is told how it ends
	for len(journalEvents(t, j, "a")) < 3 {    // until it is decided
		t.Log("waiting for the source's event")
	}

	next := startNode(t, j)
	list := &listed{views: map[string]*messages.View{"a": {Version: 2}, "b": {Version: 1}}}
	p := actors.NewProjector(next.queues, j, list, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx) })
	<-p.CaughtUp()
	cancel()
	running.Wait()
	if v := next.describe("b"); v.Waiting != 1 || v.Version != 2 {
		t.Fatalf("the target has %d waiting at version %d", v.Waiting, v.Version)
	}
	if v, _ := list.KnownVersions(context.Background(), []string{"a"}); v[0] != 3 {
		t.Fatalf("the list has the source at version %d", v[0])
	}
}

// Queues that take their time are asked beside each other.
func TestProjectorAsksQueuesAtOnce(t *testing.T) {
	t.Parallel()
	const together = 10
	var waiting sync.WaitGroup
	waiting.Add(together)
	queues := actors.NewQueues(func(context.Context, string, string, any) (any, error) {
		waiting.Done()
		waiting.Wait()
		return &messages.View{Version: 7}, nil
	}, func(error) bool { return false })
	list := &listed{views: make(map[string]*messages.View)}
	p := actors.NewProjector(queues, ownJournal(t), list, slog.New(slog.DiscardHandler))
	for i := range together {
		p.Note(fmt.Sprint(i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx) })
	<-p.CaughtUp()
	cancel()
	running.Wait()
	if v, _ := list.KnownVersions(t.Context(), []string{"0", "9"}); v[0] != 7 || v[1] != 7 {
		t.Errorf("listed are versions %v", v)
	}
}

// A node that joins others at work does not wait for a rest that never comes.
func TestProjectorCatchesUpWhileQueuesMoveOn(t *testing.T) {
	t.Parallel()
	var p *actors.Projector
	var version atomic.Uint64
	queues := actors.NewQueues(func(_ context.Context, _, id string, _ any) (any, error) {
		p.Note(id) // it has moved on while it was asked
		return &messages.View{Version: version.Add(1)}, nil
	}, func(error) bool { return false })
	p = actors.NewProjector(queues, ownJournal(t), &listed{views: make(map[string]*messages.View)}, slog.New(slog.DiscardHandler))
	p.Note("a")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx) })
	select {
	case <-p.CaughtUp():
	case <-time.After(patience):
		t.Error("the list has never caught up")
	}
	cancel()
	running.Wait()
}
