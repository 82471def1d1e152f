package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"nowserving/persistence/seal"
)

// ErrOtherKey: a ring holds another key than others under the same id.
var ErrOtherKey = errors.New("directory: another key of this id is known")

// ringNodeLives is for how long a node counts as running that reports no more.
const ringNodeLives = 45 * time.Second

// RingReport is what a node tells of its ring of data keys.
type RingReport struct {
	Node, Name string // unique; for people
	Keys       []seal.Proof
	// Direct names the keys that have sealed values themselves since the last report.
	Direct []string
}

// RingNode is a node that runs.
type RingNode struct {
	Node, Name string
	Keys       []string // ids, the first key first
}

// RingKey is what is known of one key of rings.
type RingKey struct {
	ID     string
	First  time.Time // when a node first had it; zero: none ever did
	Led    time.Time // when a node last wrapped with it
	Direct time.Time // until when it may have sealed values itself; zero: it never did
	// DataKeys that it wraps, and the days of the first and last visits of these.
	DataKeys       int64
	Oldest, Newest int64
}

type ringNodeRow struct {
	Node   string `gorm:"primaryKey"`
	Name   string
	KeyIDs string
	SeenMs int64

	TokenKeyIDs string `gorm:"column:token_key_ids"`
}

func (ringNodeRow) TableName() string { return "ring_nodes" }

type ringKeyRow struct {
	ID       string `gorm:"primaryKey"`
	Proof    []byte
	FirstMs  int64
	LedMs    int64
	DirectMs int64
}

func (ringKeyRow) TableName() string { return "ring_keys" }

// ReportRing keeps what a node tells of its ring. It fails with ErrOtherKey where
// another ring has another key under one of the ids; then nothing is kept.
func (d *Directory) ReportRing(ctx context.Context, r RingReport) error {
	if err := d.CheckRing(ctx, r.Keys); err != nil {
		return err
	}
	ids := make([]string, len(r.Keys))
	for i, k := range r.Keys {
		ids[i] = k.ID
	}
	now := millis(d.now())
	node := ringNodeRow{Node: r.Node, Name: r.Name, KeyIDs: strings.Join(ids, ","), SeenMs: now}
	return d.write(ctx, func(tx *gorm.DB) error {
		if err := addRingKeys(tx, r.Keys, now); err != nil {
			return err
		}
		if err := tx.Model(&ringKeyRow{}).Where("id = ?", ids[0]).Update("led_ms", now).Error; err != nil {
			return err
		}
		if len(r.Direct) > 0 {
			if err := tx.Model(&ringKeyRow{}).Where("id IN ?", r.Direct).Update("direct_ms", now).Error; err != nil {
				return err
			}
		}
		if err := tx.Where("seen_ms < ?", now-ringNodeLives.Milliseconds()).Delete(&ringNodeRow{}).Error; err != nil {
			return err
		}
		return tx.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "node"}}, DoUpdates: clause.AssignmentColumns([]string{"name", "key_ids", "seen_ms"}),
		}).Create(&node).Error
	})
}

// addRingKeys keeps keys that are new. The first ones ever, of a program that had
// queues before it had data keys, have sealed values themselves.
func addRingKeys(tx *gorm.DB, keys []seal.Proof, now int64) error {
	var known, queues int64
	if err := tx.Model(&ringKeyRow{}).Count(&known).Error; err != nil {
		return err
	}
	if known == 0 {
		if err := tx.Model(&queueRow{}).Limit(1).Count(&queues).Error; err != nil {
			return err
		}
	}
	rows := make([]ringKeyRow, len(keys))
	for i, k := range keys {
		rows[i] = ringKeyRow{ID: k.ID, Proof: k.Proof[:], FirstMs: now}
		if queues > 0 {
			rows[i].DirectMs = now
		}
	}
	return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error
}

// CheckRing fails with ErrOtherKey where the directory knows another key under
// one of the ids.
func (d *Directory) CheckRing(ctx context.Context, keys []seal.Proof) error {
	proofs, ids := make(map[string][16]byte), make([]string, len(keys))
	for i, k := range keys {
		proofs[k.ID], ids[i] = k.Proof, k.ID
	}
	var rows []ringKeyRow
	if err := d.read(ctx).Where("id IN ?", ids).Find(&rows).Error; err != nil {
		return d.fail(err)
	}
	for _, row := range rows {
		if proof := proofs[row.ID]; string(proof[:]) != string(row.Proof) {
			return fmt.Errorf("%w: %s", ErrOtherKey, row.ID)
		}
	}
	return nil
}

// RingNodes gives the nodes that run, with their rings.
func (d *Directory) RingNodes(ctx context.Context) ([]RingNode, error) {
	var rows []ringNodeRow
	err := d.read(ctx).Where("seen_ms >= ?", millis(d.now())-ringNodeLives.Milliseconds()).Order("name, node").Find(&rows).Error
	if err != nil {
		return nil, d.fail(err)
	}
	nodes := make([]RingNode, len(rows))
	for i, row := range rows {
		nodes[i] = RingNode{row.Node, row.Name, strings.Split(row.KeyIDs, ",")}
	}
	return nodes, nil
}

// ForgetRingNode is for a node that ends.
func (d *Directory) ForgetRingNode(ctx context.Context, node string) error {
	return d.write(ctx, func(tx *gorm.DB) error { return tx.Where("node = ?", node).Delete(&ringNodeRow{}).Error })
}

// RingKeys gives every key that a node had or that wraps data keys, the newest first.
func (d *Directory) RingKeys(ctx context.Context) ([]RingKey, error) {
	var rows []ringKeyRow
	if err := d.read(ctx).Order("first_ms DESC, id").Find(&rows).Error; err != nil {
		return nil, d.fail(err)
	}
	var wraps []RingKey
	err := d.read(ctx).Model(&dataKeyRow{}).Group("ring_key").Order("ring_key").
		Select("ring_key AS id, COUNT(*) AS data_keys, COALESCE(MIN(CASE WHEN queue_id NOT LIKE '#%' THEN day END), 0) AS oldest, MAX(day) AS newest").Scan(&wraps).Error
	if err != nil {
		return nil, d.fail(err)
	}
	found := make([]RingKey, len(rows))
	at := make(map[string]int, len(rows))
	for i, row := range rows {
		found[i] = RingKey{ID: row.ID, First: fromMillis(row.FirstMs), Led: fromMillis(row.LedMs), Direct: fromMillis(row.DirectMs)}
		at[row.ID] = i
	}
	for _, w := range wraps {
		if i, known := at[w.ID]; known {
			found[i].DataKeys, found[i].Oldest, found[i].Newest = w.DataKeys, w.Oldest, w.Newest
			continue
		}
		found = append(found, w)
	}
	return found, nil
}

// DataKeysNotUnder gives data keys that another key of the ring than that one
// wraps, in the order of their ids, those after one.
func (d *Directory) DataKeysNotUnder(ctx context.Context, ringKey string, after seal.KeyID, limit int) ([]seal.WrappedKey, error) {
	var rows []dataKeyRow
	err := d.read(ctx).Where("ring_key <> ? AND id > ?", ringKey, after[:]).Order("id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, d.fail(err)
	}
	return wrappedKeys(rows), nil
}

// PutRewrapped keeps data keys under another key of the ring. Those that are gone
// stay gone.
func (d *Directory) PutRewrapped(ctx context.Context, keys []seal.WrappedKey) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		for _, k := range keys {
			err := tx.Model(&dataKeyRow{}).Where("id = ?", k.ID[:]).
				Updates(map[string]any{"ring_key": k.RingKey, "wrapped": k.Wrapped}).Error
			if err != nil {
				return err
			}
		}
		return nil
	})
}
