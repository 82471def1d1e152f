package cluster

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// request is one message on its way to a grain of this node, and, as a process
// of the actor system, where the answer goes. done is called once.
type request struct {
	grains     *grains
	message    any
	trace      string // a traceparent; empty: part of none
	done       func(answer any, err error)
	activation *activation
	pid        *actor.PID
	finished   atomic.Bool
	unhook     atomic.Pointer[func() bool]
}

// Moved is a grain's answer to a request whose queue it finds to live elsewhere.
type Moved struct{}

// SendUserMessage takes the grain's answer.
func (r *request) SendUserMessage(_ *actor.PID, message any) {
	answer := actor.UnwrapEnvelopeMessage(message)
	switch answer.(type) {
	case Moved, *actor.DeadLetterResponse:
		r.finish(nil, errLost)
	default:
		r.finish(answer, nil)
	}
}

// SendSystemMessage ignores what the actor system says.
func (*request) SendSystemMessage(*actor.PID, any) {}

// Stop does nothing: a request ends with its answer.
func (*request) Stop(*actor.PID) {}

// finish ends the request; false where it has ended.
func (r *request) finish(answer any, err error) bool {
	if !r.finished.CompareAndSwap(false, true) {
		return false
	}
	r.grains.system.ProcessRegistry.Remove(r.pid)
	r.activation.lastUsed.Store(time.Now().UnixMilli())
	r.activation.underway.Add(-1)
	if unhook := r.unhook.Load(); unhook != nil {
		(*unhook)()
	}
	r.done(answer, err)
	return true
}

// endWithGrain ends the request where its grain is cut. A caller of this node
// looks to that by itself.
func (r *request) endWithGrain() {
	unhook := context.AfterFunc(r.activation.gone, func() { r.finish(nil, errLost) })
	r.unhook.Store(&unhook)
	if r.finished.Load() {
		unhook()
	}
}

func (r *request) send() {
	if r.trace != "" {
		r.grains.system.Root.Send(r.activation.pid, r.envelope())
		return
	}
	r.grains.system.Root.RequestWithCustomSender(r.activation.pid, r.message, r.pid)
}

// under counts the request before its grain can be stopped.
func (r *request) under(a *activation) {
	r.activation = a
	a.underway.Add(1)
	r.pid, _ = r.grains.system.ProcessRegistry.Add(r, "request"+r.grains.system.ProcessRegistry.NextID())
}
