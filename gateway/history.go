package gateway

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// REST about finished tickets.

// HistoryRow is a finished ticket. Its Outcome is what complete gave, else the
// name of its state.
type HistoryRow struct {
	Queue  string
	Ticket *messages.Ticket
}

// HistoryFilter says which rows are wanted; what is empty filters nothing.
type HistoryFilter struct {
	Queues             []string // all where it is nil, none where it is empty
	Attendant, Outcome string
	// From, inclusive, and To, exclusive, bound the time of finishing in Unix
	// milliseconds; 0 is no bound.
	From, To int64
}

// HistoryPlace is a row's place in the history.
type HistoryPlace struct {
	FinishedAt int64 // Unix milliseconds
	ID         [16]byte
}

// History is what the gateway needs of the store of finished tickets.
type History interface {
	// ListHistory gives rows behind a place, or from the newest on where it is
	// nil, the ones finished last first; next is nil where no more follow.
	ListHistory(ctx context.Context, f HistoryFilter, after *HistoryPlace, limit int) (rows []HistoryRow, next *HistoryPlace, err error)
	// KnowsQueue tells whether there is or ever was such a queue.
	KnowsQueue(ctx context.Context, id string) (bool, error)
}

// historyRequest is what was asked for.
type historyRequest struct {
	filter HistoryFilter
	after  *HistoryPlace
	limit  int // 0: all
	csv    bool
	queue  string // that was asked for; empty: all that the user may see
}

func (g *Gateway) listHistory(c *fiber.Ctx, who *Principal) error {
	r, p := g.historyRequest(c, who)
	if p != nil {
		return p
	}
	c.Vary(fiber.HeaderAccept)
	if r.csv {
		return g.exportHistory(c, who, r)
	}
	rows, next, p := g.historyPage(c.UserContext(), r.filter, r.after, r.limit)
	if p == nil {
		p = g.auditHistory(c, who, "history.read", r)
	}
	if p != nil {
		return p
	}
	cursor := ""
	if next != nil {
		cursor = historyCursor(next)
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		return appendPage(dst, rows, cursor, func(dst []byte, row *HistoryRow) []byte {
			return g.appendTicket(dst, row.Ticket, row.Queue, 0, who.full())
		})
	})
}

// auditHistory records a look at finished tickets, which tell of customers. The
// outcome that was asked for is text that people typed, and is left out; so is an
// attendant that is no user's id.
func (g *Gateway) auditHistory(c *fiber.Ctx, who *Principal, action string, r *historyRequest) *problem {
	f := &r.filter
	details := map[string]any{}
	if len(f.Attendant) == 36 && uuid.Validate(f.Attendant) == nil {
		details["attendant"] = f.Attendant
	}
	for name, at := range map[string]int64{"from": f.From, "to": f.To} {
		if at != 0 {
			details[name] = time.UnixMilli(at).UTC()
		}
	}
	return g.auditFirst(c, who, action, r.queue, details)
}

func (g *Gateway) historyPage(ctx context.Context, f HistoryFilter, after *HistoryPlace, limit int) ([]HistoryRow, *HistoryPlace, *problem) {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	rows, next, err := g.options.History.ListHistory(ctx, f, after, limit)
	if err != nil {
		return nil, nil, g.historyAway(err)
	}
	sealed := make([][]byte, 0, 2*len(rows)) // of many days and queues, so of many keys
	for _, row := range rows {
		sealed = append(sealed, row.Ticket.Customer, row.Ticket.Payload)
	}
	g.sealer.Prepare(ctx, sealed...)
	return rows, next, nil
}

func (g *Gateway) historyAway(err error) *problem {
	g.log.Warn("the history cannot be read", "error", err)
	return unavailable("The history cannot be read just now.")
}

// historyRequest reads the query and holds it against what the user may see.
func (g *Gateway) historyRequest(c *fiber.Ctx, who *Principal) (*historyRequest, *problem) {
	var wrong faults
	r := &historyRequest{csv: wantsCSV(headerValues(c, fiber.HeaderAccept))}
	if form, given := queryOf(c, "format", &wrong); given { // a link in a page can send no header
		r.csv = form == "csv"
		if form != "csv" && form != "json" {
			wrong.add("format", "must be csv or json")
		}
	}
	if r.limit = limitOf(c, &wrong); r.csv && !c.Context().QueryArgs().Has("limit") {
		r.limit = 0
	}
	r.filter.Attendant = filterOf(c, "attendant", maxAttendant, &wrong)
	r.filter.Outcome = filterOf(c, "outcome", queue.MaxOutcomeLength, &wrong)
	var from, to bool
	r.filter.From, from = timeOf(c, "from", &wrong)
	r.filter.To, to = timeOf(c, "to", &wrong)
	if from && to && r.filter.To < r.filter.From {
		wrong.add("to", "must not be before from")
	}
	if text, given := queryOf(c, "after", &wrong); given {
		if r.after = parseHistoryCursor(text); r.after == nil {
			wrong.add("after", "must be the next of the page before")
		}
	}
	id, given := queryOf(c, "queue", &wrong)
	var unknown *problem
	if given {
		if unknown = g.mustKnow(c.UserContext(), who, id); unknown != nil && unknown.status() == http.StatusNotFound {
			return nil, unknown
		}
		r.filter.Queues, r.queue = []string{id}, id
	} else if !who.seesAll() {
		r.filter.Queues = append([]string{}, who.Queues...)
	}
	if p := who.may(ReadHistory, ""); p != nil {
		return nil, p
	}
	if p := wrong.problem(); p != nil {
		return nil, p
	}
	if unknown != nil {
		return nil, unknown
	}
	return r, nil
}

// mustKnow refuses a queue that the user may not see or that never was. One
// that was deleted has a history.
func (g *Gateway) mustKnow(ctx context.Context, who *Principal, id string) *problem {
	if !who.sees(id) {
		return refused(queue.ErrQueueNotFound)
	}
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	known, err := g.options.History.KnowsQueue(ctx, id)
	switch {
	case err != nil:
		return g.historyAway(err)
	case !known:
		return refused(queue.ErrQueueNotFound)
	}
	return nil
}

// maxAttendant is the longest id that a user can have.
const maxAttendant = 64

// filterOf gives a text that rows must have, empty where it was left out.
func filterOf(c *fiber.Ctx, name string, max int, wrong *faults) string {
	text, given := queryOf(c, name, wrong)
	if given && (text == "" || !utf8.ValidString(text) || utf8.RuneCountInString(text) > max) {
		wrong.add(name, "must be 1 to "+strconv.Itoa(max)+" characters")
	}
	return text
}

// timeOf gives a moment in Unix milliseconds, at least 1. One between two
// milliseconds is as good as the second: rows have whole ones.
func timeOf(c *fiber.Ctx, name string, wrong *faults) (int64, bool) {
	text, given := queryOf(c, name, wrong)
	if !given {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		wrong.add(name, "must be a time such as 2026-11-03T09:00:00.000Z")
		return 0, false
	}
	return max(t.Add(time.Millisecond-1).UnixMilli(), 1), true
}

const historyCursorLength = 1 + 8 + 16

func historyCursor(p *HistoryPlace) string {
	raw := make([]byte, 0, historyCursorLength)
	raw = append(raw, 'h')
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.FinishedAt))
	return base64.RawURLEncoding.EncodeToString(append(raw, p.ID[:]...))
}

// parseHistoryCursor is nil for what no page can have given.
func parseHistoryCursor(text string) *HistoryPlace {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != historyCursorLength || raw[0] != 'h' {
		return nil
	}
	at := binary.BigEndian.Uint64(raw[1:])
	if at > 1<<62 {
		return nil
	}
	return &HistoryPlace{FinishedAt: int64(at), ID: [16]byte(raw[9:])}
}

// wantsCSV tells whether a client prefers CSV to JSON, which is what it gets
// where it does not say (RFC 9110, section 12.5.1).
func wantsCSV(accept []string) bool {
	csv, json, place := 0.0, 0.0, map[string]int{}
	for i, part := range strings.Split(strings.Join(accept, ","), ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		if params["q"] == "" || err != nil {
			q = 1
		}
		switch kind {
		case "text/csv":
			csv, place["csv"] = q, i
		case "application/json", "application/*", "*/*":
			if q > json {
				json, place["json"] = q, i
			}
		}
	}
	return csv > 0 && (csv > json || csv == json && place["csv"] < place["json"])
}
