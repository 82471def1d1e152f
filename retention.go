package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"nowserving/actors/queue"
	"nowserving/gateway"
	"nowserving/messages"
	"nowserving/persistence/directory"
)

const (
	retentionEvery = 10 * time.Minute
	retentionPage  = 500 // queues
)

// retention empties what queues are not to keep for longer: personal data in the
// history, counted from a ticket's end, and with the data keys of that age what
// journals, snapshots and copies hold, counted from the day of the visit.
type retention struct {
	d      *directory.Directory
	read   func(context.Context, *messages.Read) *messages.View
	log    *slog.Logger
	now    func() time.Time
	holder string
}

func newRetention(n *Node) *retention {
	return &retention{d: n.directory, read: n.queues.Read, log: n.log, now: n.config.Now, holder: uuid.NewString()}
}

// Run works until ctx is over, on one node at a time. It forgets ended
// logins and old deliveries to webhooks too.
func (r *retention) Run(ctx context.Context) error {
	for {
		held := underLease(ctx, r.d, "retention", r.holder, func(ctx context.Context) {
			if _, err := r.d.SweepRefresh(ctx, r.now()); err != nil && ctx.Err() == nil {
				r.log.Warn("what is left of old logins is kept for longer, for now", "error", err)
			}
			if _, err := r.d.SweepLogins(ctx, r.now().Add(-2*gateway.ThrottleWindow)); err != nil && ctx.Err() == nil {
				r.log.Warn("old logins that failed are kept for longer, for now", "error", err)
			}
			if err := r.d.SweepWebhooks(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("old deliveries to webhooks are kept for longer, for now", "error", err)
			}
			if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("personal data is kept for longer than it should be, for now", "error", err)
			}
		})
		next := retentionEvery
		if !held { // whoever has it may not come to an end
			next = jobLease
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// sweep goes through all queues, deleted ones too. One that fails keeps no other waiting.
func (r *retention) sweep(ctx context.Context) (failed error) {
	for after := ""; ; {
		rows, err := r.d.ListKnownQueues(ctx, after, retentionPage)
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, row := range rows {
			after = row.ID
			var config struct {
				RetentionDays int `json:"retention_days"`
			}
			if err := json.Unmarshal(row.Config, &config); err != nil || config.RetentionDays < 1 {
				continue
			}
			if err := r.apply(ctx, row.ID, config.RetentionDays); err != nil {
				failed = fmt.Errorf("queue %s: %w", row.ID, err)
			}
		}
		if len(rows) < retentionPage {
			return failed
		}
	}
}

func (r *retention) apply(ctx context.Context, id string, days int) error {
	before := queue.Time(r.now().UnixMilli()) - queue.Time(days)*queue.Day
	rows, err := r.d.EmptyHistoryBefore(ctx, id, before)
	if err != nil {
		return err
	}
	// A visit that goes on keeps its key, and so do those of the days after it.
	v := r.read(ctx, &messages.Read{Queue: id, Question: &messages.Read_Oldest{Oldest: &messages.ReadOldest{}}})
	switch {
	case v.Problem.GetCode() == string(queue.QueueNotFound):
	case v.Problem != nil:
		return fmt.Errorf("%s", v.Problem.Code)
	case v.OldestVisit > 0:
		before = min(before, queue.Time(v.OldestVisit))
	}
	keys, err := r.d.DropDataKeys(ctx, id, int64(before/queue.Day))
	if err != nil || rows+keys == 0 {
		return err
	}
	details, err := json.Marshal(map[string]any{"days": days, "history": rows, "keys": keys})
	if err != nil {
		return err
	}
	entry, err := uuid.NewV7()
	if err != nil {
		return err
	}
	r.log.Info("personal data has reached its age", "queue", id, "history", rows, "keys", keys)
	return r.d.AddAudit(ctx, directory.AuditEntry{ID: entry, At: r.now().UTC(), Action: "retention.applied", Target: id, Details: details})
}
