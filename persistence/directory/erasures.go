package directory

import (
	"context"
	"slices"
	"time"

	"gorm.io/gorm"

	"nowserving/actors/queue"
)

// Erasure is an erasure of a person that was asked for. It is known by tags, or
// by a visit, alone, and by none once it is done.
type Erasure struct {
	ID      string
	Tags    [][]byte
	Visit   []byte // 16 bytes, or none
	MadeAt  time.Time
	MadeBy  string    // user id
	DoneAt  time.Time // zero: not yet
	History int64     // rows of the history that were emptied
	Tickets int64     // tickets in queues that were
}

type erasureRow struct {
	ID      string `gorm:"primaryKey"`
	Tags    []byte
	Visit   []byte
	MadeMs  int64
	MadeBy  string
	DoneMs  int64
	History int64
	Tickets int64
}

func (erasureRow) TableName() string { return "erasures" }

// notByOlder is the done_ms of one by a visit that is not done. Nodes of before
// such were asked for look for 0: they would find no tags, and end it undone.
const notByOlder = -1

func (r erasureRow) erasure() Erasure {
	e := Erasure{
		ID: r.ID, MadeAt: fromMillis(r.MadeMs), MadeBy: r.MadeBy, DoneAt: fromMillis(max(r.DoneMs, 0)), History: r.History, Tickets: r.Tickets,
	}
	if len(r.Visit) > 0 {
		e.Visit = r.Visit
	}
	for tag := range slices.Chunk(r.Tags, queue.TagSize) {
		e.Tags = append(e.Tags, tag)
	}
	return e
}

// AddErasure keeps one to be done.
func (d *Directory) AddErasure(ctx context.Context, e Erasure) error {
	row := erasureRow{ID: e.ID, Tags: append([]byte{}, slices.Concat(e.Tags...)...), Visit: append([]byte{}, e.Visit...), MadeMs: millis(e.MadeAt), MadeBy: e.MadeBy}
	if len(e.Visit) > 0 {
		row.DoneMs = notByOlder
	}
	return d.write(ctx, func(tx *gorm.DB) error { return tx.Create(&row).Error })
}

// Erasure gives one, or ErrNotFound.
func (d *Directory) Erasure(ctx context.Context, id string) (Erasure, error) {
	var row erasureRow
	if err := d.read(ctx).Where("id = ?", id).Take(&row).Error; err != nil {
		return Erasure{}, d.fail(err)
	}
	return row.erasure(), nil
}

// PendingErasures gives those that are not done, the oldest first.
func (d *Directory) PendingErasures(ctx context.Context, limit int) ([]Erasure, error) {
	var rows []erasureRow
	if err := d.read(ctx).Where("done_ms <= 0").Order("made_ms, id").Limit(clampLimit(limit)).Find(&rows).Error; err != nil {
		return nil, d.fail(err)
	}
	erasures := make([]Erasure, len(rows))
	for i, row := range rows {
		erasures[i] = row.erasure()
	}
	return erasures, nil
}

// AdvanceErasure adds to what an erasure has emptied. Erased has its tags
// forgotten: nobody is left who could be found by them.
func (d *Directory) AdvanceErasure(ctx context.Context, id string, history, tickets int64, erased bool) error {
	change := map[string]any{"history": gorm.Expr("history + ?", history), "tickets": gorm.Expr("tickets + ?", tickets)}
	if erased {
		change["tags"], change["visit"] = []byte{}, []byte{}
	}
	return d.changeErasure(ctx, id, change)
}

// EndErasure ends one.
func (d *Directory) EndErasure(ctx context.Context, id string) error {
	return d.changeErasure(ctx, id, map[string]any{"done_ms": millis(d.now())})
}

func (d *Directory) changeErasure(ctx context.Context, id string, change map[string]any) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		return missing(tx.Model(&erasureRow{}).Where("id = ?", id).Updates(change))
	})
}
