package gateway

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"nowserving/actors/queue"
)

// REST about webhooks, for admins alone. What happened to deliveries is in
// webhooks_dead.go.

const (
	secretMark   = "whsec_"
	secretBytes  = 32
	oldSecret    = 24 * time.Hour // a secret signs after it was replaced
	maxHookURL   = 2_048
	maxHookText  = 200
	pingWithin   = 10 * time.Second // below what a page waits
	everyWebhook = "*"
)

// Webhook is a receiver of events.
type Webhook struct {
	ID             string
	URL, Secret    string // empty: they cannot be opened
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

// Delivery is an event that could not be delivered.
type Delivery struct {
	ID       string
	Queue    string
	Version  uint64
	Event    string
	Body     []byte // JSON
	Attempts int
	Since    time.Time // when the attempts began
	DiedAt   time.Time
	Reason   string
}

// DeliveryPlace is a dead delivery's place in the list.
type DeliveryPlace struct {
	DiedAt time.Time
	ID     string
}

// ErrSealed is what Webhooks fail with where an address and secrets cannot be
// opened, and what is to be changed is one of them.
var ErrSealed = errors.New("gateway: the key of this is lost")

// Webhooks keeps webhooks and what they could not be given. Where there is none,
// it fails with ErrNotFound. The entry of the audit log is kept if the change is.
type Webhooks interface {
	// ListWebhooks lists by id, which is by creation, those after one.
	ListWebhooks(ctx context.Context, after string, limit int) ([]Webhook, error)
	Webhook(ctx context.Context, id string) (Webhook, error)
	// CreateWebhook fails with ErrTooMany as well.
	CreateWebhook(ctx context.Context, w Webhook, e AuditEntry) (Webhook, error)
	// UpdateWebhook fails with ErrSealed as well.
	UpdateWebhook(ctx context.Context, id string, p WebhookPatch, e AuditEntry) (Webhook, error)
	DeleteWebhook(ctx context.Context, id string, e AuditEntry) error
	// RotateWebhook has w's secret sign, and the one of before until w.OldUntil. It
	// fails with ErrSealed as well.
	RotateWebhook(ctx context.Context, w Webhook, e AuditEntry) error
	// DropOldSecret fails with ErrNotFound where there is none.
	DropOldSecret(ctx context.Context, id string, e AuditEntry) error
	// DeadDeliveries gives those behind after, the newest first.
	DeadDeliveries(ctx context.Context, id string, after *DeliveryPlace, limit int) ([]Delivery, error)
	// ReplayDeliveries has some wait again, or with nil as many as there is room
	// for, and tells how many. Where there is none, it fails with ErrTooMany.
	ReplayDeliveries(ctx context.Context, id string, deliveries []string, e AuditEntry) (int, error)
}

// WebhookSender calls receivers.
type WebhookSender interface {
	// Check says what is wrong with an address; empty for nothing.
	Check(url string) string
	// Ping attempts once to send a body; reason is empty where it was taken.
	Ping(ctx context.Context, to Webhook, id string, body []byte) (status int, reason string)
}

// webhook gives the webhook that the path names to whoever may administer it.
func (g *Gateway) webhook(c *fiber.Ctx, who *Principal) (*Webhook, *problem) {
	if p := who.may(ManageWebhooks, ""); p != nil {
		return nil, p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	w, err := g.options.Webhooks.Webhook(ctx, c.Params("webhook"))
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, noSuchWebhook()
	case err != nil:
		return nil, g.webhooksAway(err)
	}
	return &w, nil
}

func noSuchWebhook() *problem { return newProblem(codeNotFound, "There is no such webhook.") }

func (g *Gateway) webhooksAway(err error) *problem {
	g.log.Warn("webhooks cannot be read", "error", err)
	return unavailable("Webhooks cannot be read just now.")
}

func (g *Gateway) webhookNotSaved(err error) *problem {
	if errors.Is(err, ErrNotFound) {
		return noSuchWebhook()
	}
	if errors.Is(err, ErrSealed) {
		return malformed("The address and the secrets of this webhook cannot be opened any more, for their key is lost. Delete it and make it anew.")
	}
	g.log.Warn("a webhook could not be saved", "error", err)
	return newProblem(string(queue.OutcomeUnknown), "It is not known whether this was done. Look at the webhook.")
}

func (g *Gateway) listWebhooks(c *fiber.Ctx, who *Principal) error {
	if p := who.may(ManageWebhooks, ""); p != nil {
		return p
	}
	hooks, next, p := pageByID(c, g.options.Webhooks.ListWebhooks, func(w *Webhook) string { return w.ID }, g.webhooksAway)
	if p != nil {
		return p
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		return appendPage(dst, hooks, next, func(dst []byte, w *Webhook) []byte { return append(appendWebhook(dst, w), '}') })
	})
}

func (g *Gateway) getWebhook(c *fiber.Ctx, who *Principal) error {
	w, p := g.webhook(c, who)
	if p != nil {
		return p
	}
	return g.sendWebhook(c, http.StatusOK, w, "")
}

func (g *Gateway) createWebhook(c *fiber.Ctx, who *Principal) error {
	if p := who.may(ManageWebhooks, ""); p != nil {
		return p
	}
	var wrong faults
	in := g.body(c, &wrong)
	in.require("url")
	patch, changed := g.webhookFields(in)
	in.close()
	if p := wrong.problem(); p != nil {
		return p
	}
	id, err := uuid.NewV7()
	if err != nil {
		return g.internal(c.UserContext(), "making a webhook's id", err)
	}
	w := Webhook{ID: id.String(), URL: *patch.URL, Secret: newSecret(), Queues: []string{everyWebhook}, Events: []string{everyWebhook}, Enabled: true}
	if patch.Description != nil {
		w.Description = *patch.Description
	}
	if patch.Queues != nil {
		w.Queues = *patch.Queues
	}
	if patch.Events != nil {
		w.Events = *patch.Events
	}
	if patch.Enabled != nil {
		w.Enabled = *patch.Enabled
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	w, err = g.options.Webhooks.CreateWebhook(ctx, w, g.auditEntry(c, who, "webhook.created", w.ID, changed))
	switch {
	case errors.Is(err, ErrTooMany):
		return malformed("There are 50 webhooks. Delete one first.")
	case err != nil:
		return g.webhookNotSaved(err)
	}
	c.Set(fiber.HeaderLocation, "/api/v1/webhooks/"+w.ID)
	return g.sendWebhook(c, http.StatusCreated, &w, w.Secret)
}

func newSecret() string {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails: it ends the program instead
	return secretMark + base64.StdEncoding.EncodeToString(secret)
}

func (g *Gateway) updateWebhook(c *fiber.Ctx, who *Principal) error {
	before, p := g.webhook(c, who)
	if p != nil {
		return p
	}
	var wrong faults
	in := g.body(c, &wrong)
	patch, changed := g.webhookFields(in)
	in.close()
	if len(in.members) == 0 && wrong.problem() == nil {
		wrong.refusal = malformed("At least one field is needed in the body.")
	}
	if p := wrong.problem(); p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	w, err := g.options.Webhooks.UpdateWebhook(ctx, before.ID, patch, g.auditEntry(c, who, "webhook.changed", before.ID, changed))
	if err != nil {
		return g.webhookNotSaved(err)
	}
	w.Waiting, w.Dead = before.Waiting, before.Dead
	return g.sendWebhook(c, http.StatusOK, &w, "")
}

func (g *Gateway) deleteWebhook(c *fiber.Ctx, who *Principal) error {
	w, p := g.webhook(c, who)
	if p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	if err := g.options.Webhooks.DeleteWebhook(ctx, w.ID, g.auditEntry(c, who, "webhook.deleted", w.ID, nil)); err != nil {
		return g.webhookNotSaved(err)
	}
	return c.SendStatus(http.StatusNoContent)
}

// webhookFields reads what POST and PATCH have in common. changed is for the audit
// log: an address and a description are in it by the field's name only, for they
// may be secrets or tell of people.
func (g *Gateway) webhookFields(in *object) (p WebhookPatch, changed map[string]any) {
	changed = map[string]any{}
	if p.URL = in.text("url", 1, maxHookURL, false); p.URL != nil {
		if says := g.options.WebhookSender.Check(*p.URL); says != "" {
			in.bad("url", says)
		}
		changed["url"] = nil
	}
	if in.has("description") {
		text := in.line("description", 0, maxHookText, false)
		p.Description, changed["description"] = &text, nil
	}
	if in.has("queues") {
		queues := in.queueList("queues")
		p.Queues, changed["queues"] = &queues, queues
		if len(queues) == 0 {
			in.bad("queues", "must not be empty")
		}
	}
	if in.has("events") {
		events := in.texts("events")
		p.Events, changed["events"] = &events, events
		if len(events) == 0 {
			in.bad("events", "must not be empty")
		}
		for i, name := range events {
			if name != everyWebhook && !eventNames[name] || slices.Contains(events[:i], name) || name == everyWebhook && len(events) > 1 {
				in.bad("events["+strconv.Itoa(i)+"]", `must be an event's name, once, or "*" alone`)
			}
		}
	}
	if in.has("enabled") {
		enabled := in.flag("enabled")
		p.Enabled, changed["enabled"] = &enabled, enabled
	}
	return p, changed
}

// eventNames are those that are known outside.
var eventNames = func() map[string]bool {
	names := make(map[string]bool)
	for kind := queue.TicketEnqueued; kind < queue.QueueDeleted; kind++ {
		names[kind.String()] = true
	}
	return names
}()

// sendWebhook shows the secret where it is new.
func (g *Gateway) sendWebhook(c *fiber.Ctx, status int, w *Webhook, secret string) error {
	return g.sendJSON(c, status, func(dst []byte) []byte {
		dst = appendWebhook(dst, w)
		if secret != "" {
			dst = appendString(append(dst, `,"secret":`...), secret)
		}
		return append(dst, '}')
	})
}

// appendWebhook begins the object of a webhook.
func appendWebhook(dst []byte, w *Webhook) []byte {
	dst = appendString(append(dst, `{"id":`...), w.ID)
	dst = appendOptional(append(dst, `,"url":`...), w.URL)
	dst = appendString(append(dst, `,"description":`...), w.Description)
	dst = appendStrings(append(dst, `,"queues":`...), w.Queues)
	dst = appendStrings(append(dst, `,"events":`...), w.Events)
	dst = strconv.AppendBool(append(dst, `,"enabled":`...), w.Enabled)
	dst = strconv.AppendBool(append(dst, `,"gone":`...), w.Gone)
	dst = appendTime(append(dst, `,"old_secret_until":`...), millisOf(w.OldUntil))
	dst = strconv.AppendInt(append(dst, `,"waiting":`...), w.Waiting, 10)
	dst = strconv.AppendInt(append(dst, `,"dead":`...), w.Dead, 10)
	dst = strconv.AppendInt(append(dst, `,"dropped":`...), w.Dropped, 10)
	dst = appendTime(append(dst, `,"last_success_at":`...), millisOf(w.SuccessAt))
	dst = appendTime(append(dst, `,"last_failure_at":`...), millisOf(w.FailureAt))
	dst = appendOptional(append(dst, `,"last_failure":`...), w.Failure)
	dst = appendTime(append(dst, `,"created_at":`...), millisOf(w.CreatedAt))
	return appendTime(append(dst, `,"updated_at":`...), millisOf(w.UpdatedAt))
}
