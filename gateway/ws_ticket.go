package gateway

import (
	"bytes"
	"context"
	"strings"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
)

// A session of somebody who has no login but a ticket's token: it is shown that
// ticket, and nothing else.

const holdersOnly = "A ticket's token is good for the ticket alone."

// isLink tells whether a token is meant to be a ticket's.
func isLink(token string) bool { return strings.HasPrefix(token, linkPrefix) }

// strange tells that nobody is logged in.
func (s *liveSession) strange() bool { return s.who == nil && s.ticket == nil }

// hold takes the token of a ticket: the first one, or the same once more.
func (s *liveSession) hold(token string) {
	queueID, ticket, ok := s.live.g.links.Load().open(token)
	switch {
	case !ok:
		s.end(closeNotLoggedIn, "The token is not good.")
		return
	case s.who != nil, s.ticket != nil && !bytes.Equal(ticket, s.ticket):
		s.end(closeNotLoggedIn, "The token is another's.")
		return
	case s.ticket != nil:
		s.out.Write(readyFrame(s.id, nil, time.Time{}))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	found, at, p := s.live.g.whereabouts(ctx, queueID, ticket, s.from)
	switch {
	case p != nil && (p.status() >= 500 || p.Code == codeRateLimited):
		s.out.Write(refusalFrame(nil, p))
		s.end(actors.CloseGoingAway, "The ticket cannot be read here just now.")
		return
	case p != nil:
		s.end(closeNotLoggedIn, "The ticket is not there any more.")
		return
	}
	s.ticket = ticket
	s.live.registry.loggedIn(s)
	s.out.Write(readyFrame(s.id, nil, time.Time{}))
	s.out.Watch(actors.Watch{
		Ticket: queue.TicketID(ticket), Queue: at, ID: found.Ticket.Id, Frame: frames{&s.live.g.renderer}.Ticket(at, found),
	})
}
