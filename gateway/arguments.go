package gateway

import (
	"nowserving/actors/queue"
	"nowserving/messages"
)

// The arguments of each command: a REST body, or args of a WebSocket frame.

func decodeEnqueue(b *build) {
	if b.source == queue.FromAMQP {
		b.args.raw("queue") // is known from it already
	}
	a := &messages.Enqueue{Service: b.args.line("service", 0, queue.MaxServiceLength, true)}
	priority, _ := b.args.integer("priority", 0, queue.MaxPriority)
	a.Priority = uint32(priority)
	b.enqueue(a)
}

// enqueue takes what is the person's own, to be sealed.
func (b *build) enqueue(a *messages.Enqueue) {
	b.customer, _ = b.args.customer("customer")
	b.payload, _ = b.args.payload("payload")
	b.message.Action = &messages.Command_Enqueue{Enqueue: a}
}

// decodeCheckIn: who comes from the street has no say in the priority.
func decodeCheckIn(b *build) {
	a := &messages.Enqueue{Service: b.args.line("service", 0, queue.MaxServiceLength, true)}
	b.enqueue(a)
}

// decodeLeave is a removal whose reason staff can tell from their own.
func decodeLeave(b *build) {
	b.message.Action = &messages.Command_Remove{Remove: &messages.Remove{Ticket: b.ticket, Reason: leftReason}}
}

func decodeUpdate(b *build) {
	a := &messages.Update{Ticket: b.ticket}
	if b.args.has("service") {
		a.Fields |= uint32(queue.TicketService)
	}
	a.Service = b.args.line("service", 0, queue.MaxServiceLength, true)
	if priority, given := b.args.integer("priority", 0, queue.MaxPriority); given {
		a.Fields, a.Priority = a.Fields|uint32(queue.TicketPriority), uint32(priority)
	}
	var given bool
	if b.customer, given = b.args.customer("customer"); given {
		a.Fields |= uint32(queue.TicketCustomer)
	}
	if b.payload, given = b.args.payload("payload"); given {
		a.Fields |= uint32(queue.TicketPayload)
	}
	b.message.Action = &messages.Command_Update{Update: a}
}

func decodeRemove(b *build) {
	b.message.Action = &messages.Command_Remove{Remove: &messages.Remove{
		Ticket: b.ticket, Reason: b.args.line("reason", 0, queue.MaxReasonLength, true),
	}}
}

func decodeMove(b *build) {
	position, given := b.args.number("position")
	a := &messages.Move{Ticket: b.ticket, Position: position, Before: b.args.ticket("before"), After: b.args.ticket("after")}
	ways := 0
	for _, way := range []bool{given || b.args.has("position"), b.args.has("before"), b.args.has("after")} {
		if way {
			ways++
		}
	}
	if ways != 1 {
		b.add("position", "exactly one of position, before and after must be given")
	}
	b.message.Action = &messages.Command_Move{Move: a}
}

// desk is where the person is to come; without one where it is left out.
func (b *build) desk() string { return b.args.line("desk", 1, queue.MaxDeskLength, true) }

func decodeCallNext(b *build) {
	b.message.Action = &messages.Command_CallNext{CallNext: &messages.CallNext{Desk: b.desk()}}
}

func decodeCall(b *build) {
	b.message.Action = &messages.Command_Call{Call: &messages.Call{Ticket: b.ticket, Desk: b.desk()}}
}

func decodeRecall(b *build) {
	b.message.Action = &messages.Command_Recall{Recall: &messages.Recall{Ticket: b.ticket}}
}

func decodeStart(b *build) {
	b.message.Action = &messages.Command_Start{Start: &messages.Start{Ticket: b.ticket}}
}

func decodeComplete(b *build) {
	b.message.Action = &messages.Command_Complete{Complete: &messages.Complete{
		Ticket: b.ticket, Outcome: b.args.line("outcome", 0, queue.MaxOutcomeLength, true),
	}}
}

func decodeHold(b *build) {
	b.message.Action = &messages.Command_Hold{Hold: &messages.Hold{Ticket: b.ticket}}
}

func decodeNoShow(b *build) {
	b.message.Action = &messages.Command_NoShow{NoShow: &messages.NoShow{Ticket: b.ticket}}
}

func decodeRequeue(b *build) {
	position, given := b.args.number("position")
	if !given {
		position = 1
	}
	b.message.Action = &messages.Command_Requeue{Requeue: &messages.Requeue{Ticket: b.ticket, Position: position}}
}

func decodeTransfer(b *build) {
	a := &messages.Transfer{Ticket: b.ticket}
	if to := b.args.text("queue", 1, 63, false); to != nil {
		a.To = *to
		switch {
		case !queue.ID(a.To).Valid():
			b.args.bad("queue", "must be a queue's id")
		case !b.who.sees(a.To):
			b.refusal = refused(queue.ErrQueueNotFound)
		}
	}
	b.args.require("queue")
	b.message.Action = &messages.Command_Transfer{Transfer: a}
}

func decodeStatus(status messages.Status) func(*build) {
	return func(b *build) {
		b.message.Action = &messages.Command_SetStatus{SetStatus: &messages.SetStatus{Status: status}}
	}
}

// statusCommands are the names under which WebSocket knows a change of status.
var statusCommands = map[queue.Status]string{queue.Open: "open", queue.Paused: "pause", queue.Closed: "close"}

// decodeConfigure takes either fields or a status.
func decodeConfigure(b *build) {
	if !b.args.has("status") {
		a := &messages.Configure{}
		a.Config, a.Fields = b.config(&queue.Config{})
		b.message.Action = &messages.Command_Configure{Configure: a}
		return
	}
	name := b.args.text("status", 1, 10, false)
	if name != nil {
		status, known := queue.ParseStatus(*name)
		if !known {
			b.args.bad("status", "must be open, paused or closed")
		}
		b.name = statusCommands[status]
		decodeStatus(messages.Status(status))(b)
	}
	if len(b.args.members) > 1 {
		b.args.bad("status", "must be given alone, without other fields")
		_, _ = b.config(&queue.Config{}) // names what is wrong with the others
	}
}

func decodeCreate(b *build) {
	if id := b.args.text("id", 1, 63, false); id != nil {
		if !queue.ID(*id).Valid() {
			b.args.bad("id", "must be a small letter or digit, then small letters, digits and hyphens")
		}
		b.message.Queue = *id
	}
	b.args.require("id")
	defaults := queue.Config{}.Defaults(queue.ID(b.message.Queue))
	config, fields := b.config(&defaults)
	if fields&uint32(queue.FieldPrefix) == 0 {
		b.extra = prefixLeftOut
	}
	b.message.Action = &messages.Command_Create{Create: &messages.Create{Config: config}}
}

// prefixLeftOut tells a queue whose prefix is to be chosen from one that is to
// have none.
const prefixLeftOut = "prefix left out"

func decodeDelete(b *build) {
	b.message.Action = &messages.Command_Delete{Delete: &messages.Delete{}}
}

// config reads the fields of a queue over what they are where they are left
// out, and says which were given. Bounds that need no JSON to tell are the
// queue's to check.
func (b *build) config(defaults *queue.Config) (*messages.Config, uint32) {
	config := &messages.Config{
		Name: defaults.Name, MaxActive: defaults.MaxActive, Timezone: defaults.Timezone,
		Capacity:          b.args.bound("capacity", queue.MaxCapacity),
		TargetWaitSeconds: b.args.bound("target_wait_seconds", queue.MaxTargetWait),
		RetentionDays:     b.args.bound("retention_days", queue.MaxRetention),
		Public:            b.args.flag("public"),
		Services:          b.args.texts("services"),
		Prefix:            b.args.line("prefix", 0, queue.MaxPrefixLength, false),
	}
	if b.args.has("name") {
		config.Name = b.args.line("name", 1, queue.MaxNameLength, false)
	}
	if b.args.has("timezone") {
		config.Timezone = b.args.line("timezone", 1, maxTimezone, false)
	}
	if n, given := b.args.integer("max_active", 1, queue.MaxMaxActive); given {
		config.MaxActive = uint32(n)
	}
	var fields queue.Field
	for name, field := range configFields {
		if b.args.has(name) {
			fields |= field
		}
	}
	return config, uint32(fields)
}

const maxTimezone = 64

var configFields = map[string]queue.Field{
	"name": queue.FieldName, "prefix": queue.FieldPrefix, "capacity": queue.FieldCapacity,
	"public": queue.FieldPublic, "target_wait_seconds": queue.FieldTargetWait, "max_active": queue.FieldMaxActive,
	"timezone": queue.FieldTimezone, "services": queue.FieldServices,
	"retention_days": queue.FieldRetention,
}
