package directory

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"gorm.io/gorm"

	"nowserving/actors/queue"
)

// The service history: one row for each finished ticket. It follows the
// journals of the queues (history_take.go) and is never the truth about a
// ticket that can still be requeued.

// ErrMoved: a checkpoint is not where it was expected; nothing was written.
var ErrMoved = errors.New("directory: the checkpoint has moved")

// FinishedTicket is one row of the history. The ticket's Outcome is what
// complete gave, else the name of its state.
type FinishedTicket struct {
	Queue queue.ID
	*queue.Ticket
}

// HistoryFilter says which rows are wanted; what is empty filters nothing.
type HistoryFilter struct {
	// Queues are those whose rows may be seen: all where it is nil, none where
	// it is empty.
	Queues             []string
	Attendant, Outcome string
	// From and To bound the time of finishing, From inclusive, To exclusive. A
	// To of zero is no bound.
	From, To queue.Time
}

// HistoryPlace is a row's place in the history.
type HistoryPlace struct {
	FinishedAt queue.Time
	ID         queue.TicketID
}

// order is the order of the list: the ones finished last first.
func (p HistoryPlace) order(q HistoryPlace) int {
	return cmp.Or(cmp.Compare(q.FinishedAt, p.FinishedAt), bytes.Compare(q.ID[:], p.ID[:]))
}

// ListHistory gives at most limit rows, the ones finished last first, from the
// place after, or from the newest where that is nil; next is where the next
// page goes on, nil where there is none. A row that is requeued between two
// statements can be missing from its page; no other row is missing for it.
func (d *Directory) ListHistory(ctx context.Context, f HistoryFilter, after *HistoryPlace, limit int) (rows []FinishedTicket, next *HistoryPlace, err error) {
	limit = clampLimit(limit)
	q := historyQuery{HistoryFilter: f, after: after, limit: limit + 1} // one more tells whether a page follows
	var places []HistoryPlace
	switch {
	case f.Queues != nil && len(f.Queues) == 0:
		return []FinishedTicket{}, nil, nil
	case f.Attendant != "" && (f.Queues != nil || f.Outcome != ""):
		// The index holds all that is asked for. Both databases would fetch
		// the whole row of each entry that it does not fit.
		places, err = d.historyPlaces(ctx, q, q.Queues)
	case len(f.Queues) > 1:
		places, err = d.historyOfQueues(ctx, q)
	default:
		text, args := q.statement(d, historyColumns, q.Queues)
		if rows, err = d.finishedTickets(ctx, text, args, false); err == nil && len(rows) > limit {
			rows = rows[:limit]
			next = &HistoryPlace{rows[limit-1].FinishedAt, rows[limit-1].ID}
		}
		return rows, next, d.fail(err)
	}
	if err != nil {
		return nil, nil, d.fail(err)
	}
	if len(places) > limit {
		places = places[:limit]
		next = &places[limit-1]
	}
	rows, err = d.historyAt(ctx, places)
	return rows, next, d.fail(err)
}

func (d *Directory) finishedTickets(ctx context.Context, text string, args []any, withTrail bool) ([]FinishedTicket, error) {
	found, err := d.read(ctx).Raw(text, args...).Rows()
	if err != nil {
		return nil, err
	}
	defer found.Close()
	rows := []FinishedTicket{}
	for found.Next() {
		row, err := scanFinished(found, withTrail)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, found.Err()
}

// historyChunk is how many queues one statement looks at: SQLite takes 500
// parts of a compound statement.
const historyChunk = 64

// historyOfQueues merges the places of the newest rows of several queues. None
// is read behind what the queues before have given already.
func (d *Directory) historyOfQueues(ctx context.Context, q historyQuery) (places []HistoryPlace, err error) {
	ids := slices.Clone(q.Queues)
	slices.Sort(ids)
	for chunk := range slices.Chunk(slices.Compact(ids), historyChunk) {
		if len(places) == q.limit {
			q.From = max(q.From, places[q.limit-1].FinishedAt)
		}
		parts, args := make([]string, len(chunk)), []any{}
		for i := range chunk {
			text, more := q.statement(d, historyPlaceColumns, chunk[i:i+1])
			parts[i] = "SELECT * FROM (" + text + ") AS part"
			args = append(args, more...)
		}
		more, err := d.readPlaces(ctx, strings.Join(parts, " UNION ALL "), args)
		if err != nil {
			return nil, err
		}
		places = append(places, more...)
		slices.SortFunc(places, HistoryPlace.order)
		places = places[:min(len(places), q.limit)]
	}
	return places, nil
}

// historyPlaces gives the places of rows that the index alone can tell.
func (d *Directory) historyPlaces(ctx context.Context, q historyQuery, queues []string) ([]HistoryPlace, error) {
	text, args := q.statement(d, historyPlaceColumns, queues)
	return d.readPlaces(ctx, text, args)
}

const historyPlaceColumns = "finished_ms, id"

func (d *Directory) readPlaces(ctx context.Context, text string, args []any) ([]HistoryPlace, error) {
	var rows []struct {
		FinishedMs int64
		ID         []byte
	}
	err := d.read(ctx).Raw(text, args...).Scan(&rows).Error
	places := make([]HistoryPlace, len(rows))
	for i, row := range rows {
		places[i] = HistoryPlace{queue.Time(row.FinishedMs), ticketID(row.ID)}
	}
	return places, err
}

// historyAt gives the rows at some places, in their order.
func (d *Directory) historyAt(ctx context.Context, places []HistoryPlace) ([]FinishedTicket, error) {
	rows := make([]FinishedTicket, 0, len(places))
	for part := range slices.Chunk(places, idsPerQuery) {
		ids := make([][]byte, len(part))
		for i := range part {
			ids[i] = part[i].ID[:]
		}
		found, err := d.finishedTickets(ctx, "SELECT "+historyColumns+" FROM history WHERE id IN ?", []any{ids}, false)
		if err != nil {
			return nil, err
		}
		byID := make(map[queue.TicketID]FinishedTicket, len(found))
		for _, row := range found {
			byID[row.ID] = row
		}
		for _, p := range part {
			if row, there := byID[p.ID]; there {
				rows = append(rows, row)
			}
		}
	}
	return rows, nil
}

// historyQuery is a filter with what bounds a page.
type historyQuery struct {
	HistoryFilter
	after *HistoryPlace
	limit int
}

// statement reads rows of some queues, or of all where there are none named, by
// the index that is made for these filters; without being told, the databases
// sometimes prefer to sort.
func (q *historyQuery) statement(d *Directory, columns string, queues []string) (string, []any) {
	index := "history"
	var where []string
	var args []any
	if q.Attendant != "" {
		where, args = append(where, "attendant = ?"), append(args, q.Attendant)
	}
	switch len(queues) {
	case 0:
	case 1:
		index += "_queue"
		where, args = append(where, "queue = ?"), append(args, queues[0])
	default:
		where, args = append(where, "queue IN ?"), append(args, queues)
	}
	if q.Outcome != "" {
		index += "_outcome"
		where, args = append(where, "outcome = ?"), append(args, q.Outcome)
	}
	switch {
	case q.Attendant != "":
		index = "history_attendant"
	case len(where) == 0:
		index += "_all"
	}
	bound := func(condition string, values ...any) {
		where, args = append(where, condition), append(args, values...)
	}
	if q.From > 0 {
		bound("finished_ms >= ?", int64(q.From))
	}
	if q.To > 0 {
		bound("finished_ms < ?", int64(q.To))
	}
	if q.after != nil {
		at := int64(q.after.FinishedAt)
		bound("finished_ms <= ?", at)
		bound("(finished_ms < ? OR id < ?)", at, q.after.ID[:])
	}
	hint := " FORCE INDEX (" + index + ")"
	if d.db.Name() == "sqlite" {
		hint = " INDEXED BY " + index
	}
	text := "SELECT " + columns + " FROM history" + hint
	if len(where) > 0 {
		text += " WHERE " + strings.Join(where, " AND ")
	}
	return text + " ORDER BY finished_ms DESC, id DESC LIMIT ?", append(args, q.limit)
}

// KnowsQueue tells whether there is, or ever was, a queue of that id, as far as
// the list of queues or the history know.
func (d *Directory) KnowsQueue(ctx context.Context, id string) (bool, error) {
	_, err := d.LastKnown(ctx, id)
	if !errors.Is(err, ErrNotFound) {
		return err == nil, err
	}
	at, err := d.HistoryCheckpoints(ctx, []string{id})
	return err == nil && at[0] > 0, err
}

// HistoryCheckpoints gives the versions up to which the history has the events
// of some queues, 0 where it has none.
func (d *Directory) HistoryCheckpoints(ctx context.Context, queues []string) ([]uint64, error) {
	return d.Checkpoints(ctx, historySink, queues)
}

// checkpointRow is how far somebody who must have every event of a queue has come.
type checkpointRow struct {
	Sink    string `gorm:"primaryKey"`
	Queue   string `gorm:"primaryKey"`
	Version uint64
}

func (checkpointRow) TableName() string { return "checkpoints" }

func checkpoints(query *gorm.DB, sink string, queues []string) (map[string]uint64, error) {
	at := make(map[string]uint64, len(queues))
	query = query.Session(&gorm.Session{}) // or the conditions of one part would stand in the next
	for part := range slices.Chunk(queues, idsPerQuery) {
		var rows []checkpointRow
		if err := query.Where("sink = ? AND queue IN ?", sink, part).Find(&rows).Error; err != nil {
			return nil, err
		}
		for _, row := range rows {
			at[row.Queue] = row.Version
		}
	}
	return at, nil
}
