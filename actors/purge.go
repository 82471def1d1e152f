package actors

import (
	"nowserving/actors/queue"
	"nowserving/messages"
)

// maxPerson bounds the tickets of one person that one answer holds.
const maxPerson = 200

// readPerson gives tickets of a person, in any state.
func (g *grain) readPerson(v *messages.View, q *messages.ReadPerson) {
	limit := int(min(q.Limit, maxPerson))
	found := g.state.OfPerson(q.Tags, limit+1)
	if len(q.Visit) == len(queue.TicketID{}) {
		found = g.state.OfVisit(queue.TicketID(q.Visit), limit+1)
	}
	for _, t := range found {
		if len(v.Tickets) == limit {
			v.Next = &messages.ListCursor{} // there are more
			break
		}
		_, position, _ := g.state.Ticket(t.ID)
		v.Tickets = append(v.Tickets, &messages.Placed{Ticket: TicketToMessage(t), Position: uint32(position)})
	}
}

// purge has a snapshot written whose events before are all dropped. Nothing
// needs those then but whoever must have them and has not yet. What else they
// were kept for is given up: who resumes from one of them gets a snapshot, and an
// earlier answer is not given again.
func (g *grain) purge() {
	if len(g.purges) == 0 || g.state == nil || g.image != nil || g.snapshotting {
		return
	}
	g.purging, g.purges = g.purges, nil
	g.capture()
	g.trimTo = g.image.Version
	if g.committer.reached(g.image.Version) {
		g.saveSnapshot()
	}
}

// purged answers those who waited for the snapshot that was written.
func (g *grain) purged(m *snapshotSaved) {
	for _, it := range g.purging {
		if m.err != nil {
			g.refuse(it, queue.ErrUnavailableNow)
		} else {
			g.respond(it.sender, &messages.Purged{Version: m.version, TrimmedTo: m.trimmedTo})
		}
	}
	g.purging = nil
	g.purge()
}
