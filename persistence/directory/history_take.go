package directory

import (
	"context"
	"errors"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"nowserving/actors/queue"
)

// historySink is the name of the history's checkpoints.
const historySink = "history"

// HistoryPart is the next part of one queue's events for the history.
type HistoryPart struct {
	Queue       string
	After, Upto uint64 // the checkpoint as it must be, and as it will be
	Changes     []HistoryChange
	// Event gives one of so many Events of the part, as webhooks have it.
	Events int
	Event  func(i int) WebhookEvent
}

// HistoryChange is what one event means to history and statistics: exactly one
// of its fields is set. Events that mean nothing to them are left out.
type HistoryChange struct {
	// Arrived is when a ticket was enqueued.
	Arrived queue.Time
	// Finished is the ticket after the event that ended its way through the queue.
	Finished *queue.Ticket
	// Requeued is the ticket that waits again, whether or not it had finished.
	Requeued queue.TicketID
}

// TakeHistory records the parts of several queues, their statistics, what
// webhooks are to have of them and their checkpoints in one transaction. It fails with ErrMoved, having written
// nothing, where a checkpoint is not where the part begins: so each event is
// recorded exactly once, whoever else tries to.
func (d *Directory) TakeHistory(ctx context.Context, parts []HistoryPart) error {
	var died map[string]int
	err := d.write(ctx, func(tx *gorm.DB) (err error) {
		if err := moveCheckpoints(tx, historySink, parts); err != nil {
			return err
		}
		r := recorder{tx: tx, rows: make(map[queue.TicketID]*historyEntry)}
		if err := r.load(parts); err != nil {
			return err
		}
		for _, p := range parts {
			for _, c := range p.Changes {
				r.record(p.Queue, c)
			}
		}
		if err := r.store(); err != nil {
			return err
		}
		died, err = d.putDeliveries(tx, parts)
		return err
	})
	if err == nil { // a transaction that is tried again has not happened
		d.buried(ctx, died)
	}
	return err
}

// moveCheckpoints locks the checkpoints and moves them. A queue's first one
// cannot be locked: whoever is second to insert it has come too late.
func moveCheckpoints(tx *gorm.DB, sink string, parts []HistoryPart) error {
	queues := make([]string, len(parts))
	for i, p := range parts {
		queues[i] = p.Queue
	}
	slices.Sort(queues) // one order of locking
	at, err := checkpoints(locked(tx), sink, queues)
	if err != nil {
		return err
	}
	var first, later []checkpointRow
	for _, p := range parts {
		version, known := at[p.Queue]
		row := checkpointRow{Sink: sink, Queue: p.Queue, Version: p.Upto}
		switch {
		case version != p.After || p.Upto < p.After:
			return ErrMoved
		case known:
			later = append(later, row)
		default:
			first = append(first, row)
		}
	}
	if len(first) > 0 {
		err := tx.CreateInBatches(&first, idsPerQuery).Error
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			return ErrMoved
		}
		if err != nil {
			return err
		}
	}
	if len(later) == 0 {
		return nil
	}
	return tx.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "sink"}, {Name: "queue"}},
		DoUpdates: clause.AssignmentColumns([]string{"version"}),
	}).CreateInBatches(&later, idsPerQuery).Error
}

// recorder folds the events of one transaction: what counts for a row is how
// its ticket stands in the end, for statistics every change.
type recorder struct {
	tx      *gorm.DB
	rows    map[queue.TicketID]*historyEntry
	order   []queue.TicketID // of the first mention: rows are written in it
	changes []statChange
}

// historyEntry is the row of one ticket that the transaction is about.
type historyEntry struct {
	stored bool            // there is a row, of before the transaction
	was    *FinishedTicket // as it stands so far; nil where it is not finished
	fresh  bool            // was is not what is stored
}

// load reads what is stored of the tickets that finish or are requeued. Where
// a store has lost events, one can finish twice without a requeue in between.
func (r *recorder) load(parts []HistoryPart) error {
	for _, p := range parts {
		for _, c := range p.Changes {
			id := c.Requeued
			if c.Finished != nil {
				id = c.Finished.ID
			}
			if _, known := r.rows[id]; !known && !id.IsZero() {
				r.rows[id] = &historyEntry{}
				r.order = append(r.order, id)
			}
		}
	}
	for ids := range slices.Chunk(r.order, idsPerQuery) {
		if err := r.loadRows(ids); err != nil {
			return err
		}
	}
	return nil
}

// loadRows reads no more of a row than statistics know of it.
func (r *recorder) loadRows(ids []queue.TicketID) error {
	found, err := r.tx.Raw("SELECT id, queue, state, enqueued_ms, called_ms, started_ms, finished_ms FROM history WHERE id IN ?",
		idColumns(ids)).Rows()
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		t := &queue.Ticket{}
		row := &FinishedTicket{Ticket: t}
		var id []byte
		var state string
		if err := found.Scan(&id, &row.Queue, &state, &t.EnqueuedAt, &t.CalledAt, &t.StartedAt, &t.FinishedAt); err != nil {
			return err
		}
		var known bool
		if t.State, known = queue.ParseTicketState(state); !known {
			return errDamagedRow
		}
		t.ID = ticketID(id)
		*r.rows[t.ID] = historyEntry{stored: true, was: row}
	}
	return found.Err()
}

func (r *recorder) record(queueID string, c HistoryChange) {
	switch {
	case c.Finished != nil:
		row := r.rows[c.Finished.ID]
		r.takeBack(row)
		row.was, row.fresh = &FinishedTicket{Queue: queue.ID(queueID), Ticket: c.Finished}, true
		r.changes = append(r.changes, row.was.counted(1))
	case !c.Requeued.IsZero():
		row := r.rows[c.Requeued]
		r.takeBack(row)
		row.was, row.fresh = nil, true
	default:
		r.changes = append(r.changes, statChange{
			queue: queueID, kind: statArrival, at: int64(c.Arrived), sign: 1, wait: -1, handle: -1,
		})
	}
}

// takeBack undoes what a row had counted.
func (r *recorder) takeBack(row *historyEntry) {
	if row.was != nil {
		r.changes = append(r.changes, row.was.counted(-1))
	}
}

var statKinds = map[queue.TicketState]statKind{
	queue.Completed: statServed, queue.NoShow: statNoShow, queue.Removed: statRemoved, queue.Transferred: statTransferred,
}

// counted is what a finished ticket adds to statistics, or takes from them.
func (f *FinishedTicket) counted(sign int64) statChange {
	return statChange{
		queue: string(f.Queue), kind: statKinds[f.State], at: int64(f.FinishedAt), sign: sign,
		wait: seconds(f.EnqueuedAt, f.CalledAt), handle: seconds(f.StartedAt, f.FinishedAt),
	}
}

// seconds is the whole seconds between two moments, -1 where one never was.
func seconds(from, to queue.Time) int64 {
	if from == 0 || to == 0 {
		return -1
	}
	return int64(to-from) / 1000
}

// store writes the rows as they stand in the end, and the statistics.
func (r *recorder) store() error {
	var gone []queue.TicketID
	var written []*FinishedTicket
	for _, id := range r.order {
		row := r.rows[id]
		if row.stored && row.fresh {
			gone = append(gone, id)
		}
		if row.was != nil && row.fresh {
			written = append(written, row.was)
		}
	}
	for ids := range slices.Chunk(gone, idsPerQuery) {
		if err := r.tx.Exec("DELETE FROM history WHERE id IN ?", idColumns(ids)).Error; err != nil {
			return err
		}
	}
	for len(written) > 0 {
		n := historyBatch(written)
		if err := insertHistory(r.tx, written[:n]); err != nil {
			return err
		}
		written = written[n:]
	}
	if len(r.changes) == 0 {
		return nil
	}
	return recordStatistics(r.tx, r.changes)
}

func idColumns(ids []queue.TicketID) [][]byte {
	columns := make([][]byte, len(ids))
	for i := range ids {
		columns[i] = ids[i][:]
	}
	return columns
}

// Bounds of one INSERT: databases bound its parameters and its bytes.
const (
	historyInsertRows  = 128
	historyInsertBytes = 1 << 20
)

// historyBatch is how many of some rows go into the next INSERT.
func historyBatch(rows []*FinishedTicket) int {
	bytes := 0
	for i, row := range rows[:min(len(rows), historyInsertRows)] {
		if bytes += len(row.Customer) + len(row.Payload); bytes > historyInsertBytes && i > 0 {
			return i
		}
	}
	return min(len(rows), historyInsertRows)
}

// historyInsert is an INSERT of so many rows.
func historyInsert(rows int) string {
	row := "(" + strings.Repeat("?, ", historyWidth-1) + "?)"
	return "INSERT INTO history (" + historyStored + ") VALUES " + strings.Repeat(row+", ", rows-1) + row
}

var fullHistoryInsert = historyInsert(historyInsertRows)

// insertHistory goes past gorm, which would look at every parameter.
func insertHistory(tx *gorm.DB, rows []*FinishedTicket) error {
	text := fullHistoryInsert
	if len(rows) < historyInsertRows {
		text = historyInsert(len(rows))
	}
	args := make([]any, 0, len(rows)*historyWidth)
	for _, row := range rows {
		args = append(args, row.values()...)
	}
	_, err := tx.Statement.ConnPool.ExecContext(tx.Statement.Context, text, args...)
	return err
}
