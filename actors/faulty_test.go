package actors_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
)

// faulty is a journal whose next appends fail as a test says.
type faulty struct {
	actors.Journal
	mu   sync.Mutex
	next []fault
	// newest is closed when the newest append has been handed over.
	newest chan struct{}
	count  int
	claims atomic.Int64
	owner  atomic.Value // queue.OwnerID: who claimed last
}

// fault is what happens to one append.
type fault struct {
	written bool  // it is written before the error is given
	err     error // the answer
	// before runs ahead of it, and after when it is written, before it is answered.
	before, after func()
}

func (f *faulty) fail(faults ...fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = append(f.next, faults...)
}

func (f *faulty) Claim(ctx context.Context, id string, owner queue.OwnerID) (queue.Head, error) {
	f.claims.Add(1)
	f.owner.Store(owner)
	return f.Journal.Claim(ctx, id, owner)
}

func (f *faulty) Append(id string, owner queue.OwnerID, prev queue.OpID, e queue.Entry, done func(error)) {
	f.mu.Lock()
	var now fault
	if len(f.next) > 0 {
		now, f.next = f.next[0], f.next[1:]
	}
	f.count++
	before, handedOver := f.newest, make(chan struct{})
	f.newest = handedOver
	f.mu.Unlock()
	go func() { // in the order of the calls, which none may hold up
		if before != nil {
			<-before
		}
		now.carryOut(f.Journal, id, owner, prev, e, done)
		close(handedOver)
	}()
}

func (f fault) carryOut(j actors.Journal, id string, owner queue.OwnerID, prev queue.OpID, e queue.Entry, done func(error)) {
	if f.before != nil {
		f.before()
	}
	switch {
	case f.err == nil:
		j.Append(id, owner, prev, e, done)
	case f.written:
		j.Append(id, owner, prev, e, func(err error) {
			if err == nil {
				err = f.err
			}
			if f.after == nil {
				done(err)
				return
			}
			go func() { // which does not hold up the journal
				f.after()
				done(err)
			}()
		})
	default:
		done(f.err)
	}
}

// awaitAppends waits until that many appends have been handed over, or wait for
// those before them.
func (f *faulty) awaitAppends(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		f.mu.Lock()
		count := f.count
		f.mu.Unlock()
		if count >= n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d appends, want %d", count, n)
		}
	}
}

// appendTo appends as a grain does, and waits.
func appendTo(j actors.Journal, id string, owner queue.OwnerID, prev queue.OpID, e queue.Entry) error {
	answered := make(chan error)
	j.Append(id, owner, prev, e, func(err error) { answered <- err })
	return <-answered
}

func faultyNode(t *testing.T, options ...func(*actors.GrainDeps)) (*node, *faulty) {
	t.Helper()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	f := &faulty{Journal: j}
	return startNode(t, f, options...), f
}
