package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"
)

// rotateWebhook makes a secret; the one of before signs too for a day.
func (g *Gateway) rotateWebhook(c *fiber.Ctx, who *Principal) error {
	w, p := g.webhook(c, who)
	if p == nil {
		p = g.noFields(c)
	}
	if p != nil {
		return p
	}
	w.Secret, w.OldUntil = newSecret(), g.options.Now().Add(oldSecret)
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	if err := g.options.Webhooks.RotateWebhook(ctx, *w, g.auditEntry(c, who, "webhook.secret_made", w.ID, nil)); err != nil {
		return g.webhookNotSaved(err)
	}
	return g.sendWebhook(c, http.StatusCreated, w, w.Secret)
}

// dropOldSecret ends the time in which two secrets sign.
func (g *Gateway) dropOldSecret(c *fiber.Ctx, who *Principal) error {
	w, p := g.webhook(c, who)
	if p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	err := g.options.Webhooks.DropOldSecret(ctx, w.ID, g.auditEntry(c, who, "webhook.secret_dropped", w.ID, nil))
	switch {
	case errors.Is(err, ErrNotFound):
		return newProblem(codeNotFound, "The webhook has one secret only.")
	case err != nil:
		return g.webhookNotSaved(err)
	}
	return c.SendStatus(http.StatusNoContent)
}

// noFields reads a body that is empty or an empty object.
func (g *Gateway) noFields(c *fiber.Ctx) *problem {
	var wrong faults
	g.body(c, &wrong).close()
	return wrong.problem()
}

// testWebhook sends a ping, from the node that was asked and once.
func (g *Gateway) testWebhook(c *fiber.Ctx, who *Principal) error {
	w, p := g.webhook(c, who)
	if p == nil {
		p = g.noFields(c)
	}
	if p != nil {
		return p
	}
	now := g.options.Now()
	body := appendTime([]byte(`{"type":"ping","timestamp":`), now.UnixMilli())
	body = append(appendString(append(body, `,"data":{"webhook":`...), w.ID), "}}"...)
	ctx, cancel := context.WithTimeout(c.UserContext(), pingWithin)
	defer cancel()
	began := time.Now()
	status, reason := g.options.WebhookSender.Ping(ctx, *w, "msg_"+strings.ReplaceAll(uuid.NewString(), "-", ""), body)
	took := time.Since(began)
	g.audit(c, who, "webhook.tested", w.ID, nil)
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		dst = strconv.AppendBool(append(dst, `{"delivered":`...), reason == "")
		dst = appendCount(append(dst, `,"status":`...), uint32(status))
		dst = appendOptional(append(dst, `,"reason":`...), reason)
		dst = strconv.AppendInt(append(dst, `,"milliseconds":`...), took.Milliseconds(), 10)
		return append(dst, '}')
	})
}

func (g *Gateway) listDeadDeliveries(c *fiber.Ctx, who *Principal) error {
	w, p := g.webhook(c, who)
	if p != nil {
		return p
	}
	var wrong faults
	limit, after := limitOf(c, &wrong), (*DeliveryPlace)(nil)
	if text, given := queryOf(c, "after", &wrong); given {
		if after = parseDeliveryCursor(text); after == nil {
			wrong.add("after", "must be the next of the page before")
		}
	}
	if p := wrong.problem(); p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	dead, err := g.options.Webhooks.DeadDeliveries(ctx, w.ID, after, limit+1) // one more tells whether a page follows
	if err != nil {
		return g.webhooksAway(err)
	}
	next := ""
	if len(dead) > limit {
		dead, next = dead[:limit], deliveryCursor(&dead[limit-1])
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte { return appendPage(dst, dead, next, appendDelivery) })
}

func appendDelivery(dst []byte, d *Delivery) []byte {
	dst = appendString(append(dst, `{"id":`...), d.ID)
	dst = appendString(append(dst, `,"queue":`...), d.Queue)
	dst = strconv.AppendUint(append(dst, `,"version":`...), d.Version, 10)
	dst = appendString(append(dst, `,"event":`...), d.Event)
	dst = strconv.AppendInt(append(dst, `,"attempts":`...), int64(d.Attempts), 10)
	dst = appendTime(append(dst, `,"since":`...), millisOf(d.Since))
	dst = appendTime(append(dst, `,"died_at":`...), millisOf(d.DiedAt))
	dst = appendString(append(dst, `,"reason":`...), d.Reason)
	return append(append(append(dst, `,"body":`...), d.Body...), '}')
}

// replayDelivery has one dead delivery wait again.
func (g *Gateway) replayDelivery(c *fiber.Ctx, who *Principal) error {
	n, p := g.replay(c, who, []string{c.Params("delivery")})
	if p == nil && n == 0 {
		p = newProblem(codeNotFound, "There is no such dead delivery.")
	}
	if p != nil {
		return p
	}
	return c.SendStatus(http.StatusNoContent)
}

// replayDeliveries has all wait again, as far as there is room.
func (g *Gateway) replayDeliveries(c *fiber.Ctx, who *Principal) error {
	n, p := g.replay(c, who, nil)
	if p != nil {
		return p
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		return append(strconv.AppendInt(append(dst, `{"replayed":`...), int64(n), 10), '}')
	})
}

func (g *Gateway) replay(c *fiber.Ctx, who *Principal, ids []string) (int, *problem) {
	w, p := g.webhook(c, who)
	if p == nil {
		p = g.noFields(c)
	}
	if p != nil {
		return 0, p
	}
	var details any
	if ids != nil {
		details = map[string]any{"deliveries": ids}
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	n, err := g.options.Webhooks.ReplayDeliveries(ctx, w.ID, ids, g.auditEntry(c, who, "webhook.replayed", w.ID, details))
	switch {
	case errors.Is(err, ErrTooMany):
		return 0, malformed("10,000 deliveries wait for this webhook already.")
	case err != nil:
		return 0, g.webhookNotSaved(err)
	}
	return n, nil
}

func deliveryCursor(d *Delivery) string {
	return base64.RawURLEncoding.EncodeToString([]byte("w:" + strconv.FormatInt(d.DiedAt.UnixMilli(), 10) + ":" + d.ID))
}

// parseDeliveryCursor is nil for what no page can have given.
func parseDeliveryCursor(text string) *DeliveryPlace {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(text) > maxCursor {
		return nil
	}
	parts := strings.SplitN(string(raw), ":", 3)
	if len(parts) != 3 || parts[0] != "w" {
		return nil
	}
	at, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return nil
	}
	p := &DeliveryPlace{time.UnixMilli(at), parts[2]}
	if !utf8.ValidString(p.ID) || deliveryCursor(&Delivery{ID: p.ID, DiedAt: p.DiedAt}) != text { // such as +1 for 1
		return nil
	}
	return p
}
