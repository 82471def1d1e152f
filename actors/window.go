package actors

import (
	"context"
	"runtime/debug"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// windowWork takes some requests of one pipeline as far as they go, beside the
// actor.
type windowWork struct {
	*IngestionDeps
	window []*intake
	// pastFull: the queue has been full for so long that its requests are
	// buried.
	pastFull bool
	outcome  outcome
}

// outcome is how far a window came.
type outcome struct {
	// trouble is what keeps the rest of the window waiting; empty where all of
	// it is settled.
	trouble  string
	accepted bool // the queue had room
	full     bool // it had none
}

// troubleBurying: dead letters cannot be published.
const troubleBurying = "dead_letters"

// run makes tickets of the window's requests in order, up to the first one that
// may be taken later, and buries those before it that never can be.
func (w *windowWork) run(ctx context.Context) (o outcome) {
	defer func() {
		if r := recover(); r != nil {
			w.Log.Error("a window of requests panicked", "panic", r, "stack", string(debug.Stack()))
			o = outcome{trouble: string(queue.Unavailable)}
		}
	}()
	ready := w.prepare(ctx)
	for from := 0; from < ready; {
		to := from
		var group []*intake // for one queue
		for ; to < ready; to++ {
			in := w.window[to]
			if in.problem == nil && len(group) > 0 && in.command.Queue != group[0].command.Queue {
				break
			}
			if in.problem == nil {
				group = append(group, in)
			}
		}
		if !w.enqueue(ctx, group) {
			break
		}
		from = to
	}
	w.bury(ctx)
	return w.outcome
}

// prepare finds the command of each request, up to the first that has none for
// now, and gives how many these are.
func (w *windowWork) prepare(ctx context.Context) int {
	for n, in := range w.window {
		if in.problem != nil || in.command != nil {
			continue
		}
		var err error
		if in.command, in.problem, err = in.request.Command(ctx); err != nil {
			w.Log.Debug("a request cannot be decided now", "queue", in.queue, "error", err)
			w.outcome.trouble = string(queue.Unavailable)
			return n
		}
	}
	return len(w.window)
}

// enqueue sends commands of one queue. It is false where one of them may be
// accepted later, and so must be before anything that comes after it.
func (w *windowWork) enqueue(ctx context.Context, group []*intake) bool {
	if len(group) == 0 {
		return true
	}
	commands := make([]*messages.Command, len(group))
	for i, in := range group {
		commands[i] = in.command
	}
	for i, a := range w.Queues.Enqueue(ctx, commands[0].Queue, commands, w.pastFull) {
		in := group[i]
		if a.Problem == nil {
			in.result = ResultAccepted
			if a.Replayed {
				in.result = ResultDuplicate
			} else {
				w.outcome.accepted = true
			}
			continue
		}
		code := queue.Code(a.Problem.Code)
		w.outcome.full = w.outcome.full || code == queue.QueueFull
		if code == queue.Unavailable || code == queue.OutcomeUnknown || code == queue.QueueFull && !w.pastFull {
			w.outcome.trouble = a.Problem.Code
			return false
		}
		in.problem = a.Problem
	}
	return true
}

// bury publishes what is dead before the first request that waits, in order.
func (w *windowWork) bury(ctx context.Context) {
	var dead []*intake
	var letters []DeadLetter
	for _, in := range w.window {
		if in.result != "" {
			continue
		}
		if in.problem == nil {
			break
		}
		dead = append(dead, in)
		letters = append(letters, DeadLetter{Delivery: in.delivery, Queue: in.queue, Problem: in.problem, At: w.Now()})
	}
	if len(dead) == 0 {
		return
	}
	n, err := w.Bury(ctx, letters)
	for _, in := range dead[:n] {
		in.result = ResultDead
	}
	if n < len(dead) {
		w.Log.Debug("dead letters cannot be published now", "error", err)
		w.outcome.trouble = troubleBurying
	}
}
