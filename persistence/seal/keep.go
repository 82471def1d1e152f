package seal

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// maxDataKeys bounds the data keys in memory, some 1.5 KB each.
	maxDataKeys = 16_384
	// maxMissed bounds what is remembered to be of no use, for so long.
	maxMissed = 4_096
	missedFor = 5 * time.Second
)

// keep is the data keys that a node has at hand, and for a while those that it
// looked for in vain.
type keep struct {
	mu     sync.Mutex
	byID   *simplelru.LRU[KeyID, *dataKey]
	bySlot map[slot]*dataKey
	lost   map[KeyID]miss
	none   map[slot]time.Time // until when nobody looks again
}

type miss struct {
	why   error
	until time.Time
}

func newKeep() *keep {
	k := &keep{bySlot: make(map[slot]*dataKey), lost: make(map[KeyID]miss), none: make(map[slot]time.Time)}
	var err error
	k.byID, err = simplelru.NewLRU(maxDataKeys, func(_ KeyID, gone *dataKey) {
		if k.bySlot[gone.at] == gone {
			delete(k.bySlot, gone.at)
		}
	})
	if err != nil {
		panic("seal: " + err.Error()) // a constant size
	}
	return k
}

func (k *keep) put(key *dataKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.lost, key.id)
	delete(k.none, key.at)
	if !k.byID.Contains(key.id) { // one that is there has more to it: who uses it
		k.byID.Add(key.id, key)
		k.bySlot[key.at] = key
	}
}

// forSlot gives a key, or whether it is of no use to look for one now.
func (k *keep) forSlot(at slot, now time.Time) (key *dataKey, idle bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key = k.bySlot[at]; key != nil {
		k.byID.Get(key.id) // it was used
		return key, false
	}
	return nil, now.Before(k.none[at])
}

// named gives a key, or why it is of no use to look for it now.
func (k *keep) named(id KeyID, now time.Time) (*dataKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.byID.Get(id); ok {
		return key, nil
	}
	if m, ok := k.lost[id]; ok && now.Before(m.until) {
		return nil, m.why
	}
	return nil, nil
}

// has tells of a key without using it.
func (k *keep) has(id KeyID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.byID.Contains(id)
}

func (k *keep) missSlot(at slot, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.none) >= maxMissed {
		clear(k.none)
	}
	k.none[at] = now.Add(missedFor)
}

func (k *keep) miss(id KeyID, why error, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.lost) >= maxMissed {
		clear(k.lost)
	}
	k.lost[id] = miss{why, now.Add(missedFor)}
}

func (k *keep) ids() []KeyID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.byID.Keys()
}

func (k *keep) drop(id KeyID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.byID.Remove(id)
}
