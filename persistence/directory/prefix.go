package directory

import (
	"context"
	"errors"
	"strings"
	"time"

	"gorm.io/gorm"
)

// reservationTime is how long a prefix is kept for a queue that does not come:
// a node that reserved one may have died. Longer than the projection is ever
// behind while all stores are up.
const reservationTime = time.Hour

type reservationRow struct {
	QueueID string `gorm:"primaryKey"`
	Prefix  string
	MadeMs  int64
}

func (reservationRow) TableName() string { return "prefix_reservations" }

// ReservePrefix gives the first of A, B, … Z, AA, … ZZZZ that no other queue
// has, comparing without regard to case, and keeps it for this queue id for
// an hour, or until PutQueue records an event of the queue that is newer than
// the reservation. Asked again, it gives the same one; for a queue that exists
// and has a prefix of its own, that one. It fails with ErrNoPrefix when all
// are taken.
func (d *Directory) ReservePrefix(ctx context.Context, id string) (string, error) {
	prefix, err := d.reservePrefix(ctx, id)
	for try := 1; errors.Is(err, ErrExists) && try < tries; try++ {
		prefix, err = d.reservePrefix(ctx, id) // another was quicker with this prefix
	}
	return prefix, err
}

func (d *Directory) reservePrefix(ctx context.Context, id string) (string, error) {
	var prefix string
	err := d.write(ctx, func(tx *gorm.DB) error {
		now := d.now()
		lapsed := millis(now.Add(-reservationTime))
		if err := tx.Where("made_ms < ?", lapsed).Delete(&reservationRow{}).Error; err != nil {
			return err
		}
		taken, own, err := prefixesInUse(tx, id)
		if err != nil {
			return err
		}
		if prefix = own; prefix == "" || taken[strings.ToUpper(prefix)] {
			if prefix = firstFree(taken); prefix == "" {
				return ErrNoPrefix
			}
		}
		if err := tx.Where("queue_id = ?", id).Delete(&reservationRow{}).Error; err != nil {
			return err
		}
		return tx.Create(&reservationRow{QueueID: id, Prefix: prefix, MadeMs: millis(now)}).Error
	})
	if err != nil {
		return "", err
	}
	return prefix, nil
}

// ReleasePrefix gives up the reservation of a queue whose creation was
// refused. Where it was refused because the queue exists, leave it alone: it
// may be the reservation of the one that exists.
func (d *Directory) ReleasePrefix(ctx context.Context, id string) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		return tx.Where("queue_id = ?", id).Delete(&reservationRow{}).Error
	})
}

// prefixesInUse gives the prefixes, in capitals, that other queues have or
// reserved, and the one that this queue reserved or, failing that, has.
func prefixesInUse(tx *gorm.DB, id string) (taken map[string]bool, own string, err error) {
	// The reservations first, under a lock: a queue's row comes before its
	// reservation goes, so whoever reads in this order misses neither.
	var reserved []reservationRow
	if err := locked(tx).Order("queue_id").Find(&reserved).Error; err != nil {
		return nil, "", err
	}
	var queues []queueRow
	err = tx.Select("id", "prefix").Where("deleted = ? AND prefix <> ''", false).Find(&queues).Error
	if err != nil {
		return nil, "", err
	}
	taken = make(map[string]bool, len(queues)+len(reserved))
	note := func(queue, prefix string) {
		if queue == id {
			own = prefix
			return
		}
		taken[strings.ToUpper(prefix)] = true
	}
	for _, q := range queues {
		note(q.ID, q.Prefix)
	}
	for _, r := range reserved {
		note(r.QueueID, r.Prefix)
	}
	return taken, own, nil
}

// firstFree goes through A … Z, AA … ZZ, AAA … in order: at worst 475,254
// steps, in practice one more than there are queues.
func firstFree(taken map[string]bool) string {
	for length := 1; length <= 4; length++ {
		letters := []byte(strings.Repeat("A", length))
		for more := true; more; more = increment(letters) {
			if !taken[string(letters)] {
				return string(letters)
			}
		}
	}
	return ""
}

// increment goes to the next word of the same length; false after the last.
func increment(letters []byte) bool {
	for i := len(letters) - 1; i >= 0; i-- {
		if letters[i] < 'Z' {
			letters[i]++
			return true
		}
		letters[i] = 'A'
	}
	return false
}
