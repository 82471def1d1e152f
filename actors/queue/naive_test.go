package queue

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// naive is a second queue, written from the contract's sentences with plain
// slices and maps, where every rule is a loop that can be seen to be right. It
// decides and changes itself in one go. It shares the core's words (Command,
// Ticket, Config, Code), and none of its functions.
type naive struct {
	exists  bool
	version uint64
	epoch   string
	at      Time // of the last event
	config  Config
	status  Status
	tickets map[TicketID]*Ticket
	line    []TicketID // who waits, in order

	day      string
	seq      int
	issuedAt Time
	issued   map[string]bool // numbers of the day

	keys, arrivals map[OpID]naiveKey
	unkeyed        map[OpID]naiveUnkeyed
	places         map[TicketID]Time
	out            map[TicketID]bool // transferred, not known to have arrived
}

type naiveKey struct {
	version, fingerprint uint64
	at                   Time
}

type naiveUnkeyed struct {
	version uint64
	again   bool
}

// naiveEvent is what of an event is decided, rather than carried along.
type naiveEvent struct {
	kind            Kind
	ticket          *Ticket
	position        int
	waiting, active int // as they were when it was decided
	day             int32
	seq             uint64
	erases          bool
}

func newNaive() *naive {
	return &naive{
		keys: map[OpID]naiveKey{}, arrivals: map[OpID]naiveKey{}, unkeyed: map[OpID]naiveUnkeyed{},
		places: map[TicketID]Time{}, out: map[TicketID]bool{},
	}
}

// do answers with a refusal's code, or the version of what is replayed, or an event.
func (m *naive) do(c *Command) (Code, uint64, *naiveEvent) {
	now := max(c.At, m.at)
	if done, ok := m.unkeyed[c.Op]; ok && !c.Keyed && (c.Again || done.again) {
		return "", done.version, nil
	}
	if code := m.maySee(c); code != "" {
		return code, 0, nil
	}
	if naiveMalformed(c.Do) {
		return Invalid, 0, nil
	}
	memory, lapse := m.keys, Day
	if _, ok := c.Do.(*Arrive); ok {
		memory, lapse = m.arrivals, 30*Day
	}
	if k, ok := memory[c.Op]; c.Keyed && ok && k.at >= now-lapse {
		if !slices.Contains(c.Fingerprints, k.fingerprint) {
			return IdempotencyKeyReused, 0, nil
		}
		return "", k.version, nil
	}
	if _, creates := c.Do.(*Create); !m.exists && !creates {
		return QueueNotFound, 0, nil
	}
	if c.HasIfMatch && c.IfMatch != m.version {
		return VersionMismatch, 0, nil
	}
	e := &naiveEvent{waiting: len(m.line), active: m.count(Called, Serving)}
	var code Code
	if id := c.Do.subject(); !id.IsZero() {
		code = m.onTicket(c, now, *m.tickets[id], e)
	} else {
		code = m.onQueue(c, now, e)
	}
	if code != "" {
		return code, 0, nil
	}
	m.version++
	m.at = now
	if e.ticket != nil {
		trail := append(slices.Clone(e.ticket.Trail), Step{m.version, now, e.kind, c.By})
		for len(trail) > 64 {
			trail = slices.Delete(trail, 1, 2)
		}
		e.ticket.Trail = trail
	}
	if c.Keyed {
		memory[c.Op] = naiveKey{m.version, c.Fingerprints[0], now}
	} else {
		m.unkeyed[c.Op] = naiveUnkeyed{m.version, c.Again}
	}
	for id, t := range m.tickets {
		if t.State.Finished() && t.FinishedAt < now-Day {
			delete(m.tickets, id)
		}
	}
	return "", 0, e
}

func (m *naive) maySee(c *Command) Code {
	switch c.Do.(type) {
	case *Create, *Delete:
		return ""
	}
	if !m.exists {
		return QueueNotFound
	}
	if id := c.Do.subject(); !id.IsZero() {
		t, ok := m.tickets[id]
		if !ok {
			return TicketNotFound
		}
		if c.OwnOnly && t.EnqueuedBy != c.By {
			return Forbidden
		}
	}
	return ""
}

// naiveMalformed knows of the bounds only those that a script oversteps.
func naiveMalformed(do Action) bool {
	whole := func(c Config, f Field) bool {
		has := func(one Field) bool { return f&one != 0 }
		return has(FieldPrefix) && len(c.Prefix) > 4 || has(FieldCapacity) && c.Capacity > 10_000_000 ||
			has(FieldMaxActive) && (c.MaxActive < 1 || c.MaxActive > 1000) ||
			has(FieldTimezone) && c.Timezone == "Local" ||
			has(FieldRetention) && c.RetentionDays > 3650 || has(FieldServices) && len(c.Services) == 2 && c.Services[0] == c.Services[1]
	}
	switch do := do.(type) {
	case *Enqueue:
		return do.Priority > 9
	case *Update:
		return do.Priority > 9
	case *Transfer:
		return do.To == "bank"
	case *CallNext:
		return len(do.Desk) > 50
	case *Call:
		return len(do.Desk) > 50
	case *Create:
		return whole(do.Config, 0x1ff)
	case *Configure:
		return whole(do.Config, do.Fields)
	}
	return false
}

func (m *naive) onQueue(c *Command, now Time, e *naiveEvent) Code {
	switch do := c.Do.(type) {
	case *Enqueue:
		if m.full(now) {
			return QueueFull
		}
		if m.status == Closed {
			return QueueClosed
		}
		defer func() { e.day, e.seq = m.dayNumber(), uint64(m.seq) }()
		m.join(Ticket{
			ID: do.ID, Visit: do.ID, Number: m.number(now), Priority: do.Priority, Source: do.Source,
			Service: do.Service, Customer: do.Customer, Payload: do.Payload, Index: do.Index, EnqueuedBy: c.By, EnqueuedAt: now,
		}, e)
	case *Arrive:
		if until, kept := m.places[do.Old.ID]; (!kept || until <= now) && m.full(now) {
			return QueueFull
		}
		delete(m.places, do.Old.ID)
		t := *do.Old
		t.Trail = nil
		t.ID, t.TransferredFrom, t.TransferredTo, t.EnqueuedAt = t.TransferredTo, t.ID, TicketID{}, now
		m.join(t, e)
	case *CallNext:
		if code := m.mayCall(c.By, do.Desk); code != "" {
			return code
		}
		if len(m.line) == 0 {
			return ErrNobodyWaits.Code
		}
		m.call(*m.tickets[m.line[0]], c.By, do.Desk, now, e)
	case *SetStatus:
		m.status, e.kind = do.Status, map[Status]Kind{Open: QueueOpened, Paused: QueuePausedEvent, Closed: QueueClosedEvent}[do.Status]
	case *Create:
		if m.exists {
			return QueueExists
		}
		m.exists, m.epoch, m.status, m.config, m.tickets = true, do.Epoch, Open, do.Config, map[TicketID]*Ticket{}
		e.kind = QueueConfigured
	case *Configure:
		m.configure(do.Fields, do.Config)
		e.kind = QueueConfigured
	case *Delete:
		if len(m.line)+m.count(Called, Serving, Held)+m.keptPlaces(now)+len(m.out) > 0 {
			return QueueNotEmpty
		}
		m.exists, m.tickets, e.kind = false, nil, QueueDeleted
	}
	return ""
}

func (m *naive) configure(f Field, c Config) {
	for _, one := range []struct {
		field Field
		set   func()
	}{
		{FieldName, func() { m.config.Name = c.Name }},
		{FieldPrefix, func() { m.config.Prefix = c.Prefix }},
		{FieldCapacity, func() { m.config.Capacity = c.Capacity }},
		{FieldPublic, func() { m.config.Public = c.Public }},
		{FieldTargetWait, func() { m.config.TargetWaitSeconds = c.TargetWaitSeconds }},
		{FieldMaxActive, func() { m.config.MaxActive = c.MaxActive }},
		{FieldTimezone, func() { m.config.Timezone = c.Timezone }},
		{FieldServices, func() { m.config.Services = c.Services }},
		{FieldRetention, func() { m.config.RetentionDays = c.RetentionDays }},
	} {
		if f&one.field != 0 {
			one.set()
		}
	}
}

// number issues the next of the day: three digits or more. Where a change of
// the timezone makes it a new day in which the last number was given out too,
// the sequence goes on. What a ticket bears that joined on that day is skipped.
func (m *naive) number(now Time) string {
	zone, _ := time.LoadLocation(m.config.Timezone)
	dayOf := func(t Time) string { return time.UnixMilli(int64(t)).In(zone).Format(time.DateOnly) }
	if day := dayOf(now); day > m.day {
		if dayOf(m.issuedAt) < day {
			m.seq, m.issued = 0, map[string]bool{}
		}
		m.day = day
	}
	for {
		m.seq++
		n := fmt.Sprintf("%s%03d", m.config.Prefix, m.seq)
		taken := m.issued[n]
		for _, t := range m.tickets {
			taken = taken || t.Number == n && dayOf(t.EnqueuedAt) >= m.day
		}
		if !taken {
			m.issued[n], m.issuedAt = true, now
			return n
		}
	}
}

// dayNumber is the day as yyyymmdd.
func (m *naive) dayNumber() int32 {
	n, err := strconv.Atoi(strings.ReplaceAll(m.day, "-", ""))
	if err != nil {
		panic(err)
	}
	return int32(n)
}

func (m *naive) full(now Time) bool {
	return m.config.Capacity > 0 && len(m.line)+m.keptPlaces(now) >= int(m.config.Capacity)
}

func (m *naive) keptPlaces(now Time) int {
	n := 0
	for _, until := range m.places {
		if until > now {
			n++
		}
	}
	return n
}

func (m *naive) keepPlace(old TicketID, now Time) Code {
	now = max(now, m.at)
	until, kept := m.places[old]
	switch {
	case !m.exists:
		return QueueNotFound
	case kept && until > now:
	case m.full(now):
		return QueueFull
	case m.status == Closed:
		return QueueClosed
	}
	m.places[old] = now + 15_000
	return ""
}

func (m *naive) count(states ...TicketState) int {
	n := 0
	for _, t := range m.tickets {
		if slices.Contains(states, t.State) {
			n++
		}
	}
	return n
}

// lineString is for a failure's message.
func (m *naive) lineString() string {
	var b strings.Builder
	for _, id := range m.line {
		fmt.Fprintf(&b, "%s/%d ", m.tickets[id].Number, m.tickets[id].Priority)
	}
	return b.String()
}
