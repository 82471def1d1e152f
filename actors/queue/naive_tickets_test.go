package queue

import "slices"

// The naive queue's rules about one ticket.

func (m *naive) onTicket(c *Command, now Time, t Ticket, e *naiveEvent) Code {
	in := func(states ...TicketState) bool { return slices.Contains(states, t.State) }
	switch do := c.Do.(type) {
	case *Move, *Call:
		if code := naiveNotWaiting(&t); code != "" {
			return code
		}
		if call, ok := do.(*Call); ok {
			if code := m.mayCall(c.By, call.Desk); code != "" {
				return code
			}
			m.call(t, c.By, call.Desk, now, e)
			return ""
		}
		return m.move(do.(*Move), t, e)
	case *Remove:
		if t.State == Serving {
			return TicketNotWaiting
		}
		if !in(Waiting, Held, Called) {
			return TicketFinished
		}
		t.State, t.FinishedAt, t.Reason = Removed, now, do.Reason
		m.leave(t, TicketRemoved, e)
	case *Update:
		return m.update(do, t, e)
	case *Erase:
		if m.out[t.ID] {
			return Unavailable
		}
		t.Customer, t.Payload, t.Index = nil, nil, nil
		m.stand(t, slices.Index(m.line, t.ID)+1, TicketUpdated, e)
		e.erases = true
	case *Requeue:
		undo := in(NoShow, Completed, Removed) && now-t.FinishedAt <= Hour
		if !undo && !in(Held, Called, Serving) {
			return naiveWrongState(&t)
		}
		if do.Position < 1 || do.Position > len(m.line)+1 {
			return PositionOutOfRange
		}
		if m.full(now) {
			return QueueFull
		}
		t.State, t.CalledAt, t.StartedAt, t.FinishedAt = Waiting, 0, 0, 0
		t.Attendant, t.Desk, t.Reason, t.Outcome = "", "", "", ""
		m.stand(t, do.Position, TicketRequeued, e)
	case *Recall:
		if !in(Called, Serving) {
			return naiveWrongState(&t)
		}
		t.Calls++
		m.leave(t, TicketRecalled, e)
	case *Start:
		if !in(Called) {
			return naiveWrongState(&t)
		}
		t.State, t.StartedAt = Serving, now
		m.leave(t, TicketStarted, e)
	case *Complete:
		if !in(Called, Serving) {
			return naiveWrongState(&t)
		}
		if t.StartedAt == 0 {
			t.StartedAt = t.CalledAt
		}
		t.State, t.FinishedAt, t.Outcome = Completed, now, do.Outcome
		m.leave(t, TicketCompleted, e)
	case *Hold:
		if !in(Waiting, Called, Serving) {
			return naiveWrongState(&t)
		}
		t.State = Held
		m.leave(t, TicketHeld, e)
	case *MarkNoShow:
		if !in(Called) {
			return naiveWrongState(&t)
		}
		t.State, t.FinishedAt = NoShow, now
		m.leave(t, TicketNoShow, e)
	case *Transfer:
		if !in(Waiting, Called, Serving) {
			return naiveWrongState(&t)
		}
		t.State, t.FinishedAt, t.TransferredTo, t.TransferQueue = Transferred, now, do.NewID, do.To
		m.out[t.ID] = true
		m.leave(t, TicketTransferred, e)
	}
	return ""
}

func naiveWrongState(t *Ticket) Code {
	if t.State.Finished() {
		return TicketFinished
	}
	return TicketNotActive
}

func naiveNotWaiting(t *Ticket) Code {
	if t.State == Waiting {
		return ""
	}
	if t.State.Finished() {
		return TicketFinished
	}
	return TicketNotWaiting
}

// move puts t exactly at a place, or next to another waiting ticket.
func (m *naive) move(do *Move, t Ticket, e *naiveEvent) Code {
	if do.Position != 0 || do.Before.IsZero() && do.After.IsZero() {
		if do.Position < 1 || do.Position > len(m.line) {
			return PositionOutOfRange
		}
		m.stand(t, do.Position, TicketMoved, e)
		return ""
	}
	id := do.Before
	if id.IsZero() {
		id = do.After
	}
	if id == t.ID {
		m.stand(t, slices.Index(m.line, id)+1, TicketMoved, e)
		return ""
	}
	other, ok := m.tickets[id]
	if !ok {
		return TicketNotFound
	}
	if code := naiveNotWaiting(other); code != "" {
		return code
	}
	without := slices.DeleteFunc(slices.Clone(m.line), func(x TicketID) bool { return x == t.ID })
	position := slices.Index(without, id) + 1
	if !do.After.IsZero() {
		position++
	}
	m.stand(t, position, TicketMoved, e)
	return ""
}

func (m *naive) update(do *Update, t Ticket, e *naiveEvent) Code {
	if t.State.Finished() {
		return TicketFinished
	}
	moves := do.Fields&TicketPriority != 0 && do.Priority != t.Priority && t.State == Waiting
	if do.Fields&TicketPriority != 0 {
		t.Priority = do.Priority
	}
	if do.Fields&TicketService != 0 {
		t.Service = do.Service
	}
	if do.Fields&TicketCustomer != 0 {
		t.Customer, t.Index = do.Customer, do.Index
	}
	if do.Fields&TicketPayload != 0 {
		t.Payload = do.Payload
	}
	position := slices.Index(m.line, t.ID) + 1
	if moves {
		position = m.newcomer(t)
	}
	m.stand(t, position, TicketUpdated, e)
	return ""
}

// newcomer is the position behind the last waiting ticket whose priority is
// t's or higher, t itself not counted.
func (m *naive) newcomer(t Ticket) int {
	position, place := 1, 0
	for _, id := range m.line {
		if id == t.ID {
			continue
		}
		place++
		if m.tickets[id].Priority >= t.Priority {
			position = place + 1
		}
	}
	return position
}

func (m *naive) join(t Ticket, e *naiveEvent) {
	t.State = Waiting
	m.stand(t, m.newcomer(t), TicketEnqueued, e)
}

// stand puts t where it belongs: at the position if it waits, else in no line.
func (m *naive) stand(t Ticket, position int, kind Kind, e *naiveEvent) {
	m.line = slices.DeleteFunc(m.line, func(id TicketID) bool { return id == t.ID })
	if t.State == Waiting {
		m.line = slices.Insert(m.line, position-1, t.ID)
	} else {
		position = 0
	}
	m.tickets[t.ID] = &t
	e.kind, e.ticket, e.position = kind, &t, position
}

func (m *naive) leave(t Ticket, kind Kind, e *naiveEvent) { m.stand(t, 0, kind, e) }

func (m *naive) mayCall(by, desk string) Code {
	active := 0
	for _, t := range m.tickets {
		if t.State.Active() && t.Attendant == by {
			active++
		}
	}
	if active >= int(m.config.MaxActive) {
		return AttendantBusy
	}
	for _, t := range m.tickets {
		if t.State.Active() && t.Attendant != by && t.Desk == desk && desk != "" {
			return DeskTaken
		}
	}
	if m.status == Paused {
		return QueuePaused
	}
	return ""
}

func (m *naive) call(t Ticket, by, desk string, now Time, e *naiveEvent) {
	t.State, t.Attendant, t.Desk, t.CalledAt = Called, by, desk, now
	t.Calls++
	m.leave(t, TicketCalled, e)
}
