package actors

import (
	"fmt"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// commandFromMessage makes the core's command of a message. A message that a
// sound node cannot have sent is an error.
func commandFromMessage(m *messages.Command, now queue.Time) (*queue.Command, error) {
	if len(m.Op) != 16 {
		return nil, fmt.Errorf("a command without an operation id")
	}
	c := &queue.Command{
		At: now, By: m.By, OwnOnly: m.OwnOnly,
		Op: queue.OpID(m.Op), Keyed: m.Keyed, Fingerprints: m.Fingerprints, Again: m.Again,
		HasIfMatch: m.IfMatch != nil, IfMatch: m.GetIfMatch(),
	}
	action, err := actionFromMessage(m)
	c.Do = action
	return c, err
}

func actionFromMessage(m *messages.Command) (queue.Action, error) {
	switch a := m.Action.(type) {
	case *messages.Command_Create:
		return &queue.Create{Epoch: a.Create.Epoch, Config: *configFromMessage(a.Create.Config)}, nil
	case *messages.Command_Configure:
		return &queue.Configure{Fields: queue.Field(a.Configure.Fields), Config: *configFromMessage(a.Configure.Config)}, nil
	case *messages.Command_SetStatus:
		if a.SetStatus.Status < 1 || a.SetStatus.Status > messages.Status_STATUS_CLOSED {
			return nil, fmt.Errorf("an unknown status")
		}
		return &queue.SetStatus{Status: queue.Status(a.SetStatus.Status)}, nil
	case *messages.Command_Delete:
		return &queue.Delete{}, nil
	case *messages.Command_Enqueue:
		return enqueueFromMessage(a.Enqueue)
	case *messages.Command_CallNext:
		return &queue.CallNext{Desk: a.CallNext.Desk}, nil
	case *messages.Command_Arrive:
		old, err := TicketFromMessage(a.Arrive.Old)
		return &queue.Arrive{Old: old}, err
	}
	return ticketActionFromMessage(m)
}

func enqueueFromMessage(m *messages.Enqueue) (queue.Action, error) {
	if !isID(m.Id) || m.Source < 1 || m.Source > messages.Source_SOURCE_PUBLIC {
		return nil, fmt.Errorf("an enqueue without id or source")
	}
	return &queue.Enqueue{
		ID: queue.TicketID(m.Id), Priority: uint8(min(m.Priority, 255)), Service: m.Service,
		Customer: m.Customer, Payload: m.Payload, Index: m.Index, Source: queue.Source(m.Source),
	}, nil
}

// ticketActionFromMessage: the actions about a ticket that is there.
func ticketActionFromMessage(m *messages.Command) (queue.Action, error) {
	with, ok := subjectOf(m)
	if !ok || !isID(with.GetTicket()) {
		return nil, fmt.Errorf("a command that is about no ticket")
	}
	id := queue.TicketID(with.GetTicket())
	switch a := m.Action.(type) {
	case *messages.Command_Move:
		if len(a.Move.Before) > 0 && !isID(a.Move.Before) || len(a.Move.After) > 0 && !isID(a.Move.After) {
			return nil, fmt.Errorf("a move to no ticket")
		}
		move := &queue.Move{Ticket: id, Position: clampPosition(a.Move.Position)}
		copy(move.Before[:], a.Move.Before)
		copy(move.After[:], a.Move.After)
		return move, nil
	case *messages.Command_Remove:
		return &queue.Remove{Ticket: id, Reason: a.Remove.Reason}, nil
	case *messages.Command_Call:
		return &queue.Call{Ticket: id, Desk: a.Call.Desk}, nil
	case *messages.Command_Recall:
		return &queue.Recall{Ticket: id}, nil
	case *messages.Command_Start:
		return &queue.Start{Ticket: id}, nil
	case *messages.Command_Complete:
		return &queue.Complete{Ticket: id, Outcome: a.Complete.Outcome}, nil
	case *messages.Command_Hold:
		return &queue.Hold{Ticket: id}, nil
	case *messages.Command_NoShow:
		return &queue.MarkNoShow{Ticket: id}, nil
	case *messages.Command_Requeue:
		return &queue.Requeue{Ticket: id, Position: clampPosition(a.Requeue.Position)}, nil
	case *messages.Command_Transfer:
		if !isID(a.Transfer.NewId) {
			return nil, fmt.Errorf("a transfer without a new id")
		}
		return &queue.Transfer{Ticket: id, To: queue.ID(a.Transfer.To), NewID: queue.TicketID(a.Transfer.NewId)}, nil
	case *messages.Command_Update:
		return &queue.Update{
			Ticket: id, Fields: queue.Field(a.Update.Fields), Service: a.Update.Service,
			Priority: uint8(min(a.Update.Priority, 255)), Customer: a.Update.Customer, Payload: a.Update.Payload,
			Index: a.Update.Index,
		}, nil
	case *messages.Command_Erase:
		return &queue.Erase{Ticket: id}, nil
	}
	return nil, fmt.Errorf("a command that this version does not know")
}

// isID: the nil UUID is no ticket's.
func isID(b []byte) bool { return len(b) == 16 && !queue.TicketID(b).IsZero() }

// subjectOf gives the part of a command that names its ticket.
func subjectOf(m *messages.Command) (interface{ GetTicket() []byte }, bool) {
	switch a := m.Action.(type) {
	case *messages.Command_Move:
		return a.Move, true
	case *messages.Command_Remove:
		return a.Remove, true
	case *messages.Command_Call:
		return a.Call, true
	case *messages.Command_Recall:
		return a.Recall, true
	case *messages.Command_Start:
		return a.Start, true
	case *messages.Command_Complete:
		return a.Complete, true
	case *messages.Command_Hold:
		return a.Hold, true
	case *messages.Command_NoShow:
		return a.NoShow, true
	case *messages.Command_Requeue:
		return a.Requeue, true
	case *messages.Command_Transfer:
		return a.Transfer, true
	case *messages.Command_Update:
		return a.Update, true
	case *messages.Command_Erase:
		return a.Erase, true
	}
	return nil, false
}

// clampPosition keeps a position within what an int holds everywhere; beyond
// the longest line it is out of range all the same.
func clampPosition(p int64) int { return int(max(-1, min(p, queue.MaxCapacity*2))) }

func problem(err *queue.Error) *messages.Problem {
	p := &messages.Problem{Code: string(err.Code), Detail: err.Detail}
	for _, f := range err.Fields {
		p.Fields = append(p.Fields, &messages.FieldError{Field: f.Field, Message: f.Message})
	}
	return p
}
