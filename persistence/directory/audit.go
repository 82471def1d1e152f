package directory

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"gorm.io/gorm"
)

// AuditEntry tells of one administrative act, or of one look at personal data,
// by ids and names of fields. It never holds what they are ids of.
type AuditEntry struct {
	ID      [16]byte // UUIDv7, made by whoever writes it: the same entry twice is one
	At      time.Time
	UserID  string // who; empty: somebody at the command line
	KeyID   string // the API key that was used; empty: none
	Action  string // such as user.created
	Target  string // the id of what it was done to
	Address string // of the network; empty at the command line
	Details json.RawMessage
}

// AuditFilter says which entries are wanted; what is empty filters nothing.
type AuditFilter struct {
	UserID, Action, Target string
	// From, inclusive, and To, exclusive, bound the time.
	From, To time.Time
}

// AuditPlace is an entry's place in the log.
type AuditPlace struct {
	At time.Time
	ID [16]byte
}

type auditRow struct {
	ID      []byte `gorm:"primaryKey"`
	AtMs    int64
	UserID  string
	KeyID   string
	Action  string
	Target  string
	Address string
	Details []byte
}

func (auditRow) TableName() string { return "audit_log" }

// AddAudit keeps an entry; one that is kept already is no error.
func (d *Directory) AddAudit(ctx context.Context, e AuditEntry) error {
	err := d.write(ctx, func(tx *gorm.DB) error { return note(tx, e) })
	if errors.Is(err, ErrExists) {
		return nil
	}
	return err
}

// note keeps entries in the transaction of what they tell of.
func note(tx *gorm.DB, entries ...AuditEntry) error {
	for _, e := range entries {
		row := auditRow{
			ID: e.ID[:], AtMs: millis(e.At), UserID: e.UserID, KeyID: e.KeyID, Action: e.Action, Target: e.Target,
			Address: e.Address, Details: append([]byte{}, e.Details...), // never NULL
		}
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
	}
	return nil
}

// ListAudit gives at most limit entries, the newest first, those behind after,
// or from the newest where that is nil; next is nil where no more follow.
func (d *Directory) ListAudit(ctx context.Context, f AuditFilter, after *AuditPlace, limit int) (entries []AuditEntry, next *AuditPlace, err error) {
	limit = clampLimit(limit)
	q := d.read(ctx).Order("at_ms DESC, id DESC").Limit(limit + 1) // one more tells whether a page follows
	for column, value := range map[string]string{"user_id": f.UserID, "action": f.Action, "target": f.Target} {
		if value != "" {
			q = q.Where(column+" = ?", value)
		}
	}
	if !f.From.IsZero() {
		q = q.Where("at_ms >= ?", millis(f.From))
	}
	if !f.To.IsZero() {
		q = q.Where("at_ms < ?", millis(f.To))
	}
	if after != nil {
		q = q.Where("at_ms <= ? AND (at_ms < ? OR id < ?)", millis(after.At), millis(after.At), after.ID[:])
	}
	var rows []auditRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, nil, d.fail(err)
	}
	for _, row := range rows[:min(len(rows), limit)] {
		entries = append(entries, AuditEntry{
			ID: [16]byte(row.ID), At: fromMillis(row.AtMs), UserID: row.UserID, KeyID: row.KeyID, Action: row.Action,
			Target: row.Target, Address: row.Address, Details: row.Details,
		})
	}
	if len(rows) > limit {
		last := entries[limit-1]
		next = &AuditPlace{last.At, last.ID}
	}
	return entries, next, nil
}
