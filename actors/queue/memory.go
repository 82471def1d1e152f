package queue

// memory remembers operations in the order in which they came, for a bounded
// time and number, so that each is done once. The oldest are forgotten first.
//
// The ring only ever grows at its end and is never written in place: a
// snapshot may hold a slice of it while the queue goes on.
type memory struct {
	ring  []Remembered
	index map[OpID]uint64 // version
	lapse Time
	max   int
}

// Remembered is one operation: when it was accepted, at which version, and a
// keyed fingerprint of the command.
type Remembered struct {
	Op          OpID
	Version     uint64
	Fingerprint uint64
	At          Time
}

// find gives the remembered operation. O(log n).
func (m *memory) find(op OpID) (Remembered, bool) {
	version, ok := m.index[op]
	if !ok {
		return Remembered{}, false
	}
	// The ring is in order of version.
	lo, hi := 0, len(m.ring)
	for lo < hi {
		if mid := (lo + hi) / 2; m.ring[mid].Version < version {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return m.ring[lo], true
}

func (m *memory) add(r Remembered) {
	if m.index == nil {
		m.index = make(map[OpID]uint64)
	}
	m.index[r.Op] = r.Version
	m.ring = append(m.ring, r)
}

// forget drops what has lapsed at the time of an event, and what is beyond the bound.
func (m *memory) forget(now Time) {
	n := 0
	for n < len(m.ring) && (m.ring[n].At < now-m.lapse || len(m.ring)-n > m.max) {
		// The same operation may have come again later (a key after its 24 h).
		if m.index[m.ring[n].Op] == m.ring[n].Version {
			delete(m.index, m.ring[n].Op)
		}
		n++
	}
	m.ring = m.ring[n:]
}

// oldestSince is the version of the oldest operation that came at t or later, 0 if there is none.
func (m *memory) oldestSince(t Time) uint64 {
	lo, hi := 0, len(m.ring)
	for lo < hi {
		if mid := (lo + hi) / 2; m.ring[mid].At < t {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(m.ring) {
		return 0
	}
	return m.ring[lo].Version
}
