package directory

import (
	"context"
	"errors"
	"maps"
	"slices"

	"gorm.io/gorm"
)

// RaiseVersions has queues known to have reached at least some versions, whatever
// is recorded of them: a journal that ends before that has lost events.
func (d *Directory) RaiseVersions(ctx context.Context, versions map[string]uint64) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		for _, id := range slices.Sorted(maps.Keys(versions)) {
			// What was described is described again by the next node that starts, but
			// for a deleted queue, of which there is nothing more to say.
			raised := tx.Model(&queueRow{}).Where("id = ? AND version < ?", id, versions[id]).
				Updates(map[string]any{"version": versions[id], "described": gorm.Expr("CASE WHEN deleted THEN described ELSE 0 END")})
			if raised.Error != nil || raised.RowsAffected > 0 {
				if raised.Error != nil {
					return raised.Error
				}
				continue
			}
			row := newQueueRow(QueueRow{ID: id, Name: id, Version: versions[id]})
			if err := tx.Create(&row).Error; err != nil && !errors.Is(err, gorm.ErrDuplicatedKey) {
				return err
			}
		}
		return nil
	})
}
