package faults

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	"nowserving/messages"
)

// Event is what the checker knows of an event: one accepted command's effect.
type Event struct {
	Version  uint64
	Epoch    string
	At       int64
	By, Kind string
	Ticket   *Ticket // of a ticket's event
	Position int
	Day      int
	Seq      uint64
	// Erases: the ticket is emptied of its person. Bare: nothing of one is in it.
	Erases, Bare bool
	// Of a queue's event.
	Capacity, MaxActive int
	Status              string
}

// The contract's names, in the order of the journal's numbers.
var (
	kinds = [...]string{"",
		"ticket.enqueued", "ticket.moved", "ticket.removed", "ticket.called", "ticket.recalled", "ticket.started",
		"ticket.completed", "ticket.held", "ticket.no_show", "ticket.requeued", "ticket.transferred", "ticket.updated",
		"queue.configured", "queue.opened", "queue.paused", "queue.closed", "queue.deleted",
	}
	states   = [...]string{"", "waiting", "called", "serving", "held", "completed", "no_show", "removed", "transferred"}
	sources  = [...]string{"", "rest", "websocket", "amqp", "grpc", "public"}
	statuses = [...]string{"", "open", "paused", "closed"}
)

// Entry is one entry of a journal: the versions that name it, and its record.
type Entry struct {
	First, Last uint64
	Data        []byte
}

// Source reads the entries of a queue that hold events after a version.
type Source func(ctx context.Context, queue string, after uint64) ([]Entry, error)

// ReadJournal reads all events of a queue.
func ReadJournal(ctx context.Context, read Source, queue string) ([]Event, error) {
	var events []Event
	for after := uint64(0); ; {
		entries, err := read(ctx, queue, after)
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			return events, nil
		}
		for _, e := range entries {
			of, err := decode(e)
			if err != nil {
				return nil, fmt.Errorf("%s: entry %d to %d: %w", queue, e.First, e.Last, err)
			}
			events, after = append(events, of...), e.Last
		}
	}
}

var errRecord = errors.New("the record is damaged")

// decode reads a record: a format byte, the CRC-32C of what follows, and a
// message. It is written a second time here, not taken from the program.
func decode(e Entry) ([]Event, error) {
	if len(e.Data) < 5 || e.Data[0] != 1 ||
		binary.BigEndian.Uint32(e.Data[1:]) != crc32.Checksum(e.Data[5:], crc32.MakeTable(crc32.Castagnoli)) {
		return nil, errRecord
	}
	var m messages.Entry
	if err := proto.Unmarshal(e.Data[5:], &m); err != nil {
		return nil, err
	}
	if n := len(m.Events); n == 0 || m.Events[0].Version < e.First || m.Events[n-1].Version != e.Last {
		return nil, errRecord
	}
	events := make([]Event, 0, len(m.Events))
	for _, ev := range m.Events {
		if ev.Epoch == "" {
			ev.Epoch = m.Epoch
		}
		if int(ev.Kind) >= len(kinds) || int(ev.Status) >= len(statuses) {
			return nil, errRecord
		}
		events = append(events, Event{
			Version: ev.Version, Epoch: ev.Epoch, At: ev.At, By: ev.By, Kind: kinds[ev.Kind], Position: int(ev.Position),
			Day: int(ev.Day), Seq: ev.Seq, Capacity: int(ev.Config.GetCapacity()), MaxActive: int(ev.Config.GetMaxActive()),
			Status: statuses[ev.Status], Ticket: ticketOf(ev), Erases: ev.Erases,
			Bare: len(ev.Ticket.GetCustomer())+len(ev.Ticket.GetPayload())+len(ev.Ticket.GetIndex()) == 0,
		})
	}
	return events, nil
}

func ticketOf(ev *messages.Event) *Ticket {
	t := ev.Ticket
	if t == nil || int(t.State) >= len(states) || int(t.Source) >= len(sources) {
		return nil
	}
	return &Ticket{
		ID: id(t.Id), Number: t.Number, State: states[t.State], Service: t.Service, Source: sources[t.Source],
		Attendant: t.Attendant, Desk: t.Desk, Reason: t.Reason, Outcome: t.Outcome, Priority: int(t.Priority),
		Position: int(ev.Position), Calls: int(t.Calls), TransferredFrom: id(t.TransferredFrom), TransferredTo: id(t.TransferredTo),
	}
}

// id writes the 16 bytes of a UUID as clients see them; anything else is empty.
func id(b []byte) string {
	if len(b) != 16 {
		return ""
	}
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
