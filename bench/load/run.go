package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Step does one operation and names it; the names become the rows of the result. An empty name says that there was
// nothing to do and that nothing is to be counted.
type Step func() (op string, err error)

// Refusal is an answer that says no; results count refusals by Code.
type Refusal struct{ Code string }

func (r *Refusal) Error() string { return "refused: " + r.Code }

// Pace says how hard and how long to drive.
type Pace struct {
	Callers  int
	Rate     float64       // operations a second over all callers; 0: each caller as fast as it is answered
	Warmup   time.Duration // driven, not counted
	Duration time.Duration
}

// Run drives one goroutine per caller, each repeating its own Step, and returns what was counted. It ends when the
// pace's time is over or ctx is done, after the operations then in flight.
func Run(ctx context.Context, p Pace, step func(caller int) Step) *Result {
	rec := &recorder{start: time.Now()}
	rec.from = rec.start.Add(p.Warmup)
	rec.until = rec.from.Add(p.Duration)
	var wg sync.WaitGroup
	for i := range p.Callers {
		s := step(i)
		wg.Go(func() {
			if p.Rate > 0 {
				openLoop(ctx, p, i, s, rec)
			} else {
				closedLoop(ctx, s, rec)
			}
		})
	}
	wg.Wait()
	end := time.Now()
	switch late := end.After(rec.until); {
	case late && p.Rate == 0:
		end = rec.until // a closed loop counts nothing after it
	case !late && p.Rate > 0 && ctx.Err() == nil:
		end = rec.until // the last slot of an open loop lies a little before it
	}
	return rec.result(p, end.Sub(rec.from))
}

func closedLoop(ctx context.Context, step Step, rec *recorder) {
	now := time.Now()
	for now.Before(rec.until) && ctx.Err() == nil {
		sent := now
		op, err := step()
		now = time.Now()
		// Counted by its end: throughput is what was finished within the window.
		if now.After(rec.from) && now.Before(rec.until) {
			rec.record(op, now.Sub(sent), err)
		}
		if op == "" || isBroken(err) {
			time.Sleep(10 * time.Millisecond) // a dead server must not make the driver spin
			now = time.Now()
		}
	}
}

// openLoop gives caller i the slots i, i+n, i+2n, … of one even schedule. A slot that comes due while the caller still
// waits for an answer is sent late, and the wait counts.
func openLoop(ctx context.Context, p Pace, i int, step Step, rec *recorder) {
	gap := time.Duration(float64(time.Second) / p.Rate * float64(p.Callers))
	due := rec.start.Add(gap * time.Duration(i) / time.Duration(p.Callers))
	for ; due.Before(rec.until) && ctx.Err() == nil; due = due.Add(gap) {
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		sent := time.Now()
		if sent.After(rec.until.Add(time.Second)) {
			// More than a second behind at the end: the server does not keep up. Do not go on for ever.
			rec.unsent.Add(int64(rec.until.Sub(due)/gap) + 1)
			return
		}
		op, err := step()
		if due.After(rec.from) {
			rec.record(op, time.Since(due), err)
			rec.late.Record(sent.Sub(due))
		}
		if isBroken(err) {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func isBroken(err error) bool {
	var refusal *Refusal
	return err != nil && !errors.As(err, &refusal)
}

type recorder struct {
	start, from, until time.Time
	ops                sync.Map // name → *Histogram
	errs               sync.Map // code → *atomic.Int64
	late               Histogram
	unsent             atomic.Int64
}

func (r *recorder) record(op string, d time.Duration, err error) {
	if op == "" {
		return
	}
	if err != nil {
		n, _ := r.errs.LoadOrStore(code(err), new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		return
	}
	h, ok := r.ops.Load(op)
	if !ok {
		h, _ = r.ops.LoadOrStore(op, new(Histogram))
	}
	h.(*Histogram).Record(d)
}

// code keeps the number of different errors small: addresses and ports are left out.
func code(err error) string {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	var op *net.OpError
	if errors.As(err, &op) {
		if op.Timeout() {
			return "io: timeout"
		}
		return fmt.Sprintf("io: %s: %v", op.Op, op.Err)
	}
	return "io: " + err.Error()
}
