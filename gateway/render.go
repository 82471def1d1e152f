package gateway

import (
	"encoding/hex"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// renderer writes what clients see. Sealed data is opened here and nowhere
// else, and only for those who may see it.
//
// JSON is appended by hand: these functions run for every answer and for every
// event of every subscriber.
type renderer struct {
	sealer   Sealer
	log      *slog.Logger
	unopened *unopened
}

// unopenedEvery is the pace of the log about values that cannot be opened: with
// a key that was lost there may be many.
const unopenedEvery = 10 * time.Second

// unopened counts the values that could not be opened and were shown as null.
type unopened struct {
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex
	count uint64
	next  time.Time // of the log's next line
}

func (u *unopened) add(t *messages.Ticket, field string, err error) {
	now := u.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count++
	if now.Before(u.next) {
		return
	}
	u.next = now.Add(unopenedEvery)
	u.log.Warn("sealed data cannot be opened and is shown as null", "ticket", hex.EncodeToString(t.Id), "field", field, "error", err, "so_far", u.count)
}

// The names under which personal data is sealed.
const (
	sealedCustomer = "customer"
	sealedPayload  = "payload"
)

// appendTicket writes a ticket. position 0 is null. Without full, customer and
// payload are null.
func (r *renderer) appendTicket(dst []byte, t *messages.Ticket, queueID string, position uint32, full bool) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendID(dst, t.Id)
	dst = append(dst, `,"queue":`...)
	dst = appendString(dst, queueID)
	dst = append(dst, `,"number":`...)
	dst = appendString(dst, t.Number)
	dst = append(dst, `,"state":"`...)
	dst = append(dst, queue.TicketState(t.State).String()...)
	dst = append(dst, `","position":`...)
	dst = appendCount(dst, position)
	dst = append(dst, `,"priority":`...)
	dst = strconv.AppendUint(dst, uint64(t.Priority), 10)
	dst = append(dst, `,"service":`...)
	dst = appendOptional(dst, t.Service)
	dst = append(dst, `,"customer":`...)
	dst = r.appendSealed(dst, t, sealedCustomer, t.Customer, full)
	dst = append(dst, `,"payload":`...)
	dst = r.appendSealed(dst, t, sealedPayload, t.Payload, full)
	dst = append(dst, `,"source":"`...)
	dst = append(dst, queue.Source(t.Source).String()...)
	dst = append(dst, `","visit":`...)
	visit := visitOf(t)
	dst = appendID(dst, visit[:])
	dst = append(dst, `,"attendant":`...)
	dst = appendOptional(dst, t.Attendant)
	dst = append(dst, `,"desk":`...)
	dst = appendOptional(dst, t.Desk)
	dst = appendCourse(dst, t)
	dst = append(dst, `,"transferred_from":`...)
	dst = appendID(dst, t.TransferredFrom)
	dst = append(dst, `,"transferred_to":`...)
	dst = appendID(dst, t.TransferredTo)
	dst = append(dst, `,"reason":`...)
	dst = appendOptional(dst, t.Reason)
	dst = append(dst, `,"outcome":`...)
	dst = appendOptional(dst, t.Outcome)
	return append(dst, '}')
}

// appendCourse writes how often a ticket was called, and when what happened to it.
func appendCourse(dst []byte, t *messages.Ticket) []byte {
	dst = append(dst, `,"calls":`...)
	dst = strconv.AppendUint(dst, uint64(t.Calls), 10)
	dst = append(dst, `,"enqueued_at":`...)
	dst = appendTime(dst, t.EnqueuedAt)
	dst = append(dst, `,"called_at":`...)
	dst = appendTime(dst, t.CalledAt)
	dst = append(dst, `,"started_at":`...)
	dst = appendTime(dst, t.StartedAt)
	dst = append(dst, `,"finished_at":`...)
	dst = appendTime(dst, t.FinishedAt)
	return dst
}

// appendSealed opens a value, which is JSON, and writes it. One that cannot be
// opened is null: the ticket itself can still be served.
func (r *renderer) appendSealed(dst []byte, t *messages.Ticket, field string, sealed []byte, full bool) []byte {
	plain := r.open(t, field, sealed, full)
	if plain == nil {
		return append(dst, "null"...)
	}
	return append(dst, plain...)
}

// open gives what was sealed, for those who may see it; nil where there is nothing
// to show.
func (r *renderer) open(t *messages.Ticket, field string, sealed []byte, full bool) []byte {
	if !full || len(sealed) == 0 {
		return nil
	}
	plain, err := r.sealer.Open(field, visitOf(t), sealed)
	if err != nil || len(plain) == 0 {
		r.unopened.add(t, field, err)
		return nil
	}
	return plain
}

// visitOf is what personal data of a ticket is sealed for.
func visitOf(t *messages.Ticket) (visit [16]byte) {
	if len(t.Visit) == 16 {
		return [16]byte(t.Visit)
	}
	copy(visit[:], t.Id)
	return visit
}

// appendQueue writes a queue with its counts.
func appendQueue(dst []byte, id string, config *messages.Config, status messages.Status, version uint64, waiting, active uint32) []byte {
	dst = appendQueueFields(dst, id, config, status, version)
	dst = append(dst, `,"waiting":`...)
	dst = strconv.AppendUint(dst, uint64(waiting), 10)
	dst = append(dst, `,"active":`...)
	dst = strconv.AppendUint(dst, uint64(active), 10)
	return append(dst, '}')
}

// appendQueueFields writes what a queue and a snapshot of it have in common,
// up to where they part: the closing brace is missing.
func appendQueueFields(dst []byte, id string, config *messages.Config, status messages.Status, version uint64) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, id)
	dst = append(dst, ',')
	dst = appendConfig(dst, config)
	dst = append(dst, `,"status":"`...)
	dst = append(dst, queue.Status(status).String()...)
	dst = append(dst, `","version":`...)
	return strconv.AppendUint(dst, version, 10)
}

// appendConfig writes the configuration's fields, without braces around them.
func appendConfig(dst []byte, config *messages.Config) []byte {
	dst = append(dst, `"name":`...)
	dst = appendString(dst, config.GetName())
	dst = append(dst, `,"prefix":`...)
	dst = appendString(dst, config.GetPrefix())
	dst = append(dst, `,"capacity":`...)
	dst = appendCount(dst, config.GetCapacity())
	dst = append(dst, `,"public":`...)
	dst = strconv.AppendBool(dst, config.GetPublic())
	dst = append(dst, `,"target_wait_seconds":`...)
	dst = appendCount(dst, config.GetTargetWaitSeconds())
	dst = append(dst, `,"max_active":`...)
	dst = strconv.AppendUint(dst, uint64(config.GetMaxActive()), 10)
	dst = append(dst, `,"timezone":`...)
	dst = appendString(dst, config.GetTimezone())
	dst = append(dst, `,"services":`...)
	dst = append(appendStrings(dst, config.GetServices()), `,"retention_days":`...)
	return appendCount(dst, config.GetRetentionDays())
}

// appendEvent writes the whole frame of an event. A deletion is no event
// outside: whoever follows a queue says "gone" instead.
func (r *renderer) appendEvent(dst []byte, queueID string, e *messages.Event, full bool) []byte {
	return r.appendEventFields(append(dst, `{"type":"event",`...), queueID, e, full)
}

// appendEventFields writes an event's fields and the closing brace.
func (r *renderer) appendEventFields(dst []byte, queueID string, e *messages.Event, full bool) []byte {
	dst = append(dst, `"queue":`...)
	dst = appendString(dst, queueID)
	dst = append(dst, `,"version":`...)
	dst = strconv.AppendUint(dst, e.Version, 10)
	dst = append(dst, `,"event":"`...)
	dst = append(dst, queue.Kind(e.Kind).String()...)
	dst = append(dst, `","at":`...)
	dst = appendTime(dst, e.At)
	dst = append(dst, `,"by":`...)
	dst = appendOptional(dst, e.By)
	dst = append(dst, `,"data":`...)
	dst = r.appendEventData(dst, queueID, e, full)
	return append(dst, '}')
}

// appendEventData writes what an event is about, as it was after it: the whole
// ticket, or the queue.
func (r *renderer) appendEventData(dst []byte, queueID string, e *messages.Event, full bool) []byte {
	if e.Ticket != nil {
		return r.appendTicket(dst, e.Ticket, queueID, e.Position, full)
	}
	return appendQueue(dst, queueID, e.Config, e.Status, e.Version, e.Waiting, e.Active)
}

// appendTickets writes a list of tickets with their positions.
func (r *renderer) appendTickets(dst []byte, placed []*messages.Placed, queueID string, full bool) []byte {
	dst = append(dst, '[')
	for i, p := range placed {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = r.appendTicket(dst, p.Ticket, queueID, p.Position, full)
	}
	return append(dst, ']')
}

// appendSnapshot writes the data of a snapshot frame from the answer to a
// ReadSnapshot.
func (r *renderer) appendSnapshot(dst []byte, queueID string, v *messages.View, full bool) []byte {
	dst = appendQueueFields(dst, queueID, v.Config, v.Status, v.Version)
	dst = append(dst, `,"waiting":`...)
	dst = r.appendTickets(dst, v.Tickets, queueID, full)
	dst = append(dst, `,"waiting_total":`...)
	dst = strconv.AppendUint(dst, uint64(v.Waiting), 10)
	dst = append(dst, `,"active":`...)
	dst = r.appendUnplaced(dst, v.ActiveTickets, queueID, full)
	dst = append(dst, `,"held":`...)
	dst = r.appendUnplaced(dst, v.Held, queueID, full)
	return append(dst, '}')
}

func (r *renderer) appendUnplaced(dst []byte, tickets []*messages.Ticket, queueID string, full bool) []byte {
	dst = append(dst, '[')
	for i, t := range tickets {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = r.appendTicket(dst, t, queueID, 0, full)
	}
	return append(dst, ']')
}

// appendID writes the 16 bytes of a UUID; anything else is null.
func appendID(dst, id []byte) []byte {
	if len(id) != 16 {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	dst = hex.AppendEncode(dst, id[:4])
	for _, part := range [][]byte{id[4:6], id[6:8], id[8:10], id[10:]} {
		dst = append(dst, '-')
		dst = hex.AppendEncode(dst, part)
	}
	return append(dst, '"')
}

// appendTime writes RFC 3339 in UTC with milliseconds; zero is null.
func appendTime(dst []byte, ms int64) []byte {
	if ms == 0 {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	dst = time.UnixMilli(ms).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	return append(dst, '"')
}

// appendCount writes a number of which zero means that it does not apply.
func appendCount(dst []byte, n uint32) []byte {
	if n == 0 {
		return append(dst, "null"...)
	}
	return strconv.AppendUint(dst, uint64(n), 10)
}

func appendOptional(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return appendString(dst, s)
}

// appendString writes a JSON string (RFC 8259, section 7).
func appendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r) // U+FFFD for what is no character
			i += size
			continue
		}
		i++
	}
	return append(dst, '"')
}
