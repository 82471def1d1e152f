package directory

import (
	"context"

	"gorm.io/gorm"
)

// SealedRow is the sealed part of a finished ticket.
type SealedRow struct {
	ID                []byte
	Queue             string
	Visit             [16]byte
	Customer, Payload []byte
}

// Resealed is such a row with its new values.
type Resealed struct {
	SealedRow
	NewCustomer, NewPayload []byte
}

type sealedRow struct {
	ID, Visit, Customer, Payload []byte
	Queue                        string
}

// SealedDirectly looks at so many finished tickets behind an id, and gives those
// whose values the key ring itself sealed (their first byte is 1) and the last
// id; nil when it was the end.
func (d *Directory) SealedDirectly(ctx context.Context, after []byte, limit int) (found []SealedRow, last []byte, err error) {
	history := func() *gorm.DB { return d.read(ctx).Table("history").Where("id > ?", append([]byte{}, after...)) }
	var ends [][]byte
	// In two steps: a statement over all rows could take longer than any may.
	if err := history().Order("id").Offset(limit-1).Limit(1).Pluck("id", &ends).Error; err != nil {
		return nil, nil, d.fail(err)
	}
	page := history()
	if len(ends) > 0 {
		last = ends[0]
		page = page.Where("id <= ?", last)
	}
	var rows []sealedRow
	err = page.Where("(SUBSTR(customer, 1, 1) = ? OR SUBSTR(payload, 1, 1) = ?)", []byte{1}, []byte{1}).
		Select("id, queue, visit, customer, payload").Order("id").Find(&rows).Error
	if err != nil {
		return nil, nil, d.fail(err)
	}
	found = make([]SealedRow, len(rows))
	for i, row := range rows {
		found[i] = SealedRow{ID: row.ID, Queue: row.Queue, Visit: ticketID(row.Visit), Customer: row.Customer, Payload: row.Payload}
	}
	return found, last, nil
}

// PutResealed keeps new values where the old ones are still there, and gives
// the number of rows.
func (d *Directory) PutResealed(ctx context.Context, rows []Resealed) (n int, err error) {
	if len(rows) == 0 {
		return 0, nil
	}
	err = d.write(ctx, func(tx *gorm.DB) error {
		n = 0
		for _, row := range rows {
			result := tx.Table("history").Where("id = ? AND customer = ? AND payload = ?", row.ID, row.Customer, row.Payload).
				Updates(map[string]any{"customer": row.NewCustomer, "payload": row.NewPayload})
			if result.Error != nil {
				return result.Error
			}
			n += int(result.RowsAffected)
		}
		return nil
	})
	return n, err
}
