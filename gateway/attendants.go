package gateway

import (
	"context"
	"net/http"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"nowserving/messages"
)

// listAttendants names those who may operate a queue, to each other. How many
// tickets each of them has is for who leads them.
func (g *Gateway) listAttendants(c *fiber.Ctx, who *Principal) error {
	id := c.Params("queue")
	if p := who.may(OperateTickets, id); p != nil {
		return p
	}
	limit, after, wrong := accountPage(c)
	var users []User
	more := false
	if wrong == nil {
		ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
		defer cancel()
		var err error
		if users, err = g.options.Users.ListOperators(ctx, id, after, limit+1); err != nil {
			return g.usersAway(err)
		}
		if more = len(users) > limit; more {
			users = users[:limit]
		}
	}
	ask := &messages.ReadAttendants{}
	leads := who.may(ReadStatistics, id) == nil
	for i := range users {
		if leads {
			ask.Ids = append(ask.Ids, users[i].ID)
		}
	}
	view := g.queues.Read(c.UserContext(), &messages.Read{Queue: id, Question: &messages.Read_Attendants{Attendants: ask}})
	switch {
	case view.Problem != nil:
		return problemOf(view.Problem)
	case wrong != nil:
		return wrong
	}
	setVersion(c, view.Version)
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		dst = append(dst, `{"items":[`...)
		for i := range users {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(append(dst, `{"id":`...), users[i].ID)
			dst = appendString(append(dst, `,"name":`...), users[i].Name)
			dst = append(dst, `,"active":`...)
			if i < len(view.ActiveOf) {
				dst = strconv.AppendUint(dst, uint64(view.ActiveOf[i]), 10)
			} else {
				dst = append(dst, "null"...)
			}
			dst = append(dst, '}')
		}
		dst = append(dst, `],"next":`...)
		if !more {
			return append(dst, "null}"...)
		}
		return append(appendString(dst, userCursor(users[limit-1].ID)), '}')
	})
}
