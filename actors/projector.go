package actors

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// Bounds of the projector.
const (
	projectEvery = 200 * time.Millisecond
	projectBatch = 256
	// projectReaders bounds the queues that are asked at once.
	projectReaders = 16
	sweepPage      = 1_000
)

// QueueList is the list of queues in the directory, which follows the journals.
type QueueList interface {
	// PutViews records what queues are at a version, unless more recent things
	// are recorded. A view that says queue_not_found is of a deleted queue.
	PutViews(ctx context.Context, views map[string]*messages.View) error
	// KnownVersions gives the recorded versions, 0 for unknown queues.
	KnownVersions(ctx context.Context, queues []string) ([]uint64, error)
}

// Projector keeps the list of queues up with the journals. What it is told may
// be lost: at its start it compares the list with every journal.
type Projector struct {
	queues  *Queues
	journal Journal
	list    QueueList
	log     *slog.Logger

	mu    sync.Mutex
	dirty map[string]struct{}

	failing bool // it has been said so; Run's alone
	// first are the queues that the first sweep found behind and that are not
	// recorded yet; Run's alone.
	first map[string]struct{}

	again    atomic.Bool
	caughtUp chan struct{}
}

// NewProjector makes a projector; Run does its work.
func NewProjector(queues *Queues, journal Journal, list QueueList, log *slog.Logger) *Projector {
	return &Projector{queues: queues, journal: journal, list: list, log: log, dirty: make(map[string]struct{}), caughtUp: make(chan struct{})}
}

// Note tells that a queue has moved on. It never blocks.
func (p *Projector) Note(id string) {
	p.mu.Lock()
	p.dirty[id] = struct{}{}
	p.mu.Unlock()
}

// Again has the projector compare the list with every journal once more.
func (p *Projector) Again() { p.again.Store(true) }

// CaughtUp is closed when the list has come to where the journals were at the
// start: whatever a crash left in transit has arrived.
func (p *Projector) CaughtUp() <-chan struct{} { return p.caughtUp }

// Run works until ctx is over.
func (p *Projector) Run(ctx context.Context) error {
	tick := time.NewTicker(projectEvery)
	defer tick.Stop()
	swept, caughtUp := false, false
	for {
		if p.again.Swap(false) || !swept {
			err := p.Sweep(ctx)
			if swept = err == nil; swept && p.first == nil {
				p.begin()
			}
			p.report(err)
		}
		for swept && p.project(ctx) {
		}
		if swept && !caughtUp && len(p.first) == 0 {
			caughtUp = true
			close(p.caughtUp)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// report says once that the list is behind, and once that it goes on.
func (p *Projector) report(err error) {
	switch {
	case err != nil && !p.failing:
		p.log.Warn("the list of queues cannot be kept up for now", "error", err)
	case err == nil && p.failing:
		p.log.Info("the list of queues is kept up again")
	}
	p.failing = err != nil
}

// begin notes what has to be recorded before the list has caught up. More will
// always have moved on meanwhile: queues that are at work wait for nobody.
func (p *Projector) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first = maps.Clone(p.dirty)
}

// project records some of what has moved on; it is true while there is more to do at once.
func (p *Projector) project(ctx context.Context) bool {
	ids, more := p.take()
	if len(ids) == 0 {
		return false
	}
	views := make(map[string]*messages.View, len(ids))
	for id, v := range p.read(ctx, ids) {
		gone := v.Problem != nil && v.Problem.Code == string(queue.QueueNotFound)
		switch {
		case v.Problem != nil && !gone, v.InTransit > 0:
			// A queue whose transfers have not all arrived stays behind in the
			// list on purpose: should this node die, the sweep of the next one
			// loads the queue, and it sends them again.
			p.Note(id)
			more = false
		case v.Version > 0:
			views[id] = v
		default: // there never was such a queue
			delete(p.first, id)
		}
	}
	err := p.list.PutViews(ctx, views)
	if len(views) > 0 && ctx.Err() == nil {
		p.report(err)
	}
	if err != nil {
		for id := range views {
			p.Note(id)
		}
		return false
	}
	for id := range views {
		delete(p.first, id)
	}
	return more
}

// read describes queues, some at once: one that does not answer soon must not
// keep the others waiting.
func (p *Projector) read(ctx context.Context, ids []string) map[string]*messages.View {
	var mu sync.Mutex
	views := make(map[string]*messages.View, len(ids))
	var readers sync.WaitGroup
	next := make(chan string)
	for range min(projectReaders, len(ids)) {
		readers.Go(func() {
			for id := range next {
				v := p.queues.Read(ctx, &messages.Read{Queue: id, Question: &messages.Read_Describe{Describe: &messages.ReadQueue{}}})
				mu.Lock()
				views[id] = v
				mu.Unlock()
			}
		})
	}
	for _, id := range ids {
		next <- id
	}
	close(next)
	readers.Wait()
	return views
}

func (p *Projector) take() (ids []string, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.dirty {
		if len(ids) == projectBatch {
			return ids, true
		}
		ids = append(ids, id)
		delete(p.dirty, id)
	}
	return ids, false
}

// Sweep notes every queue whose journal is not where the list says.
func (p *Projector) Sweep(ctx context.Context) error {
	for after := ""; ; {
		ids, err := p.journal.Queues(ctx, after, sweepPage)
		if err != nil || len(ids) == 0 {
			return err
		}
		after = ids[len(ids)-1]
		versions, err := p.journal.Versions(ctx, ids)
		if err != nil {
			return err
		}
		known, err := p.list.KnownVersions(ctx, ids)
		if err != nil {
			return err
		}
		for i, id := range ids {
			if versions[i] != known[i] {
				p.Note(id)
			}
		}
	}
}
