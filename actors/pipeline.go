package actors

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// pipeline is one queue's. One window of it is under way at a time, and none
// while it waits to try again.
type pipeline struct {
	queue     string
	waiting   []*intake
	busy      bool
	waits     bool
	failures  int       // in a row
	trouble   string    // what it waits for
	fullSince time.Time // zero: not known to be full
	fullSeen  time.Time // when it was found full last
	// damagedSince is zero where the queue is not known to be out of service.
	damagedSince time.Time
}

func (p *pipeline) idle() bool { return !p.busy && len(p.waiting) == 0 }

// forgotten tells whether nobody has asked the queue for so long that it is not
// known any more whether it is full.
func (p *pipeline) forgotten(now time.Time) bool { return p.idle() && now.Sub(p.fullSeen) > fullFor }

// begin sends the next window on its way, if it is time.
func (a *ingestion) begin(p *pipeline) {
	if p.busy || p.waits || len(p.waiting) == 0 || len(a.closing) > 0 {
		return
	}
	if !a.source.Fresh() {
		a.retry(p) // unless it turns out to be lost
		return
	}
	n, bytes := 0, 0
	for n < min(len(p.waiting), maxWindow) && (n == 0 || bytes+len(p.waiting[n].delivery.Body) <= maxWindowBytes) {
		bytes += len(p.waiting[n].delivery.Body)
		n++
	}
	window := slices.Clone(p.waiting[:n])
	w := &windowWork{IngestionDeps: &a.IngestionDeps, source: a.source, window: window}
	w.settling = time.Since(a.opened) < settleFor
	w.pastFull = !p.fullSince.IsZero() && a.Now().Sub(p.fullSince) >= fullFor
	w.pastRepair = !p.damagedSince.IsZero() && a.Now().Sub(p.damagedSince) >= fullFor && a.crowded()
	p.busy = true
	a.busy++
	go func() {
		ctx, cancel := context.WithTimeout(a.ctx, windowWithin)
		defer cancel()
		a.System.Root.Send(a.self, &windowDone{p, window, w.run(ctx)})
	}()
}

// windowDone goes on where a window came to.
func (a *ingestion) windowDone(m *windowDone) {
	p := m.pipeline
	p.busy = false
	a.busy--
	for _, in := range m.window {
		if in.settled = in.result != ""; in.settled {
			a.Settled(in.result, in.problem.GetCode(), time.Since(in.came))
			if in.request != nil {
				in.request.Settled(in.result, in.problem)
			}
		}
	}
	// After a change of source, what waits now is the same once more.
	if len(p.waiting) > 0 && p.waiting[0] == m.window[0] {
		rest := p.waiting[len(m.window):]
		left := slices.DeleteFunc(m.window, func(in *intake) bool { return in.settled })
		if p.waiting = rest; len(left) > 0 {
			p.waiting = append(left, rest...)
		}
	}
	a.noteFull(p, m.outcome)
	a.noteDamaged(p, m.outcome)
	a.noteTrouble(p, m.outcome.trouble)
	a.acknowledge()
	if m.outcome.trouble == "" {
		p.failures = 0
		a.begin(p)
	} else {
		a.retry(p)
	}
	a.maybeClosed()
}

func (a *ingestion) retry(p *pipeline) {
	wait := min(minRetry<<min(p.failures, 10), maxRetry)
	p.failures++
	p.waits = true
	wait += rand.N(wait / 2) //nolint:gosec // jitter is no secret
	time.AfterFunc(wait, func() { a.System.Root.Send(a.self, &retry{p}) })
}

func (a *ingestion) noteFull(p *pipeline, o outcome) {
	now := a.Now()
	if o.accepted {
		p.fullSince = time.Time{}
	}
	if o.full {
		if p.fullSeen = now; p.fullSince.IsZero() {
			p.fullSince = now
		}
	}
}

func (a *ingestion) noteDamaged(p *pipeline, o outcome) {
	if !o.damaged {
		p.damagedSince = time.Time{}
	} else if p.damagedSince.IsZero() {
		p.damagedSince = a.Now()
	}
}

// crowded tells whether requests that wait take the room of all others.
func (a *ingestion) crowded() bool { return len(a.line) >= a.Room-a.Room/10 }

// noteTrouble logs the first queue that waits for something, and the last one
// that no longer does.
func (a *ingestion) noteTrouble(p *pipeline, trouble string) {
	if p.trouble == trouble {
		return
	}
	if p.trouble != "" {
		if a.troubles[p.trouble]--; a.troubles[p.trouble] == 0 {
			a.Log.Info("requests no longer wait", "code", p.trouble, "queue", p.queue)
		}
	}
	if p.trouble = trouble; trouble != "" {
		if a.troubles[trouble]++; a.troubles[trouble] == 1 {
			a.Log.Warn("requests wait; they are tried until they are taken", "code", trouble, "queue", p.queue)
		}
	}
}

// sweep forgets pipelines that have nothing to do.
func (a *ingestion) sweep() {
	now := a.Now()
	for name, p := range a.pipelines {
		if p.idle() && (p.fullSince.IsZero() || p.forgotten(now) || len(a.pipelines) > maxRememberFull) {
			a.noteTrouble(p, "")
			delete(a.pipelines, name)
		}
	}
}
