package actors

import (
	"context"
	"sync"
	"time"

	"nowserving/messages"
)

const (
	// newsEvery gathers what is told to the other nodes.
	newsEvery = 2 * time.Millisecond
	maxTold   = 10_000 // queues in one message
	maxHeard  = 100_000
)

// Announcer tells other nodes which queues have moved on, so that those who
// follow them there look at once. What it tells may be lost: they look by
// themselves too.
type Announcer struct {
	tell func(*messages.News)

	mu     sync.Mutex
	queues map[string]uint64
	signal chan struct{}
}

// NewAnnouncer makes an announcer; Run does its work. tell must not block.
func NewAnnouncer(tell func(*messages.News)) *Announcer {
	return &Announcer{tell: tell, queues: make(map[string]uint64), signal: make(chan struct{}, 1)}
}

// Note tells that a queue's journal has reached a version. It never blocks.
func (a *Announcer) Note(id string, version uint64) {
	a.mu.Lock()
	if _, known := a.queues[id]; known || len(a.queues) < maxTold {
		a.queues[id] = version
	}
	a.mu.Unlock()
	select {
	case a.signal <- struct{}{}:
	default:
	}
}

// Run works until ctx is over.
func (a *Announcer) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.signal:
		}
		a.mu.Lock()
		queues := a.queues
		a.queues = make(map[string]uint64, len(queues))
		a.mu.Unlock()
		if len(queues) > 0 {
			a.tell(&messages.News{Versions: queues})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(newsEvery):
		}
	}
}

// Heard wakes the feeds of the queues that another node has told of, and
// remembers the versions: should that node and the store fail at once, they are
// known here.
func (f *Feeds) Heard(n *messages.News) {
	f.mu.Lock()
	if len(f.heard)+len(n.Versions) > maxHeard {
		clear(f.heard)
	}
	for id, version := range n.Versions {
		f.heard[id] = max(f.heard[id], version)
	}
	f.mu.Unlock()
	for id, version := range n.Versions {
		f.Wake(id, version)
	}
}
