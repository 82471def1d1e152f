package directory

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"gorm.io/gorm"
)

// ErrStale: the rules have changed since the revision that the writer knew.
var ErrStale = errors.New("directory: the rules have changed")

// RuleList is the rules of one queue, as JSON that the directory does not read.
type RuleList struct {
	Queue string
	// Revision counts the changes of all rules of all queues; 0 where the
	// queue's were never set.
	Revision uint64
	// QueueVersion is the queue's when they were set: the end of the queue at a
	// higher version ends them too.
	QueueVersion uint64
	Rules        json.RawMessage
	UpdatedAt    time.Time
	UpdatedBy    string // user id
}

type rulesRow struct {
	QueueID      string `gorm:"primaryKey"`
	Revision     uint64
	QueueVersion uint64
	Rules        string
	UpdatedMs    int64
	UpdatedBy    string
}

func (rulesRow) TableName() string { return "queue_rules" }

func (r rulesRow) list() RuleList {
	return RuleList{
		Queue: r.QueueID, Revision: r.Revision, QueueVersion: r.QueueVersion, Rules: json.RawMessage(r.Rules),
		UpdatedAt: fromMillis(r.UpdatedMs), UpdatedBy: r.UpdatedBy,
	}
}

type rulesClockRow struct {
	ID       int64 `gorm:"primaryKey"`
	Revision uint64
}

func (rulesClockRow) TableName() string { return "rules_clock" }

const (
	rulesClock = 1 // the id of its one row
	noRules    = "[]"
)

// Rules gives a queue's rules, or ErrNotFound where none were ever set.
func (d *Directory) Rules(ctx context.Context, queue string) (RuleList, error) {
	var row rulesRow
	if err := d.read(ctx).Where("queue_id = ?", queue).Take(&row).Error; err != nil {
		return RuleList{}, d.fail(err)
	}
	return row.list(), nil
}

// PutRules replaces a queue's rules and gives them as they are kept, with their
// new revision. Where they are the same as before nothing changes. Where
// expected is not nil and is not their revision, it fails with ErrStale.
func (d *Directory) PutRules(ctx context.Context, r RuleList, expected *uint64) (RuleList, error) {
	var kept rulesRow
	err := d.write(ctx, func(tx *gorm.DB) error {
		revision, err := tickRules(tx)
		if err != nil {
			return err
		}
		var before rulesRow
		err = tx.Where("queue_id = ?", r.Queue).Take(&before).Error
		known := err == nil
		switch {
		case err != nil && !errors.Is(err, gorm.ErrRecordNotFound):
			return err
		case known && before.Rules == string(r.Rules):
			kept = before
			return nil
		case expected != nil && *expected != before.Revision:
			return ErrStale
		}
		kept = rulesRow{
			QueueID: r.Queue, Revision: revision, QueueVersion: r.QueueVersion, Rules: string(r.Rules),
			UpdatedMs: millis(d.now()), UpdatedBy: r.UpdatedBy,
		}
		if known {
			return tx.Select("*").Omit("queue_id").Updates(&kept).Error
		}
		return tx.Create(&kept).Error
	})
	if err != nil {
		return RuleList{}, err
	}
	return kept.list(), nil
}

// RulesAfter gives rules that were set after a revision, in the order of their
// revisions: once all before are known, what comes is all that has changed.
func (d *Directory) RulesAfter(ctx context.Context, revision uint64, limit int) ([]RuleList, error) {
	var rows []rulesRow
	if err := d.read(ctx).Where("revision > ?", revision).Order("revision").Limit(clampLimit(limit)).Find(&rows).Error; err != nil {
		return nil, d.fail(err)
	}
	lists := make([]RuleList, len(rows))
	for i, row := range rows {
		lists[i] = row.list()
	}
	return lists, nil
}

// tickRules counts a change, and has every other wait until it is committed.
func tickRules(tx *gorm.DB) (uint64, error) {
	err := tx.Model(&rulesClockRow{}).Where("id = ?", rulesClock).
		Update("revision", gorm.Expr("revision + 1")).Error
	if err != nil {
		return 0, err
	}
	var clock rulesClockRow
	if err := tx.Where("id = ?", rulesClock).Take(&clock).Error; err != nil {
		return 0, err
	}
	return clock.Revision, nil
}

// endRules ends the rules of a queue that was deleted at a version. Those of a
// queue made anew, which begins above it, stay.
func endRules(tx *gorm.DB, queue string, version uint64) error {
	ended := func(tx *gorm.DB) *gorm.DB {
		return tx.Model(&rulesRow{}).Where("queue_id = ? AND queue_version <= ? AND rules <> ?", queue, version, noRules)
	}
	var rows int64
	if err := ended(tx).Count(&rows).Error; err != nil || rows == 0 {
		return err
	}
	revision, err := tickRules(tx)
	if err != nil {
		return err
	}
	return ended(tx).Updates(map[string]any{"rules": noRules, "revision": revision}).Error
}
