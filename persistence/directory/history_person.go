package directory

import (
	"context"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

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

// EmptyVisit is EmptyHistory for the rows of a visit of which something is left.
func (d *Directory) EmptyVisit(ctx context.Context, visit []byte) (rows int64, err error) {
	err = d.write(ctx, func(tx *gorm.DB) error {
		result := tx.Exec(emptied+"visit = ? AND "+personal, visit)
		rows = result.RowsAffected
		return result.Error
	})
	return rows, err
}

// personal is the condition that something of a person is in a row.
const personal = "(customer <> x'' OR payload <> x'' OR phone_tag <> x'' OR email_tag <> x'' OR ref_tag <> x'')"

// retentionBatch is how many rows one transaction empties.
const retentionBatch = 500

// EmptyHistoryBefore empties the rows of a queue that were finished before a
// time, and gives their number. It goes on from where it was, a little before:
// rows may have come late.
func (d *Directory) EmptyHistoryBefore(ctx context.Context, queueID string, before queue.Time) (rows int64, err error) {
	const late = 7 * queue.Day
	var was retentionRow
	if err := d.read(ctx).Where("queue = ?", queueID).Limit(1).Find(&was).Error; err != nil {
		return 0, d.fail(err)
	}
	from := queue.Time(was.EmptiedMs) - late
	for {
		found, err := d.readPlaces(ctx, "SELECT finished_ms, id FROM history WHERE queue = ? AND finished_ms >= ? AND finished_ms < ? AND "+personal+
			" ORDER BY finished_ms, id LIMIT ?", []any{queueID, int64(from), int64(before), retentionBatch})
		if err != nil {
			return rows, d.fail(err)
		}
		ids := make([][]byte, len(found))
		for i := range found {
			ids[i] = found[i].ID[:]
		}
		err = d.write(ctx, func(tx *gorm.DB) error {
			if len(ids) > 0 {
				if err := tx.Exec(emptied+"id IN ?", ids).Error; err != nil {
					return err
				}
			}
			if len(ids) == retentionBatch || int64(before) <= was.EmptiedMs {
				return nil
			}
			return tx.Clauses(clause.OnConflict{
				Columns: []clause.Column{{Name: "queue"}}, DoUpdates: clause.AssignmentColumns([]string{"emptied_ms"}),
			}).Create(&retentionRow{Queue: queueID, EmptiedMs: int64(before)}).Error
		})
		if err != nil {
			return rows, err
		}
		if rows += int64(len(ids)); len(ids) < retentionBatch {
			return rows, nil
		}
		from = found[len(found)-1].FinishedAt
	}
}

// retentionRow is up to where the rows of a queue are empty.
type retentionRow struct {
	Queue     string `gorm:"primaryKey"`
	EmptiedMs int64
}

func (retentionRow) TableName() string { return "retention" }
