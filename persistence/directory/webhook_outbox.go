package directory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// The outbox of webhooks. Deliveries come into it in the transaction that takes
// their events into the history, so each event comes in once, and leave it when
// they were delivered. At a bound they die at once, and of the dead the oldest
// go. So a receiver that is away for long costs others some time, of the history:
// measured on a busy machine of 4 cores, one that is full adds about 12 ms to
// taking 500 events with SQLite and 15 ms with MariaDB, where one that is not
// adds 5 and 8 ms; ten that are full add 135 and 200 ms. To taking one event one
// that is full adds 1 and 3 ms: its 10,000 that wait are counted in the index.

// ReasonBacklogFull is why a delivery died that nobody attempted.
const ReasonBacklogFull = "backlog_full"

// WebhookEvent is an event as webhooks have it.
type WebhookEvent struct {
	Epoch   string
	Version uint64
	Type    string // empty: nobody outside is told
	// Body renders what is sent. It is called where somebody wants the event.
	Body func() []byte
}

// Delivery is an event for one webhook.
type Delivery struct {
	ID       string
	Queue    string
	Version  uint64
	Event    string
	Body     []byte
	Attempts int
	Since    time.Time // when the attempts began
	DiedAt   time.Time // zero: it waits
	Reason   string    // why the last attempt failed
}

// DeliveryOutcome is what became of an attempt.
type DeliveryOutcome struct {
	ID     string
	At     time.Time
	Reason string    // empty: it was delivered
	Next   time.Time // when it is tried again; zero: not any more
}

// DeliveryPlace is a dead delivery's place in the list.
type DeliveryPlace struct {
	DiedAt time.Time
	ID     string
}

type deliveryRow struct {
	Webhook  string `gorm:"primaryKey"`
	ID       string `gorm:"primaryKey"`
	Queue    string
	Version  uint64
	Event    string
	Body     []byte
	Attempts int
	SinceMs  int64
	NextMs   int64
	DeadMs   int64
	Reason   string
}

func (deliveryRow) TableName() string { return "webhook_deliveries" }

func (r *deliveryRow) delivery() Delivery {
	return Delivery{
		ID: r.ID, Queue: r.Queue, Version: r.Version, Event: r.Event, Body: r.Body, Attempts: r.Attempts,
		Since: fromMillis(r.SinceMs), DiedAt: fromMillis(r.DeadMs), Reason: r.Reason,
	}
}

// deliveryID is the same for the same event of the same history.
func deliveryID(queue string, e *WebhookEvent) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", queue, e.Epoch, e.Version))
	return "msg_" + hex.EncodeToString(sum[:16])
}

// putDeliveries puts the events of some parts into the outbox, for those webhooks
// that want them, and gives how many of each webhook's died at once.
func (d *Directory) putDeliveries(tx *gorm.DB, parts []HistoryPart) (died map[string]int, err error) {
	var hooks []webhookRow
	if err := tx.Select("id", "queues", "events").Where("enabled = ?", true).Order("id").Find(&hooks).Error; err != nil || len(hooks) == 0 {
		return nil, err
	}
	now := millis(d.now())
	wants := make([]func(queue, event string) bool, len(hooks))
	rows := make([][]deliveryRow, len(hooks))
	for i := range hooks {
		wants[i] = hooks[i].wants()
	}
	for _, p := range parts {
		for n := range p.Events {
			e := p.Event(n)
			if e.Type == "" {
				continue
			}
			row := deliveryRow{Queue: p.Queue, Version: e.Version, Event: e.Type, SinceMs: now, NextMs: now}
			for i := range hooks {
				if !wants[i](p.Queue, e.Type) {
					continue
				}
				if row.Body == nil {
					row.ID, row.Body = deliveryID(p.Queue, &e), e.Body()
				}
				row.Webhook = hooks[i].ID
				rows[i] = append(rows[i], row)
			}
		}
	}
	died = make(map[string]int)
	for i := range hooks {
		n, err := d.insertDeliveries(tx, hooks[i].ID, rows[i], now)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			died[hooks[i].ID] = n
		}
	}
	return died, nil
}

// wants tells which events a webhook is for; none where its lists are damaged.
func (r *webhookRow) wants() func(queue, event string) bool {
	var queues, events []string
	if json.Unmarshal([]byte(r.Queues), &queues) != nil || json.Unmarshal([]byte(r.Events), &events) != nil {
		return func(string, string) bool { return false }
	}
	in := func(list []string, s string) bool {
		return slices.Contains(list, everything) || slices.Contains(list, s)
	}
	return func(queue, event string) bool { return in(queues, queue) && in(events, event) }
}

// insertDeliveries has those that are beyond the bound die at once, and gives how
// many. Several nodes at it may go beyond it by what each takes at a time.
func (d *Directory) insertDeliveries(tx *gorm.DB, webhook string, rows []deliveryRow, now int64) (died int, err error) {
	if len(rows) == 0 {
		return 0, nil
	}
	waiting, err := d.waitingDeliveries(tx, webhook)
	if err != nil {
		return 0, err
	}
	room := min(max(0, d.deliveries-waiting), len(rows))
	for i := range rows[room:] {
		rows[room+i].DeadMs, rows[room+i].Reason = now, ReasonBacklogFull
	}
	// What is there already has come before: a database that was put back knows less
	// than it sent.
	return len(rows) - room, tx.Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(&rows, deliveriesPerInsert).Error
}

// buried counts what died at once and is kept now. Where a tenth of the bound has
// gathered the oldest of the dead go, by themselves: each time it would cost much.
// If they cannot go now, they go with the next tenth, or with the sweep.
func (d *Directory) buried(ctx context.Context, died map[string]int) {
	for webhook, n := range died {
		d.backlogFull.Add(uint64(n))
		if d.gathered(webhook, n) {
			_ = d.write(ctx, func(tx *gorm.DB) error { return d.trimDead(tx, webhook) })
		}
	}
}

// gathered tells whether a webhook's dead are so many more that they are to be
// trimmed, and begins to count anew then.
func (d *Directory) gathered(webhook string, n int) bool {
	d.untrimmedMu.Lock()
	defer d.untrimmedMu.Unlock()
	if len(d.untrimmed) > maxWebhooks { // some were deleted
		clear(d.untrimmed)
	}
	d.untrimmed[webhook] += n
	full := d.untrimmed[webhook] >= d.deliveries/deadSlack
	if full {
		delete(d.untrimmed, webhook)
	}
	return full
}

// BacklogFull counts the deliveries that this process had die at once, for too
// many waited.
func (d *Directory) BacklogFull() uint64 { return d.backlogFull.Load() }

// waitingDeliveries counts no further than the bound. The order has MariaDB walk
// the index: it would take the table, with all bodies.
func (d *Directory) waitingDeliveries(tx *gorm.DB, webhook string) (n int, err error) {
	err = tx.Raw("SELECT COUNT(*) FROM (SELECT 1 FROM webhook_deliveries WHERE webhook = ? AND dead_ms = 0 ORDER BY next_ms LIMIT ?) AS waiting",
		webhook, d.deliveries).Scan(&n).Error
	return n, err
}

// trimDead drops the oldest dead deliveries of a webhook beyond the bound.
func (d *Directory) trimDead(tx *gorm.DB, webhook string) error {
	var ids []string
	err := tx.Model(&deliveryRow{}).Where("webhook = ? AND dead_ms > 0", webhook).
		Order("dead_ms DESC, next_ms DESC, version DESC").Offset(d.deliveries).Limit(1<<31-1).Pluck("id", &ids).Error
	if err != nil || len(ids) == 0 {
		return err
	}
	for part := range slices.Chunk(ids, idsPerQuery) {
		if err := tx.Where("webhook = ? AND id IN ?", webhook, part).Delete(&deliveryRow{}).Error; err != nil {
			return err
		}
	}
	return tx.Model(&webhookRow{}).Where("id = ?", webhook).Update("dropped", gorm.Expr("dropped + ?", len(ids))).Error
}

// EnabledWebhook is one that is enabled.
type EnabledWebhook struct {
	ID        string
	UpdatedMs int64 // moves with each change, and with a replay
	Due       bool  // something is to be delivered now
}

// EnabledWebhooks gives all.
func (d *Directory) EnabledWebhooks(ctx context.Context) (list []EnabledWebhook, err error) {
	err = d.read(ctx).Raw("SELECT id, updated_ms, EXISTS (SELECT 1 FROM webhook_deliveries AS d"+
		" WHERE d.webhook = webhooks.id AND d.dead_ms = 0 AND d.next_ms <= ?) AS due FROM webhooks WHERE enabled = ? ORDER BY id",
		millis(d.now()), true).Scan(&list).Error
	return list, d.fail(err)
}

// DueDeliveries gives an enabled webhook, or ErrNotFound, and what is to be
// delivered to it now, the longest due first.
func (d *Directory) DueDeliveries(ctx context.Context, webhook string, limit int) (Webhook, []Delivery, error) {
	var hook webhookRow
	if err := d.read(ctx).Where("id = ? AND enabled = ?", webhook, true).Take(&hook).Error; err != nil {
		return Webhook{}, nil, d.fail(err)
	}
	w, err := d.webhook(&hook)
	if err != nil {
		return Webhook{}, nil, err
	}
	var rows []deliveryRow
	err = d.read(ctx).Where("webhook = ? AND dead_ms = 0 AND next_ms <= ?", webhook, millis(d.now())).
		Order("next_ms, version").Limit(clampLimit(limit)).Find(&rows).Error
	return w, deliveriesOf(rows), d.fail(err)
}

func deliveriesOf(rows []deliveryRow) []Delivery {
	list := make([]Delivery, len(rows))
	for i := range rows {
		list[i] = rows[i].delivery()
	}
	return list
}

// SettleDeliveries keeps what became of attempts. Gone disables the webhook, and
// audit is kept if it does.
func (d *Directory) SettleDeliveries(ctx context.Context, webhook string, outcomes []DeliveryOutcome, gone bool, audit ...AuditEntry) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		var delivered []string
		changes, died := map[string]any{}, false
		for _, o := range outcomes {
			if o.Reason == "" {
				delivered = append(delivered, o.ID)
				changes["success_ms"] = millis(o.At)
				continue
			}
			changes["failure_ms"], changes["failure"] = millis(o.At), o.Reason
			row := map[string]any{"attempts": gorm.Expr("attempts + 1"), "reason": o.Reason, "next_ms": millis(o.Next)}
			if o.Next.IsZero() {
				died = true
				row["dead_ms"], row["next_ms"] = millis(o.At), millis(o.At)
			}
			if err := tx.Model(&deliveryRow{}).Where("webhook = ? AND id = ? AND dead_ms = 0", webhook, o.ID).Updates(row).Error; err != nil {
				return err
			}
		}
		for part := range slices.Chunk(delivered, idsPerQuery) {
			if err := tx.Where("webhook = ? AND id IN ?", webhook, part).Delete(&deliveryRow{}).Error; err != nil {
				return err
			}
		}
		if died {
			if err := d.trimDead(tx, webhook); err != nil {
				return err
			}
		}
		if gone {
			changes["enabled"], changes["gone"] = false, true
			if err := note(tx, audit...); err != nil {
				return err
			}
		}
		return tx.Model(&webhookRow{}).Where("id = ?", webhook).Updates(changes).Error
	})
}

// DeadDeliveries gives those that could not be delivered, the newest first, those
// behind after, or from the newest where that is nil.
func (d *Directory) DeadDeliveries(ctx context.Context, webhook string, after *DeliveryPlace, limit int) ([]Delivery, error) {
	q := d.read(ctx).Where("webhook = ? AND dead_ms > 0", webhook)
	if after != nil {
		at := millis(after.DiedAt)
		q = q.Where("dead_ms <= ? AND (dead_ms < ? OR id < ?)", at, at, after.ID)
	}
	var rows []deliveryRow
	err := q.Order("dead_ms DESC, id DESC").Limit(min(max(limit, 1), MaxLimit+1)).Find(&rows).Error
	return deliveriesOf(rows), d.fail(err)
}

// ReplayDeliveries has dead deliveries wait again, as if they had just come: those
// named, or with nil all, the oldest first, as far as there is room. It gives how
// many, and fails with ErrTooMany where there is none. It moves updated_ms, by
// which whoever delivers sees that the receiver is to be asked again.
func (d *Directory) ReplayDeliveries(ctx context.Context, webhook string, ids []string, audit ...AuditEntry) (replayed int, err error) {
	err = d.write(ctx, func(tx *gorm.DB) error {
		replayed = 0
		waiting, err := d.waitingDeliveries(tx, webhook)
		if err != nil {
			return err
		}
		q := tx.Model(&deliveryRow{}).Where("webhook = ? AND dead_ms > 0", webhook)
		if ids != nil {
			q = q.Where("id IN ?", ids)
		}
		var found []string
		if err := q.Order("dead_ms, next_ms, version").Limit(max(1, d.deliveries-waiting)).Pluck("id", &found).Error; err != nil {
			return err
		}
		if len(found) > 0 && waiting >= d.deliveries {
			return ErrTooMany
		}
		now := millis(d.now())
		for part := range slices.Chunk(found, idsPerQuery) {
			result := tx.Model(&deliveryRow{}).Where("webhook = ? AND id IN ? AND dead_ms > 0", webhook, part).
				Updates(map[string]any{"attempts": 0, "since_ms": now, "next_ms": now, "dead_ms": 0})
			if result.Error != nil {
				return result.Error
			}
			replayed += int(result.RowsAffected)
		}
		if replayed == 0 {
			return nil
		}
		if err := tx.Model(&webhookRow{}).Where("id = ?", webhook).Update("updated_ms", now).Error; err != nil {
			return err
		}
		return note(tx, audit...)
	})
	return replayed, err
}
