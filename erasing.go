package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"nowserving/actors"
	"nowserving/gateway"
	"nowserving/persistence/directory"
)

// Bounds of erasing.
const (
	erasingEvery  = time.Second
	erasingBatch  = 16
	erasingBackTo = time.Minute
	jobLease      = 30 * time.Second
	jobRenewEvery = 10 * time.Second
	// giveBackWithin is for a node that leaves: another one goes on at once.
	giveBackWithin = time.Second
)

// erasing carries out the erasures that were asked for, on one node at a time.
// One that cannot be done to its end now is gone on with later: tickets may be on
// their way, or events wait for RabbitMQ.
type erasing struct {
	d      *directory.Directory
	eraser *actors.Eraser
	scrubs []func(context.Context) error
	log    *slog.Logger
	holder string
	signal chan struct{}
	later  map[string]retry // those that were not done
}

type retry struct {
	at   time.Time
	wait time.Duration
}

func newErasing(n *Node) *erasing {
	e := &erasing{
		d: n.directory, eraser: actors.NewEraser(n.queues, n.journal), log: n.log, holder: uuid.NewString(),
		signal: make(chan struct{}, 1), later: make(map[string]retry), scrubs: []func(context.Context) error{n.directory.Scrub},
	}
	if s, ok := n.journal.(interface{ Scrub(context.Context) error }); ok {
		e.scrubs = append(e.scrubs, s.Scrub)
	}
	return e
}

// wake has it look at once. It never blocks.
func (e *erasing) wake() {
	select {
	case e.signal <- struct{}{}:
	default:
	}
}

// Run works until ctx is over.
func (e *erasing) Run(ctx context.Context) error {
	tick := time.NewTicker(erasingEvery)
	defer tick.Stop()
	for {
		pending, err := e.d.PendingErasures(ctx, erasingBatch)
		if err == nil && len(pending) > 0 {
			underLease(ctx, e.d, "erasures", e.holder, func(ctx context.Context) {
				for _, p := range pending {
					e.carryOut(ctx, p)
				}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.signal:
		case <-tick.C:
		}
	}
}

// carryOut does one erasure, or as much of it as can be done now.
func (e *erasing) carryOut(ctx context.Context, asked directory.Erasure) {
	before := e.later[asked.ID]
	if time.Now().Before(before.at) || ctx.Err() != nil {
		return
	}
	rows, tickets, err := e.erase(ctx, asked)
	if failed := e.d.AdvanceErasure(ctx, asked.ID, rows, int64(tickets), err == nil); err == nil {
		err = failed
	}
	for _, scrub := range e.scrubs { // the tags have gone too
		if err == nil {
			err = scrub(ctx)
		}
	}
	if err == nil {
		err = e.d.EndErasure(ctx, asked.ID)
	}
	if err == nil {
		delete(e.later, asked.ID)
		e.log.Info("a person was erased", "erasure", asked.ID, "history", asked.History+rows, "tickets", asked.Tickets+int64(tickets))
		return
	}
	if before.wait == 0 && ctx.Err() == nil { // once for each
		e.log.Warn("an erasure is not done yet", "erasure", asked.ID, "error", err)
	}
	wait := min(max(2*before.wait, erasingEvery), erasingBackTo)
	e.later[asked.ID] = retry{at: time.Now().Add(wait), wait: wait}
}

// erase empties the history both before and after the queues: at once, and of
// what came into it from events that waited. One that was interrupted behind it
// has no tags any more.
func (e *erasing) erase(ctx context.Context, asked directory.Erasure) (rows int64, tickets int, err error) {
	if len(asked.Tags) == 0 && len(asked.Visit) == 0 {
		return 0, 0, nil
	}
	history := func() (int64, error) {
		if len(asked.Visit) > 0 {
			return e.d.EmptyVisit(ctx, asked.Visit)
		}
		return e.d.EmptyHistory(ctx, asked.Tags)
	}
	if rows, err = history(); err != nil {
		return 0, 0, err
	}
	if tickets, err = e.eraser.Erase(ctx, actors.Person{Tags: asked.Tags, Visit: asked.Visit}, asked.MadeBy); err != nil {
		return rows, tickets, err
	}
	more, err := history()
	return rows + more, tickets, err
}

// underLease works while this node is the one that does: the lease is renewed
// meanwhile, the work's context ends with it, and it is given up behind the work.
// It is false where another node has it, or nobody can tell.
func underLease(ctx context.Context, d *directory.Directory, name, holder string, work func(context.Context)) bool {
	if held, err := d.Lease(ctx, name, holder, jobLease); err != nil || !held {
		return false
	}
	last := ctx
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(jobRenewEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if held, err := d.Lease(ctx, name, holder, jobLease); err != nil || !held {
				cancel()
			}
		}
	}()
	work(ctx)
	cancel()
	<-done
	end, stop := context.WithTimeout(context.WithoutCancel(last), giveBackWithin)
	defer stop()
	_, _ = d.Lease(end, name, holder, 0) // else it ends by itself
	return true
}

// people is the directory as the gateway wants it for one person's tickets.
type people struct {
	d    *directory.Directory
	wake func()
}

func (p people) AddErasure(ctx context.Context, e gateway.Erasure) error {
	err := p.d.AddErasure(ctx, directory.Erasure(e))
	p.wake()
	return adapted(err)
}

func (p people) Erasure(ctx context.Context, id string) (gateway.Erasure, error) {
	e, err := p.d.Erasure(ctx, id)
	return gateway.Erasure(e), adapted(err)
}

func (p people) HistoryOfPerson(ctx context.Context, tags [][]byte, limit int) ([]gateway.HistoryRow, error) {
	found, err := p.d.HistoryOfPerson(ctx, tags, limit)
	rows := make([]gateway.HistoryRow, len(found))
	for i, row := range found {
		rows[i] = gateway.HistoryRow{Queue: string(row.Queue), Ticket: actors.TicketToMessage(row.Ticket)}
	}
	return rows, adapted(err)
}

func (p people) HistoryOf(ctx context.Context, ticket [16]byte) (gateway.HistoryRow, error) {
	row, err := p.d.HistoryOf(ctx, ticket)
	if err != nil {
		return gateway.HistoryRow{}, adapted(err)
	}
	return gateway.HistoryRow{Queue: string(row.Queue), Ticket: actors.TicketToMessage(row.Ticket)}, nil
}
