package gateway

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"nowserving/actors/queue"
	"nowserving/messages"
	v1 "nowserving/messages/nowserving/v1"
)

// queuesService is nowserving.v1.Queues. Who calls stands in the context; commands
// and questions go the way of REST's.
type queuesService struct {
	v1.UnimplementedQueuesServer
}

// order is a request of gRPC as a command of any other way in.
type order struct {
	queue string
	meta  commandMeta
	args  []byte // the JSON object that says the same over WebSocket
}

// Fields of requests that are named otherwise over REST, or bear null there.
var (
	contractNames = map[protoreflect.Name]string{"to_queue": "queue"}
	nullable      = map[protoreflect.Name]bool{"capacity": true, "target_wait_seconds": true, "retention_days": true}
)

// orderOf reads a request, so that one way of decoding, with all that it checks,
// serves every way in.
func orderOf(in protoreflect.Message) (o order) {
	o.args = append(o.args, '{')
	fields := in.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !in.Has(field) {
			continue
		}
		switch value := in.Get(field); field.Name() {
		case "queue":
			o.queue = value.String()
		case "idempotency_key":
			key := value.String()
			o.meta.key = &key
		case "expected_version":
			tag := `"` + strconv.FormatUint(value.Uint(), 10) + `"`
			o.meta.ifMatch = &tag
		case "payload":
			if text := []byte(value.String()); json.Valid(text) {
				o.args = append(o.name(field), text...)
			} else {
				o.meta.wrong = append(o.meta.wrong, queue.FieldError{Field: "payload", Message: "must be JSON"})
			}
		default:
			o.args = appendArg(o.name(field), field, value)
		}
	}
	o.args = append(o.args, '}')
	return o
}

// name begins a member of the arguments.
func (o *order) name(field protoreflect.FieldDescriptor) []byte {
	if len(o.args) > 1 {
		o.args = append(o.args, ',')
	}
	name, other := contractNames[field.Name()]
	if !other {
		name = string(field.Name())
	}
	return append(appendString(o.args, name), ':')
}

func appendArg(dst []byte, field protoreflect.FieldDescriptor, value protoreflect.Value) []byte {
	switch field.Kind() {
	case protoreflect.MessageKind:
		if list, ok := value.Message().Interface().(*v1.Services); ok {
			return appendStrings(dst, list.Items)
		}
		return append(dst, orderOf(value.Message()).args...)
	case protoreflect.EnumKind:
		return appendString(dst, contractName(field.Enum(), value.Enum()))
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, value.Bool())
	case protoreflect.Uint32Kind:
		if nullable[field.Name()] {
			return appendCount(dst, uint32(value.Uint()))
		}
		return strconv.AppendUint(dst, value.Uint(), 10)
	case protoreflect.Int64Kind:
		return strconv.AppendInt(dst, value.Int(), 10)
	}
	return appendString(dst, value.String())
}

// contractName is an enum's value as the contract writes it; "?" for none of them.
func contractName(of protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	value := of.Values().ByNumber(n)
	if value == nil {
		return "?"
	}
	prefix := strings.TrimSuffix(string(of.Values().ByNumber(0).Name()), "UNSPECIFIED")
	return strings.ToLower(strings.TrimPrefix(string(value.Name()), prefix))
}

// command makes a command of a request.
func (c *caller) command(ctx context.Context, name string, in proto.Message) (*build, *problem) {
	o := orderOf(in.ProtoReflect())
	if name != "create" && !c.who.sees(o.queue) {
		return nil, refused(queue.ErrQueueNotFound)
	}
	b, p := c.build(ctx, name, o.queue, o.args, c.who, queue.FromGRPC, "", o.meta)
	if p != nil && name == "transfer" {
		for i := range p.Fields {
			if p.Fields[i].Field == "queue" {
				p.Fields[i].Field = "to_queue"
			}
		}
	}
	if p == nil && ctx.Err() != nil {
		p = unavailable("The time for it is over. Nothing was changed.")
	}
	return b, p
}

// lasting is for a command that is sent: it ends with the caller's deadline, but not
// with the caller, so that what came of it is known to those who record it.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	until := time.Now().Add(commandTimeout)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	return context.WithDeadline(context.WithoutCancel(ctx), until)
}

// ticketCommandOf carries out a command whose answer is a ticket.
func ticketCommandOf(ctx context.Context, name string, in proto.Message) (*v1.TicketResponse, error) {
	c := callerOf(ctx)
	b, p := c.command(ctx, name, in)
	if p != nil {
		return nil, p
	}
	ctx, cancel := lasting(ctx)
	defer cancel()
	a := b.do(ctx)
	if a.Problem != nil {
		return nil, problemOf(a.Problem)
	}
	out := &v1.TicketResponse{Version: a.Version, Replayed: a.Replayed}
	if a.Event != nil {
		event, at := shown(a, b.message.Queue)
		out.Ticket = c.protoTicket(event.Ticket, at, event.Position, c.who.full())
	}
	return out, nil
}

// queueCommandOf carries out a command whose answer is the queue.
func queueCommandOf(ctx context.Context, name string, in proto.Message) (*v1.QueueResponse, error) {
	c := callerOf(ctx)
	b, p := c.command(ctx, name, in)
	if p != nil {
		return nil, p
	}
	ctx, cancel := lasting(ctx)
	defer cancel()
	a, p := c.doQueueCommand(ctx, c.who, c.from, b)
	if p != nil {
		return nil, p
	}
	e := a.Event
	return &v1.QueueResponse{
		Queue: protoQueue(b.message.Queue, e.Config, e.Status, e.Version, e.Waiting, e.Active), Replayed: a.Replayed,
	}, nil
}

func (queuesService) Enqueue(ctx context.Context, in *v1.EnqueueRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "enqueue", in)
}

func (queuesService) Update(ctx context.Context, in *v1.UpdateRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "update", in)
}

func (queuesService) Move(ctx context.Context, in *v1.MoveRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "move", in)
}

func (queuesService) Remove(ctx context.Context, in *v1.RemoveRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "remove", in)
}

func (queuesService) CallNext(ctx context.Context, in *v1.CallNextRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "call_next", in)
}

func (queuesService) Call(ctx context.Context, in *v1.CallRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "call", in)
}

func (queuesService) Recall(ctx context.Context, in *v1.RecallRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "recall", in)
}

func (queuesService) Start(ctx context.Context, in *v1.StartRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "start", in)
}

func (queuesService) Complete(ctx context.Context, in *v1.CompleteRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "complete", in)
}

func (queuesService) Hold(ctx context.Context, in *v1.HoldRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "hold", in)
}

func (queuesService) NoShow(ctx context.Context, in *v1.NoShowRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "no_show", in)
}

func (queuesService) Requeue(ctx context.Context, in *v1.RequeueRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "requeue", in)
}

func (queuesService) Transfer(ctx context.Context, in *v1.TransferRequest) (*v1.TicketResponse, error) {
	return ticketCommandOf(ctx, "transfer", in)
}

func (queuesService) CreateQueue(ctx context.Context, in *v1.CreateQueueRequest) (*v1.QueueResponse, error) {
	return queueCommandOf(ctx, "create", in)
}

func (queuesService) ConfigureQueue(ctx context.Context, in *v1.ConfigureQueueRequest) (*v1.QueueResponse, error) {
	return queueCommandOf(ctx, "configure", in)
}

func (queuesService) DeleteQueue(ctx context.Context, in *v1.DeleteQueueRequest) (*v1.DeleteQueueResponse, error) {
	deleted, err := queueCommandOf(ctx, "delete", in)
	if err != nil {
		return nil, err
	}
	return &v1.DeleteQueueResponse{Replayed: deleted.Replayed}, nil
}

func (queuesService) GetQueue(ctx context.Context, in *v1.GetQueueRequest) (*v1.GetQueueResponse, error) {
	c := callerOf(ctx)
	view, p := c.readQueue(ctx, c.who, ReadQueue, &messages.Read{Queue: in.Queue})
	if p != nil {
		return nil, p
	}
	return &v1.GetQueueResponse{Queue: protoQueue(in.Queue, view.Config, view.Status, view.Version, view.Waiting, view.Active)}, nil
}

func (queuesService) GetTicket(ctx context.Context, in *v1.GetTicketRequest) (*v1.GetTicketResponse, error) {
	c := callerOf(ctx)
	view, p := c.readTicket(ctx, c.who, c.from, ReadQueue, in.Queue, in.Ticket)
	if p != nil {
		return nil, p
	}
	found := view.Tickets[0]
	return &v1.GetTicketResponse{Ticket: c.protoTicket(found.Ticket, in.Queue, found.Position, c.who.full()), Version: view.Version}, nil
}

// queryIn is the query that a list's request stands for; what is left out is so there.
func queryIn(limit uint32, texts map[string]string) query {
	return func(name string, _ *faults) (string, bool) {
		if name == "limit" {
			return strconv.FormatUint(uint64(limit), 10), limit != 0
		}
		text := texts[name]
		return text, text != ""
	}
}

func (queuesService) ListQueues(ctx context.Context, in *v1.ListQueuesRequest) (*v1.ListQueuesResponse, error) {
	c := callerOf(ctx)
	rows, more, p := c.pageOfQueues(ctx, c.who, queryIn(in.Limit, map[string]string{"after": in.After}))
	if p != nil {
		return nil, p
	}
	out := &v1.ListQueuesResponse{}
	for i := range rows {
		row := &rows[i]
		config, status := row.shown()
		out.Queues = append(out.Queues, protoQueue(row.ID, config, status, row.Version, uint32(row.Waiting), uint32(row.Active)))
	}
	for n := len(out.Queues); n > 1 && proto.Size(out) > maxGRPCPage; n = len(out.Queues) {
		out.Queues, more = out.Queues[:n/2], true
	}
	if more {
		out.Next = queueCursor(rows[len(out.Queues)-1].ID)
	}
	return out, nil
}

// maxGRPCPage is well below what clients take of a message if they are not told
// otherwise, 4 MiB.
const maxGRPCPage = 3 << 20

// ListTickets reads a page anew, and shorter, until it is not too large.
func (queuesService) ListTickets(ctx context.Context, in *v1.ListTicketsRequest) (*v1.ListTicketsResponse, error) {
	c, texts := callerOf(ctx), map[string]string{"after": in.After, "number": in.Number}
	if in.State != v1.TicketState_TICKET_STATE_UNSPECIFIED {
		texts["state"] = contractName(in.State.Descriptor(), in.State.Number())
	}
	for limit := in.Limit; ; {
		view, p := c.pageOfTickets(ctx, c.who, c.from, in.Queue, queryIn(limit, texts))
		if p != nil {
			return nil, p
		}
		out := &v1.ListTicketsResponse{Version: view.Version}
		for _, placed := range view.Tickets {
			out.Tickets = append(out.Tickets, c.protoTicket(placed.Ticket, in.Queue, placed.Position, c.who.full()))
		}
		if n := len(out.Tickets); n > 1 && proto.Size(out) > maxGRPCPage {
			limit = uint32(n / 2)
			continue
		}
		if view.Next != nil {
			out.Next = ticketCursor(view.Next)
		}
		return out, nil
	}
}
