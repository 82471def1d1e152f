package main

import (
	"context"
	"sync/atomic"

	"github.com/google/uuid"

	"nowserving/actors/queue"
	"nowserving/gateway"
	"nowserving/gateway/webhook"
	"nowserving/messages"
	"nowserving/persistence/directory"
)

// webhooks delivers what is in the outbox, on one node at a time.
type webhooks struct {
	*webhook.Sender
	deliverer *webhook.Deliverer
	d         *directory.Directory
	holder    string
	attempts  [3]atomic.Uint64 // by what became of them: attemptDelivered and so on
}

const (
	attemptDelivered = iota
	attemptFailed    // and is made again
	attemptLast
)

// openWebhooks is for when there is a directory.
func (n *Node) openWebhooks() {
	sender := webhook.NewSender(webhook.Options{Private: n.config.WebhookPrivate, Version: version, Now: n.config.Now})
	w := &webhooks{
		Sender: sender, deliverer: webhook.NewDeliverer(outbox{n}, sender, n.log, n.config.Now), d: n.directory, holder: uuid.NewString(),
	}
	n.webhooks = w
	const name, help = "nowserving_webhook_deliveries_total", "Attempts to deliver events to webhooks: delivered, failed and tried again, dead. " +
		"And events that died without one, for too many waited: backlog_full."
	for i, outcome := range []string{"delivered", "failed", "dead"} {
		counter(n.metrics, name, help, w.attempts[i].Load, "outcome", outcome)
	}
	counter(n.metrics, name, help, n.directory.BacklogFull, "outcome", directory.ReasonBacklogFull)
}

// Run works until ctx is over.
func (w *webhooks) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if !w.deliverer.Idle(ctx) {
			underLease(ctx, w.d, "webhooks", w.holder, w.deliverer.Work)
		}
		w.deliverer.Wait(ctx)
	}
	return nil
}

// Ping attempts once to send a body to a webhook.
func (w *webhooks) Ping(ctx context.Context, to gateway.Webhook, id string, body []byte) (status int, reason string) {
	r := w.Send(ctx, endpoint(to.URL, to.Secret, to.OldSecret), id, body)
	return r.Status, r.Reason
}

func endpoint(url, secret, old string) webhook.Endpoint {
	e := webhook.Endpoint{URL: url}
	for _, s := range []string{secret, old} {
		if s != "" {
			e.Secrets = append(e.Secrets, s)
		}
	}
	return e
}

// webhookEvent notes whether somebody wants an event. The end of a queue is no
// event outside.
func webhookEvent(queueID string, e *messages.Event, wanted *bool) directory.WebhookEvent {
	w := directory.WebhookEvent{Epoch: e.Epoch, Version: e.Version, Body: func() []byte {
		*wanted = true
		return gateway.WebhookBody(queueID, e)
	}}
	if kind := queue.Kind(e.Kind); kind != queue.QueueDeleted {
		w.Type = kind.String()
	}
	return w
}

// outbox is the directory as the deliverer wants it.
type outbox struct{ n *Node }

func (o outbox) Receivers(ctx context.Context) ([]webhook.Receiver, error) {
	found, err := o.n.directory.EnabledWebhooks(ctx)
	list := make([]webhook.Receiver, len(found))
	for i, one := range found {
		list[i] = webhook.Receiver{Webhook: one.ID, State: one.UpdatedMs, Due: one.Due}
	}
	return list, err
}

func (o outbox) Deliveries(ctx context.Context, id string, limit int) (webhook.Endpoint, []webhook.Delivery, error) {
	w, found, err := o.n.directory.DueDeliveries(ctx, id, limit)
	list := make([]webhook.Delivery, len(found))
	for i, one := range found {
		list[i] = webhook.Delivery{ID: one.ID, Body: one.Body, Attempts: one.Attempts, Since: one.Since}
	}
	return endpoint(w.URL, w.Secret, w.OldSecret), list, err
}

func (o outbox) Settle(ctx context.Context, id string, outcomes []webhook.Outcome, gone bool) error {
	kept := make([]directory.DeliveryOutcome, len(outcomes))
	var became [3]uint64
	for i, one := range outcomes {
		kept[i] = directory.DeliveryOutcome(one)
		switch {
		case one.Reason == "":
			became[attemptDelivered]++
		case one.Next.IsZero():
			became[attemptLast]++
		default:
			became[attemptFailed]++
		}
	}
	entry, err := uuid.NewV7()
	if err != nil {
		return err
	}
	err = o.n.directory.SettleDeliveries(ctx, id, kept, gone, directory.AuditEntry{
		ID: entry, At: o.n.config.Now().UTC(), Action: "webhook.gone", Target: id,
	})
	if err == nil {
		for i, n := range became {
			o.n.webhooks.attempts[i].Add(n)
		}
	}
	return err
}

// webhookStore is the directory as the gateway wants it for webhooks.
type webhookStore struct{ d *directory.Directory }

func (a webhookStore) ListWebhooks(ctx context.Context, after string, limit int) ([]gateway.Webhook, error) {
	found, err := a.d.ListWebhooks(ctx, after, limit)
	list := make([]gateway.Webhook, len(found))
	for i, w := range found {
		list[i] = gateway.Webhook(w)
	}
	return list, adapted(err)
}

func (a webhookStore) Webhook(ctx context.Context, id string) (gateway.Webhook, error) {
	w, err := a.d.Webhook(ctx, id)
	return gateway.Webhook(w), adapted(err)
}

func (a webhookStore) CreateWebhook(ctx context.Context, w gateway.Webhook, e gateway.AuditEntry) (gateway.Webhook, error) {
	kept, err := a.d.CreateWebhook(ctx, directory.Webhook(w), directory.AuditEntry(e))
	return gateway.Webhook(kept), adapted(err)
}

func (a webhookStore) UpdateWebhook(ctx context.Context, id string, p gateway.WebhookPatch, e gateway.AuditEntry) (gateway.Webhook, error) {
	w, err := a.d.UpdateWebhook(ctx, id, directory.WebhookPatch(p), directory.AuditEntry(e))
	return gateway.Webhook(w), adapted(err)
}

func (a webhookStore) DeleteWebhook(ctx context.Context, id string, e gateway.AuditEntry) error {
	return adapted(a.d.DeleteWebhook(ctx, id, directory.AuditEntry(e)))
}

func (a webhookStore) RotateWebhook(ctx context.Context, w gateway.Webhook, e gateway.AuditEntry) error {
	_, err := a.d.RotateWebhook(ctx, w.ID, w.Secret, w.OldUntil, directory.AuditEntry(e))
	return adapted(err)
}

func (a webhookStore) DropOldSecret(ctx context.Context, id string, e gateway.AuditEntry) error {
	return adapted(a.d.DropOldSecret(ctx, id, directory.AuditEntry(e)))
}

func (a webhookStore) DeadDeliveries(ctx context.Context, id string, after *gateway.DeliveryPlace, limit int) ([]gateway.Delivery, error) {
	found, err := a.d.DeadDeliveries(ctx, id, (*directory.DeliveryPlace)(after), limit)
	list := make([]gateway.Delivery, len(found))
	for i, one := range found {
		list[i] = gateway.Delivery(one)
	}
	return list, adapted(err)
}

func (a webhookStore) ReplayDeliveries(ctx context.Context, id string, deliveries []string, e gateway.AuditEntry) (int, error) {
	n, err := a.d.ReplayDeliveries(ctx, id, deliveries, directory.AuditEntry(e))
	return n, adapted(err)
}
