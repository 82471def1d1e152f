package directory

import (
	"context"
	"math"
	"time"

	"gorm.io/gorm"
)

// accessKept is how long it is remembered that access was ended: well above the
// life of an access token, for the clocks of nodes may differ.
const accessKept = time.Hour

// accessNewest is how many changes are kept whatever their age: a node whose
// clock is wrong must not take away what others have yet to read.
const accessNewest = 1000

// AccessChange ends access tokens before their time: those of a user whose
// epoch is lower, or those of one login.
type AccessChange struct {
	Revision uint64
	UserID   string // empty: of a login
	Epoch    int64
	Family   string
}

type accessRow struct {
	Revision uint64 `gorm:"primaryKey;autoIncrement:false"`
	UserID   string
	Epoch    int64
	Family   string
	MadeMs   int64
}

func (accessRow) TableName() string { return "access_changes" }

type accessClockRow struct {
	ID       int64 `gorm:"primaryKey"`
	Revision uint64
}

func (accessClockRow) TableName() string { return "access_clock" }

const accessClock = 1 // the id of its one row

// AccessChanges gives the changes after a revision in their order, and the
// revision that all changes have reached. One that is lower than it was tells
// that the database has lost some. It waits for no connection that others hold: a
// database that is busy with other things must not let access last longer.
func (d *Directory) AccessChanges(ctx context.Context, after uint64, limit int) ([]AccessChange, uint64, error) {
	var reached uint64
	if err := d.dialect.urgent.QueryRowContext(ctx, "SELECT revision FROM access_clock WHERE id = ?", accessClock).Scan(&reached); err != nil {
		return nil, 0, d.fail(err)
	}
	if reached == after {
		return nil, after, nil
	}
	rows, err := d.dialect.urgent.QueryContext(ctx, "SELECT revision, user_id, epoch, family FROM access_changes WHERE revision > ? "+
		"ORDER BY revision LIMIT ?", after, clampLimit(limit))
	if err != nil {
		return nil, 0, d.fail(err)
	}
	defer rows.Close()
	var changes []AccessChange
	for rows.Next() {
		var c AccessChange
		if err := rows.Scan(&c.Revision, &c.UserID, &c.Epoch, &c.Family); err != nil {
			return nil, 0, d.fail(err)
		}
		changes = append(changes, c)
	}
	return changes, reached, d.fail(rows.Err())
}

// endAccess keeps a change for the nodes to follow. It comes last in its
// transaction, for every other one waits for the clock meanwhile.
func (d *Directory) endAccess(tx *gorm.DB, row accessRow) error {
	err := tx.Model(&accessClockRow{}).Where("id = ?", accessClock).
		Update("revision", gorm.Expr("revision + 1")).Error
	if err != nil {
		return err
	}
	var clock accessClockRow
	if err := tx.Where("id = ?", accessClock).Take(&clock).Error; err != nil {
		return err
	}
	row.Revision, row.MadeMs = clock.Revision, millis(d.now())
	if err := tx.Create(&row).Error; err != nil {
		return err
	}
	return tx.Where("made_ms < ? AND revision + ? <= ?", millis(d.now().Add(-accessKept)), accessNewest, clock.Revision).
		Delete(&accessRow{}).Error
}

// endTokens voids a user's access tokens of before. Its logins live on or, where
// out is true, end.
func (d *Directory) endTokens(tx *gorm.DB, userID string, out bool) error {
	raise := tx.Model(&userRow{}).Where("id = ?", userID).Update("token_epoch", gorm.Expr("token_epoch + 1"))
	if err := missing(raise); err != nil {
		return err
	}
	var row userRow
	if err := tx.Where("id = ?", userID).Take(&row).Error; err != nil {
		return err
	}
	logins := tx.Model(&refreshRow{}).Where("user_id = ?", userID)
	var err error
	if out {
		err = logins.Delete(&refreshRow{}).Error
	} else { // only those that were alive
		err = logins.Where("user_epoch = ?", row.TokenEpoch-1).Update("user_epoch", row.TokenEpoch).Error
	}
	if err != nil {
		return err
	}
	return d.endAccess(tx, accessRow{UserID: userID, Epoch: row.TokenEpoch})
}

// endUser voids all tokens of a user who is gone.
func (d *Directory) endUser(tx *gorm.DB, userID string) error {
	return d.endAccess(tx, accessRow{UserID: userID, Epoch: math.MaxInt64})
}

// endFamily voids the tokens of one login and deletes what could renew them. It
// looks again until nothing is left: a refresh that the first look waits for puts
// its next token where that look may have been already.
func (d *Directory) endFamily(tx *gorm.DB, family string) error {
	for left := true; left; {
		deleted := tx.Where("family = ?", family).Delete(&refreshRow{})
		if deleted.Error != nil {
			return deleted.Error
		}
		left = deleted.RowsAffected > 0
	}
	return d.endAccess(tx, accessRow{Family: family})
}
