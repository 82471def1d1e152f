package gateway

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"nowserving/messages"
	v1 "nowserving/messages/nowserving/v1"
)

// What clients see over gRPC. The enums of the API have the numbers of those that
// nodes speak.

// errorDomain is where the reasons of refusals come from.
const errorDomain = "nowserving"

// grpc is a problem as a status.
func (p *problem) grpc(code codes.Code) error {
	info := &errdetails.ErrorInfo{Reason: p.Code, Domain: errorDomain}
	if p.trace != "" {
		info.Metadata = map[string]string{"trace_id": p.trace}
	}
	details := []protoadapt.MessageV1{info}
	if len(p.Fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, f := range p.Fields {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: f.Field, Description: f.Message})
		}
		details = append(details, bad)
	}
	if seconds := p.retrySeconds(); seconds > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Duration(seconds) * time.Second)})
	}
	text := p.Detail
	if text == "" {
		text = p.title()
	}
	s := status.New(code, text)
	if full, err := s.WithDetails(details...); err == nil { // it fails for no code but OK
		s = full
	}
	return s.Err()
}

// protoTicket is a ticket as clients see it: without full, without customer and
// payload. position 0 is none.
func (r *renderer) protoTicket(t *messages.Ticket, queueID string, position uint32, full bool) *v1.Ticket {
	visit := visitOf(t)
	out := &v1.Ticket{
		Id: idText(t.Id), Queue: queueID, Number: t.Number, State: v1.TicketState(t.State), Position: position,
		Priority: t.Priority, Service: t.Service, Source: v1.Source(t.Source), Visit: idText(visit[:]),
		Attendant: t.Attendant, Desk: t.Desk, Calls: t.Calls,
		EnqueuedAt: protoTime(t.EnqueuedAt), CalledAt: protoTime(t.CalledAt), StartedAt: protoTime(t.StartedAt), FinishedAt: protoTime(t.FinishedAt),
		TransferredFrom: optionalID(t.TransferredFrom), TransferredTo: optionalID(t.TransferredTo), Reason: t.Reason, Outcome: t.Outcome,
		Payload: string(r.open(t, sealedPayload, t.Payload, full)),
	}
	if plain := r.open(t, sealedCustomer, t.Customer, full); plain != nil {
		out.Customer = &v1.Customer{}
		// What was sealed is what this program wrote: names as the message's, and null.
		if err := json.Unmarshal(plain, out.Customer); err != nil {
			r.unopened.add(t, sealedCustomer, err)
			out.Customer = nil
		}
	}
	return out
}

func optionalID(id []byte) string {
	if len(id) != 16 {
		return ""
	}
	return idText(id)
}

func protoTime(ms int64) *timestamppb.Timestamp {
	if ms == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMilli(ms))
}

func protoQueue(id string, config *messages.Config, status messages.Status, version uint64, waiting, active uint32) *v1.Queue {
	return &v1.Queue{
		Id: id, Name: config.GetName(), Prefix: config.GetPrefix(), Capacity: config.GetCapacity(), Public: config.GetPublic(),
		TargetWaitSeconds: config.GetTargetWaitSeconds(), MaxActive: config.GetMaxActive(), Timezone: config.GetTimezone(),
		Services: config.GetServices(), RetentionDays: config.GetRetentionDays(), Status: v1.Status(status),
		Version: version, Waiting: waiting, Active: active,
	}
}

// grpcFrames makes what goes to those who watch: an actors.Renderer. A frame is a
// mark and messages, each with its length before it, ready for the wire.
type grpcFrames struct{ *renderer }

// What a frame begins with.
const (
	markMessages byte = iota
	markLast          // the stream ends behind it
	markRefused       // a messages.Problem, with which the stream ends
)

// partBytes is when another part of a snapshot begins.
const partBytes = 64 << 10

func frameOf(mark byte, of ...*v1.WatchResponse) []byte {
	b := []byte{mark}
	for _, m := range of {
		b = binary.AppendUvarint(b, uint64(proto.Size(m)))
		b, _ = proto.MarshalOptions{}.MarshalAppend(b, m) // texts were checked when they came in
	}
	return b
}

// messagesIn gives the messages of a frame, behind its mark.
func messagesIn(frame []byte, each func(message []byte) bool) bool {
	for len(frame) > 0 {
		n, used := binary.Uvarint(frame)
		frame = frame[used:]
		if !each(frame[:n]) {
			return false
		}
		frame = frame[n:]
	}
	return true
}

// Event is one event of a queue.
func (f grpcFrames) Event(queueID string, e *messages.Event, full bool) []byte {
	out := &v1.Event{Version: e.Version, Epoch: e.Epoch, At: protoTime(e.At), By: e.By, Kind: v1.EventKind(e.Kind)}
	if e.Ticket != nil {
		out.Data = &v1.Event_Ticket{Ticket: f.protoTicket(e.Ticket, queueID, e.Position, full)}
	} else {
		out.Data = &v1.Event_Queue{Queue: protoQueue(queueID, e.Config, e.Status, e.Version, e.Waiting, e.Active)}
	}
	return frameOf(markMessages, &v1.WatchResponse{Frame: &v1.WatchResponse_Event{Event: out}})
}

// Snapshot is a queue as it stands, in as many parts as it needs.
func (f grpcFrames) Snapshot(_, queueID string, v *messages.View, full bool) []byte {
	parts := f.parts(queueID, v, full)
	all := []*v1.WatchResponse{{Frame: &v1.WatchResponse_Snapshot{Snapshot: &v1.Snapshot{
		Queue: protoQueue(queueID, v.Config, v.Status, v.Version, v.Waiting, uint32(len(v.ActiveTickets))),
		Epoch: v.Epoch, First: parts[0],
	}}}}
	return frameOf(markMessages, append(all, responses(parts[1:])...)...)
}

// SnapshotPart is more of its waiting tickets.
func (f grpcFrames) SnapshotPart(queueID string, v *messages.View, full bool) []byte {
	return frameOf(markMessages, responses(f.parts(queueID, v, full))...)
}

func responses(parts []*v1.SnapshotPart) []*v1.WatchResponse {
	out := make([]*v1.WatchResponse, len(parts))
	for i, part := range parts {
		out[i] = &v1.WatchResponse{Frame: &v1.WatchResponse_SnapshotPart{SnapshotPart: part}}
	}
	return out
}

// parts are the tickets of a view, at least one part of them.
func (f grpcFrames) parts(queueID string, v *messages.View, full bool) []*v1.SnapshotPart {
	all := []*v1.SnapshotPart{{Version: v.Version}}
	size := 0
	add := func(t *messages.Ticket, position uint32, list func(*v1.SnapshotPart) *[]*v1.Ticket) {
		out := f.protoTicket(t, queueID, position, full)
		n := proto.Size(out)
		if size > 0 && size+n > partBytes {
			all[len(all)-1].More = true
			all, size = append(all, &v1.SnapshotPart{Version: v.Version}), 0
		}
		size += n
		at := list(all[len(all)-1])
		*at = append(*at, out)
	}
	for _, p := range v.Tickets {
		add(p.Ticket, p.Position, func(s *v1.SnapshotPart) *[]*v1.Ticket { return &s.Waiting })
	}
	for _, t := range v.ActiveTickets {
		add(t, 0, func(s *v1.SnapshotPart) *[]*v1.Ticket { return &s.Active })
	}
	for _, t := range v.Held {
		add(t, 0, func(s *v1.SnapshotPart) *[]*v1.Ticket { return &s.Held })
	}
	all[len(all)-1].More = v.Capture != 0
	return all
}

// Resumed says that the events go on where the client was.
func (f grpcFrames) Resumed(_, _ string, version uint64, epoch string) []byte {
	return frameOf(markMessages, &v1.WatchResponse{Frame: &v1.WatchResponse_Resumed{Resumed: &v1.Resumed{Version: version, Epoch: epoch}}})
}

// Gone says that the queue was deleted.
func (f grpcFrames) Gone(string) []byte {
	return frameOf(markLast, &v1.WatchResponse{Frame: &v1.WatchResponse_Gone{Gone: &v1.Gone{}}})
}

// Refused ends the stream with what a queue said.
func (f grpcFrames) Refused(_ string, p *messages.Problem) []byte {
	b, _ := proto.MarshalOptions{}.MarshalAppend([]byte{markRefused}, p)
	return b
}

// Done answers what a watch never asks.
func (f grpcFrames) Done(string) []byte { return frameOf(markMessages) }

// Ticket is for the holders of tickets, who have WebSocket.
func (f grpcFrames) Ticket(string, *messages.Placed) []byte { return frameOf(markMessages) }

// rendered is the codec, for which a message that was rendered for many is ready.
type rendered struct{ encoding.CodecV2 }

type readyMessage []byte

func (c rendered) Marshal(v any) (mem.BufferSlice, error) {
	if ready, ok := v.(readyMessage); ok {
		return mem.BufferSlice{mem.SliceBuffer(ready)}, nil
	}
	return c.CodecV2.Marshal(v)
}
