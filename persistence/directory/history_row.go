package directory

import (
	"database/sql"
	"fmt"
	"strings"

	"nowserving/actors/queue"
)

// How a finished ticket stands in its row.

const historyColumns = "id, queue, number, state, priority, source, service, customer, payload, visit, enqueued_by, " +
	"attendant, desk, calls, enqueued_ms, called_ms, started_ms, finished_ms, transferred_from, transferred_to, " +
	"transfer_queue, reason, outcome"

// historyWidth is the number of columns.
var historyWidth = strings.Count(historyColumns, ",") + 1

// values gives what stands in the columns, in their order.
func (f *FinishedTicket) values() []any {
	t := f.Ticket
	return []any{
		t.ID[:], string(f.Queue), t.Number, t.State.String(), t.Priority, t.Source.String(), t.Service,
		sealedColumn(t.Customer), sealedColumn(t.Payload), t.Visit[:], t.EnqueuedBy, t.Attendant, t.Desk, t.Calls,
		int64(t.EnqueuedAt), int64(t.CalledAt), int64(t.StartedAt), int64(t.FinishedAt),
		idColumn(t.TransferredFrom), idColumn(t.TransferredTo), string(t.TransferQueue), t.Reason, f.shown(),
	}
}

// shown is the outcome that history shows.
func (f *FinishedTicket) shown() string {
	if f.State == queue.Completed && f.Outcome != "" {
		return f.Outcome
	}
	return f.State.String()
}

func sealedColumn(sealed []byte) []byte {
	if sealed == nil {
		return []byte{} // nil is NULL
	}
	return sealed
}

func sealedValue(column []byte) []byte {
	if len(column) == 0 {
		return nil
	}
	return column
}

func idColumn(id queue.TicketID) []byte {
	if id.IsZero() {
		return []byte{}
	}
	return id[:]
}

func ticketID(column []byte) (id queue.TicketID) {
	copy(id[:], column)
	return id
}

var errDamagedRow = fmt.Errorf("%w: a row of the history has a state or source that this version does not know", ErrUnavailable)

func scanFinished(rows *sql.Rows) (FinishedTicket, error) {
	t := &queue.Ticket{}
	f := FinishedTicket{Ticket: t}
	var id, visit, from, to []byte
	var state, source string
	err := rows.Scan(
		&id, &f.Queue, &t.Number, &state, &t.Priority, &source, &t.Service,
		&t.Customer, &t.Payload, &visit, &t.EnqueuedBy, &t.Attendant, &t.Desk, &t.Calls,
		&t.EnqueuedAt, &t.CalledAt, &t.StartedAt, &t.FinishedAt,
		&from, &to, &t.TransferQueue, &t.Reason, &t.Outcome,
	)
	if err != nil {
		return FinishedTicket{}, err
	}
	t.ID, t.Visit, t.TransferredFrom, t.TransferredTo = ticketID(id), ticketID(visit), ticketID(from), ticketID(to)
	t.Customer, t.Payload = sealedValue(t.Customer), sealedValue(t.Payload)
	var known bool
	if t.State, known = queue.ParseTicketState(state); !known {
		return FinishedTicket{}, errDamagedRow
	}
	if t.Source, known = queue.ParseSource(source); !known {
		return FinishedTicket{}, errDamagedRow
	}
	return f, nil
}
