package actors

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// This file turns the core's values into messages and back, and messages into
// the records that a journal keeps.

// A record is one format byte, the CRC-32C of what follows, and a message.
const (
	recordFormat = 1
	recordHeader = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeRecord(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, recordHeader, 512), m)
	if err != nil {
		return nil, err
	}
	return sealRecord(b), nil
}

// sealRecord fills in the header that b begins with.
func sealRecord(b []byte) []byte {
	b[0] = recordFormat
	binary.BigEndian.PutUint32(b[1:], crc32.Checksum(b[recordHeader:], castagnoli))
	return b
}

// decodeRecord fails with queue.ErrDamaged. It never says what a record held.
func decodeRecord(b []byte, m proto.Message) error {
	switch {
	case len(b) < recordHeader:
		return fmt.Errorf("%w: it is cut short", queue.ErrDamaged)
	case b[0] != recordFormat:
		return fmt.Errorf("%w: its format %d is unknown", queue.ErrDamaged, b[0])
	case binary.BigEndian.Uint32(b[1:]) != crc32.Checksum(b[recordHeader:], castagnoli):
		return fmt.Errorf("%w: its checksum is wrong", queue.ErrDamaged)
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b[recordHeader:], m); err != nil {
		return fmt.Errorf("%w: it is no message", queue.ErrDamaged)
	}
	return nil
}

// appendEvent writes one event as a part of the message Entry. Its epoch is left out where it is the entry's.
func appendEvent(entry []byte, epoch string, m *messages.Event) ([]byte, error) {
	own := m.Epoch
	if own == epoch {
		m.Epoch = ""
	}
	entry = protowire.AppendTag(entry, entryEvents, protowire.BytesType)
	entry = protowire.AppendVarint(entry, uint64(proto.Size(m)))
	entry, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(entry, m)
	m.Epoch = own
	return entry, err
}

// beginEntry begins the record of an entry of about so many bytes: appendEvent
// adds to it, and sealRecord ends it.
func beginEntry(epoch string, bytes int) []byte {
	b := make([]byte, recordHeader, bytes+128)
	b = protowire.AppendTag(b, entryEpoch, protowire.BytesType)
	return protowire.AppendString(b, epoch)
}

// The fields of the message Entry.
const (
	entryEpoch  = protowire.Number(1)
	entryEvents = protowire.Number(2)
)

// decodeEntry gives an entry's events, held against the versions that name it.
func decodeEntry(e queue.Entry) ([]*messages.Event, error) {
	var m messages.Entry
	if err := decodeRecord(e.Data, &m); err != nil {
		return nil, fmt.Errorf("entry %d: %w", e.Last, err)
	}
	n := len(m.Events)
	// A new epoch stands anywhere above the version before it.
	if n == 0 || m.Events[0].Version < e.First || m.Events[n-1].Version != e.Last ||
		m.Events[0].Version > e.First && m.Events[0].Kind != messages.EventKind_EVENT_KIND_QUEUE_CONFIGURED {
		return nil, fmt.Errorf("entry %d: %w: it holds other versions", e.Last, queue.ErrDamaged)
	}
	for _, ev := range m.Events {
		if ev.Epoch == "" {
			ev.Epoch = m.Epoch
		}
	}
	return m.Events, nil
}

func eventToMessage(e *queue.Event) *messages.Event {
	m := &messages.Event{
		Version: e.Version, Epoch: e.Epoch, At: int64(e.At), By: e.By, Kind: messages.EventKind(e.Kind),
		Position: uint32(e.Position), Day: uint32(e.Day), Seq: e.Seq,
		Status: messages.Status(e.Status), Waiting: uint32(e.Waiting), Active: uint32(e.Active),
		Op: e.Op[:], Keyed: e.Keyed, Fingerprint: e.Fingerprint, Again: e.Again, Erases: e.Erases,
	}
	if e.Ticket != nil {
		m.Ticket = TicketToMessage(e.Ticket)
	}
	if e.Config != nil {
		m.Config = configToMessage(e.Config)
	}
	return m
}

func eventFromMessage(m *messages.Event) (*queue.Event, error) {
	e := &queue.Event{
		Version: m.Version, Epoch: m.Epoch, At: queue.Time(m.At), By: m.By, Kind: queue.Kind(m.Kind),
		Position: int(m.Position), Day: int32(m.Day), Seq: m.Seq,
		Status: queue.Status(m.Status), Waiting: int(m.Waiting), Active: int(m.Active),
		Keyed: m.Keyed, Fingerprint: m.Fingerprint, Again: m.Again, Erases: m.Erases,
	}
	copy(e.Op[:], m.Op)
	if m.Kind > messages.EventKind_EVENT_KIND_QUEUE_DELETED || m.Status > messages.Status_STATUS_CLOSED {
		return nil, fmt.Errorf("%w: event %d is of a kind that this version does not know", queue.ErrDamaged, m.Version)
	}
	if m.Ticket != nil {
		t, err := TicketFromMessage(m.Ticket)
		if err != nil {
			return nil, err
		}
		e.Ticket = t
	}
	if m.Config != nil {
		e.Config = configFromMessage(m.Config)
	}
	return e, nil
}

// TicketToMessage gives a ticket as messages and journals bear it.
func TicketToMessage(t *queue.Ticket) *messages.Ticket {
	m := &messages.Ticket{
		Id: t.ID[:], Number: t.Number, State: messages.TicketState(t.State), Priority: uint32(t.Priority),
		Source: messages.Source(t.Source), Service: t.Service, Customer: t.Customer, Payload: t.Payload,
		EnqueuedBy: t.EnqueuedBy, Attendant: t.Attendant, Desk: t.Desk, Calls: t.Calls,
		EnqueuedAt: int64(t.EnqueuedAt), CalledAt: int64(t.CalledAt),
		StartedAt: int64(t.StartedAt), FinishedAt: int64(t.FinishedAt),
		TransferQueue: string(t.TransferQueue), Reason: t.Reason, Outcome: t.Outcome, Index: t.Index,
	}
	if t.Visit != t.ID {
		m.Visit = t.Visit[:]
	}
	if len(t.Trail) > 0 {
		m.Trail = make([]*messages.Step, len(t.Trail))
		steps := make([]messages.Step, len(t.Trail))
		for i := range t.Trail {
			s := &t.Trail[i]
			m.Trail[i] = &steps[i]
			steps[i].Version, steps[i].At, steps[i].Kind, steps[i].By = s.Version, int64(s.At), messages.EventKind(s.Kind), s.By
		}
	}
	if !t.TransferredFrom.IsZero() {
		m.TransferredFrom = t.TransferredFrom[:]
	}
	if !t.TransferredTo.IsZero() {
		m.TransferredTo = t.TransferredTo[:]
	}
	return m
}

// TicketFromMessage is the inverse of TicketToMessage. It fails with
// queue.ErrDamaged where the message is no ticket.
func TicketFromMessage(m *messages.Ticket) (*queue.Ticket, error) {
	if len(m.GetId()) != 16 || m.State < 1 || m.State > messages.TicketState_TICKET_STATE_TRANSFERRED ||
		m.Source > messages.Source_SOURCE_PUBLIC || m.Priority > queue.MaxPriority {
		return nil, fmt.Errorf("%w: a ticket has no id, or a state or source that this version does not know", queue.ErrDamaged)
	}
	t := &queue.Ticket{
		ID: queue.TicketID(m.Id), Number: m.Number, State: queue.TicketState(m.State), Priority: uint8(m.Priority),
		Source: queue.Source(m.Source), Service: m.Service, Customer: m.Customer, Payload: m.Payload,
		EnqueuedBy: m.EnqueuedBy, Attendant: m.Attendant, Desk: m.Desk, Calls: m.Calls,
		EnqueuedAt: queue.Time(m.EnqueuedAt), CalledAt: queue.Time(m.CalledAt),
		StartedAt: queue.Time(m.StartedAt), FinishedAt: queue.Time(m.FinishedAt),
		TransferQueue: queue.ID(m.TransferQueue), Reason: m.Reason, Outcome: m.Outcome, Index: m.Index,
	}
	if len(m.Trail) > 0 {
		t.Trail = make([]queue.Step, len(m.Trail))
		for i, s := range m.Trail {
			t.Trail[i] = queue.Step{Version: s.GetVersion(), At: queue.Time(s.GetAt()), Kind: queue.Kind(s.GetKind()), By: s.GetBy()}
		}
	}
	t.Visit = t.ID
	if len(m.Visit) == 16 {
		t.Visit = queue.TicketID(m.Visit)
	}
	copy(t.TransferredFrom[:], m.TransferredFrom)
	copy(t.TransferredTo[:], m.TransferredTo)
	return t, nil
}

func configToMessage(c *queue.Config) *messages.Config {
	return &messages.Config{
		Name: c.Name, Prefix: c.Prefix, Capacity: c.Capacity, Public: c.Public,
		TargetWaitSeconds: c.TargetWaitSeconds, MaxActive: c.MaxActive, Timezone: c.Timezone, Services: c.Services,
		RetentionDays: c.RetentionDays,
	}
}

func configFromMessage(m *messages.Config) *queue.Config {
	return &queue.Config{
		Name: m.GetName(), Prefix: m.GetPrefix(), Capacity: m.GetCapacity(), Public: m.GetPublic(),
		TargetWaitSeconds: m.GetTargetWaitSeconds(), MaxActive: m.GetMaxActive(),
		Timezone: m.GetTimezone(), Services: m.GetServices(), RetentionDays: m.GetRetentionDays(),
	}
}

// encodeSnapshot writes an image down.
func encodeSnapshot(img *queue.Image) (queue.Snapshot, error) {
	data, err := encodeRecord(snapshotToMessage(img))
	return queue.Snapshot{Version: img.Version, Data: data}, err
}

func snapshotToMessage(img *queue.Image) *messages.Snapshot {
	m := &messages.Snapshot{
		Id: string(img.ID), Version: img.Version, Epoch: img.Epoch, LastAt: int64(img.LastAt), Exists: img.Exists,
		Status: messages.Status(img.Status), Day: uint32(img.Day), Seq: img.Seq,
		Tickets: ticketsToMessages(img.Tickets), Outbox: ticketsToMessages(img.Outbox),
		Keys: rememberedToMessages(img.Keys), Arrivals: rememberedToMessages(img.Arrivals),
		IssuedAt: int64(img.IssuedAt),
		Recents:  recentsToMessages(img.Recents), RecentsAfter: (*int64)(&img.RecentsAfter),
	}
	for _, i := range img.Issued {
		m.Issued = append(m.Issued, &messages.Issued{Prefix: i.Prefix, First: i.First, Last: i.Last})
	}
	if img.Config != nil {
		m.Config = configToMessage(img.Config)
	}
	return m
}

func decodeSnapshot(s queue.Snapshot) (*queue.State, error) {
	var m messages.Snapshot
	if err := decodeRecord(s.Data, &m); err != nil {
		return nil, fmt.Errorf("snapshot %d: %w", s.Version, err)
	}
	if m.Version != s.Version {
		return nil, fmt.Errorf("snapshot %d: %w: it is of another version", s.Version, queue.ErrDamaged)
	}
	img := &queue.Image{
		ID: queue.ID(m.Id), Version: m.Version, Epoch: m.Epoch, LastAt: queue.Time(m.LastAt), Exists: m.Exists,
		Status: queue.Status(m.Status), Day: int32(m.Day), Seq: m.Seq,
		Keys: rememberedFromMessages(m.Keys), Arrivals: rememberedFromMessages(m.Arrivals),
		IssuedAt: queue.Time(m.IssuedAt),
		Recents:  recentsFromMessages(m.Recents), RecentsAfter: queue.Time(m.LastAt),
	}
	if m.RecentsAfter != nil { // else it was written when they were not remembered
		img.RecentsAfter = queue.Time(*m.RecentsAfter)
	}
	for _, i := range m.Issued {
		img.Issued = append(img.Issued, queue.Issued{Prefix: i.Prefix, First: i.First, Last: i.Last})
	}
	if m.Config != nil {
		img.Config = configFromMessage(m.Config)
	}
	var err error
	if img.Tickets, err = ticketsFromMessages(m.Tickets); err != nil {
		return nil, err
	}
	if img.Outbox, err = ticketsFromMessages(m.Outbox); err != nil {
		return nil, err
	}
	state, err := queue.Restore(img)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", queue.ErrDamaged, err)
	}
	return state, nil
}

func ticketsToMessages(tickets []*queue.Ticket) []*messages.Ticket {
	out := make([]*messages.Ticket, len(tickets))
	for i, t := range tickets {
		out[i] = TicketToMessage(t)
	}
	return out
}

func ticketsFromMessages(ms []*messages.Ticket) ([]*queue.Ticket, error) {
	out := make([]*queue.Ticket, len(ms))
	for i, m := range ms {
		t, err := TicketFromMessage(m)
		if err != nil {
			return nil, err
		}
		out[i] = t
	}
	return out, nil
}

func rememberedToMessages(rs []queue.Remembered) []*messages.Remembered {
	out := make([]*messages.Remembered, len(rs))
	for i := range rs {
		r := &rs[i]
		out[i] = &messages.Remembered{Op: r.Op[:], Version: r.Version, Fingerprint: r.Fingerprint, At: int64(r.At)}
	}
	return out
}

func rememberedFromMessages(ms []*messages.Remembered) []queue.Remembered {
	out := make([]queue.Remembered, len(ms))
	for i, m := range ms {
		out[i] = queue.Remembered{Version: m.Version, Fingerprint: m.Fingerprint, At: queue.Time(m.At)}
		copy(out[i].Op[:], m.Op)
	}
	return out
}

func recentsToMessages(rs []queue.Recent) []*messages.Remembered {
	out := make([]*messages.Remembered, len(rs))
	for i := range rs {
		r := &rs[i]
		out[i] = &messages.Remembered{Op: r.Op[:], Version: r.Version, At: int64(r.At), Again: r.Again}
	}
	return out
}

func recentsFromMessages(ms []*messages.Remembered) []queue.Recent {
	out := make([]queue.Recent, len(ms))
	for i, m := range ms {
		out[i] = queue.Recent{Version: m.Version, At: queue.Time(m.At), Again: m.Again}
		copy(out[i].Op[:], m.Op)
	}
	return out
}
