package directory

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"nowserving/actors/queue"
)

// How a finished ticket stands in its row.

const historyColumns = "id, queue, number, state, priority, source, service, customer, payload, visit, enqueued_by, " +
	"attendant, desk, calls, enqueued_ms, called_ms, started_ms, finished_ms, transferred_from, transferred_to, " +
	"transfer_queue, reason, outcome, phone_tag, email_tag, ref_tag"

// historyStored are these and the trail, which is read for one ticket or person
// only.
const historyStored = historyColumns + ", trail"

// historyWidth is the number of stored columns.
var historyWidth = strings.Count(historyStored, ",") + 1

// values gives what stands in the columns, in their order.
func (f *FinishedTicket) values() []any {
	t := f.Ticket
	return []any{
		t.ID[:], string(f.Queue), t.Number, t.State.String(), t.Priority, t.Source.String(), t.Service,
		sealedColumn(t.Customer), sealedColumn(t.Payload), t.Visit[:], t.EnqueuedBy, t.Attendant, t.Desk, t.Calls,
		int64(t.EnqueuedAt), int64(t.CalledAt), int64(t.StartedAt), int64(t.FinishedAt),
		idColumn(t.TransferredFrom), idColumn(t.TransferredTo), string(t.TransferQueue), t.Reason, f.shown(),
		tagColumn(t, 0), tagColumn(t, 1), tagColumn(t, 2), trailColumn(t.Trail),
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

// storedStep is a step of a trail as it stands in its column.
type storedStep struct {
	Version uint64     `json:"v"`
	At      queue.Time `json:"at"`
	Kind    queue.Kind `json:"k"`
	By      string     `json:"by,omitempty"`
}

func trailColumn(trail []queue.Step) string {
	if len(trail) == 0 {
		return ""
	}
	steps := make([]storedStep, len(trail))
	for i, s := range trail {
		steps[i] = storedStep(s)
	}
	text, _ := json.Marshal(steps) // numbers and texts always encode
	return string(text)
}

func trailOf(column []byte) ([]queue.Step, error) {
	if len(column) == 0 {
		return nil, nil
	}
	var steps []storedStep
	if json.Unmarshal(column, &steps) != nil {
		return nil, errDamagedRow
	}
	trail := make([]queue.Step, len(steps))
	for i, s := range steps {
		if !s.Kind.Valid() {
			return nil, errDamagedRow
		}
		trail[i] = queue.Step(s)
	}
	return trail, nil
}

// scanFinished reads a row of historyColumns, or, with a trail, of historyStored.
func scanFinished(rows *sql.Rows, withTrail bool) (FinishedTicket, error) {
	t := &queue.Ticket{}
	f := FinishedTicket{Ticket: t}
	var id, visit, from, to, phone, email, ref []byte
	var state, source string
	var trail []byte
	into := []any{
		&id, &f.Queue, &t.Number, &state, &t.Priority, &source, &t.Service,
		&t.Customer, &t.Payload, &visit, &t.EnqueuedBy, &t.Attendant, &t.Desk, &t.Calls,
		&t.EnqueuedAt, &t.CalledAt, &t.StartedAt, &t.FinishedAt,
		&from, &to, &t.TransferQueue, &t.Reason, &t.Outcome,
		&phone, &email, &ref, &trail,
	}
	if !withTrail {
		into = into[:len(into)-1]
	}
	err := rows.Scan(into...)
	if err == nil {
		t.Trail, err = trailOf(trail)
	}
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
