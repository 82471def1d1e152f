package queue

import (
	"bytes"
	"strings"
)

// script draws commands from bytes, of a fuzzer or of a random generator. Few
// attendants, desks, keys and a small capacity make them collide; tickets are
// mostly chosen by their state, so that the deep ones are reached too.
type script struct {
	next    func() byte
	steps   []Time // by which the clock may go on, or back
	clock   Time
	made    uint32
	epochs  byte
	closing bool // nobody joins, so that the queue runs empty
	// The newest operations without a key.
	ops  [4]sentOp
	sent uint32
}

type sentOp struct {
	op    OpID
	at    Time
	again bool // it was new when it was said to come again
}

// wish is one step: a command, or something beside the commands.
type wish struct {
	cmd  *Command
	side sideStep
	old  TicketID
}

type sideStep uint8

const (
	noSide sideStep = iota
	keepPlace
	freePlace
	deliver
	takeImage
	loseEvents
)

// scriptStart is 2025-03-08 12:00 UTC; a clock change in New York is near.
const scriptStart Time = 1741435200_000

// fuzzSteps are the times at which something lapses, and a clock set back.
var fuzzSteps = []Time{0, 1, 1000, 1000, 15_000, 14_999, 60_000, Hour, Hour + 1, 10 * Hour, Day, Day + 1, -Hour / 2}

func (p *script) pick(n int) int { return (int(p.next())<<8 | int(p.next())) % n }

func (p *script) one(of ...string) string { return of[int(p.next())%len(of)] }

func (p *script) newID(kind byte) TicketID {
	p.made++
	return TicketID{kind, byte(p.made >> 16), byte(p.made >> 8), byte(p.made)}
}

// ticket chooses one of a state that the byte says, or one that is not there.
func (p *script) ticket(s *State) TicketID {
	states := [...]TicketState{Waiting, Waiting, Waiting, Called, Called, Serving, Serving, Held, Completed, Completed}
	b := int(p.next())
	if b >= 250 {
		return TicketID{'?'}
	}
	for k := range states {
		state := states[(b+k)%len(states)]
		if n := s.Count(state); n > 0 {
			var id TicketID
			s.Page(state, p.pick(n), func(t *Ticket) bool { id = t.ID; return false })
			return id
		}
	}
	return TicketID{'?'}
}

// foreign is a ticket of another queue on its way here; one of a few, so that
// arrivals repeat. New ones every ten days: an arrival is remembered for 30.
func (p *script) foreign() *Ticket {
	decade := p.clock / (10 * Day)
	id := TicketID{'f', p.next() % 5, byte(decade >> 16), byte(decade >> 8), byte(decade)}
	to := id
	to[0] = 't'
	return &Ticket{ID: id, Visit: id, Number: "Z007", State: Transferred, Priority: id[1], TransferredTo: to, EnqueuedBy: "int"}
}

func (p *script) draw(s *State) wish {
	p.clock += p.steps[int(p.next())%len(p.steps)]
	op, flags := p.next(), p.next()
	switch op % 32 {
	case 28:
		return wish{side: keepPlace, old: p.foreign().ID}
	case 29:
		return wish{side: freePlace, old: p.foreign().ID}
	case 30:
		return wish{side: deliver, old: firstOut(s)}
	case 31:
		if flags&0x0f == 0x0f && s.Exists() {
			return wish{side: loseEvents}
		}
		return wish{side: takeImage}
	}
	c := &Command{At: p.clock, By: p.one("ann", "ben", "cyd", "int"), Do: p.action(op%32, s)}
	c.OwnOnly = flags&0x0f == 0x0f
	c.Fingerprints = []uint64{uint64(op)}
	if flags&0x70 == 0x70 {
		c.Keyed, c.Op = true, OpID{p.next() % 6}
		c.Fingerprints = append(c.Fingerprints, uint64(p.next()%32))
	} else {
		p.unkeyed(c, flags, max(p.clock, s.LastAt()))
	}
	if flags&0x8c == 0x8c {
		c.HasIfMatch, c.IfMatch = true, s.Version()-uint64(p.next()%2)
	}
	if a, ok := c.Do.(*Arrive); ok {
		c.Op, c.Keyed, c.Fingerprints = ArrivalOp(a.Old), true, []uint64{1}
	}
	return wish{cmd: c}
}

// unkeyed names the operation. One in eight comes again: it was sent lately, or
// its first sending was lost, or comes late.
func (p *script) unkeyed(c *Command, flags byte, now Time) {
	if flags&0x43 == 0x43 {
		earlier := p.ops[p.next()%4]
		if c.Again = !earlier.again || flags&4 == 0; earlier.op != (OpID{}) && now-earlier.at <= againWithin {
			c.Op = earlier.op
			return
		}
	}
	p.sent++
	c.Op = OpID{'u', byte(p.sent >> 24), byte(p.sent >> 16), byte(p.sent >> 8), byte(p.sent)}
	p.ops[p.sent%4] = sentOp{c.Op, now, c.Again}
}

func (p *script) action(op byte, s *State) Action {
	if !s.Exists() && op%4 == 0 {
		op = 27
	}
	if p.closing && op <= 5 {
		return &Remove{Ticket: p.ticket(s)}
	}
	desk := func() string { return p.one("", "1", "2", "3", "1", strings.Repeat("x", MaxDeskLength+int(op&1))) }
	switch op {
	case 0, 1, 2, 3, 4:
		return &Enqueue{
			ID: p.newID('e'), Priority: p.next() % 11, Service: p.one("", "loan"), Payload: []byte{op}, Index: tagOf(op), Source: FromREST,
		}
	case 5:
		return &Arrive{Old: p.foreign()}
	case 6:
		return &Move{Ticket: p.ticket(s), Position: int(p.next()) % (s.Waiting() + 2)}
	case 7:
		return &Move{Ticket: p.ticket(s), Before: p.ticket(s)}
	case 8:
		return &Move{Ticket: p.ticket(s), After: p.ticket(s)}
	case 9:
		return &Remove{Ticket: p.ticket(s), Reason: p.one("", "left")}
	case 10, 11:
		return &CallNext{Desk: desk()}
	case 12:
		return &Call{Ticket: p.ticket(s), Desk: desk()}
	case 13:
		return &Recall{Ticket: p.ticket(s)}
	case 14:
		return &Start{Ticket: p.ticket(s)}
	case 15, 16:
		return &Complete{Ticket: p.ticket(s), Outcome: p.one("", "done")}
	case 17:
		return &Hold{Ticket: p.ticket(s)}
	case 18:
		return &MarkNoShow{Ticket: p.ticket(s)}
	case 19, 20:
		return &Requeue{Ticket: p.ticket(s), Position: int(p.next()) % (s.Waiting() + 3)}
	case 21:
		return &Transfer{Ticket: p.ticket(s), To: ID(p.one("lobby", "bank", "lobby")), NewID: p.newID('n')}
	case 22:
		if b := p.next(); b >= 128 {
			return &Erase{Ticket: p.ticket(s)}
		}
		return &Update{
			Ticket: p.ticket(s), Fields: Field(p.next() % 16), Priority: p.next() % 11, Service: "card", Customer: []byte{op}, Index: tagOf(op),
		}
	case 23:
		return &SetStatus{Status: [...]Status{Open, Open, Open, Paused, Closed}[p.next()%5]}
	case 24:
		return &Configure{Fields: 1 << (p.next() % 9), Config: p.config()}
	case 25:
		return &Configure{Fields: Field(p.next()) << (p.next() % 2), Config: p.config()}
	case 26:
		return &Delete{}
	}
	p.epochs++
	return &Create{Epoch: string([]byte{'e', p.epochs}), Config: p.config()}
}

// tagOf is the index of a person with one tag.
func tagOf(person byte) []byte { return bytes.Repeat([]byte{person}, TagSize) }

func (p *script) config() Config {
	b, services := p.next(), []string{"loan", "card"}
	if b > 250 {
		services = []string{"card", "card"}
	}
	return Config{
		Name: p.one("Bank", "Bank", "Town hall", "Bank"), Prefix: p.one("", "A", "A1", "1", "B", "ABCDE"),
		Capacity: []uint32{0, 3, 8, 40, 40, MaxCapacity + 1}[b%6], MaxActive: uint32(b % 4), Public: b > 100, RetentionDays: []uint32{0, 1, 90, MaxRetention, MaxRetention + 1}[b%5],
		Timezone: p.one("UTC", "America/New_York", "Pacific/Kiritimati", "Pacific/Midway", "UTC", "Local"), Services: services,
	}
}

// firstOut is one ticket of the outbox, always the same one.
func firstOut(s *State) TicketID {
	if out := byID(s.Outbox()); len(out) > 0 {
		return out[0].ID
	}
	return TicketID{}
}

// bank makes the queue in which every script plays.
func bank(p *script) *Command {
	return &Command{At: p.clock, By: "adm", Do: &Create{Epoch: "e", Config: Config{
		Name: "Bank", Prefix: "A", Capacity: 8, MaxActive: 2, Timezone: "UTC",
	}}}
}
