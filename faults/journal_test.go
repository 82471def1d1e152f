package faults

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"google.golang.org/protobuf/proto"

	"nowserving/messages"
)

// entryOf writes a record down as the format has it.
func entryOf(t *testing.T, first uint64, m *messages.Entry) Entry {
	t.Helper()
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	data := binary.BigEndian.AppendUint32([]byte{1}, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return Entry{First: first, Last: m.Events[len(m.Events)-1].Version, Data: append(data, body...)}
}

func TestReadJournal(t *testing.T) {
	id := []byte("0123456789abcdef")
	one := entryOf(t, 1, &messages.Entry{Epoch: "e1", Events: []*messages.Event{
		{Version: 1, At: 5, Kind: messages.EventKind_EVENT_KIND_QUEUE_CONFIGURED, Status: messages.Status_STATUS_OPEN,
			Config: &messages.Config{Capacity: 7, MaxActive: 3}},
		{Version: 2, At: 6, By: "u", Kind: messages.EventKind_EVENT_KIND_TICKET_ENQUEUED, Position: 1, Day: 20261122, Seq: 4,
			Ticket: &messages.Ticket{Id: id, Number: "A004", State: messages.TicketState_TICKET_STATE_WAITING, Source: messages.Source_SOURCE_AMQP, Service: "m"}},
	}})
	two := entryOf(t, 3, &messages.Entry{Epoch: "e1", Events: []*messages.Event{
		{Version: 9, At: 7, Epoch: "e2", Kind: messages.EventKind_EVENT_KIND_QUEUE_DELETED},
	}})
	source := func(_ context.Context, queue string, after uint64) ([]Entry, error) {
		switch {
		case queue != "a":
			t.Errorf("queue %s", queue)
		case after < 2:
			return []Entry{one}, nil
		case after < 9:
			return []Entry{two}, nil
		}
		return nil, nil
	}
	events, err := ReadJournal(context.Background(), source, "a")
	if err != nil || len(events) != 3 {
		t.Fatal(events, err)
	}
	if e := events[0]; e.Version != 1 || e.Epoch != "e1" || e.Kind != "queue.configured" || e.Capacity != 7 || e.MaxActive != 3 || e.Status != "open" || e.Ticket != nil {
		t.Errorf("%+v", e)
	}
	e := events[1]
	want := Ticket{ID: "30313233-3435-3637-3839-616263646566", Number: "A004", State: "waiting", Source: "amqp", Service: "m", Position: 1}
	if e.Kind != "ticket.enqueued" || e.By != "u" || e.At != 6 || e.Day != 20261122 || e.Seq != 4 || e.Position != 1 || *e.Ticket != want {
		t.Errorf("%+v %+v", e, e.Ticket)
	}
	if e := events[2]; e.Version != 9 || e.Epoch != "e2" || e.Kind != "queue.deleted" {
		t.Errorf("%+v", e)
	}

	for name, hurt := range map[string]func(*Entry){
		"another version":  func(e *Entry) { e.Last = 3 },
		"before its first": func(e *Entry) { e.First = 2 },
		"a flipped bit":    func(e *Entry) { e.Data[len(e.Data)-1] ^= 1 },
		"cut short":        func(e *Entry) { e.Data = e.Data[:4] },
		"another format":   func(e *Entry) { e.Data[0] = 2 },
	} {
		e := one
		e.Data = append([]byte(nil), one.Data...)
		if hurt(&e); !fails(e) {
			t.Errorf("%s: it was read", name)
		}
	}
}

func fails(e Entry) bool {
	_, err := decode(e)
	return err != nil
}
