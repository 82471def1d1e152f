package actors

import (
	"bytes"
	"slices"
	"time"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// Bounds of reads.
const (
	maxPage = 1_000
	// Long lines that are being fetched in parts: pointers to tickets.
	minCaptures = 4
	maxCaptured = 1_000_000
	captureFor  = 15 * time.Second
)

// read answers a question from the state at this moment.
func (g *grain) read(m *messages.Read) *messages.View {
	if q, ok := m.Question.(*messages.Read_Snapshot); ok && q.Snapshot.Capture != 0 {
		return g.captures.part(q.Snapshot)
	}
	v := &messages.View{
		Version: g.state.Version(), Epoch: g.state.Epoch(), LastAt: int64(g.state.LastAt()),
		InTransit: uint32(len(g.state.Outbox())),
	}
	if !g.state.Exists() {
		v.Problem = problem(queue.ErrQueueNotFound)
		return v
	}
	switch q := m.Question.(type) {
	case *messages.Read_Ticket:
		g.readTicket(v, q.Ticket)
	case *messages.Read_List:
		g.describe(v) // /public asks for both at one moment
		g.readList(v, q.List)
	case *messages.Read_Oldest:
		v.OldestVisit = int64(g.state.OldestVisit())
	case *messages.Read_Attendants:
		for _, id := range q.Attendants.Ids {
			v.ActiveOf = append(v.ActiveOf, uint32(g.state.ActiveOf(id)))
		}
	case *messages.Read_Person:
		g.readPerson(v, q.Person)
	case *messages.Read_Snapshot:
		g.describe(v)
		g.readSnapshot(v, q.Snapshot)
	default:
		g.describe(v)
	}
	return v
}

func (g *grain) describe(v *messages.View) {
	v.Config = configToMessage(g.state.Config())
	v.Status = messages.Status(g.state.Status())
	v.Waiting, v.Active = uint32(g.state.Waiting()), uint32(g.state.Active())
	v.Called, v.Serving, v.HeldCount = uint32(g.state.Count(queue.Called)), uint32(g.state.Count(queue.Serving)), uint32(g.state.Count(queue.Held))
	v.Attendants, v.WaitingSince = uint32(g.state.Attendants()), int64(g.state.WaitingSince())
}

func (g *grain) readTicket(v *messages.View, q *messages.ReadTicket) {
	var id queue.TicketID
	copy(id[:], q.Id)
	t, position, ok := g.state.Ticket(id)
	if !ok {
		v.Problem = problem(queue.ErrTicketNotFound)
		return
	}
	v.Tickets = []*messages.Placed{{Ticket: TicketToMessage(t), Position: uint32(position)}}
}

// readList gives a page: the tickets of each asked state in its order, from
// right behind the cursor.
func (g *grain) readList(v *messages.View, q *messages.ReadList) {
	limit := int(min(q.Limit, maxPage))
	if q.Number != "" {
		g.readNumber(v, q, limit)
		return
	}
	after := q.After
	for _, state := range q.States {
		from := 0
		if after != nil {
			if state != after.State {
				continue
			}
			from, after = g.behind(after), nil
		}
		if !g.page(v, queue.TicketState(state), from, limit) {
			return
		}
	}
}

// behind is the index at which a list goes on. Where the cursor's ticket has
// left its state, the one that moved up to its index is next.
func (g *grain) behind(c *messages.ListCursor) int {
	var id queue.TicketID
	copy(id[:], c.Id)
	if i, ok := g.state.Index(id, queue.TicketState(c.State)); ok {
		return i + 1
	}
	return int(min(c.Index, queue.MaxCapacity*2))
}

// page is false when the page is full and more may follow.
func (g *grain) page(v *messages.View, state queue.TicketState, from, limit int) bool {
	index, full := from, false
	g.state.Page(state, from, func(t *queue.Ticket) bool {
		if len(v.Tickets) == limit {
			full = true
			return false
		}
		if t.State == state { // the finished states share one line
			p := &messages.Placed{Ticket: TicketToMessage(t)}
			if state == queue.Waiting {
				p.Position = uint32(index + 1)
			}
			v.Tickets = append(v.Tickets, p)
		}
		index++
		return true
	})
	if full {
		v.Next = g.cursor(v.Tickets[limit-1].Ticket)
	}
	return !full
}

// cursor names a ticket that stands in the state now as the last of a page.
func (g *grain) cursor(last *messages.Ticket) *messages.ListCursor {
	index, _ := g.state.Index(queue.TicketID(last.Id), queue.TicketState(last.State))
	return &messages.ListCursor{State: last.State, Index: uint64(index), Id: last.Id}
}

// readNumber gives a page of the tickets of one number. There are few of them.
func (g *grain) readNumber(v *messages.View, q *messages.ReadList, limit int) {
	var found []*messages.Placed
	for _, state := range q.States {
		for _, t := range g.state.ByNumber(q.Number) {
			if t.State == queue.TicketState(state) {
				_, position, _ := g.state.Ticket(t.ID)
				found = append(found, &messages.Placed{Ticket: TicketToMessage(t), Position: uint32(position)})
			}
		}
	}
	if q.After != nil {
		i := slices.IndexFunc(found, func(p *messages.Placed) bool { return bytes.Equal(p.Ticket.Id, q.After.Id) })
		found = found[i+1:] // from the start where the cursor's ticket has gone
	}
	v.Tickets = found[:min(limit, len(found))]
	if len(found) > limit {
		v.Next = g.cursor(found[limit-1].Ticket)
	}
}

// readSnapshot gives what a screen shows. What is left of a long line is kept
// for a moment, so that the parts that follow are of the same version.
func (g *grain) readSnapshot(v *messages.View, q *messages.ReadSnapshot) {
	limit := int(min(q.WaitingLimit, maxPage))
	g.page(v, queue.Waiting, 0, limit)
	v.Next = nil
	for _, state := range []queue.TicketState{queue.Called, queue.Serving} {
		g.state.Page(state, 0, func(t *queue.Ticket) bool {
			v.ActiveTickets = append(v.ActiveTickets, TicketToMessage(t))
			return true
		})
	}
	g.state.Page(queue.Held, 0, func(t *queue.Ticket) bool {
		v.Held = append(v.Held, TicketToMessage(t))
		return true
	})
	if g.state.Waiting() > limit {
		v.Capture = g.captures.of(v.Version, limit, func() []*queue.Ticket {
			rest := make([]*queue.Ticket, 0, g.state.Waiting()-limit)
			g.state.Page(queue.Waiting, limit, func(t *queue.Ticket) bool {
				rest = append(rest, t)
				return true
			})
			return rest
		})
	}
}

// capture is the rest of a line at one version.
type capture struct {
	id      uint64
	version uint64
	from    int
	tickets []*queue.Ticket
	until   time.Time
}

// captures are short-lived, and those who ask at the same version share one; who
// comes too late begins again. A crowd that begins at once must not make each
// other begin again for ever, so they are bounded by what they hold together.
type captures struct {
	last uint64
	held []capture // the oldest first
	size int       // tickets in them
}

// of gives the capture of the line behind a position at a version.
func (c *captures) of(version uint64, from int, rest func() []*queue.Ticket) uint64 {
	now := time.Now()
	for len(c.held) > 0 && now.After(c.held[0].until) {
		c.drop()
	}
	if n := len(c.held); n > 0 && c.held[n-1].version == version && c.held[n-1].from == from {
		return c.held[n-1].id
	}
	added := capture{version: version, from: from, tickets: rest(), until: now.Add(captureFor)}
	for len(c.held) >= minCaptures && c.size+len(added.tickets) > maxCaptured {
		c.drop()
	}
	c.last++
	added.id = c.last
	c.held, c.size = append(c.held, added), c.size+len(added.tickets)
	return added.id
}

// drop forgets the oldest one.
func (c *captures) drop() {
	c.size -= len(c.held[0].tickets)
	c.held = append(c.held[:0:0], c.held[1:]...)
}

func (c *captures) part(q *messages.ReadSnapshot) *messages.View {
	for _, held := range c.held {
		if held.id != q.Capture || time.Now().After(held.until) {
			continue
		}
		v := &messages.View{Version: held.version}
		start := int(q.From) - held.from
		for j := start; j >= 0 && j < len(held.tickets) && len(v.Tickets) < int(min(q.WaitingLimit, maxPage)); j++ {
			v.Tickets = append(v.Tickets, &messages.Placed{Ticket: TicketToMessage(held.tickets[j]), Position: uint32(held.from + j + 1)})
		}
		if start+len(v.Tickets) < len(held.tickets) {
			v.Capture = held.id
		}
		return v
	}
	return &messages.View{Problem: problem(queue.ErrUnavailableNow)}
}
