package persistence

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"nowserving/actors/queue"
)

// Both journals gain their rate in the same way: callers from all queues put
// their calls into a bounded line, and its one writer takes everything that
// waits into one transaction or one write to Redis. Calls are carried out in
// the order in which they were put into a line. This file is that line.

type callKind uint8

const (
	callAppend callKind = iota
	callClaim
	callOwns
	callSnapshot
	callProbe
	callLoad // of Redis's scripts; the pipe's own
)

// Who decides a call's fate: the writer that took it, or the caller that gave
// it up before. Exactly one of the two succeeds in leaving callWaiting.
const (
	callWaiting uint32 = iota
	callTaken
	callGivenUp
)

const (
	maxWaitingCalls = 16_384
	maxBatchCalls   = 256
	maxBatchBytes   = 4 << 20
)

var (
	errClosed  = errors.New("closed")
	errTooMany = errors.New("too many calls wait for the store")
)

// journalCall is one call on its way to a writer and back.
type journalCall struct {
	kind     callKind
	queue    string
	owner    queue.OwnerID
	prev     queue.OpID
	entry    queue.Entry
	snapshot queue.Snapshot
	trimTo   uint64
	at       uint64 // of a check of ownership: where the journal stands at least

	state atomic.Uint32
	head  queue.Head  // of the answer to a claim
	done  func(error) // called once, with the answer
}

func (c *journalCall) bytes() int { return len(c.entry.Data) + len(c.snapshot.Data) }

// answer hands the call back to its caller. The writer must not touch it afterwards.
func (c *journalCall) answer(err error) { c.done(err) }

// giveUp is the caller's end of waiting. Only a call that no writer has taken
// is certain not to happen.
func (c *journalCall) giveUp(cause error) error {
	if c.state.CompareAndSwap(callWaiting, callGivenUp) {
		return unavailable(cause)
	}
	return unknown(cause)
}

// callLine is the bounded line of calls between callers and its writer. What
// comes when it is full is refused.
type callLine struct {
	waiting chan *journalCall
	quit    chan struct{} // closed first: the writer takes no more
	stopped chan struct{} // closed when every call has been answered
	once    sync.Once
	writer  sync.WaitGroup
}

func newCallLine() *callLine {
	return &callLine{
		waiting: make(chan *journalCall, maxWaitingCalls),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
}

// start runs the writer until stop.
func (l *callLine) start(write func(batch []*journalCall)) {
	l.writer.Go(func() {
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

// stop ends the writer after the batch it holds, waits for it, and answers
// calls that still wait ErrUnavailable.
func (l *callLine) stop() {
	l.once.Do(func() {
		close(l.quit)
		l.writer.Wait()
		close(l.stopped)
		for {
			select {
			case c := <-l.waiting:
				c.refuse(errClosed)
			default:
				return
			}
		}
	})
	<-l.stopped
}

// refuse answers a call that no writer has taken.
func (c *journalCall) refuse(cause error) {
	if c.state.CompareAndSwap(callWaiting, callGivenUp) {
		c.answer(unavailable(cause))
	}
}

// put lines c up. It neither blocks nor answers by itself: an answer given
// here, a refusal, comes from another goroutine, as any other does.
func (l *callLine) put(c *journalCall) {
	select {
	case <-l.quit:
		go c.refuse(errClosed)
		return
	default:
	}
	select {
	case l.waiting <- c:
	default:
		go c.refuse(errTooMany)
		return
	}
	select {
	case <-l.stopped: // it came too late for stop to find it
		go c.refuse(errClosed)
	default:
	}
}

// do puts c into the line and waits for its answer.
func (l *callLine) do(ctx context.Context, c *journalCall) (queue.Head, error) {
	if ctx.Err() != nil {
		return queue.Head{}, unavailable(context.Cause(ctx))
	}
	answered := make(chan error, 1)
	c.done = func(err error) { answered <- err }
	l.put(c)
	select {
	case err := <-answered:
		return c.head, err
	case <-ctx.Done():
		return queue.Head{}, c.giveUp(context.Cause(ctx))
	}
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
