package directory

import (
	"context"
	"crypto/sha256"
	"time"

	"gorm.io/gorm"
)

// TokenHash is the SHA-256 of a refresh token. The token itself is never kept.
type TokenHash = [sha256.Size]byte

// RefreshToken is one row of refresh_tokens. The tokens that came of one
// login, each out of the one before, are a family.
type RefreshToken struct {
	Hash   TokenHash
	Family string
	UserID string
	// UserEpoch is the user's TokenEpoch as it was read when the token was
	// issued: a token issued while the user's sessions were being ended, from
	// what was read before, is void.
	UserEpoch int64
	ExpiresAt time.Time
	UsedAt    time.Time // zero: not yet
}

type refreshRow struct {
	Hash      []byte `gorm:"primaryKey"`
	Family    string
	UserID    string
	UserEpoch int64
	ExpiresMs int64
	UsedMs    int64
}

func (refreshRow) TableName() string { return "refresh_tokens" }

func newRefreshRow(t RefreshToken) refreshRow {
	return refreshRow{
		Hash: t.Hash[:], Family: t.Family, UserID: t.UserID, UserEpoch: t.UserEpoch,
		ExpiresMs: millis(t.ExpiresAt), UsedMs: millis(t.UsedAt),
	}
}

func (r refreshRow) token() RefreshToken {
	return RefreshToken{
		Hash: TokenHash(r.Hash), Family: r.Family, UserID: r.UserID, UserEpoch: r.UserEpoch,
		ExpiresAt: fromMillis(r.ExpiresMs), UsedAt: fromMillis(r.UsedMs),
	}
}

// AddRefresh keeps the first token of a new family, at login. A family's
// later tokens come from RotateRefresh. A hash that is there gives ErrExists.
func (d *Directory) AddRefresh(ctx context.Context, t RefreshToken) error {
	row := newRefreshRow(t)
	return d.write(ctx, func(tx *gorm.DB) error { return tx.Create(&row).Error })
}

// UseRefresh marks a token as used and returns it with its user, as both are
// in that moment. A second use deletes the whole family and gives ErrReused:
// one of the two who used it stole it; the token is given with it. A token that is unknown or expired, or
// whose user is gone, disabled or had its sessions ended, gives ErrNotFound.
func (d *Directory) UseRefresh(ctx context.Context, hash TokenHash, now time.Time) (RefreshToken, User, error) {
	return d.useRefresh(ctx, hash, now, 0, func(*gorm.DB, RefreshToken) error { return nil })
}

// RotateRefresh is UseRefresh that keeps the family's next token in the same
// transaction: between two, a reuse of the old token could delete the family,
// and the new token would bring it back. A second use within the grace after the
// first one is refused with ErrJustUsed, and nothing else happens.
func (d *Directory) RotateRefresh(ctx context.Context, hash, next TokenHash, expiresAt, now time.Time, grace time.Duration) (RefreshToken, User, error) {
	return d.useRefresh(ctx, hash, now, grace, func(tx *gorm.DB, used RefreshToken) error {
		used.Hash, used.ExpiresAt, used.UsedAt = next, expiresAt, time.Time{}
		row := newRefreshRow(used)
		return tx.Create(&row).Error
	})
}

func (d *Directory) useRefresh(ctx context.Context, hash TokenHash, now time.Time, grace time.Duration, then func(*gorm.DB, RefreshToken) error) (RefreshToken, User, error) {
	var (
		token  RefreshToken
		user   User
		reused bool
	)
	err := d.write(ctx, func(tx *gorm.DB) error {
		reused = false
		var row refreshRow
		if err := locked(tx).Where("hash = ?", hash[:]).Take(&row).Error; err != nil {
			return err
		}
		if row.UsedMs != 0 && millis(now)-row.UsedMs < grace.Milliseconds() {
			return ErrJustUsed
		}
		token = row.token()
		if row.UsedMs != 0 {
			reused = true // and nil below, so that the deletion is kept
			return d.endFamily(tx, row.Family)
		}
		var owner userRow
		if err := tx.Where("id = ?", row.UserID).Take(&owner).Error; err != nil {
			return err
		}
		if row.ExpiresMs <= millis(now) || owner.Disabled || owner.TokenEpoch != row.UserEpoch {
			return ErrNotFound
		}
		row.UsedMs = millis(now)
		if err := tx.Model(&row).Where("hash = ?", row.Hash).Update("used_ms", row.UsedMs).Error; err != nil {
			return err
		}
		token = row.token()
		var err error
		if user, err = d.user(owner); err != nil {
			return err
		}
		return then(tx, token)
	})
	switch {
	case err != nil:
		return RefreshToken{}, User{}, err
	case reused:
		return token, User{}, ErrReused
	}
	return token, user, nil
}

// DropFamily ends one login, at logout. A family that is gone is no error.
func (d *Directory) DropFamily(ctx context.Context, family string) error {
	return d.write(ctx, func(tx *gorm.DB) error { return d.endFamily(tx, family) })
}

// DropUserSessions ends all sessions of a user: it deletes the refresh tokens
// and raises TokenEpoch, which voids the access tokens.
func (d *Directory) DropUserSessions(ctx context.Context, userID string) error {
	return d.write(ctx, func(tx *gorm.DB) error { return d.endTokens(tx, userID, true) })
}

// SweepRefresh deletes the tokens that have expired and says how many. Until
// then a used token is kept, so that its reuse is noticed.
func (d *Directory) SweepRefresh(ctx context.Context, now time.Time) (int64, error) {
	var swept int64
	err := d.write(ctx, func(tx *gorm.DB) error {
		result := tx.Where("expires_ms <= ?", millis(now)).Delete(&refreshRow{})
		swept = result.RowsAffected
		return result.Error
	})
	return swept, err
}
