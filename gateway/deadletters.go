package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"nowserving/actors/queue"
)

// REST about dead letters: requests from RabbitMQ that could not succeed.

// ErrMaybeDone is what DeadLetters fail with where something may have happened;
// with any other error, nothing has.
var ErrMaybeDone = errors.New("gateway: it is not known whether it happened")

// DeadLetter is a request that could not succeed.
type DeadLetter struct {
	ID                                 string
	Queue, Code, Detail                string // queue is empty where the request named none
	At                                 time.Time
	MessageID, RoutingKey, ContentType string
	Headers                            map[string]any
	Body                               []byte
}

// DeadLetters is where they lie. What is not allowed is as if it were not there.
type DeadLetters interface {
	// Browse gives the oldest ones, up to a bound, and how many there are in all.
	Browse(ctx context.Context) ([]DeadLetter, int, error)
	// Resend and Delete give the ids of those that they did it for.
	Resend(ctx context.Context, ids []string, allowed func(queueID string) bool) ([]string, error)
	Delete(ctx context.Context, ids []string, allowed func(queueID string) bool) ([]string, error)
}

const (
	maxResend = 100
	// maxShown bounds the body of a letter that is shown.
	maxShown = maxBody
	// lettersWithin bounds a call to RabbitMQ.
	lettersWithin = 8 * time.Second
)

var letterID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// letters refuses those who may not, and says so where there is no RabbitMQ.
func (g *Gateway) letters(who *Principal) (DeadLetters, *problem) {
	if p := who.may(ManageLetters, ""); p != nil {
		return nil, p
	}
	if g.options.DeadLetters == nil {
		return nil, newProblem(codeNotFound, "This node has no RabbitMQ (--amqp-url), and so no dead letters.")
	}
	return g.options.DeadLetters, nil
}

func (g *Gateway) listDeadLetters(c *fiber.Ctx, who *Principal) error {
	source, p := g.letters(who)
	if p != nil {
		return p
	}
	var wrong faults
	limit, after := limitOf(c, &wrong), letterCursor{}
	ofQueue, byQueue := queryOf(c, "queue", &wrong)
	if byQueue && queue.ID(ofQueue).Valid() && !who.seesLetter(ofQueue) {
		return refused(queue.ErrQueueNotFound)
	}
	if byQueue && !queue.ID(ofQueue).Valid() {
		wrong.add("queue", "must be a queue's id")
	}
	code, byCode := queryOf(c, "code", &wrong)
	if byCode && (code == "" || len(code) > maxNamed) {
		wrong.add("code", "must be a problem's code")
	}
	if text, given := queryOf(c, "after", &wrong); given {
		var ok bool
		if after, ok = parseLetterCursor(text); !ok {
			wrong.add("after", "must be the next of the page before")
		}
	}
	if p := wrong.problem(); p != nil {
		return p
	}
	all, total, p := g.browse(c.UserContext(), source)
	if p == nil { // the bodies tell of customers
		p = g.auditFirst(c, who, "dead_letters.read", ofQueue, nil)
	}
	if p != nil {
		return p
	}
	all = after.rest(all)
	page := slices.DeleteFunc(all, func(l DeadLetter) bool {
		return !who.seesLetter(l.Queue) || byQueue && l.Queue != ofQueue || byCode && l.Code != code
	})
	more := len(page) > limit
	page = page[:min(limit, len(page))]
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		dst = append(dst, `{"items":[`...)
		for i := range page {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendLetter(dst, &page[i])
		}
		dst = append(dst, `],"next":`...)
		if more {
			dst = appendString(dst, letterCursorOf(page[len(page)-1]))
		} else {
			dst = append(dst, "null"...)
		}
		dst = append(dst, `,"total":`...)
		if who.Level == Admin {
			dst = strconv.AppendInt(dst, int64(total), 10)
		} else {
			dst = append(dst, "null"...) // it counts those of other queues
		}
		return append(dst, '}')
	})
}

func (g *Gateway) browse(ctx context.Context, source DeadLetters) ([]DeadLetter, int, *problem) {
	ctx, cancel := context.WithTimeout(ctx, lettersWithin)
	defer cancel()
	all, total, err := source.Browse(ctx)
	if err != nil {
		return nil, 0, g.lettersAway(err)
	}
	return all, total, nil
}

func (g *Gateway) lettersAway(err error) *problem {
	g.log.Warn("dead letters cannot be reached", "error", err)
	if errors.Is(err, ErrMaybeDone) {
		return newProblem(string(queue.OutcomeUnknown), "It is not known whether this happened for all of them. Look at the list.")
	}
	return unavailable("RabbitMQ cannot be reached just now. Nothing was changed.")
}

// appendLetter writes a letter. A body that is JSON is shown as it is, any
// other in base64, and one that is too long not at all.
func appendLetter(dst []byte, l *DeadLetter) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, l.ID)
	for _, f := range []struct{ name, value string }{
		{"queue", l.Queue}, {"code", l.Code}, {"detail", l.Detail},
		{"message_id", l.MessageID}, {"routing_key", l.RoutingKey}, {"content_type", l.ContentType},
	} {
		dst = append(append(append(dst, `,"`...), f.name...), `":`...)
		dst = appendOptional(dst, strings.ToValidUTF8(f.value, "\ufffd"))
	}
	dst = append(dst, `,"at":`...)
	if l.At.IsZero() {
		dst = append(dst, "null"...)
	} else {
		dst = appendTime(dst, l.At.UnixMilli())
	}
	dst = append(dst, `,"body_bytes":`...)
	dst = strconv.AppendInt(dst, int64(len(l.Body)), 10)
	shown := len(l.Body) <= maxShown
	asJSON := shown && utf8.Valid(l.Body) && !tooDeep(l.Body) && json.Valid(l.Body)
	dst = append(dst, `,"body":`...)
	if asJSON {
		dst = append(dst, l.Body...)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"body_base64":`...)
	if shown && !asJSON {
		dst = append(base64.StdEncoding.AppendEncode(append(dst, '"'), l.Body), '"')
	} else {
		dst = append(dst, "null"...)
	}
	return append(dst, '}')
}

// resendDeadLetters sends some again.
func (g *Gateway) resendDeadLetters(c *fiber.Ctx, who *Principal) error {
	source, p := g.letters(who)
	if p != nil {
		return p
	}
	wrong := &faults{}
	o := g.body(c, wrong)
	o.require("ids")
	ids := o.texts("ids")
	if o.has("ids") && (len(ids) < 1 || len(ids) > maxResend) {
		o.bad("ids", "must be 1 to 100 ids")
	}
	for _, id := range ids {
		if !letterID.MatchString(id) {
			o.bad("ids", "must be ids of dead letters")
			break
		}
	}
	o.close()
	if p := wrong.problem(); p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), lettersWithin)
	defer cancel()
	done, err := source.Resend(ctx, ids, who.seesLetter)
	g.auditLetters(c, who, "dead_letters.resent", done, err)
	if err != nil {
		return g.lettersAway(err)
	}
	missing := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(done, id) })
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		dst = appendStrings(append(dst, `{"resent":`...), done)
		dst = appendStrings(append(dst, `,"missing":`...), missing)
		return append(dst, '}')
	})
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

func (g *Gateway) resendDeadLetter(c *fiber.Ctx, who *Principal) error {
	source, p := g.letters(who)
	if p != nil {
		return p
	}
	wrong := &faults{}
	g.body(c, wrong).close()
	if p := wrong.problem(); p != nil {
		return p
	}
	return g.withLetter(c, who, "dead_letters.resent", source.Resend)
}

func (g *Gateway) deleteDeadLetter(c *fiber.Ctx, who *Principal) error {
	source, p := g.letters(who)
	if p != nil {
		return p
	}
	return g.withLetter(c, who, "dead_letters.deleted", source.Delete)
}

// withLetter does something with one letter.
func (g *Gateway) withLetter(c *fiber.Ctx, who *Principal, action string, do func(context.Context, []string, func(string) bool) ([]string, error)) error {
	noSuch := newProblem(codeNotFound, "There is no such dead letter.")
	id := c.Params("letter")
	if !letterID.MatchString(id) {
		return noSuch
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), lettersWithin)
	defer cancel()
	done, err := do(ctx, []string{id}, who.seesLetter)
	g.auditLetters(c, who, action, done, err)
	switch {
	case err != nil:
		return g.lettersAway(err)
	case len(done) == 0:
		return noSuch
	}
	return c.SendStatus(http.StatusNoContent)
}

// auditLetters records what was done to letters, or may have been.
func (g *Gateway) auditLetters(c *fiber.Ctx, who *Principal, action string, done []string, err error) {
	switch {
	case errors.Is(err, ErrMaybeDone):
		g.audit(c, who, action, "", map[string]any{"letters": done, "outcome": "unknown"})
	case len(done) == 1:
		g.audit(c, who, action, done[0], nil)
	case len(done) > 1:
		g.audit(c, who, action, "", map[string]any{"letters": done})
	}
}

// letterCursor is where a page ended: at a letter, or, where that has been
// taken out meanwhile, at its time.
type letterCursor struct {
	id string
	at int64
}

func letterCursorOf(l DeadLetter) string {
	return base64.RawURLEncoding.EncodeToString([]byte("d:" + l.ID + ":" + strconv.FormatInt(l.At.UnixMilli(), 10)))
}

func parseLetterCursor(text string) (letterCursor, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(text) > maxCursor {
		return letterCursor{}, false
	}
	parts := strings.Split(string(raw), ":")
	if len(parts) != 3 || parts[0] != "d" || !letterID.MatchString(parts[1]) {
		return letterCursor{}, false
	}
	at, err := strconv.ParseInt(parts[2], 10, 64)
	return letterCursor{parts[1], at}, err == nil
}

func (k letterCursor) rest(all []DeadLetter) []DeadLetter {
	if k.id == "" {
		return all
	}
	for i := range all {
		if all[i].ID == k.id {
			return all[i+1:]
		}
	}
	for i := range all {
		if all[i].At.UnixMilli() >= k.at {
			return all[i:]
		}
	}
	return nil
}
