package queue

// Bounds of what is remembered of operations that came without a key.
const (
	recentFor Time = 60 * 1000
	recentMin      = 256 // are remembered for longer
	recentMax      = 1 << 16
	// againWithin is the longest time between two sendings of an operation; see
	// Command.Again.
	againWithin Time = 30 * 1000
)

// recents remembers the operations that came without a key for a moment, so that
// one that is sent again is done once. That is rare, so there is no index: a
// second sending looks through all of them.
//
// Like a memory's, the ring only ever grows at its end.
type recents struct {
	ring []Recent
	// after: every operation of a later time stands in the ring.
	after Time
	// again are those of the ring whose first sending had not come when they were
	// done. It may be on its way still.
	again map[OpID]uint64 // version
}

// Recent is an operation that came without a key, as far as it is remembered.
type Recent struct {
	Op      OpID
	Version uint64
	At      Time
	Again   bool // see Event.Again
}

// find gives the version at which an operation was accepted, 0 if that is not
// remembered. O(n).
func (r *recents) find(op OpID) uint64 {
	for i := len(r.ring) - 1; i >= 0; i-- {
		if r.ring[i].Op == op {
			return r.ring[i].Version
		}
	}
	return 0
}

func (r *recents) add(added Recent) {
	r.ring = append(r.ring, added)
	if added.Again {
		if r.again == nil {
			r.again = make(map[OpID]uint64)
		}
		r.again[added.Op] = added.Version
	}
}

// forget drops the oldest where it has lapsed, or is one too many. It leaves a
// few, and of the others only two go for each that comes: a clock that leaps, as
// where the queue moves to another node, must not take away what came a moment
// ago. After a day all go at once, for it may be that no more are coming.
func (r *recents) forget(e *Event) {
	for n := 0; len(r.ring) > 0; n++ {
		oldest := &r.ring[0]
		lapsed := oldest.At < e.At-recentFor && len(r.ring) > recentMin
		due := n < 2 && !e.Keyed && (lapsed || len(r.ring) > recentMax)
		if !due && oldest.At >= e.At-Day {
			return
		}
		if oldest.Again && r.again[oldest.Op] == oldest.Version {
			delete(r.again, oldest.Op)
		}
		r.after = oldest.At
		r.ring = r.ring[1:]
	}
}

// oldestSince is the version of the oldest operation that came at t or later, 0
// if there is none.
func (r *recents) oldestSince(t Time) uint64 {
	oldest := uint64(0)
	for i := len(r.ring) - 1; i >= 0 && r.ring[i].At >= t; i-- {
		oldest = r.ring[i].Version
	}
	return oldest
}

// sentBefore gives the version at which a command that came without a key was
// accepted before, 0 if it was not. It comes before every refusal: what was
// accepted once is no matter of the state any more.
func (s *State) sentBefore(c *Command) (uint64, error) {
	if !c.Again {
		return s.recents.again[c.Op], nil
	}
	done := s.recents.find(c.Op)
	if done == 0 && s.now(c)-againWithin <= s.recents.after {
		return 0, ErrOutcomeUnknown
	}
	return done, nil
}
