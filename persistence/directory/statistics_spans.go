package directory

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Span asks for what happened in a queue from one moment to before another, both
// taken in milliseconds.
type Span struct {
	Queue    string
	From, To time.Time
	Target   int64 // seconds that a wait should stay within
}

// StatisticsOf gives the statistics of many queues, in the order of the spans.
// Those of the same time are read together, so that a list of queues takes a few
// statements for each timezone in it.
func (d *Directory) StatisticsOf(ctx context.Context, spans []Span) ([]Statistics, error) {
	type times struct{ from, to int64 }
	groups := make(map[times][]int)
	for i, s := range spans {
		at := times{s.From.UnixMilli(), s.To.UnixMilli()}
		groups[at] = append(groups[at], i)
	}
	found := make([]Statistics, len(spans))
	for _, group := range groups {
		for part := range slices.Chunk(group, idsPerQuery) {
			if err := d.statisticsOf(ctx, spans, part, found); err != nil {
				return nil, d.fail(err)
			}
		}
	}
	return found, nil
}

// statisticsOf answers some spans of one time, by their indexes.
func (d *Directory) statisticsOf(ctx context.Context, spans []Span, group []int, found []Statistics) error {
	edges := []time.Time{spans[group[0]].From, spans[group[0]].To}
	shared := newStatPlan(edges)
	ids, rows := make([]string, len(group)), make(map[string]*partRows, len(group))
	for i, span := range group {
		ids[i] = spans[span].Queue
		part := shared.parts[0]
		rows[ids[i]] = &part
	}
	for level, wanted := range shared.slots {
		for chunk := range slices.Chunk(slices.Sorted(maps.Keys(wanted)), idsPerQuery) {
			err := d.scanSlots(ctx, ids, level, chunk, func(row slotRow) {
				part := rows[row.QueueID]
				part.slots = append(part.slots, row)
			})
			if err != nil {
				return err
			}
		}
	}
	waits, handles := newTally(), newTally()
	for i, span := range group {
		part := rows[ids[i]]
		if len(shared.quarters) > 0 { // no day of today's timezones begins or ends in the middle of one
			plan := newStatPlan(edges)
			if err := d.readMoments(ctx, ids[i], plan); err != nil {
				return err
			}
			part.moments = plan.parts[0].moments
		}
		counts, err := part.sum(waits, handles)
		if err != nil {
			return err
		}
		found[span] = newStatistics(&counts, waits, handles, spans[span].Target)
	}
	return nil
}
