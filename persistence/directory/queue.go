package directory

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
)

// QueueRow is what the directory knows of one queue at one version.
type QueueRow struct {
	ID      string
	Name    string
	Prefix  string
	Status  string
	Version uint64
	Epoch   string
	Config  json.RawMessage // nil is kept as null
	Waiting int64           // tickets in line
	Active  int64           // called or serving
	// UpdatedAt is the time of the event that made this version. It ends the
	// reservation of a prefix that was made before it.
	UpdatedAt time.Time
	Deleted   bool
	// Line is kept only by who knows it; nil leaves it as it was.
	Line *QueueLine
}

// QueueLine is more of what was in a queue at a version. It may be of an earlier
// one than the row, for some events tell less than this.
type QueueLine struct {
	Version               uint64
	Called, Serving, Held int64
	Attendants            int64     // who had active tickets
	WaitingSince          time.Time // when the ticket was enqueued that waited the longest; zero: none did
}

type queueRow struct {
	ID        string `gorm:"primaryKey"`
	Name      string
	Prefix    string
	Status    string
	Version   uint64
	Epoch     string
	Config    string
	Waiting   int64
	Active    int64
	UpdatedMs int64
	Deleted   bool

	Called, Serving, Held, Attendants int64
	SinceMs                           int64
	Described                         uint64 // Line's version
}

// lineColumns are those of a Line.
var lineColumns = []string{"called", "serving", "held", "attendants", "since_ms", "described"}

func (queueRow) TableName() string { return "queues" }

func newQueueRow(q QueueRow) queueRow {
	config := string(q.Config)
	if config == "" {
		config = "null"
	}
	row := queueRow{
		ID: q.ID, Name: q.Name, Prefix: q.Prefix, Status: q.Status, Version: q.Version, Epoch: q.Epoch, Config: config,
		Waiting: q.Waiting, Active: q.Active, UpdatedMs: millis(q.UpdatedAt), Deleted: q.Deleted,
	}
	if l := q.Line; l != nil {
		row.Called, row.Serving, row.Held, row.Attendants = l.Called, l.Serving, l.Held, l.Attendants
		row.SinceMs, row.Described = millis(l.WaitingSince), l.Version
	}
	return row
}

func (r queueRow) queue() QueueRow {
	return QueueRow{
		ID: r.ID, Name: r.Name, Prefix: r.Prefix, Status: r.Status, Version: r.Version, Epoch: r.Epoch,
		Config: json.RawMessage(r.Config), Waiting: r.Waiting, Active: r.Active,
		UpdatedAt: fromMillis(r.UpdatedMs), Deleted: r.Deleted,
		Line: &QueueLine{
			Version: r.Described, Called: r.Called, Serving: r.Serving, Held: r.Held,
			Attendants: r.Attendants, WaitingSince: fromMillis(r.SinceMs),
		},
	}
}

// PutQueue keeps a queue's row, or the news of its deletion, unless a higher
// version is known already; the same version again overwrites.
func (d *Directory) PutQueue(ctx context.Context, q QueueRow) error { return d.PutQueues(ctx, q) }

// PutQueues is PutQueue for several queues in one transaction, all or none:
// one sync to disk instead of one for each.
func (d *Directory) PutQueues(ctx context.Context, queues ...QueueRow) error {
	// In one order everywhere: two that lock the same rows in different orders
	// would end in a deadlock.
	queues = slices.Clone(queues)
	slices.SortStableFunc(queues, func(a, b QueueRow) int { return strings.Compare(a.ID, b.ID) })
	return d.write(ctx, func(tx *gorm.DB) error {
		for _, q := range queues {
			if err := putQueue(tx, newQueueRow(q), q.Line != nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// putQueue updates, then inserts, and if another was quicker updates once
// more; each statement holds its own condition, so none needs a lock. (One
// statement for all of it, ON CONFLICT … WHERE, is not known to MySQL, and
// what its ON DUPLICATE KEY reports does not tell whether a row was inserted.)
func putQueue(tx *gorm.DB, row queueRow, line bool) error {
	omitted := []string{"id"}
	if !line {
		omitted = append(omitted, lineColumns...)
	}
	if row.Deleted { // what it said of retention holds for what is left of it
		omitted = append(omitted, "config")
	}
	update := func() (bool, error) {
		result := tx.Model(&queueRow{}).Where("id = ? AND version <= ?", row.ID, row.Version).
			Select("*").Omit(omitted...).Updates(&row)
		return result.RowsAffected > 0, result.Error
	}
	kept, err := update()
	if err == nil && !kept {
		if err = tx.Create(&row).Error; errors.Is(err, gorm.ErrDuplicatedKey) {
			kept, err = update()
		} else {
			kept = err == nil
		}
	}
	if err != nil || !kept {
		return err
	}
	if row.Deleted {
		if err := endRules(tx, row.ID, row.Version); err != nil {
			return err
		}
	}
	// From here on the row itself holds the prefix, or nobody does. A
	// reservation made after this event belongs to a queue made anew.
	return tx.Where("queue_id = ? AND made_ms <= ?", row.ID, row.UpdatedMs).Delete(&reservationRow{}).Error
}

// GetQueue gives a queue that is not deleted, or ErrNotFound.
func (d *Directory) GetQueue(ctx context.Context, id string) (QueueRow, error) {
	q, err := d.LastKnown(ctx, id)
	if err == nil && q.Deleted {
		return QueueRow{}, ErrNotFound
	}
	return q, err
}

// LastKnown gives a queue's row even where it says that the queue is deleted:
// a queue that is made anew starts above the version in it.
func (d *Directory) LastKnown(ctx context.Context, id string) (QueueRow, error) {
	var row queueRow
	if err := d.read(ctx).Where("id = ?", id).Take(&row).Error; err != nil {
		return QueueRow{}, d.fail(err)
	}
	return row.queue(), nil
}

// idsPerQuery stays far below the number of variables that databases take in
// one statement.
const idsPerQuery = 500

// KnownVersions gives the version in each queue's row, that of a deleted one
// too, and nothing for a queue without a row.
func (d *Directory) KnownVersions(ctx context.Context, ids []string) (map[string]uint64, error) {
	return d.versions(ctx, ids, "version")
}

// DescribedVersions is KnownVersions of the rows' Lines.
func (d *Directory) DescribedVersions(ctx context.Context, ids []string) (map[string]uint64, error) {
	return d.versions(ctx, ids, "described")
}

func (d *Directory) versions(ctx context.Context, ids []string, column string) (map[string]uint64, error) {
	known := make(map[string]uint64, len(ids))
	for part := range slices.Chunk(ids, idsPerQuery) {
		var rows []queueRow
		if err := d.read(ctx).Select("id", column+" AS version").Where("id IN ?", part).Find(&rows).Error; err != nil {
			return nil, d.fail(err)
		}
		for _, row := range rows {
			known[row.ID] = row.Version
		}
	}
	return known, nil
}

// ListQueues lists queues that are not deleted by id, those after the given
// one: all if ids is nil, else only those named.
func (d *Directory) ListQueues(ctx context.Context, ids []string, after string, limit int) ([]QueueRow, error) {
	limit = clampLimit(limit)
	if ids == nil {
		return d.listQueues(d.read(ctx).Where("id > ?", after), limit)
	}
	wanted := slices.Clone(ids)
	slices.Sort(wanted)
	first, found := slices.BinarySearch(wanted, after)
	if found {
		first++
	}
	queues := []QueueRow{}
	for part := range slices.Chunk(slices.Compact(wanted[first:]), idsPerQuery) {
		page, err := d.listQueues(d.read(ctx).Where("id IN ? AND id > ?", part, after), limit-len(queues))
		if err != nil {
			return nil, err
		}
		if queues = append(queues, page...); len(queues) == limit {
			break
		}
	}
	return queues, nil
}

// ListKnownQueues lists queues by id, those after the given one, deleted ones too,
// which have the configuration that they had last.
func (d *Directory) ListKnownQueues(ctx context.Context, after string, limit int) ([]QueueRow, error) {
	return d.findQueues(d.read(ctx).Where("id > ?", after), clampLimit(limit))
}

func (d *Directory) listQueues(query *gorm.DB, limit int) ([]QueueRow, error) {
	return d.findQueues(query.Where("deleted = ?", false), limit)
}

func (d *Directory) findQueues(query *gorm.DB, limit int) ([]QueueRow, error) {
	var rows []queueRow
	if err := query.Order("id").Limit(limit).Find(&rows).Error; err != nil {
		return nil, d.fail(err)
	}
	queues := make([]QueueRow, len(rows))
	for i, row := range rows {
		queues[i] = row.queue()
	}
	return queues, nil
}
