package actors

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Bounds of what is under way on a node.
const (
	maxUnderway = 20_000
	// maxOfQueue is what one queue may have of them: one that is stuck, or that
	// everybody asks, leaves room for the others.
	maxOfQueue  = maxUnderway / 4
	shareShards = 64
)

// shares counts requests under way, all of them and those of each queue.
type shares struct {
	all    atomic.Int64
	seed   maphash.Seed
	shards [shareShards]struct {
		sync.Mutex
		queues map[string]int
	}
}

func newShares() *shares {
	s := &shares{seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].queues = make(map[string]int)
	}
	return s
}

// take is false where there is no room for one more request of a queue.
func (s *shares) take(queue string) bool {
	if s.all.Add(1) > maxUnderway || !s.add(queue, 1) {
		s.all.Add(-1)
		return false
	}
	return true
}

func (s *shares) give(queue string) {
	s.add(queue, -1)
	s.all.Add(-1)
}

// add is false where the queue would have more than its share.
func (s *shares) add(queue string, n int) bool {
	shard := &s.shards[maphash.String(s.seed, queue)%shareShards]
	shard.Lock()
	defer shard.Unlock()
	now := shard.queues[queue] + n
	switch {
	case now > maxOfQueue:
		return false
	case now == 0:
		delete(shard.queues, queue)
	default:
		shard.queues[queue] = now
	}
	return true
}
