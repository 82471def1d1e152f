package directory

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// StatisticsQuery asks for what happened in a queue between edges in ascending
// order, which are taken in milliseconds: each part begins at one and ends
// before the next. The effort is that of the parts, whatever lies between
// their edges.
type StatisticsQuery struct {
	Queue  string
	Edges  []time.Time
	Target int64 // seconds that a wait should stay within
}

// Statistics are of some time in one queue. Arrivals are counted when they were
// enqueued, all else when it finished.
type Statistics struct {
	Arrivals, Served, NoShows, Removed int64
	// Wait is of all tickets that finished after they had been called, whatever
	// became of them, and Handle of all that had been started.
	Wait, Handle Durations
	Within       int64 // of the waits, how many were not longer than the target
}

// Durations sums up durations of whole seconds; the part of a second that each
// had beyond is not counted. With a Count of zero, the rest means nothing.
type Durations struct {
	Count         int64
	Mean          int64 // to the nearest second
	P50, P90, P99 int64 // by nearest rank
}

// Statistics gives the statistics of each part, and those of all together.
func (d *Directory) Statistics(ctx context.Context, q StatisticsQuery) (parts []Statistics, total Statistics, err error) {
	if len(q.Edges) < 2 {
		return nil, Statistics{}, ErrInvalid
	}
	plan := newStatPlan(q.Edges)
	if err := d.readSlots(ctx, q.Queue, plan); err != nil {
		return nil, Statistics{}, d.fail(err)
	}
	if err := d.readMoments(ctx, q.Queue, plan); err != nil {
		return nil, Statistics{}, d.fail(err)
	}
	var counts statCounts
	waits, handles, allWaits, allHandles := newTally(), newTally(), newTally(), newTally()
	parts = make([]Statistics, len(plan.parts))
	for i := range plan.parts {
		counted, err := plan.parts[i].sum(waits, handles)
		if err != nil {
			return nil, Statistics{}, err
		}
		parts[i] = newStatistics(&counted, waits, handles, q.Target)
		counts.merge(&counted)
		allWaits.merge(waits)
		allHandles.merge(handles)
	}
	return parts, newStatistics(&counts, allWaits, allHandles, q.Target), nil
}

func newStatistics(counts *statCounts, waits, handles *tally, target int64) Statistics {
	return Statistics{
		Arrivals: counts[statArrival], Served: counts[statServed], NoShows: counts[statNoShow], Removed: counts[statRemoved],
		Wait: waits.durations(), Handle: handles.durations(), Within: waits.within(target),
	}
}

// partRows is what is read for one part of the answer.
type partRows struct {
	from, to int64     // milliseconds
	slots    []slotRow // without their keys
	moments  []statChange
}

// statPlan says which rows make up which part.
type statPlan struct {
	parts []partRows
	// slots are, by level, the slots that lie whole within a part, in ascending
	// order, and the numbers of the parts.
	slots [statLevels]map[int64]int
	// quarters are those that an edge cuts, and the parts on both sides.
	quarters map[int64][]int
}

func newStatPlan(edges []time.Time) *statPlan {
	p := &statPlan{parts: make([]partRows, len(edges)-1), quarters: make(map[int64][]int)}
	for level := range p.slots {
		p.slots[level] = make(map[int64]int)
	}
	for i := range p.parts {
		// Nothing happened before 1970.
		from, to := max(edges[i].UnixMilli(), 0), max(edges[i+1].UnixMilli(), 0)
		p.parts[i].from, p.parts[i].to = from, to
		p.cover(i, from, to)
	}
	return p
}

// cover plans the time from one moment to another with the longest slots there
// are room for.
func (p *statPlan) cover(part int, from, to int64) {
	for from < to {
		slot := from / quarter
		if ends := (slot + 1) * quarter; from%quarter != 0 || ends > to {
			p.quarters[slot] = append(p.quarters[slot], part)
			from = ends
			continue
		}
		level := 0
		for level+1 < statLevels && from%slotWidth(level+1) == 0 && from+slotWidth(level+1) <= to {
			level++
		}
		p.slots[level][from/slotWidth(level)] = part
		from += slotWidth(level)
	}
}

func (d *Directory) readSlots(ctx context.Context, id string, plan *statPlan) error {
	for level, wanted := range plan.slots {
		for chunk := range slices.Chunk(slices.Sorted(maps.Keys(wanted)), idsPerQuery) {
			err := d.scanSlots(ctx, []string{id}, level, chunk, func(row slotRow) {
				part := &plan.parts[wanted[row.Slot]]
				part.slots = append(part.slots, row)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// scanSlots goes past gorm, which would look at every column of every row.
func (d *Directory) scanSlots(ctx context.Context, ids []string, level int, slots []int64, each func(slotRow)) error {
	rows, err := d.read(ctx).Raw("SELECT queue_id, slot, arrivals, served, no_shows, removed, waits, handles FROM statistics_slots "+
		"WHERE queue_id IN ? AND level = ? AND slot IN ?", ids, level, slots).Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r slotRow
		if err := rows.Scan(&r.QueueID, &r.Slot, &r.Arrivals, &r.Served, &r.NoShows, &r.Removed, &r.Waits, &r.Handles); err != nil {
			return err
		}
		each(r)
	}
	return rows.Err()
}

func (d *Directory) readMoments(ctx context.Context, id string, plan *statPlan) error {
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(plan.quarters)), idsPerQuery) {
		var rows []momentsRow
		err := d.read(ctx).Where("queue_id = ? AND slot IN ?", id, chunk).Find(&rows).Error
		if err != nil {
			return err
		}
		for _, row := range rows {
			err := eachMoment(row.Moments, row.Slot, func(c statChange) {
				for _, i := range plan.quarters[row.Slot] {
					if part := &plan.parts[i]; part.from <= c.at && c.at < part.to {
						part.moments = append(part.moments, c)
					}
				}
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// sum gives the counts of one part, and puts its durations into tallies.
func (p *partRows) sum(waits, handles *tally) (counts statCounts, err error) {
	waits.reset()
	handles.reset()
	for i := range p.slots {
		row := &p.slots[i]
		counts[statArrival] += row.Arrivals
		counts[statServed] += row.Served
		counts[statNoShow] += row.NoShows
		counts[statRemoved] += row.Removed
		if err := errors.Join(eachPair(row.Waits, waits.add), eachPair(row.Handles, handles.add)); err != nil {
			return counts, err
		}
	}
	for _, c := range p.moments {
		counts[c.kind] += c.sign
		if c.wait >= 0 {
			waits.add(c.wait, c.sign)
		}
		if c.handle >= 0 {
			handles.add(c.handle, c.sign)
		}
	}
	return counts, nil
}
