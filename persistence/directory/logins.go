package directory

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// loginUnderway is how long an attempt may be under way; one that is still so
// then has lost its node, and counts as failed.
const loginUnderway = 30 * time.Second

// undoWithin bounds taking back an attempt that may not be made.
const undoWithin = time.Second

const attemptPurpose = "login-attempts/v1"

// LoginLimits bound the logins that may fail.
type LoginLimits struct {
	OfEmail, OfAddress int
	Within             time.Duration
}

type attemptRow struct {
	ID      string `gorm:"primaryKey"`
	Email   []byte
	Address []byte
	AtMs    int64
	Failed  bool
}

func (attemptRow) TableName() string { return "login_attempts" }

// Login is what BeginLogin says of an attempt: exactly one of the three.
type Login struct {
	Attempt string        // it may be made; FailLogin or EndLogin ends it
	Wait    time.Duration // so many have failed that none may be made for so long
	Busy    bool          // so many are under way that it must wait for them
	// Of one that may be made: it is the last one for a while, should it fail and
	// all fail that are under way.
	LastOfEmail, LastOfAddress bool
}

// held tells whether it may not be made now.
func (l Login) held() bool { return l.Wait > 0 || l.Busy }

// BeginLogin counts an attempt to log in, over all nodes. No more are under way
// at once than may still fail, so that many at the same moment are counted like
// as many one after the other. What was tried is kept as keyed hashes. Where it
// fails, it says which attempt may be under way nevertheless and is to be ended.
func (d *Directory) BeginLogin(ctx context.Context, email, address string, l LoginLimits) (Login, error) {
	emails, err := d.attemptHashes("email", emailColumn(email))
	if err != nil {
		return Login{}, err
	}
	addresses, err := d.attemptHashes("address", address)
	if err != nil {
		return Login{}, err
	}
	look := func(own string) (Login, error) {
		found, last, err := d.attempts(ctx, "email", emails, own, l.OfEmail, l.Within)
		if err != nil || found.held() {
			return found, err
		}
		found, lastOfAddress, err := d.attempts(ctx, "address", addresses, own, l.OfAddress, l.Within)
		found.LastOfEmail, found.LastOfAddress = last, lastOfAddress
		return found, err
	}
	if found, err := look(""); err != nil || found.held() {
		return found, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Login{}, fmt.Errorf("directory: %w", err)
	}
	row := attemptRow{ID: id.String(), Email: emails[0], Address: addresses[0], AtMs: millis(d.now())}
	if err := d.write(ctx, func(tx *gorm.DB) error { return tx.Create(&row).Error }); err != nil {
		return Login{Attempt: row.ID}, err
	}
	// Whoever came in the same moment is seen now, or sees this one: of too many,
	// none goes on that should not.
	found, err := look(row.ID)
	if err == nil && found.held() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
		defer cancel()
		if err = d.EndLogin(undo, row.ID); err == nil {
			return found, nil
		}
	}
	if err != nil {
		return Login{Attempt: row.ID}, err
	}
	found.Attempt = row.ID
	return found, nil
}

// attempts looks whether there is room for one more attempt beside those that
// are kept under some hashes, but for its own row; last is for one more and no other.
func (d *Directory) attempts(ctx context.Context, column string, hashes [][]byte, own string, limit int, within time.Duration) (found Login, last bool, err error) {
	var rows []attemptRow
	now := millis(d.now())
	err = d.read(ctx).Select("at_ms", "failed").Where(column+" IN ? AND at_ms > ? AND id <> ?", hashes, now-within.Milliseconds(), own).
		Order("at_ms DESC").Limit(2 * limit).Find(&rows).Error
	if err != nil {
		return Login{}, false, d.fail(err)
	}
	failed := 0
	for _, row := range rows {
		if row.Failed || row.AtMs <= now-loginUnderway.Milliseconds() {
			failed++
		}
		if failed == limit { // it is over when this one is
			return Login{Wait: time.Duration(row.AtMs-now)*time.Millisecond + within}, false, nil
		}
	}
	return Login{Busy: len(rows) >= limit}, len(rows) == limit-1, nil
}

// FailLogin tells that an attempt has failed.
func (d *Directory) FailLogin(ctx context.Context, id string) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		return tx.Model(&attemptRow{}).Where("id = ?", id).Update("failed", true).Error
	})
}

// EndLogin tells that an attempt has ended and has not failed.
func (d *Directory) EndLogin(ctx context.Context, id string) error {
	return d.write(ctx, func(tx *gorm.DB) error { return tx.Where("id = ?", id).Delete(&attemptRow{}).Error })
}

// SweepLogins forgets the attempts before a time, and says how many.
func (d *Directory) SweepLogins(ctx context.Context, before time.Time) (swept int64, err error) {
	err = d.write(ctx, func(tx *gorm.DB) error {
		result := tx.Where("at_ms < ?", millis(before)).Delete(&attemptRow{})
		swept = result.RowsAffected
		return result.Error
	})
	return swept, err
}

// attemptHashes are what something is kept and found by, one for each key.
func (d *Directory) attemptHashes(what, text string) ([][]byte, error) {
	if d.keys == nil {
		return nil, fmt.Errorf("%w: users need a key ring", ErrInvalid)
	}
	var list [][]byte
	for _, k := range d.keys.SubKey(attemptPurpose) {
		mac := hmac.New(sha256.New, k.Bytes)
		mac.Write([]byte(what + "\x00" + text))
		list = append(list, mac.Sum(nil))
	}
	return list, nil
}
