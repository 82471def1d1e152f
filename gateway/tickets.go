package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// REST about tickets.

// metaOf gives what comes with a command in headers. A header that is there
// twice is as good as a wrong one.
func metaOf(c *fiber.Ctx) commandMeta {
	one := func(name string) *string {
		values := headerValues(c, name)
		switch len(values) {
		case 0:
			return nil
		case 1:
			return &values[0]
		}
		return new(string)
	}
	return commandMeta{key: one("Idempotency-Key"), ifMatch: one(fiber.HeaderIfMatch)}
}

// restCommand makes a command of a request.
func (g *Gateway) restCommand(c *fiber.Ctx, name string, who *Principal) (*build, *problem) {
	meta := metaOf(c)
	args, ok := rawBody(c)
	meta.tooLarge = !ok
	return g.build(c.UserContext(), name, c.Params("queue"), args, who, queue.FromREST, c.Params("ticket"), meta)
}

// ticketCommand serves a command whose answer is a ticket.
func (g *Gateway) ticketCommand(name string) func(*fiber.Ctx, *Principal) error {
	return func(c *fiber.Ctx, who *Principal) error {
		b, p := g.restCommand(c, name, who)
		if p != nil {
			return p
		}
		return g.doTicketCommand(c, who, b)
	}
}

// removeTicket takes its one argument from the query.
func (g *Gateway) removeTicket(c *fiber.Ctx, who *Principal) error {
	meta := metaOf(c)
	args := []byte("{}")
	if c.Context().QueryArgs().Has("reason") {
		reason := c.Context().QueryArgs().Peek("reason")
		args = []byte(`{"reason":"` + "\xff" + `"}`) // refused as what it is
		if utf8.Valid(reason) {
			args, _ = json.Marshal(map[string]string{"reason": string(reason)})
		}
	}
	b, p := g.build(c.UserContext(), "remove", c.Params("queue"), args, who, queue.FromREST, c.Params("ticket"), meta)
	if p != nil {
		return p
	}
	return g.doTicketCommand(c, who, b)
}

func (g *Gateway) doTicketCommand(c *fiber.Ctx, who *Principal, b *build) error {
	a, m := b.do(c.UserContext()), b.message
	if a.Problem != nil {
		return problemOf(a.Problem)
	}
	if a.Event == nil {
		return c.SendStatus(http.StatusNoContent) // call-next where nobody waits
	}
	event, at := shown(a, m.Queue)
	setVersion(c, a.Version)
	setReplayed(c, a)
	status := http.StatusOK
	if m.GetEnqueue() != nil {
		status = http.StatusCreated
		c.Set(fiber.HeaderLocation, "/api/v1/queues/"+at+"/tickets/"+idText(event.Ticket.Id))
	}
	return g.sendJSON(c, status, func(dst []byte) []byte {
		return g.appendEventData(dst, at, event, who.full())
	})
}

// shown is the event whose ticket or queue answers a command, and its queue: of
// a transfer, what it made in the target.
func shown(a *messages.Answer, queueID string) (*messages.Event, string) {
	if a.Arrival != nil {
		return a.Arrival, a.Event.Ticket.TransferQueue
	}
	return a.Event, queueID
}

// appendAnswer writes the data of an accepted command's answer: the ticket, the
// queue, or null where call_next found nobody.
func (g *Gateway) appendAnswer(dst []byte, queueID string, a *messages.Answer, full bool) []byte {
	if a.Event == nil {
		return append(dst, "null"...)
	}
	event, at := shown(a, queueID)
	return g.appendEventData(dst, at, event, full)
}

func setReplayed(c *fiber.Ctx, a *messages.Answer) {
	if a.Replayed {
		c.Set("Idempotent-Replayed", "true")
	}
}

func idText(id []byte) string {
	text := appendID(nil, id)
	return string(text[1 : len(text)-1])
}

// readQueue asks a queue what the user may know of it.
func (g *Gateway) readQueue(ctx context.Context, who *Principal, action Action, ask *messages.Read) (*messages.View, *problem) {
	if !who.sees(ask.Queue) {
		return nil, refused(queue.ErrQueueNotFound)
	}
	if p := who.may(action, ask.Queue); p != nil {
		return nil, p
	}
	view := g.queues.Read(ctx, ask)
	return view, problemOf(view.Problem)
}

// readTicket gives a ticket to whoever asks from an address, and keeps an entry
// where that is a look at history. What can be no ticket's id names none; the
// queue may not be there either.
func (g *Gateway) readTicket(ctx context.Context, who *Principal, from netip.Addr, action Action, queueID, id string) (*messages.View, *problem) {
	view, p := g.readQueue(ctx, who, action, &messages.Read{
		Queue: queueID, Question: &messages.Read_Ticket{Ticket: &messages.ReadTicket{Id: ticketID(id)}},
	})
	if p != nil {
		return nil, p
	}
	name := idText(view.Tickets[0].Ticket.Id)
	g.auditLook(ctx, who, from, queueID, name, map[string]any{"ticket": name}, view.Tickets)
	return view, nil
}

func (g *Gateway) getTicket(c *fiber.Ctx, who *Principal) error {
	return g.sendTicket(c, who, ReadQueue, func(dst []byte, id string, t *messages.Placed) []byte {
		return g.appendTicket(dst, t.Ticket, id, t.Position, who.full())
	})
}

// getTrail gives a ticket with the trail of its events, which it bears itself.
func (g *Gateway) getTrail(c *fiber.Ctx, who *Principal) error {
	return g.sendTicket(c, who, ReadTrail, func(dst []byte, id string, t *messages.Placed) []byte {
		return g.appendTrailed(dst, &HistoryRow{Queue: id, Ticket: t.Ticket}, t.Position, who.full())
	})
}

func (g *Gateway) sendTicket(c *fiber.Ctx, who *Principal, action Action, written func([]byte, string, *messages.Placed) []byte) error {
	id := c.Params("queue")
	view, p := g.readTicket(c.UserContext(), who, g.clientAddr(c), action, id, c.Params("ticket"))
	if p != nil {
		return p
	}
	setVersion(c, view.Version)
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte { return written(dst, id, view.Tickets[0]) })
}

func (g *Gateway) listTickets(c *fiber.Ctx, who *Principal) error {
	id := c.Params("queue")
	view, p := g.pageOfTickets(c.UserContext(), who, g.clientAddr(c), id, restQuery(c))
	if p != nil {
		return p
	}
	setVersion(c, view.Version)
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		dst = append(dst, `{"items":`...)
		dst = g.appendTickets(dst, view.Tickets, id, who.full())
		dst = append(dst, `,"next":`...)
		if view.Next == nil {
			return append(dst, "null}"...)
		}
		dst = appendString(dst, ticketCursor(view.Next))
		return append(dst, '}')
	})
}

// pageOfTickets gives a page of a queue's tickets to whoever asks from an
// address, and keeps an entry where that is a look at history.
func (g *Gateway) pageOfTickets(ctx context.Context, who *Principal, from netip.Addr, id string, q query) (*messages.View, *problem) {
	list, wrong := ticketList(q)
	ask := &messages.Read{Queue: id, Question: &messages.Read_List{List: list}}
	if wrong != nil { // that there is no such queue goes before
		ask.Question = &messages.Read_Describe{Describe: &messages.ReadQueue{}}
	}
	view, p := g.readQueue(ctx, who, ReadQueue, ask)
	if wrong != nil && (p == nil || p.Code != string(queue.QueueNotFound) && p.Code != string(queue.Forbidden)) {
		p = wrong
	}
	if p != nil {
		return nil, p
	}
	if state := queue.TicketState(list.States[0]); state.Finished() { // which stands alone in a list
		what := fmt.Sprint(state, " ", list.Number, " ", string(list.After.GetId()), " ", list.Limit, " ", len(view.Tickets))
		g.auditLook(ctx, who, from, id, what, map[string]any{"state": state.String(), "tickets": len(view.Tickets)}, view.Tickets)
	}
	return view, nil
}

// listedStates are those of a list without state.
var listedStates = []messages.TicketState{
	messages.TicketState_TICKET_STATE_WAITING, messages.TicketState_TICKET_STATE_CALLED,
	messages.TicketState_TICKET_STATE_SERVING, messages.TicketState_TICKET_STATE_HELD,
}

// maxNumber is the longest number that a ticket can have.
const maxNumber = 24

// ticketList reads the query of a list of tickets.
func ticketList(q query) (*messages.ReadList, *problem) {
	var wrong faults
	list := &messages.ReadList{States: listedStates, Limit: uint32(q.limit(&wrong))}
	if text, given := q("state", &wrong); given {
		state, known := queue.ParseTicketState(text)
		if !known {
			wrong.add("state", "is no state of a ticket")
		}
		list.States = []messages.TicketState{messages.TicketState(state)}
	}
	if text, given := q("number", &wrong); given {
		if text == "" || len(text) > maxNumber || !utf8.ValidString(text) {
			wrong.add("number", "must be a ticket's number")
		}
		list.Number = text
	}
	if text, given := q("after", &wrong); given {
		list.After = parseTicketCursor(text, list.States)
		if list.After == nil {
			wrong.add("after", "must be the next of the page before")
		}
	}
	return list, wrong.problem()
}
