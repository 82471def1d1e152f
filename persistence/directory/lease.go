package directory

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
)

type leaseRow struct {
	Name    string `gorm:"primaryKey"`
	Holder  string
	UntilMs int64
}

func (leaseRow) TableName() string { return "leases" }

// Lease takes or renews a name for a while; false where another holder has it.
// Nodes' clocks decide, so what is done under it must bear to be done twice.
func (d *Directory) Lease(ctx context.Context, name, holder string, lasts time.Duration) (held bool, err error) {
	err = d.write(ctx, func(tx *gorm.DB) error {
		row := leaseRow{Name: name, Holder: holder, UntilMs: millis(d.now().Add(lasts))}
		result := tx.Model(&leaseRow{}).Where("name = ? AND (holder = ? OR until_ms < ?)", name, holder, millis(d.now())).
			Select("holder", "until_ms").Updates(&row)
		if held = result.RowsAffected > 0; held || result.Error != nil {
			return result.Error
		}
		var taken int64
		if err := tx.Model(&leaseRow{}).Where("name = ?", name).Count(&taken).Error; err != nil || taken > 0 {
			return err
		}
		err := tx.Create(&row).Error
		held = err == nil
		return err
	})
	if errors.Is(err, ErrExists) { // another was quicker
		return false, nil
	}
	return held && err == nil, err
}
