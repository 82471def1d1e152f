package directory

import (
	"context"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"nowserving/persistence/seal"
)

type dataKeyRow struct {
	ID        []byte `gorm:"primaryKey"`
	QueueID   string
	Day       int64
	RingKey   string
	Wrapped   []byte
	CreatedMs int64
}

func (dataKeyRow) TableName() string { return "data_keys" }

func (r dataKeyRow) key() seal.WrappedKey {
	k := seal.WrappedKey{Queue: r.QueueID, Day: r.Day, RingKey: r.RingKey, Wrapped: r.Wrapped, CreatedAt: fromMillis(r.CreatedMs)}
	copy(k.ID[:], r.ID)
	return k
}

func wrappedKeys(rows []dataKeyRow) []seal.WrappedKey {
	keys := make([]seal.WrappedKey, len(rows))
	for i, row := range rows {
		keys[i] = row.key()
	}
	return keys
}

// EnsureDataKeys keeps each key whose queue is listed and has none of that day
// yet, and gives the keys of all these queues and days that there are then.
func (d *Directory) EnsureDataKeys(ctx context.Context, keys []seal.WrappedKey) ([]seal.WrappedKey, error) {
	found, err := d.dataKeysLike(ctx, keys)
	if err != nil || len(found) == len(keys) {
		return found, err
	}
	missing, err := d.missingDataKeys(ctx, keys, found)
	if err != nil || len(missing) == 0 {
		return found, err
	}
	err = d.write(ctx, func(tx *gorm.DB) error {
		// Another node's may have come first; that one is used then.
		return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&missing).Error
	})
	if err != nil {
		return nil, err
	}
	return d.dataKeysLike(ctx, keys)
}

// dataKeysLike gives the keys of the same queues and days.
func (d *Directory) dataKeysLike(ctx context.Context, keys []seal.WrappedKey) ([]seal.WrappedKey, error) {
	slots := make([][]any, len(keys))
	for i, k := range keys {
		slots[i] = []any{k.Queue, k.Day}
	}
	var rows []dataKeyRow
	if err := d.read(ctx).Where("(queue_id, day) IN ?", slots).Find(&rows).Error; err != nil {
		return nil, d.fail(err)
	}
	return wrappedKeys(rows), nil
}

// missingDataKeys gives the rows of keys that are to be kept.
func (d *Directory) missingDataKeys(ctx context.Context, keys, found []seal.WrappedKey) ([]dataKeyRow, error) {
	type slot struct {
		queue string
		day   int64
	}
	done, queues := make(map[slot]bool), make([]string, len(keys))
	for _, k := range found {
		done[slot{k.Queue, k.Day}] = true
	}
	for i, k := range keys {
		queues[i] = k.Queue
	}
	// Whoever asks for a queue that is not there leaves nothing behind.
	var listed []string
	err := d.read(ctx).Model(&queueRow{}).Where("id IN ? AND NOT deleted", queues).Pluck("id", &listed).Error
	if err != nil {
		return nil, d.fail(err)
	}
	there := make(map[string]bool, len(listed))
	for _, id := range listed {
		there[id] = true
	}
	for _, id := range queues {
		there[id] = there[id] || strings.HasPrefix(id, "#") // see NamedDataKeys
	}
	var rows []dataKeyRow
	for _, k := range keys {
		if at := (slot{k.Queue, k.Day}); there[k.Queue] && !done[at] {
			done[at] = true
			rows = append(rows, dataKeyRow{
				ID: k.ID[:], QueueID: k.Queue, Day: k.Day, RingKey: k.RingKey, Wrapped: k.Wrapped, CreatedMs: millis(k.CreatedAt),
			})
		}
	}
	return rows, nil
}

// NamedDataKeys gives the keys of a name, the newest first. It begins with #, so
// it is no queue's; their days only count.
func (d *Directory) NamedDataKeys(ctx context.Context, name string) ([]seal.WrappedKey, error) {
	var rows []dataKeyRow
	if err := d.read(ctx).Where("queue_id = ?", name).Order("day DESC").Find(&rows).Error; err != nil {
		return nil, d.fail(err)
	}
	return wrappedKeys(rows), nil
}

// DataKeys gives those of some data keys that there are.
func (d *Directory) DataKeys(ctx context.Context, ids []seal.KeyID) ([]seal.WrappedKey, error) {
	columns := make([][]byte, len(ids))
	for i := range ids {
		columns[i] = ids[i][:]
	}
	var rows []dataKeyRow
	if err := d.read(ctx).Where("id IN ?", columns).Find(&rows).Error; err != nil {
		return nil, d.fail(err)
	}
	return wrappedKeys(rows), nil
}

// RecentDataKeys gives the data keys made since then, the newest first.
func (d *Directory) RecentDataKeys(ctx context.Context, since time.Time, limit int) ([]seal.WrappedKey, error) {
	var rows []dataKeyRow
	err := d.read(ctx).Where("created_ms >= ?", millis(since)).Order("created_ms DESC").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, d.fail(err)
	}
	return wrappedKeys(rows), nil
}

// DropDataKeys deletes a queue's data keys of visits before a UTC day, counted
// from 1970, and with them all that they sealed; nodes forget them within a
// minute. It gives their number.
func (d *Directory) DropDataKeys(ctx context.Context, queue string, before int64) (n int64, err error) {
	err = d.write(ctx, func(tx *gorm.DB) error {
		result := tx.Where("queue_id = ? AND day < ?", queue, before).Delete(&dataKeyRow{})
		n = result.RowsAffected
		return result.Error
	})
	return n, err
}
