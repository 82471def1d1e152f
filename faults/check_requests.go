package faults

import "slices"

// takeRequests notes what was published, by the queue that it is for.
func (c *checker) takeRequests(requests []Request) {
	for i, r := range requests {
		c.Requests++
		if q := c.of(r.Queue, "request"); q != nil && !r.Poison {
			q.requests[r.Mark] = i + 1
		}
	}
}

// attributeRequest: a request makes one ticket, in the order of its queue.
func (q *queueCheck) attributeRequest(e *Event) {
	place, asked := q.requests[e.Ticket.Service]
	switch {
	case !asked:
		q.wrong("%s: event %d: request %s has a ticket twice, or was never made", q.id, e.Version, e.Ticket.Service)
	case place < q.lastRequest:
		q.wrong("%s: event %d: request %s is out of order", q.id, e.Version, e.Ticket.Service)
	}
	delete(q.requests, e.Ticket.Service)
	q.lastRequest = max(q.lastRequest, place)
}

// checkRequests: all have their tickets by now.
func (q *queueCheck) checkRequests() {
	for mark := range q.requests {
		if q.evidence.MayLose {
			q.Lost++
			continue
		}
		q.wrong("%s: request %s has no ticket", q.id, mark)
	}
}

// checkDead: among the dead letters are the poison and nothing else.
func (c *checker) checkDead(h *History) {
	poison := make(map[string]bool)
	for _, r := range h.Requests {
		if r.Poison {
			poison[r.ID] = false
		}
	}
	for _, id := range h.Dead {
		if _, is := poison[id]; !is {
			c.wrong("request %s is among the dead letters", id)
		}
		poison[id] = true
	}
	for id, dead := range poison {
		if !dead {
			c.wrong("poison %s is not among the dead letters", id)
		}
	}
}

var finished = []string{"completed", "no_show", "removed", "transferred"}

// checkRows: history has the finished tickets of the queue as its events left
// them, each once, and no other.
func (q *queueCheck) checkRows(m *model) {
	if q.evidence.Rows == nil {
		return
	}
	rows := make(map[string]Ticket)
	for _, row := range q.evidence.Rows[q.id] {
		q.Rows++
		if _, twice := rows[row.ID]; twice {
			q.wrong("%s: history has ticket %s twice", q.id, row.ID)
		}
		rows[row.ID] = row
	}
	for id, t := range m.tickets {
		if !slices.Contains(finished, t.State) {
			continue
		}
		row, there := rows[id]
		delete(rows, id)
		outcome := t.Outcome
		if outcome == "" {
			outcome = t.State
		}
		if !there || row.State != t.State || row.Number != t.Number || row.Outcome != outcome ||
			row.Service != t.Service || row.TransferredTo != t.TransferredTo || row.Calls != t.Calls {
			q.wrong("%s: history has %+v of ticket %+v", q.id, row, t)
		}
	}
	for id, row := range rows {
		if q.evidence.MayLose {
			continue // it finished in an event that the store has lost
		}
		q.wrong("%s: history has ticket %s, which is %q: %+v", q.id, id, m.tickets[id].State, row)
	}
}
