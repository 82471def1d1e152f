package gateway

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// REST about customers: what is kept of one, and that nothing is kept any more.

// Bounds of what is asked for one person.
const (
	maxExport     = 1_000 // rows of the history; and tickets of one queue
	exportReaders = 16    // queues that are asked at once
	exportWithin  = 10 * time.Second
	// An erasure is usually done while its admin waits.
	erasureWithin = 5 * time.Second
	erasureLook   = 50 * time.Millisecond
)

// Erasure is an erasure of a person. It is known by tags, or by a visit, alone.
type Erasure struct {
	ID      string
	Tags    [][]byte
	Visit   []byte // 16 bytes, or none
	MadeAt  time.Time
	MadeBy  string    // user id
	DoneAt  time.Time // zero: not yet
	History int64     // rows of the history that were emptied
	Tickets int64     // tickets in queues that were
}

// People is what the gateway needs of the store of finished tickets to find
// those of one person.
type People interface {
	// AddErasure keeps an erasure, which is then carried out.
	AddErasure(ctx context.Context, e Erasure) error
	Erasure(ctx context.Context, id string) (Erasure, error)
	// HistoryOfPerson gives rows with their trails, the ones finished last first.
	HistoryOfPerson(ctx context.Context, tags [][]byte, limit int) ([]HistoryRow, error)
	// HistoryOf gives the row of a ticket with its trail.
	HistoryOf(ctx context.Context, ticket [16]byte) (HistoryRow, error)
}

// sought is who was asked for.
type sought struct {
	by    string // the name of the one field
	tags  [][]byte
	visit []byte // of an erasure alone; then there are no tags
}

// askedFor reads by what a person is to be found: exactly one of the fields.
func (g *Gateway) askedFor(c *fiber.Ctx, who *Principal, visits bool) (found sought, p *problem) {
	if p := who.may(ManagePeople, ""); p != nil {
		return sought{}, p
	}
	body, ok := rawBody(c)
	if !ok {
		return sought{}, newProblem(codeTooLarge, "The body is over 65,536 bytes.")
	}
	var wrong faults
	o := wrong.parse(body)
	var asked subject
	into := map[string]*string{"phone": &asked.Phone, "email": &asked.Email, "ref": &asked.Ref}
	given := 0
	for _, field := range customerFields {
		to := into[field.name]
		if to == nil {
			continue
		}
		if s := o.text(field.name, 1, field.max, true); s != nil {
			given++
			*to, found.by = *s, field.name
		}
	}
	if visits {
		if found.visit = o.ticket("visit"); found.visit != nil {
			given++
			found.by = "visit"
		}
	}
	o.close()
	found.tags = g.wanted(&asked)
	if given != 1 || len(found.tags)+len(found.visit) == 0 {
		what := "phone, email and ref"
		if visits {
			what = "phone, email, ref and visit"
		}
		wrong.add("phone", "exactly one of "+what+" must be given")
	}
	return found, wrong.problem()
}

// createErasure has a person erased. Where that takes longer than an admin
// waits, it goes on by itself.
func (g *Gateway) createErasure(c *fiber.Ctx, who *Principal) error {
	asked, p := g.askedFor(c, who, true)
	if p != nil {
		return p
	}
	id := uuid.NewString()
	details := map[string]string{"by": asked.by}
	if asked.visit != nil {
		details["visit"] = idText(asked.visit)
	}
	if p := g.auditFirst(c, who, "person.erased", id, details); p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	e := Erasure{ID: id, Tags: asked.tags, Visit: asked.visit, MadeAt: g.options.Now().UTC(), MadeBy: who.UserID}
	if err := g.options.People.AddErasure(ctx, e); err != nil {
		g.log.WarnContext(c.UserContext(), "an erasure cannot be kept", "error", err)
		return newProblem(string(queue.OutcomeUnknown), "It is not known whether the erasure was begun. Ask for it once more.")
	}
	e = g.awaitErasure(c.UserContext(), e)
	c.Set(fiber.HeaderLocation, "/api/v1/erasures/"+id)
	return g.sendErasure(c, http.StatusCreated, &e)
}

// awaitErasure gives the erasure as it is when it is done, or when that takes
// too long.
func (g *Gateway) awaitErasure(ctx context.Context, e Erasure) Erasure {
	ctx, cancel := context.WithTimeout(ctx, erasureWithin)
	defer cancel()
	tick := time.NewTicker(erasureLook)
	defer tick.Stop()
	for e.DoneAt.IsZero() {
		select {
		case <-ctx.Done():
			return e
		case <-tick.C:
		}
		if now, err := g.options.People.Erasure(ctx, e.ID); err == nil {
			e = now
		}
	}
	return e
}

func (g *Gateway) getErasure(c *fiber.Ctx, who *Principal) error {
	if p := who.may(ManagePeople, ""); p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	e, err := g.options.People.Erasure(ctx, c.Params("erasure"))
	switch {
	case errors.Is(err, ErrNotFound):
		return newProblem(codeNotFound, "There is no such erasure.")
	case err != nil:
		return g.historyAway(err)
	}
	return g.sendErasure(c, http.StatusOK, &e)
}

func (g *Gateway) sendErasure(c *fiber.Ctx, status int, e *Erasure) error {
	return g.sendJSON(c, status, func(dst []byte) []byte {
		dst = appendString(append(dst, `{"id":`...), e.ID)
		state, doneAt := "pending", int64(0)
		if !e.DoneAt.IsZero() {
			state, doneAt = "done", e.DoneAt.UnixMilli()
		}
		dst = appendString(append(dst, `,"status":`...), state)
		dst = appendTime(append(dst, `,"made_at":`...), e.MadeAt.UnixMilli())
		dst = appendString(append(dst, `,"made_by":`...), e.MadeBy)
		dst = appendTime(append(dst, `,"done_at":`...), doneAt)
		dst = strconv.AppendInt(append(dst, `,"history":`...), e.History, 10)
		dst = strconv.AppendInt(append(dst, `,"tickets":`...), e.Tickets, 10)
		return append(dst, '}')
	})
}

// getHistory gives a finished ticket with the trail of its events.
func (g *Gateway) getHistory(c *fiber.Ctx, who *Principal) error {
	if p := who.may(ReadHistory, ""); p != nil {
		return p
	}
	missing := newProblem(string(queue.TicketNotFound), "There is no such ticket in the history.")
	id := ticketID(c.Params("ticket"))
	if id == nil {
		return missing
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	row, err := g.options.People.HistoryOf(ctx, [16]byte(id))
	switch {
	case errors.Is(err, ErrNotFound), err == nil && !who.sees(row.Queue):
		return missing
	case err != nil:
		return g.historyAway(err)
	}
	if p := g.auditFirst(c, who, "history.read", row.Queue, map[string]string{"ticket": idText(id)}); p != nil {
		return p
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte { return g.appendTrailed(dst, &row, 0, who.full()) })
}

// exportPerson gives all that is kept of a person.
func (g *Gateway) exportPerson(c *fiber.Ctx, who *Principal) error {
	asked, p := g.askedFor(c, who, false)
	if p == nil {
		p = g.auditFirst(c, who, "person.exported", "", map[string]string{"by": asked.by})
	}
	if p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), exportWithin)
	defer cancel()
	// The history last: what leaves the queues meanwhile is in it, or is on its
	// way there and stays in the queue for a day.
	rows, whole, p := g.ticketsOfPerson(ctx, who, asked.tags)
	if p != nil {
		return p
	}
	finished, err := g.options.People.HistoryOfPerson(ctx, asked.tags, maxExport)
	if err != nil {
		return g.historyAway(err)
	}
	whole = whole && len(finished) < maxExport
	for _, row := range finished {
		if !slices.ContainsFunc(rows, func(r exported) bool { return string(r.row.Ticket.Id) == string(row.Ticket.Id) }) {
			rows = append(rows, exported{row: row})
		}
	}
	slices.SortFunc(rows, func(a, b exported) int {
		return cmp.Or(cmp.Compare(a.row.Ticket.EnqueuedAt, b.row.Ticket.EnqueuedAt), cmp.Compare(string(a.row.Ticket.Id), string(b.row.Ticket.Id)))
	})
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		dst = append(dst, `{"items":[`...)
		for i := range rows {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = g.appendTrailed(dst, &rows[i].row, rows[i].position, true)
		}
		dst = strconv.AppendBool(append(dst, `],"whole":`...), whole)
		return append(dst, '}')
	})
}

// exported is a ticket of a person, in a queue or in the history.
type exported struct {
	row      HistoryRow
	position uint32
}

// ticketsOfPerson asks all queues. whole is false where one has more than it
// could give.
func (g *Gateway) ticketsOfPerson(ctx context.Context, who *Principal, tags [][]byte) (found []exported, whole bool, p *problem) {
	var ids []string
	for after, more := "", true; more; {
		rows, next, err := g.visibleQueues(ctx, who, after, maxLimit)
		if err != nil {
			return nil, false, g.historyAway(err)
		}
		for i := range rows {
			ids = append(ids, rows[i].ID)
		}
		if more = next; more {
			after = rows[len(rows)-1].ID
		}
	}
	whole = true
	var mu sync.Mutex
	var readers sync.WaitGroup
	next := make(chan string)
	for range min(exportReaders, len(ids)) {
		readers.Go(func() {
			for id := range next {
				v := g.queues.Read(ctx, &messages.Read{Queue: id, Question: &messages.Read_Person{
					Person: &messages.ReadPerson{Tags: tags, Limit: maxExport},
				}})
				mu.Lock()
				switch {
				case v.Problem != nil && v.Problem.Code != string(queue.QueueNotFound):
					p = problemOf(v.Problem)
				case v.Next != nil:
					whole = false
				}
				for _, placed := range v.Tickets {
					found = append(found, exported{HistoryRow{Queue: id, Ticket: placed.Ticket}, placed.Position})
				}
				mu.Unlock()
			}
		})
	}
	for _, id := range ids {
		next <- id
	}
	close(next)
	readers.Wait()
	return found, whole, p
}

// appendTrailed writes a ticket with the trail of its events.
func (r *renderer) appendTrailed(dst []byte, row *HistoryRow, position uint32, full bool) []byte {
	dst = r.appendTicket(append(dst, `{"ticket":`...), row.Ticket, row.Queue, position, full)
	dst = append(dst, `,"trail":[`...)
	for i, s := range row.Ticket.Trail {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(append(dst, `{"version":`...), s.Version, 10)
		dst = appendString(append(dst, `,"event":`...), queue.Kind(s.Kind).String())
		dst = appendTime(append(dst, `,"at":`...), s.At)
		dst = appendOptional(append(dst, `,"by":`...), s.By)
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}
