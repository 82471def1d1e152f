package directory

import (
	"context"
	"fmt"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"nowserving/persistence/seal"
)

type tokenKeyRow struct {
	ID      string `gorm:"primaryKey"`
	Proof   []byte
	FirstMs int64
	LedMs   int64
}

func (tokenKeyRow) TableName() string { return "token_keys" }

// ReportTokenRing keeps what a node, which has told of its ring of data keys, has
// as its ring of token keys. It fails with ErrOtherKey as ReportRing does.
func (d *Directory) ReportTokenRing(ctx context.Context, node string, keys []seal.Proof) error {
	if err := d.CheckTokenRing(ctx, keys); err != nil {
		return err
	}
	now := millis(d.now())
	rows, ids := make([]tokenKeyRow, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		rows[i], ids[i] = tokenKeyRow{ID: k.ID, Proof: k.Proof[:], FirstMs: now}, k.ID
	}
	return d.write(ctx, func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error; err != nil {
			return err
		}
		if err := tx.Model(&tokenKeyRow{}).Where("id = ?", ids[0]).Update("led_ms", now).Error; err != nil {
			return err
		}
		return tx.Model(&ringNodeRow{}).Where("node = ?", node).Update("token_key_ids", strings.Join(ids, ",")).Error
	})
}

// CheckTokenRing is CheckRing of token keys.
func (d *Directory) CheckTokenRing(ctx context.Context, keys []seal.Proof) error {
	var rows []tokenKeyRow
	if err := d.read(ctx).Find(&rows).Error; err != nil {
		return d.fail(err)
	}
	for _, row := range rows {
		for _, k := range keys {
			if k.ID == row.ID && string(k.Proof[:]) != string(row.Proof) {
				return fmt.Errorf("%w: %s", ErrOtherKey, row.ID)
			}
		}
	}
	return nil
}

// TokenRingNodes gives the nodes that run and have told of their token keys.
func (d *Directory) TokenRingNodes(ctx context.Context) ([]RingNode, error) {
	var rows []ringNodeRow
	err := d.read(ctx).Where("seen_ms >= ? AND token_key_ids <> ''", millis(d.now())-ringNodeLives.Milliseconds()).Order("name, node").Find(&rows).Error
	if err != nil {
		return nil, d.fail(err)
	}
	nodes := make([]RingNode, len(rows))
	for i, row := range rows {
		nodes[i] = RingNode{row.Node, row.Name, strings.Split(row.TokenKeyIDs, ",")}
	}
	return nodes, nil
}

// TokenRingKeys gives every token key that a node had, the newest first.
func (d *Directory) TokenRingKeys(ctx context.Context) ([]RingKey, error) {
	var rows []tokenKeyRow
	if err := d.read(ctx).Order("first_ms DESC, id").Find(&rows).Error; err != nil {
		return nil, d.fail(err)
	}
	keys := make([]RingKey, len(rows))
	for i, row := range rows {
		keys[i] = RingKey{ID: row.ID, First: fromMillis(row.FirstMs), Led: fromMillis(row.LedMs)}
	}
	return keys, nil
}
