package directory

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Statistics of a queue are kept in UTC slots of several lengths, each four
// times the one below it. A slot has counts, and all values of the durations
// that ended in it with how often each occurred, so that percentiles over any
// slots together are exact. The shortest slot is a quarter of an hour, for that
// is what the offsets of all timezones are multiples of; what is asked for
// begins and ends at any millisecond, so what happened in each quarter is kept
// one by one too. No row is ever scanned that is not part of an answer.

// statChange is what one event of a queue changes in its statistics.
type statChange struct {
	queue string
	kind  statKind
	at    int64 // Unix milliseconds: of the enqueueing for an arrival, else of the finish
	// sign is 1, or -1 where a finished ticket was requeued and what it had
	// counted is taken back.
	sign int64
	// wait and handle are in whole seconds, -1 where the ticket has none.
	wait, handle int64
}

type statKind uint8

const (
	statArrival statKind = iota + 1
	statServed
	statNoShow
	statRemoved
	// statTransferred is counted by its wait and handle alone.
	statTransferred
)

const (
	quarter    = 15 * 60 * 1000 // milliseconds
	statLevels = 5              // the longest slots are of 64 hours
	// statPart is how many bytes of moments a row takes before the next one is begun.
	statPart = 4096
	// One statement reads and writes no more than so many rows, and writes
	// hardly more than so many bytes.
	statBatch = 100
	statBytes = 1 << 20
)

// slotWidth is in milliseconds.
func slotWidth(level int) int64 { return quarter << (2 * level) }

// slotRow is one slot of a queue's statistics.
type slotRow struct {
	QueueID string `gorm:"primaryKey"`
	Level   int    `gorm:"primaryKey"`
	Slot    int64  `gorm:"primaryKey"`

	Arrivals, Served, NoShows, Removed int64
	Waits, Handles                     []byte // histograms
	// Part is the row of moments that is being filled, on the lowest level.
	Part int
}

func (slotRow) TableName() string { return "statistics_slots" }

// momentsRow is part of what happened in a quarter of an hour.
type momentsRow struct {
	QueueID string `gorm:"primaryKey"`
	Slot    int64  `gorm:"primaryKey"`
	Part    int    `gorm:"primaryKey"`
	Moments []byte
}

func (momentsRow) TableName() string { return "statistics_moments" }

// slotKey names a slot of a queue; its start is slot times the level's width.
type slotKey struct {
	queue string
	level int
	slot  int64
}

func (a slotKey) compare(b slotKey) int {
	return cmp.Or(cmp.Compare(a.queue, b.queue), cmp.Compare(a.level, b.level), cmp.Compare(a.slot, b.slot))
}

// slotDelta is what changes do to one slot.
type slotDelta struct {
	counts         statCounts
	waits, handles map[int64]int64
	moments        []byte
}

// statCounts is how many there were of each kind.
type statCounts [statTransferred + 1]int64

func (c *statCounts) merge(other *statCounts) {
	for kind, n := range other {
		c[kind] += n
	}
}

func (s *slotDelta) add(c statChange) {
	s.counts[c.kind] += c.sign
	if c.wait >= 0 {
		s.waits[c.wait] += c.sign
	}
	if c.handle >= 0 {
		s.handles[c.handle] += c.sign
	}
}

// recordStatistics adds changes, within the transaction that moves the
// history's checkpoint. Many at once cost little more than one for each slot
// that they are in.
func recordStatistics(tx *gorm.DB, changes []statChange) error {
	deltas := slotDeltas(changes)
	// Every writer locks in one order.
	keys := slices.SortedFunc(maps.Keys(deltas), slotKey.compare)
	slots, err := changedSlots(tx, keys, deltas)
	if err != nil {
		return err
	}
	moments, err := addedMoments(tx, slots, deltas)
	if err != nil {
		return err
	}
	if err := upsert(tx, slots, (*slotRow).size, "queue_id", "level", "slot"); err != nil {
		return err
	}
	return upsert(tx, moments, (*momentsRow).size, "queue_id", "slot", "part")
}

func slotDeltas(changes []statChange) map[slotKey]*slotDelta {
	deltas := make(map[slotKey]*slotDelta)
	for _, c := range changes {
		for level := range statLevels {
			key := slotKey{c.queue, level, c.at / slotWidth(level)}
			delta := deltas[key]
			if delta == nil {
				delta = &slotDelta{waits: make(map[int64]int64), handles: make(map[int64]int64)}
				deltas[key] = delta
			}
			delta.add(c)
			if level == 0 {
				delta.moments = appendMoment(delta.moments, c)
			}
		}
	}
	return deltas
}

// changedSlots reads slots and applies the changes to them.
func changedSlots(tx *gorm.DB, keys []slotKey, deltas map[slotKey]*slotDelta) ([]slotRow, error) {
	rows := make([]slotRow, 0, len(keys))
	for part := range slices.Chunk(keys, statBatch) {
		known, err := readAny[slotRow](tx, "queue_id = ? AND level = ? AND slot = ?", part,
			func(k slotKey) []any { return []any{k.queue, k.level, k.slot} })
		if err != nil {
			return nil, err
		}
		byKey := make(map[slotKey]slotRow, len(known))
		for _, row := range known {
			byKey[row.key()] = row
		}
		for _, key := range part {
			row := byKey[key]
			row.QueueID, row.Level, row.Slot = key.queue, key.level, key.slot
			if err := row.apply(deltas[key]); err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (r *slotRow) key() slotKey { return slotKey{r.QueueID, r.Level, r.Slot} }

func (r *slotRow) apply(delta *slotDelta) (err error) {
	r.Arrivals += delta.counts[statArrival]
	r.Served += delta.counts[statServed]
	r.NoShows += delta.counts[statNoShow]
	r.Removed += delta.counts[statRemoved]
	if r.Waits, err = changeHistogram(r.Waits, delta.waits); err == nil {
		r.Handles, err = changeHistogram(r.Handles, delta.handles)
	}
	return err
}

// addedMoments reads the rows that are being filled and adds to them, or begins
// the next ones; it says so in the rows of their slots.
func addedMoments(tx *gorm.DB, slots []slotRow, deltas map[slotKey]*slotDelta) ([]momentsRow, error) {
	var lowest []*slotRow
	for i := range slots {
		if slots[i].Level == 0 {
			lowest = append(lowest, &slots[i])
		}
	}
	rows := make([]momentsRow, 0, len(lowest))
	for part := range slices.Chunk(lowest, statBatch) {
		known, err := readAny[momentsRow](tx, "queue_id = ? AND slot = ? AND part = ?", part,
			func(r *slotRow) []any { return []any{r.QueueID, r.Slot, r.Part} })
		if err != nil {
			return nil, err
		}
		byKey := make(map[slotKey][]byte, len(known))
		for _, row := range known {
			byKey[slotKey{queue: row.QueueID, slot: row.Slot}] = row.Moments
		}
		for _, slot := range part {
			moments := byKey[slot.key()]
			if len(moments) >= statPart {
				slot.Part++
				moments = nil
			}
			moments = append(moments, deltas[slot.key()].moments...)
			rows = append(rows, momentsRow{QueueID: slot.QueueID, Slot: slot.Slot, Part: slot.Part, Moments: moments})
		}
	}
	return rows, nil
}

// readAny reads, and locks, the rows that a condition holds for with the values
// of any of the keys.
func readAny[R slotRow | momentsRow, K any](tx *gorm.DB, condition string, keys []K, values func(K) []any) (rows []R, err error) {
	var arguments []any
	for _, key := range keys {
		arguments = append(arguments, values(key)...)
	}
	either := strings.Repeat(" OR "+condition, len(keys))[len(" OR "):]
	err = locked(tx).Where(either, arguments...).Find(&rows).Error
	return rows, err
}

// upsert writes whole rows, a bounded number and size with each statement.
func upsert[R slotRow | momentsRow](tx *gorm.DB, rows []R, size func(*R) int, key ...string) error {
	columns := make([]clause.Column, len(key))
	for i, name := range key {
		columns[i].Name = name
	}
	for len(rows) > 0 {
		n, bytes := 0, 0
		for n < min(len(rows), statBatch) && bytes < statBytes {
			bytes += size(&rows[n])
			n++
		}
		part := rows[:n]
		if err := tx.Clauses(clause.OnConflict{Columns: columns, UpdateAll: true}).Create(&part).Error; err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func (r *slotRow) size() int    { return len(r.Waits) + len(r.Handles) }
func (r *momentsRow) size() int { return len(r.Moments) }
