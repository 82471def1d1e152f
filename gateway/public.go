package gateway

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

// REST for people who have no login: a queue that is public, checking in there,
// and one's own ticket by its token.

// visitor is whoever has no login, with one queue to check in to.
func visitor(queueID string) *Principal {
	return &Principal{Level: nobody, Queues: []string{queueID}}
}

// leftReason is what staff read of a ticket whose holder has left the line.
const leftReason = "left"

var activeStates = []messages.TicketState{messages.TicketState_TICKET_STATE_CALLED, messages.TicketState_TICKET_STATE_SERVING}

// publicView reads a queue with its active tickets, which is only there where it
// is public. Whoever asks for many that are not is held up: each may have to be
// looked for in the journal.
func (g *Gateway) publicView(c *fiber.Ctx) (*messages.View, *problem) {
	id, from := c.Params("queue"), g.clientAddr(c)
	if !queue.ID(id).Valid() {
		return nil, refused(queue.ErrQueueNotFound)
	}
	if wait := g.misses.wait(from); wait > 0 {
		return nil, tooFast("Too many queues were asked for that are not there.", wait)
	}
	view := g.queues.Read(c.UserContext(), &messages.Read{
		Queue: id, Question: &messages.Read_List{List: &messages.ReadList{States: activeStates, Limit: maxLimit}},
	})
	switch p := problemOf(view.Problem); {
	case p != nil && p.Code != string(queue.QueueNotFound):
		return nil, p
	case p != nil, !view.Config.GetPublic():
		g.misses.count(from)
		return nil, refused(queue.ErrQueueNotFound)
	}
	return view, nil
}

func tooFast(detail string, wait time.Duration) *problem {
	p := newProblem(codeRateLimited, detail)
	p.retryAfter = int(math.Ceil(max(wait, time.Second).Seconds()))
	return p
}

func (g *Gateway) publicQueue(c *fiber.Ctx) error {
	view, p := g.publicView(c)
	if p != nil {
		return p
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte { return appendPublicQueue(dst, c.Params("queue"), view) })
}

// checkIn makes a ticket for whoever asks, no more often than an address may.
func (g *Gateway) checkIn(c *fiber.Ctx) error {
	if wait := g.checkIns.takeEverywhere(c.UserContext(), g.options.CheckIns, g.clientAddr(c), g.options.Log); wait > 0 {
		return tooFast("Too many check-ins came from this address.", wait)
	}
	if _, p := g.publicView(c); p != nil {
		return p
	}
	id := c.Params("queue")
	args, ok := rawBody(c)
	a, p := g.doPublic(c, "check_in", id, args, "", !ok)
	if p != nil {
		return p
	}
	token := g.links.Load().seal(id, a.Event.Ticket.Id)
	setReplayed(c, a)
	c.Set(fiber.HeaderLocation, "/api/v1/public/tickets/"+token)
	return g.sendJSON(c, http.StatusCreated, func(dst []byte) []byte {
		dst = appendPublicTicket(dst, id, &messages.Placed{Ticket: a.Event.Ticket, Position: a.Event.Position})
		dst = append(dst[:len(dst)-1], `,"token":`...)
		return append(appendString(dst, token), '}')
	})
}

// doPublic carries out a command of nobody's.
func (g *Gateway) doPublic(c *fiber.Ctx, name, queueID string, args []byte, ticket string, tooLarge bool) (*messages.Answer, *problem) {
	meta := metaOf(c)
	meta.tooLarge = tooLarge
	if meta.key != nil && !randomUUID(*meta.key) {
		meta.scope = "\x00" + network(g.clientAddr(c))
	}
	b, p := g.build(c.UserContext(), name, queueID, args, visitor(queueID), queue.FromPublic, ticket, meta)
	if p != nil {
		return nil, p
	}
	a := b.do(c.UserContext())
	return a, problemOf(a.Problem)
}

// validPublicKey: a key of nobody's is shared by all who have no login, so it
// must be one that nobody else comes upon.
func validPublicKey(key string) bool {
	id, err := uuid.Parse(key)
	return err == nil && len(key) == 36 && id != uuid.Nil && id != uuid.Max
}

// randomDigits is how many different digits a random UUID has at least among its
// last 19: of a hundred million, one has fewer.
const randomDigits = 5

// randomUUID tells whether nobody else can have come upon a UUID. One that others
// may have too, of a clock and a machine, or made up by hand, counts together with
// the network address that it comes from: to share it is to share a ticket and its
// token. With the address all would count so, but phones change theirs.
func randomUUID(key string) bool {
	id, err := uuid.Parse(key)
	if err != nil || id.Variant() != uuid.RFC4122 || id.Version() != 4 && id.Version() != 7 {
		return false
	}
	digits := make(map[rune]bool)
	for _, d := range strings.ToLower(key[15:]) { // a version 7 begins with the time
		digits[d] = true
	}
	return len(digits)-1 >= randomDigits // one is the hyphen
}

// linked finds the ticket of the token in the path, wherever it is by now.
func (g *Gateway) linked(c *fiber.Ctx) (*messages.Placed, string, *problem) {
	id, ticket, ok := g.links.Load().open(c.Params("token"))
	if !ok {
		return nil, "", refused(queue.ErrTicketNotFound)
	}
	return g.whereabouts(c.UserContext(), id, ticket, g.clientAddr(c))
}

// whereabouts reads a ticket where it is by now. A queue forgets a day later that it
// was transferred; then the history tells where it went. Whoever asks for many
// that are nowhere is not looked for there.
func (g *Gateway) whereabouts(ctx context.Context, id string, ticket []byte, from netip.Addr) (*messages.Placed, string, *problem) {
	for hops := 0; ; hops++ {
		view, at := actors.Follow(ctx, g.queues.Read, id, ticket)
		if view.Problem == nil {
			return view.Tickets[0], at, nil
		}
		if view.Problem.Code != string(queue.TicketNotFound) || hops == maxForgotten {
			return nil, at, problemOf(view.Problem)
		}
		if wait := g.misses.wait(from); wait > 0 {
			return nil, at, tooFast("Too many tickets were asked for that are not there.", wait)
		}
		look, cancel := context.WithTimeout(ctx, directoryTimeout)
		row, err := g.options.People.HistoryOf(look, [16]byte(ticket))
		cancel()
		switch {
		case errors.Is(err, ErrNotFound), err == nil && row.Ticket.State != messages.TicketState_TICKET_STATE_TRANSFERRED:
			g.misses.count(from)
			return nil, at, problemOf(view.Problem)
		case err != nil:
			g.log.WarnContext(ctx, "where a ticket went cannot be read", "queue", id, "error", err)
			return nil, at, unavailable("Where the ticket went cannot be read just now.")
		}
		id, ticket = row.Ticket.TransferQueue, row.Ticket.TransferredTo
	}
}

// maxForgotten is how many queues may have forgotten a ticket on its way.
const maxForgotten = 100

func (g *Gateway) publicTicket(c *fiber.Ctx) error {
	found, at, p := g.linked(c)
	if p != nil {
		return p
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte { return appendPublicTicket(dst, at, found) })
}

// leaveLine takes the ticket out of the line.
func (g *Gateway) leaveLine(c *fiber.Ctx) error {
	found, at, p := g.linked(c)
	if p != nil {
		return p
	}
	a, p := g.doPublic(c, "leave", at, nil, idText(found.Ticket.Id), false)
	if p != nil {
		return p
	}
	setReplayed(c, a)
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		return appendPublicTicket(dst, at, &messages.Placed{Ticket: a.Event.Ticket, Position: a.Event.Position})
	})
}

// appendPublicQueue writes what everybody may know of a queue, the newest call first.
func appendPublicQueue(dst []byte, id string, v *messages.View) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, id)
	dst = append(dst, `,"name":`...)
	dst = appendString(dst, v.Config.GetName())
	dst = append(dst, `,"status":"`...)
	dst = append(dst, queue.Status(v.Status).String()...)
	dst = append(dst, `","services":`...)
	dst = appendStrings(dst, v.Config.GetServices())
	dst = append(dst, `,"waiting":`...)
	dst = strconv.AppendUint(dst, uint64(v.Waiting), 10)
	dst = append(dst, `,"now_serving":[`...)
	slices.SortStableFunc(v.Tickets, func(a, b *messages.Placed) int { return int(b.Ticket.CalledAt - a.Ticket.CalledAt) })
	for i, t := range v.Tickets {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"number":`...)
		dst = appendString(dst, t.Ticket.Number)
		dst = append(dst, `,"desk":`...)
		dst = append(appendOptional(dst, t.Ticket.Desk), '}')
	}
	return append(dst, "]}"...)
}

// appendPublicTicket writes what the holder of a ticket may know of it.
func appendPublicTicket(dst []byte, queueID string, p *messages.Placed) []byte {
	t := p.Ticket
	dst = append(dst, `{"id":`...)
	dst = appendID(dst, t.Id)
	dst = append(dst, `,"queue":`...)
	dst = appendString(dst, queueID)
	dst = append(dst, `,"number":`...)
	dst = appendString(dst, t.Number)
	dst = append(dst, `,"state":"`...)
	dst = append(dst, queue.TicketState(t.State).String()...)
	dst = append(dst, `","position":`...)
	dst = appendCount(dst, p.Position)
	dst = append(dst, `,"service":`...)
	dst = appendOptional(dst, t.Service)
	dst = append(dst, `,"customer":null,"payload":null,"desk":`...)
	dst = appendOptional(dst, t.Desk)
	return append(appendCourse(dst, t), '}')
}
