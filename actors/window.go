package actors

import (
	"context"
	"errors"
	"runtime/debug"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// windowWork takes some requests of one pipeline as far as they go, beside the
// actor.
type windowWork struct {
	*IngestionDeps
	source Source
	window []*intake
	// settling: another node may still be about to bring what is delivered again
	// to its queue.
	settling bool
	// pastFull: the queue has been full for so long that its requests are
	// buried.
	pastFull bool
	// pastRepair: the queue has been out of service for so long, and its requests
	// are so many, that they are buried for the sake of all others.
	pastRepair bool
	outcome    outcome
}

// outcome is how far a window came.
type outcome struct {
	// trouble is what keeps the rest of the window waiting; empty where all of
	// it is settled.
	trouble  string
	accepted bool // the queue had room
	full     bool // it had none
	damaged  bool // it is out of service
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
		if in.command, in.problem, err = in.request.Command(ctx); w.early(in, in.problem) {
			in.problem, err = nil, errEarly
		}
		if err != nil {
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
		w.outcome.full = w.outcome.full || a.Problem.Code == string(queue.QueueFull)
		w.outcome.damaged = w.outcome.damaged || outOfService(a.Problem)
		if w.mayPass(a.Problem) || w.early(in, a.Problem) {
			w.outcome.trouble = a.Problem.Code
			return false
		}
		in.problem = a.Problem
	}
	return true
}

// mayPass tells whether a refusal makes its request wait.
func (w *windowWork) mayPass(p *messages.Problem) bool {
	switch queue.Code(p.Code) {
	case queue.Unavailable:
		return !w.pastRepair || !outOfService(p)
	case queue.QueueFull:
		return !w.pastFull
	case queue.OutcomeUnknown:
		return true
	}
	return false
}

func outOfService(p *messages.Problem) bool { return p.Detail == queue.ErrOutOfService.Detail }

var errEarly = errors.New("another node may still bring it to its queue")

// early tells whether it is too early to bury a request for a reason that may
// pass. Another node had it before, and its own try may be under way: that one
// could be accepted, and then the request would be dead and alive.
func (w *windowWork) early(in *intake, p *messages.Problem) bool {
	if p == nil || !w.settling || !in.delivery.Again {
		return false
	}
	switch p.Code {
	case string(queue.QueueFull), string(queue.QueueClosed), string(queue.QueueNotFound), CodeFiltered:
		return true
	}
	return false
}

// CodeFiltered is the code of a request that the rules of a queue refuse.
const CodeFiltered = "filtered"

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
	if !w.source.Fresh() { // they may be another node's by now, and taken
		w.outcome.trouble = troubleBurying
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
