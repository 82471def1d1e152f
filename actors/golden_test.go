package actors_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"nowserving/actors"
	"nowserving/messages"
)

var update = flag.Bool("update", false, "write the golden files of this version anew")

// Each version of the records that journals hold has a golden file: what was
// written then is read now, and read the same. A change that fails here would
// make old journals unreadable; a new format gets a new file beside the old.
func TestOldJournalsStayReadable(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]proto.Message{
		"entry.v1": goldenEntry(), "snapshot.v1": goldenSnapshot(),
		"entry.v3": goldenEntryV3(), "snapshot.v3": goldenSnapshotV3(), "command.v3": goldenCommandV3(),
		"entry.v2": goldenEntryV2(), "snapshot.v2": goldenSnapshotV2(), "command.v2": goldenCommandV2(),
		"command.v1": goldenCommand(), "answer.v1": &messages.Answer{
			Event: goldenEntry().Events[0], Version: 1, Replayed: true,
			Problem: &messages.Problem{Code: "invalid", Detail: "d", Fields: []*messages.FieldError{{Field: "f", Message: "m"}}},
		},
	} {
		path := filepath.Join("testdata", name+".hex")
		if *update {
			b, err := actors.EncodeRecord(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(fmt.Sprintf("%x\n", b)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		read := m.ProtoReflect().New().Interface()
		if err := actors.DecodeRecord(b, read); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !proto.Equal(m, read) {
			t.Errorf("%s reads as\n%s\nwant\n%s", name, prototext.Format(read), prototext.Format(m))
		}
		if len(read.ProtoReflect().GetUnknown()) > 0 {
			t.Errorf("%s holds fields that are not known any more", name)
		}
	}
}

// Every bit of a record is guarded: whichever is turned, the record is refused.
func TestDamagedRecordsAreRefused(t *testing.T) {
	t.Parallel()
	b, err := actors.EncodeRecord(goldenEntry())
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for bit := range 8 {
			damaged := append([]byte(nil), b...)
			damaged[i] ^= 1 << bit
			if actors.DecodeRecord(damaged, &messages.Entry{}) == nil {
				t.Fatalf("byte %d bit %d turned, and the record is taken", i, bit)
			}
		}
	}
	for n := range b {
		if actors.DecodeRecord(b[:n], &messages.Entry{}) == nil {
			t.Fatalf("cut to %d bytes, and the record is taken", n)
		}
	}
}

func id16(b byte) []byte { return []byte(strings.Repeat(string([]byte{b}), 16)) }

func goldenTicket() *messages.Ticket {
	return &messages.Ticket{
		Id: id16(1), Visit: id16(2), Number: "A042", State: messages.TicketState_TICKET_STATE_TRANSFERRED, Priority: 9,
		Source: messages.Source_SOURCE_AMQP, Service: "passport", Customer: []byte{3}, Payload: []byte{4},
		EnqueuedBy: "u1", Attendant: "u2", Desk: "7", Calls: 2,
		EnqueuedAt: 1763800000000, CalledAt: 1763800001000, StartedAt: 1763800002000, FinishedAt: 1763800003000,
		TransferredFrom: id16(5), TransferredTo: id16(6), TransferQueue: "cash", Reason: "r", Outcome: "o",
	}
}

func goldenConfig() *messages.Config {
	return &messages.Config{
		Name: "Town hall", Prefix: "A", Capacity: 100, Public: true, TargetWaitSeconds: 600,
		MaxActive: 2, Timezone: "Europe/Lisbon", Services: []string{"passport", "permit"},
	}
}

func goldenEntry() *messages.Entry {
	return &messages.Entry{Epoch: "e", Events: []*messages.Event{
		{
			Version: 1, At: 1763800000000, By: "u1", Kind: messages.EventKind_EVENT_KIND_QUEUE_CONFIGURED,
			Config: goldenConfig(), Status: messages.Status_STATUS_OPEN, Waiting: 3, Active: 1, Op: id16(7),
		},
		{
			Version: 2, Epoch: "f", At: 1763800001000, By: "u2", Kind: messages.EventKind_EVENT_KIND_TICKET_TRANSFERRED,
			Ticket: goldenTicket(), Position: 5, Day: 20261122, Seq: 42, Op: id16(8), Keyed: true, Fingerprint: 1 << 63,
		},
	}}
}

func goldenSnapshot() *messages.Snapshot {
	return &messages.Snapshot{
		Id: "hall", Version: 12, Epoch: "e", LastAt: 1763800003000, Exists: true, Config: goldenConfig(),
		Status: messages.Status_STATUS_CLOSED, Day: 20261122, Seq: 42, Tickets: []*messages.Ticket{goldenTicket()},
		Keys:     []*messages.Remembered{{Op: id16(1), Version: 3, Fingerprint: 9, At: 1763800000000}},
		Arrivals: []*messages.Remembered{{Op: id16(2), Version: 4, At: 1763800000000}},
		Outbox:   []*messages.Ticket{goldenTicket()},
		IssuedAt: 1763800003000, Issued: []*messages.Issued{{Prefix: "A", First: 1, Last: 42}},
	}
}

// Version 2 remembers operations without a key.
func goldenEntryV2() *messages.Entry {
	e := goldenEntry()
	e.Events[0].Again = true
	return e
}

func goldenSnapshotV2() *messages.Snapshot {
	s, after := goldenSnapshot(), int64(1763800000000)
	s.Recents = []*messages.Remembered{{Op: id16(3), Version: 11, At: 1763800003000, Again: true}}
	s.RecentsAfter = &after
	return s
}

func goldenCommandV2() *messages.Command {
	c := goldenCommand()
	c.Again = true
	return c
}

// Version 3 has the index of customers, and erases.
func goldenEntryV3() *messages.Entry {
	e := goldenEntryV2()
	t := e.Events[1].Ticket
	t.Index, t.Trail, e.Events[1].Erases = id16(9), []*messages.Step{{Version: 7, At: 1763800000000, Kind: 1, By: "u1"}}, true
	return e
}

func goldenSnapshotV3() *messages.Snapshot {
	s := goldenSnapshotV2()
	s.Tickets[0].Index = id16(9)
	return s
}

func goldenCommandV3() *messages.Command {
	c := goldenCommandV2()
	c.GetUpdate().Index = id16(9)
	return c
}

func goldenCommand() *messages.Command {
	match := uint64(12)
	return &messages.Command{
		Queue: "hall", By: "u1", OwnOnly: true, Op: id16(9), Keyed: true, Fingerprints: []uint64{1, 2}, IfMatch: &match,
		Action: &messages.Command_Update{Update: &messages.Update{
			Ticket: id16(1), Fields: 3, Service: "s", Priority: 1, Customer: []byte{1}, Payload: []byte{2},
		}},
	}
}
