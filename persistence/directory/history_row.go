package directory

import (
	"bytes"
	"database/sql"
	"fmt"
	"strings"

	"nowserving/actors/queue"
)

// How a finished ticket stands in its row.

const historyColumns = "id, queue, number, state, priority, source, service, customer, payload, visit, enqueued_by, " +
	"attendant, desk, calls, enqueued_ms, called_ms, started_ms, finished_ms, transferred_from, transferred_to, " +
	"transfer_queue, reason, outcome, phone_tag, email_tag, ref_tag"

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
		tagColumn(t, 0), tagColumn(t, 1), tagColumn(t, 2),
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

// tagColumns are those of a customer's phone, e-mail and reference, in the order
// of their tags in a ticket's index.
var tagColumns = [...]string{"phone_tag", "email_tag", "ref_tag"}

// tagColumn gives a tag of a ticket's index, empty where it has none.
func tagColumn(t *queue.Ticket, i int) []byte {
	none := [queue.TagSize]byte{}
	if len(t.Index) < (i+1)*queue.TagSize {
		return []byte{}
	}
	tag := t.Index[i*queue.TagSize : (i+1)*queue.TagSize]
	if bytes.Equal(tag, none[:]) {
		return []byte{}
	}
	return tag
}

// indexOf is the inverse of tagColumn.
func indexOf(tags ...[]byte) []byte {
	index := make([]byte, len(tags)*queue.TagSize)
	found := false
	for i, tag := range tags {
		found = copy(index[i*queue.TagSize:], tag) > 0 || found
	}
	if !found {
		return nil
	}
	return index
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
	var id, visit, from, to, phone, email, ref []byte
	var state, source string
	err := rows.Scan(
		&id, &f.Queue, &t.Number, &state, &t.Priority, &source, &t.Service,
		&t.Customer, &t.Payload, &visit, &t.EnqueuedBy, &t.Attendant, &t.Desk, &t.Calls,
		&t.EnqueuedAt, &t.CalledAt, &t.StartedAt, &t.FinishedAt,
		&from, &to, &t.TransferQueue, &t.Reason, &t.Outcome,
		&phone, &email, &ref,
	)
	if err != nil {
		return FinishedTicket{}, err
	}
	t.ID, t.Visit, t.TransferredFrom, t.TransferredTo = ticketID(id), ticketID(visit), ticketID(from), ticketID(to)
	t.Index = indexOf(phone, email, ref)
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
