package persistence

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"nowserving/actors/queue"
)

// Both journals gain their rate in the same way: callers from all queues put
// their calls into one bounded line, and few writers take everything that
// waits into one transaction or pipeline. This file is that line.

type callKind uint8

const (
	callAppend callKind = iota
	callClaim
	callOwns
	callSnapshot
)

// Who decides a call's fate: the writer that took it, or the caller that gave
// it up before. Exactly one of the two succeeds in leaving callWaiting.
const (
	callWaiting uint32 = iota
	callTaken
	callGivenUp
)

const (
	maxWaitingCalls = 4096
	maxBatchCalls   = 256
	maxBatchBytes   = 4 << 20
)

var errClosed = errors.New("closed")

// journalCall is one call on its way to a writer and back.
type journalCall struct {
	kind     callKind
	queue    string
	owner    queue.OwnerID
	prev     queue.OpID
	entry    queue.Entry
	snapshot queue.Snapshot
	trimTo   uint64

	state atomic.Uint32
	done  chan struct{} // capacity 1; the answer below stands once it has a value
	head  queue.Head
	err   error
}

var callPool = sync.Pool{New: func() any { return &journalCall{done: make(chan struct{}, 1)} }}

// newCall gives a call that is empty but for these.
func newCall(kind callKind, queueID string, owner queue.OwnerID) *journalCall {
	c := callPool.Get().(*journalCall)
	*c = journalCall{kind: kind, queue: queueID, owner: owner, done: c.done}
	return c
}

func (c *journalCall) bytes() int { return len(c.entry.Data) + len(c.snapshot.Data) }

// answer hands the call back to its caller. The writer must not touch it afterwards.
func (c *journalCall) answer(err error) {
	c.err = err
	c.done <- struct{}{}
}

// giveUp is the caller's end of waiting. Only a call that no writer has taken
// is certain not to happen.
func (c *journalCall) giveUp(cause error) error {
	if c.state.CompareAndSwap(callWaiting, callGivenUp) || c.kind == callOwns {
		return unavailable(cause)
	}
	return unknown(cause)
}

// callLine is the bounded line of calls between callers and writers. When it is
// full, callers wait in do until there is room or their context is over.
type callLine struct {
	waiting chan *journalCall
	quit    chan struct{} // closed first: writers take no more
	stopped chan struct{} // closed when the last writer has returned
	once    sync.Once
	writers sync.WaitGroup
}

func newCallLine() *callLine {
	return &callLine{
		waiting: make(chan *journalCall, maxWaitingCalls),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
}

// start runs n writers until stop.
func (l *callLine) start(n int, write func(batch []*journalCall)) {
	for range n {
		l.writers.Go(func() {
			batch := make([]*journalCall, 0, maxBatchCalls)
			for {
				batch = l.gather(batch[:0])
				if len(batch) == 0 {
					return
				}
				write(batch)
				clear(batch) // hold on to nobody's data while waiting
			}
		})
	}
}

// stop ends the writers after the batches they hold and waits for them. Calls
// that still wait are answered ErrUnavailable.
func (l *callLine) stop() {
	l.once.Do(func() {
		close(l.quit)
		l.writers.Wait()
		close(l.stopped)
	})
	<-l.stopped
}

// do puts c into the line and waits for its answer. It gives c back to the pool
// where nobody else can still hold it.
func (l *callLine) do(ctx context.Context, c *journalCall) (queue.Head, error) {
	if ctx.Err() != nil {
		return queue.Head{}, unavailable(context.Cause(ctx))
	}
	select {
	case l.waiting <- c:
	case <-ctx.Done():
		return queue.Head{}, unavailable(context.Cause(ctx))
	case <-l.quit:
		return queue.Head{}, unavailable(errClosed)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return queue.Head{}, c.giveUp(context.Cause(ctx))
	case <-l.stopped:
		if c.state.CompareAndSwap(callWaiting, callGivenUp) {
			return queue.Head{}, unavailable(errClosed)
		}
		<-c.done // a writer had it, and answered before it returned
	}
	head, err := c.head, c.err
	*c = journalCall{done: c.done}
	callPool.Put(c)
	return head, err
}

// gather waits for a call and takes with it all that wait, up to the bounds of
// a batch. It answers nothing once the line is stopped.
func (l *callLine) gather(batch []*journalCall) []*journalCall {
	for size := 0; len(batch) < maxBatchCalls && size < maxBatchBytes; {
		var c *journalCall
		if len(batch) > 0 {
			select {
			case c = <-l.waiting:
			default:
				return batch
			}
		} else {
			select {
			case c = <-l.waiting:
			case <-l.quit:
				return nil
			}
		}
		if c.state.CompareAndSwap(callWaiting, callTaken) {
			batch = append(batch, c)
			size += c.bytes()
		}
	}
	return batch
}
