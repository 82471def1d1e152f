package directory

import (
	"context"
	"slices"

	"gorm.io/gorm"

	"nowserving/actors/queue"
)

// ofPerson is the condition that one of the tags stands in a column. The second
// part of it lets SQLite use an index that has no empty ones.
func ofPerson(column string) string { return column + " IN ? AND " + column + " <> x''" }

// HistoryOfPerson gives at most limit rows of whom one of the tags is, the ones
// finished last first.
func (d *Directory) HistoryOfPerson(ctx context.Context, tags [][]byte, limit int) ([]FinishedTicket, error) {
	limit = clampLimit(limit)
	byID := make(map[queue.TicketID]FinishedTicket)
	for _, column := range tagColumns {
		rows, err := d.finishedTickets(ctx, "SELECT "+historyStored+" FROM history WHERE "+ofPerson(column)+
			" ORDER BY finished_ms DESC, id DESC LIMIT ?", []any{tags, limit}, true)
		if err != nil {
			return nil, d.fail(err)
		}
		for _, row := range rows {
			byID[row.ID] = row
		}
	}
	rows := make([]FinishedTicket, 0, len(byID))
	for _, row := range byID {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b FinishedTicket) int {
		return HistoryPlace{a.FinishedAt, a.ID}.order(HistoryPlace{b.FinishedAt, b.ID})
	})
	return rows[:min(limit, len(rows))], nil
}

// Scrub has SQLite empty its write-ahead log, which holds what was changed until
// it is written over. MySQL does not let anybody do that.
func (d *Directory) Scrub(ctx context.Context) error {
	if !d.dialect.oneWriter {
		return nil
	}
	var busy, frames, moved int
	if err := d.dialect.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved); err != nil {
		return d.fail(err)
	}
	if busy != 0 {
		return ErrUnavailable
	}
	return nil
}

// HistoryOf gives the row of a ticket with its trail, or ErrNotFound.
func (d *Directory) HistoryOf(ctx context.Context, id queue.TicketID) (FinishedTicket, error) {
	rows, err := d.finishedTickets(ctx, "SELECT "+historyStored+" FROM history WHERE id = ?", []any{id[:]}, true)
	switch {
	case err != nil:
		return FinishedTicket{}, d.fail(err)
	case len(rows) == 0:
		return FinishedTicket{}, ErrNotFound
	}
	return rows[0], nil
}

// emptied is what is left of a row's person.
const emptied = "UPDATE history SET customer = x'', payload = x'', phone_tag = x'', email_tag = x'', ref_tag = x'' WHERE "

// EmptyHistory takes from all rows of whom one of the tags is all by which they
// could be told, and gives their number.
func (d *Directory) EmptyHistory(ctx context.Context, tags [][]byte) (rows int64, err error) {
	err = d.write(ctx, func(tx *gorm.DB) error {
		rows = 0
		for _, column := range tagColumns {
			result := tx.Exec(emptied+ofPerson(column), tags)
			if result.Error != nil {
				return result.Error
			}
			rows += result.RowsAffected
		}
		return nil
	})
	return rows, err
}
