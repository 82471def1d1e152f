package actors

import (
	"slices"
	"sync"
	"time"
)

// followCached is how many queues a follower remembers at least; see newsLine.trim.
const followCached = 100_000

// newsLine knows the queues of which a follower may have news to read. They
// stand in a line, so that a busy queue does not keep the others waiting; one
// that cannot be gone on with stands beside it for a while.
type newsLine struct {
	signal chan struct{} // there is something in the line

	mu      sync.Mutex
	queues  map[string]*news
	lined   map[*news]struct{} // those of them that have news
	ready   []*news
	delayed []*news
	most    int // queues that are remembered before trim
}

// news is what is known of one queue. All but known is used by the follower's
// own goroutine only.
type news struct {
	id    string
	known uint64    // the newest version of its journal that was heard of
	lined bool      // it is in the line, delayed, or in hand
	since time.Time // when it came into the line, or what it has news of was not known yet

	at       uint64 // the sink's checkpoint, where it has been located
	located  bool
	picked   uint64 // known, when it was taken in hand
	pickedAt time.Time
	alone    bool // a round with it has failed in the sink; it might be the cause
	perEntry int  // events in the entry that was read last
	failures int
	retry    time.Time
	short    bool // the journal was found to end before the checkpoint
}

func newNewsLine() *newsLine {
	return &newsLine{signal: make(chan struct{}, 1), queues: make(map[string]*news), lined: make(map[*news]struct{}), most: followCached}
}

// note lines a queue up whose journal has reached a version. It never blocks.
func (l *newsLine) note(id string, version uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteOne(id, version)
}

func (l *newsLine) noteOne(id string, version uint64) *news {
	n := l.queues[id]
	if n == nil {
		if len(l.queues) >= l.most {
			l.trim()
		}
		n = &news{id: id}
		l.queues[id] = n
	}
	n.known = max(n.known, version)
	if !n.lined {
		n.lined, n.since = true, time.Now()
		l.lined[n] = struct{}{}
		l.ready = append(l.ready, n)
	}
	l.wake()
	return n
}

func (l *newsLine) wake() {
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

// found is a sweep's note: the journal's version and the sink's checkpoint.
func (l *newsLine) found(id string, version, at uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.queues[id]
	if version > at {
		n = l.noteOne(id, version)
	}
	if n != nil {
		n.at, n.located = at, true
	}
}

// trim forgets the queues without news.
func (l *newsLine) trim() {
	for id, n := range l.queues {
		if !n.lined {
			delete(l.queues, id)
		}
	}
	l.most = max(followCached, 2*len(l.queues))
}

// pick takes up to so many queues in hand, those first that have waited
// longest. One that is tried alone comes alone.
func (l *newsLine) pick(most int, now time.Time) (hand []*news) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delayed = slices.DeleteFunc(l.delayed, func(n *news) bool {
		due := !n.retry.After(now)
		if due {
			l.ready = append(l.ready, n)
		}
		return due
	})
	for len(hand) < most && len(l.ready) > 0 {
		n := l.ready[0]
		if n.alone && len(hand) > 0 {
			break
		}
		l.ready[0], l.ready = nil, l.ready[1:]
		n.picked, n.pickedAt = n.known, now
		if hand = append(hand, n); n.alone {
			break
		}
	}
	return hand
}

// locate notes where the sink stands in a queue.
func (l *newsLine) locate(n *news, at uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.at, n.located = at, true
}

// lost puts queues back of which it is no longer known where the sink stands.
func (l *newsLine) lost(hand ...*news) {
	l.again(hand...)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range hand {
		n.located = false
	}
}

// back puts queues back, untouched, in front of all others.
func (l *newsLine) back(hand ...*news) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = append(slices.Clone(hand), l.ready...)
}

// again puts queues back at the end of the line.
func (l *newsLine) again(hand ...*news) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = append(l.ready, hand...)
}

// delay puts a queue aside after it has failed.
func (l *newsLine) delay(n *news, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.retry = now.Add(followBackoff << min(n.failures, followBackoffs))
	n.failures++
	l.delayed = append(l.delayed, n)
}

// reached notes that the sink has a queue's events up to a version. The queue
// leaves the line where that is all.
func (l *newsLine) reached(n *news, at uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.at, n.located, n.alone, n.failures, n.short = at, true, false, 0, false
	l.settle(n)
}

// without notes that a queue's journal has nothing behind the checkpoint, so
// that a version that was heard of before is not waited for: it is lost.
func (l *newsLine) without(n *news) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.failures = 0
	if n.known == n.picked {
		n.known = n.at
	}
	l.settle(n)
}

func (l *newsLine) settle(n *news) {
	if n.lined = n.known > n.at; !n.lined {
		delete(l.lined, n)
		return
	}
	if n.at >= n.picked { // what is left has come since
		n.since = n.pickedAt
	}
	l.ready = append(l.ready, n)
}

// waiting tells whether some queue is in the line, and else when the first that
// stands beside it is due; zero where none is.
func (l *newsLine) waiting() (ready bool, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.delayed {
		if next.IsZero() || n.retry.Before(next) {
			next = n.retry
		}
	}
	return len(l.ready) > 0, next
}

// version is the newest one of a queue that was heard of.
func (l *newsLine) version(id string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.queues[id]
	if n == nil {
		return 0
	}
	return max(n.known, n.at)
}

// behind counts the events that are known and not followed.
func (l *newsLine) behind() (events uint64, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.lined {
		if n.known <= n.at { // it is only looked at
			continue
		}
		if since.IsZero() || n.since.Before(since) {
			since = n.since
		}
		if n.located {
			events += n.known - n.at
		}
	}
	return events, since
}
