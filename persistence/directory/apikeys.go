package directory

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// maxKeys bounds the API keys of a user.
const maxKeys = 100

// APIKey is one row of api_keys: a long-lived credential of a program or a
// display. The key itself is never kept.
type APIKey struct {
	ID        string // UUIDv7
	Hash      TokenHash
	UserID    string
	Name      string
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
}

type keyRow struct {
	ID        string `gorm:"primaryKey"`
	Hash      []byte
	UserID    string
	Name      string
	CreatedMs int64
	ExpiresMs int64
}

func (keyRow) TableName() string { return "api_keys" }

func (r keyRow) key() APIKey {
	return APIKey{
		ID: r.ID, Hash: TokenHash(r.Hash), UserID: r.UserID, Name: r.Name,
		CreatedAt: fromMillis(r.CreatedMs), ExpiresAt: fromMillis(r.ExpiresMs),
	}
}

// AddKey keeps a key of a user, created now. It fails with ErrNotFound where
// there is no such user, and ErrTooMany where it has 100.
func (d *Directory) AddKey(ctx context.Context, k APIKey, audit ...AuditEntry) (APIKey, error) {
	row := keyRow{
		ID: k.ID, Hash: k.Hash[:], UserID: k.UserID, Name: k.Name, CreatedMs: millis(d.now()), ExpiresMs: millis(k.ExpiresAt),
	}
	err := d.write(ctx, func(tx *gorm.DB) error {
		var owner userRow
		if err := locked(tx).Where("id = ?", k.UserID).Take(&owner).Error; err != nil {
			return err
		}
		var have int64
		if err := tx.Model(&keyRow{}).Where("user_id = ?", k.UserID).Count(&have).Error; err != nil {
			return err
		}
		if have >= maxKeys {
			return ErrTooMany
		}
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		return note(tx, audit...)
	})
	if err != nil {
		return APIKey{}, err
	}
	return row.key(), nil
}

// KeyByHash finds a key and its user.
func (d *Directory) KeyByHash(ctx context.Context, hash TokenHash) (APIKey, User, error) {
	var row keyRow
	if err := d.read(ctx).Where("hash = ?", hash[:]).Take(&row).Error; err != nil {
		return APIKey{}, User{}, d.fail(err)
	}
	u, err := d.UserByID(ctx, row.UserID)
	return row.key(), u, err
}

// ListKeys lists a user's keys by id, which is by creation, those after one.
func (d *Directory) ListKeys(ctx context.Context, userID, after string, limit int) ([]APIKey, error) {
	var rows []keyRow
	err := d.read(ctx).Where("user_id = ? AND id > ?", userID, after).Order("id").Limit(clampLimit(limit)).Find(&rows).Error
	if err != nil {
		return nil, d.fail(err)
	}
	keys := make([]APIKey, len(rows))
	for i, row := range rows {
		keys[i] = row.key()
	}
	return keys, nil
}

// DropKey revokes a user's key and ends what it has opened.
func (d *Directory) DropKey(ctx context.Context, userID, id string, audit ...AuditEntry) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		if err := missing(tx.Where("user_id = ? AND id = ?", userID, id).Delete(&keyRow{})); err != nil {
			return err
		}
		if err := note(tx, audit...); err != nil {
			return err
		}
		return d.endFamily(tx, id) // whoever came with the key has its id for a family
	})
}
