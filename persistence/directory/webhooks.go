package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// Webhooks: receivers of events. Address and secrets are sealed under the ring's
// first key, as names of users are: an address is often a secret itself. What is
// to be delivered stands in webhook_outbox.go.

const (
	maxWebhooks         = 50
	webhookPurpose      = "webhooks/v1"
	webhookField        = "webhook"
	everything          = "*"
	deadDeliveriesStay  = 14 * 24 * time.Hour
	maxDeliveries       = 10_000 // of a webhook that wait; and as many dead ones
	deadSlack           = 10     // the dead may be more by a tenth until they are trimmed
	deliveriesPerInsert = 100
)

// ErrSealed: the ring has lost the key of what is to be changed.
var ErrSealed = errSealed

// Webhook is one receiver.
type Webhook struct {
	ID             string // UUIDv7
	URL, Secret    string // empty: the ring has lost the key
	OldSecret      string // signs too, until OldUntil; empty: there is none
	OldUntil       time.Time
	Description    string
	Queues, Events []string // or one "*" for all
	Enabled        bool
	Gone           bool // it was disabled because the receiver answered 410
	CreatedAt      time.Time
	UpdatedAt      time.Time
	Waiting, Dead  int64 // deliveries
	Dropped        int64 // dead ones that went for want of room
	SuccessAt      time.Time
	FailureAt      time.Time
	Failure        string // why something was not delivered, the last time
}

// WebhookPatch changes the fields that are not nil.
type WebhookPatch struct {
	URL, Description *string
	Queues, Events   *[]string
	Enabled          *bool
}

type webhookRow struct {
	ID          string `gorm:"primaryKey"`
	Sealed      []byte
	Description string
	Queues      string
	Events      string
	Enabled     bool
	Gone        bool
	CreatedMs   int64
	UpdatedMs   int64
	OldUntilMs  int64
	Dropped     int64
	SuccessMs   int64
	FailureMs   int64
	Failure     string
}

func (webhookRow) TableName() string { return "webhooks" }

// webhookSealed is what is sealed of a webhook.
type webhookSealed struct {
	URL string `json:"url"`
	New string `json:"new"` // the secret
	Old string `json:"old,omitempty"`
}

func (d *Directory) sealWebhook(row *webhookRow, s webhookSealed) (err error) {
	text, _ := json.Marshal(s) // texts always encode
	row.Sealed, err = d.sealValue(webhookPurpose, row.ID, webhookField, string(text))
	return err
}

func (d *Directory) openWebhook(row *webhookRow) (s webhookSealed, err error) {
	text, err := d.openValue(webhookPurpose, row.ID, webhookField, row.Sealed)
	if err != nil {
		return s, err
	}
	if json.Unmarshal([]byte(text), &s) != nil {
		return s, errSealed
	}
	if row.OldUntilMs <= millis(d.now()) {
		s.Old = ""
	}
	return s, nil
}

// webhook gives a row without its counts. What does not open is empty.
func (d *Directory) webhook(row *webhookRow) (Webhook, error) {
	s, _ := d.openWebhook(row)
	w := Webhook{
		ID: row.ID, URL: s.URL, Secret: s.New, OldSecret: s.Old, Description: row.Description, Enabled: row.Enabled, Gone: row.Gone,
		CreatedAt: fromMillis(row.CreatedMs), UpdatedAt: fromMillis(row.UpdatedMs), Dropped: row.Dropped,
		SuccessAt: fromMillis(row.SuccessMs), FailureAt: fromMillis(row.FailureMs), Failure: row.Failure,
	}
	if s.Old != "" {
		w.OldUntil = fromMillis(row.OldUntilMs)
	}
	if json.Unmarshal([]byte(row.Queues), &w.Queues) != nil || json.Unmarshal([]byte(row.Events), &w.Events) != nil {
		return Webhook{}, fmt.Errorf("%w: webhook %s is damaged", ErrUnavailable, row.ID)
	}
	return w, nil
}

// CreateWebhook adds w, with its id and secret. It fails with ErrTooMany where
// there are 50.
func (d *Directory) CreateWebhook(ctx context.Context, w Webhook, audit ...AuditEntry) (Webhook, error) {
	now := millis(d.now())
	row := webhookRow{
		ID: w.ID, Description: w.Description, Queues: queuesColumn(w.Queues), Events: queuesColumn(w.Events), Enabled: w.Enabled,
		CreatedMs: now, UpdatedMs: now,
	}
	if err := d.sealWebhook(&row, webhookSealed{URL: w.URL, New: w.Secret}); err != nil {
		return Webhook{}, err
	}
	err := d.write(ctx, func(tx *gorm.DB) error {
		var have int64
		if err := tx.Model(&webhookRow{}).Count(&have).Error; err != nil {
			return err
		}
		if have >= maxWebhooks {
			return ErrTooMany
		}
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		return note(tx, audit...)
	})
	if err != nil {
		return Webhook{}, err
	}
	return d.webhook(&row)
}

// ListWebhooks lists by id, which is by creation, those after one.
func (d *Directory) ListWebhooks(ctx context.Context, after string, limit int) ([]Webhook, error) {
	return d.webhooks(ctx, d.read(ctx).Where("id > ?", after).Order("id").Limit(clampLimit(limit)))
}

// Webhook gives one, or ErrNotFound.
func (d *Directory) Webhook(ctx context.Context, id string) (Webhook, error) {
	found, err := d.webhooks(ctx, d.read(ctx).Where("id = ?", id))
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Webhook{}, err
	}
	return found[0], nil
}

func (d *Directory) webhooks(ctx context.Context, query *gorm.DB) ([]Webhook, error) {
	var rows []webhookRow
	if err := query.Find(&rows).Error; err != nil {
		return nil, d.fail(err)
	}
	list, ids := make([]Webhook, len(rows)), make([]string, len(rows))
	at := make(map[string]*Webhook, len(rows))
	for i := range rows {
		var err error
		if list[i], err = d.webhook(&rows[i]); err != nil {
			return nil, err
		}
		ids[i], at[rows[i].ID] = rows[i].ID, &list[i]
	}
	if len(ids) == 0 {
		return list, nil
	}
	var counts []struct {
		Webhook        string
		Waiting, Total int64
	}
	err := d.read(ctx).Raw("SELECT webhook, SUM(CASE WHEN dead_ms = 0 THEN 1 ELSE 0 END) AS waiting, COUNT(*) AS total"+
		" FROM webhook_deliveries WHERE webhook IN ? GROUP BY webhook", ids).Scan(&counts).Error
	if err != nil {
		return nil, d.fail(err)
	}
	for _, c := range counts {
		at[c.Webhook].Waiting, at[c.Webhook].Dead = c.Waiting, c.Total-c.Waiting
	}
	return list, nil
}

// UpdateWebhook applies p and gives the webhook as it is then, without its counts.
// It fails with ErrSealed where p has an address and what is sealed does not open.
func (d *Directory) UpdateWebhook(ctx context.Context, id string, p WebhookPatch, audit ...AuditEntry) (Webhook, error) {
	return d.changeWebhook(ctx, id, func(row *webhookRow, s *webhookSealed) error {
		if p.URL != nil {
			s.URL = *p.URL
		}
		if p.Description != nil {
			row.Description = *p.Description
		}
		if p.Queues != nil {
			row.Queues = queuesColumn(*p.Queues)
		}
		if p.Events != nil {
			row.Events = queuesColumn(*p.Events)
		}
		if p.Enabled != nil {
			row.Enabled, row.Gone = *p.Enabled, false
		}
		return nil
	}, audit...)
}

// RotateWebhook has a new secret sign, and the one of before as well until a time.
// It fails with ErrSealed where that one does not open.
func (d *Directory) RotateWebhook(ctx context.Context, id, secret string, until time.Time, audit ...AuditEntry) (Webhook, error) {
	return d.changeWebhook(ctx, id, func(row *webhookRow, s *webhookSealed) error {
		s.Old, s.New, row.OldUntilMs = s.New, secret, millis(until)
		return nil
	}, audit...)
}

// DropOldSecret forgets the secret of before, or fails with ErrNotFound where
// there is none.
func (d *Directory) DropOldSecret(ctx context.Context, id string, audit ...AuditEntry) error {
	_, err := d.changeWebhook(ctx, id, func(row *webhookRow, s *webhookSealed) error {
		if row.OldUntilMs <= millis(d.now()) {
			return ErrNotFound
		}
		s.Old, row.OldUntilMs = "", 0
		return nil
	}, audit...)
	return err
}

// changeWebhook seals again only what change has changed of it: all else can be
// changed of a webhook whose key is lost too.
func (d *Directory) changeWebhook(ctx context.Context, id string, change func(*webhookRow, *webhookSealed) error, audit ...AuditEntry) (Webhook, error) {
	var row webhookRow
	err := d.write(ctx, func(tx *gorm.DB) error {
		row = webhookRow{}
		if err := locked(tx).Where("id = ?", id).Take(&row).Error; err != nil {
			return err
		}
		s, closed := d.openWebhook(&row)
		was := s
		if err := change(&row, &s); err != nil {
			return err
		}
		if s != was {
			if closed != nil {
				return closed
			}
			if err := d.sealWebhook(&row, s); err != nil {
				return err
			}
		}
		row.UpdatedMs = millis(d.now())
		err := tx.Model(&row).Select("sealed", "description", "queues", "events", "enabled", "gone", "updated_ms", "old_until_ms").Updates(&row).Error
		if err != nil {
			return err
		}
		return note(tx, audit...)
	})
	if err != nil {
		return Webhook{}, err
	}
	return d.webhook(&row)
}

// DeleteWebhook removes a webhook and all its deliveries.
func (d *Directory) DeleteWebhook(ctx context.Context, id string, audit ...AuditEntry) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		if err := missing(tx.Where("id = ?", id).Delete(&webhookRow{})); err != nil {
			return err
		}
		if err := tx.Where("webhook = ?", id).Delete(&deliveryRow{}).Error; err != nil {
			return err
		}
		return note(tx, audit...)
	})
}

// ResealWebhooks brings all webhooks under the ring's first key, and gives how
// many were changed and how many do not open, which stay as they are.
func (d *Directory) ResealWebhooks(ctx context.Context) (changed, lost int, err error) {
	var ids []string
	if err := d.read(ctx).Model(&webhookRow{}).Order("id").Pluck("id", &ids).Error; err != nil {
		return 0, 0, d.fail(err)
	}
	for _, id := range ids {
		err := d.resealWebhook(ctx, id)
		switch {
		case errors.Is(err, errSealed):
			lost++
		case err == nil:
			changed++
		case !errors.Is(err, ErrNotFound): // deleted meanwhile
			return changed, lost, err
		}
	}
	return changed, lost, nil
}

// resealWebhook seals a webhook under the ring's first key, without a secret that
// has lapsed. Nobody has changed it: updated_ms stays.
func (d *Directory) resealWebhook(ctx context.Context, id string) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		var row webhookRow
		if err := locked(tx).Where("id = ?", id).Take(&row).Error; err != nil {
			return err
		}
		s, err := d.openWebhook(&row)
		if err != nil {
			return err
		}
		if s.Old == "" {
			row.OldUntilMs = 0
		}
		if err := d.sealWebhook(&row, s); err != nil {
			return err
		}
		return tx.Model(&row).Select("sealed", "old_until_ms").Updates(&row).Error
	})
}

// WebhookRingKeys counts the webhooks that each key of rings has sealed, by its id.
func (d *Directory) WebhookRingKeys(ctx context.Context) (map[string]int, error) {
	var rows []webhookRow
	if err := d.read(ctx).Select("id", "sealed").Find(&rows).Error; err != nil {
		return nil, d.fail(err)
	}
	counts := make(map[string]int)
	for _, row := range rows {
		if id, _, err := sealedBy(row.Sealed); err == nil {
			counts[id]++
		}
	}
	return counts, nil
}

// SweepWebhooks forgets dead deliveries of 14 days ago and beyond the bound, those
// of webhooks that were deleted in between, and secrets that have lapsed.
func (d *Directory) SweepWebhooks(ctx context.Context) error {
	var rows []webhookRow
	if err := d.read(ctx).Find(&rows).Error; err != nil {
		return d.fail(err)
	}
	for _, row := range rows {
		if row.OldUntilMs > 0 && row.OldUntilMs <= millis(d.now()) {
			// It may have been replaced meanwhile: whether one has lapsed is seen there.
			if err := d.resealWebhook(ctx, row.ID); err != nil && !errors.Is(err, errSealed) && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
	}
	return d.write(ctx, func(tx *gorm.DB) error {
		for _, row := range rows {
			err := tx.Where("webhook = ? AND dead_ms > 0 AND dead_ms < ?", row.ID, millis(d.now().Add(-deadDeliveriesStay))).Delete(&deliveryRow{}).Error
			if err == nil {
				err = d.trimDead(tx, row.ID)
			}
			if err != nil {
				return err
			}
		}
		return tx.Where("webhook NOT IN (SELECT id FROM webhooks)").Delete(&deliveryRow{}).Error
	})
}
