package queue

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

var configFields = map[string]Field{
	"name": FieldName, "prefix": FieldPrefix, "capacity": FieldCapacity, "public": FieldPublic,
	"target": FieldTargetWait, "max-active": FieldMaxActive, "timezone": FieldTimezone, "services": FieldServices,
	"retention": FieldRetention,
}

// action reads a command's own words.
func (st *stage) action(verb string, w *words) Action {
	switch verb {
	case "create":
		epoch := w.take("epoch")
		if epoch == "" {
			epoch = "e1"
		}
		known := uint64(w.number("known"))
		_, config := configWords(w)
		return &Create{Epoch: epoch, Config: config.Defaults("bank"), Known: known}
	case "configure":
		fields, config := configWords(w)
		return &Configure{Fields: fields, Config: config}
	case "open":
		return &SetStatus{Status: Open}
	case "pause":
		return &SetStatus{Status: Paused}
	case "close":
		return &SetStatus{Status: Closed}
	case "delete":
		return &Delete{}
	case "call-next":
		return &CallNext{Desk: text(w, "desk")}
	case "arrive":
		return &Arrive{Old: st.sent[named(w.shift())]}
	}
	return ticketAction(verb, named(w.shift()), w)
}

func ticketAction(verb string, id TicketID, w *words) Action {
	switch verb {
	case "enqueue":
		return &Enqueue{
			ID: id, Priority: uint8(w.number("priority")), Service: text(w, "service"),
			Customer: opaque(w, "customer"), Payload: opaque(w, "payload"), Index: opaque(w, "index"), Source: FromREST,
		}
	case "move":
		return &Move{Ticket: id, Position: w.number("position"), Before: named(w.take("before")), After: named(w.take("after"))}
	case "remove":
		return &Remove{Ticket: id, Reason: text(w, "reason")}
	case "call":
		return &Call{Ticket: id, Desk: text(w, "desk")}
	case "recall":
		return &Recall{Ticket: id}
	case "start":
		return &Start{Ticket: id}
	case "complete":
		return &Complete{Ticket: id, Outcome: text(w, "outcome")}
	case "hold":
		return &Hold{Ticket: id}
	case "no-show":
		return &MarkNoShow{Ticket: id}
	case "requeue":
		return &Requeue{Ticket: id, Position: w.number("position")}
	case "transfer":
		return &Transfer{Ticket: id, To: ID(w.take("to")), NewID: named(w.take("as"))}
	case "update":
		return updateWords(id, w)
	case "erase":
		return &Erase{Ticket: id}
	}
	panic("no such command: " + verb)
}

func updateWords(id TicketID, w *words) *Update {
	u := &Update{Ticket: id}
	for key, field := range map[string]Field{
		"service": TicketService, "priority": TicketPriority, "customer": TicketCustomer, "payload": TicketPayload,
	} {
		if _, set := w.named[key]; set {
			u.Fields |= field
		}
	}
	u.Service, u.Priority = text(w, "service"), uint8(w.number("priority"))
	u.Customer, u.Payload = opaque(w, "customer"), opaque(w, "payload")
	u.Index = opaque(w, "index")
	return u
}

func configWords(w *words) (Field, Config) {
	var fields Field
	for key, field := range configFields {
		if _, set := w.named[key]; set {
			fields |= field
		}
	}
	c := Config{
		Name: text(w, "name"), Prefix: w.take("prefix"), Capacity: uint32(w.number("capacity")), Public: w.take("public") == "true",
		TargetWaitSeconds: uint32(w.number("target")), MaxActive: uint32(w.number("max-active")), Timezone: w.take("timezone"),
		RetentionDays: uint32(w.number("retention")),
	}
	if s := w.take("services"); s != "" {
		c.Services = strings.Split(s, ",")
	}
	return fields, c
}

// text reads a value; x*51 is 51 times x, and the bad kinds of text have names.
func text(w *words, key string) string {
	s := w.take(key)
	var n int
	if head, count, ok := strings.Cut(s, "*"); ok {
		if _, err := fmt.Sscan(count, &n); err != nil {
			panic(err)
		}
		return strings.Repeat(head, n)
	}
	return strings.NewReplacer("BAD-UTF8", "\xff", "CONTROL", "\a").Replace(s)
}

func opaque(w *words, key string) []byte {
	if s := w.take(key); s != "" {
		return []byte(s)
	}
	return nil
}

func eventWords(e *Event) string {
	s := fmt.Sprintf("v%d %s %s ", e.Version, clockFace(e.At), e.Kind)
	if e.Kind.OfTicket() {
		return s + ticketWords(e.Ticket, e.Position)
	}
	s += fmt.Sprintf("epoch=%s status=%s waiting=%d active=%d", e.Epoch, e.Status, e.Waiting, e.Active)
	c := e.Config
	if e.Kind != QueueConfigured {
		return s
	}
	if c.RetentionDays != 0 {
		s += fmt.Sprintf(" retention=%d", c.RetentionDays)
	}
	return s + fmt.Sprintf(" name=%s prefix=%s capacity=%d public=%t target=%d max-active=%d timezone=%s services=%s",
		short(c.Name), c.Prefix, c.Capacity, c.Public, c.TargetWaitSeconds, c.MaxActive, c.Timezone, short(strings.Join(c.Services, ",")))
}

// ticketWords leaves out what does not apply.
func ticketWords(t *Ticket, position int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", nameOf(t.ID), t.Number, t.State)
	add := func(key, value string) {
		if value != "" && value != "0" {
			b.WriteString(" " + key + "=" + short(value))
		}
	}
	at := func(key string, when Time) {
		if when != 0 {
			add(key, clockFace(when))
		}
	}
	add("position", fmt.Sprint(position))
	add("priority", fmt.Sprint(t.Priority))
	add("service", t.Service)
	add("customer", string(t.Customer))
	add("payload", string(t.Payload))
	add("index", string(t.Index))
	if t.Visit != t.ID {
		add("visit", nameOf(t.Visit))
	}
	add("attendant", t.Attendant)
	add("desk", t.Desk)
	add("calls", fmt.Sprint(t.Calls))
	at("enqueued", t.EnqueuedAt)
	at("called", t.CalledAt)
	at("started", t.StartedAt)
	at("finished", t.FinishedAt)
	add("from", nameOf(t.TransferredFrom))
	add("to", strings.TrimSuffix(string(t.TransferQueue)+"/"+nameOf(t.TransferredTo), "/"))
	add("reason", t.Reason)
	add("outcome", t.Outcome)
	return b.String()
}

// short spares the reader what only shows a bound.
func short(s string) string {
	if n := utf8.RuneCountInString(s); n > 40 {
		return fmt.Sprintf("(%d characters)", n)
	}
	return s
}
