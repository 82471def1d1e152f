package actors

import (
	"errors"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// What stands in a journal or a snapshot is an event or a state, or damage: with
// a sound checksum too, for whoever can write to a store can make one.

func FuzzEntry(f *testing.F) {
	ticket := uuid.New()
	for _, m := range []*messages.Entry{
		{Epoch: "e", Events: []*messages.Event{{
			Version: 1, Kind: messages.EventKind_EVENT_KIND_QUEUE_CONFIGURED, Status: messages.Status_STATUS_OPEN,
			Config: &messages.Config{Name: "q", Prefix: "A", MaxActive: 1, Timezone: "UTC"},
		}, {
			Version: 2, Kind: messages.EventKind_EVENT_KIND_TICKET_ENQUEUED, Position: 1, Waiting: 1, Seq: 1,
			Ticket: &messages.Ticket{Id: ticket[:], Visit: ticket[:], Number: "A001", State: messages.TicketState_TICKET_STATE_WAITING, Source: messages.Source_SOURCE_REST},
		}, {
			Version: 3, Kind: messages.EventKind_EVENT_KIND_TICKET_CALLED, Active: 1,
			Ticket: &messages.Ticket{Id: ticket[:], Visit: ticket[:], Number: "A001", State: messages.TicketState_TICKET_STATE_CALLED, Source: messages.Source_SOURCE_REST, Attendant: "u"},
		}}},
		{},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m messages.Entry
		if proto.Unmarshal(b, &m) != nil || len(m.Events) == 0 {
			return
		}
		entry := queue.Entry{
			First: m.Events[0].Version, Last: m.Events[len(m.Events)-1].Version,
			Data: sealRecord(append(make([]byte, recordHeader), b...)),
		}
		events, err := decodeEntry(entry)
		if err != nil {
			isDamage(t, err)
			return
		}
		state := queue.New("q")
		for _, m := range events {
			e, err := eventFromMessage(m)
			if err != nil {
				isDamage(t, err)
				return
			}
			if state.Apply(e) != nil {
				return
			}
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	ticket := uuid.New()
	for _, m := range []*messages.Snapshot{
		{Id: "q", Version: 0},
		{
			Id: "q", Version: 7, Epoch: "e", Exists: true, Status: messages.Status_STATUS_OPEN, Day: 20_000, Seq: 1,
			Config:  &messages.Config{Name: "q", Prefix: "A", MaxActive: 1, Timezone: "UTC"},
			Tickets: []*messages.Ticket{{Id: ticket[:], Visit: ticket[:], Number: "A001", State: messages.TicketState_TICKET_STATE_WAITING, Source: messages.Source_SOURCE_REST}},
			Keys:    []*messages.Remembered{{Op: ticket[:], Version: 3}},
			Issued:  []*messages.Issued{{Prefix: "A", First: 1, Last: 1}},
		},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m messages.Snapshot
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		state, err := decodeSnapshot(queue.Snapshot{Version: m.Version, Data: sealRecord(append(make([]byte, recordHeader), b...))})
		if err != nil {
			isDamage(t, err)
			return
		}
		if state.Version() != m.Version {
			t.Fatalf("version %d of %d", state.Version(), m.Version)
		}
	})
}

func isDamage(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, queue.ErrDamaged) {
		t.Fatal(err)
	}
}

// FuzzRecord is for what has no sound header either.
func FuzzRecord(f *testing.F) {
	for _, m := range []proto.Message{&messages.Entry{Events: []*messages.Event{{Version: 1}}}, &messages.Snapshot{Id: "q"}} {
		b, err := encodeRecord(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Add([]byte{})
	f.Add([]byte{recordFormat, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeEntry(queue.Entry{First: 1, Last: 1, Data: b}); err != nil {
			isDamage(t, err)
		}
		if _, err := decodeSnapshot(queue.Snapshot{Data: b}); err != nil {
			isDamage(t, err)
		}
	})
}
