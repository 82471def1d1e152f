package queue

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

// modelSeed is fixed, so that a failure comes again; another one finds others.
const modelSeed = 20251122

// modelSteps let a day have more than a thousand numbers, and modelLeaps let
// everything lapse that can.
var (
	modelSteps = []Time{0, 1, 100, 1000, 2000, 15_000, 14_999, 30_000}
	modelLeaps = []Time{0, 1, 1000, 60_000, Hour / 4, Hour / 4, Hour, Hour + 1, -Hour / 2, Day, Day + 1}
)

// A million random commands give the same answers and the same lines as the
// naive queue. Under the race detector, where a step takes ten times as long,
// and with -short they are fewer.
func TestQueueAgainstNaive(t *testing.T) {
	t.Parallel()
	commands := 1_000_000
	if raceEnabled || testing.Short() {
		commands = 60_000
	}
	t.Logf("seed %d, %d commands", modelSeed, commands)
	r := rand.New(rand.NewPCG(modelSeed, 1))
	p := &script{clock: scriptStart, next: func() byte { return byte(r.Uint32()) }}
	w, m := newWitness(t, "bank"), newNaive()
	seen := map[string]int{}
	compareStep(t, w, m, bank(p), seen)
	for i := range commands {
		// Moods: slow and fast days, and times when the queue runs empty, which
		// a deletion needs.
		mood := i / 4000 % 5
		p.steps, p.closing = modelSteps, mood == 2
		if mood == 1 {
			p.steps = modelLeaps
		}
		wi := p.draw(w.live)
		switch wi.side {
		case noSide:
			compareStep(t, w, m, wi.cmd, seen)
		case keepPlace:
			_, err := w.step(wi, p.clock)
			if got, want := codeOf(err), m.keepPlace(wi.old, p.clock); got != want {
				t.Fatalf("keeping a place is answered with %q, want %q", got, want)
			}
		case freePlace:
			w.live.FreePlace(wi.old)
			delete(m.places, wi.old)
		case deliver:
			w.delivered(wi.old)
			delete(m.out, wi.old)
		case takeImage:
			if i%20 == 0 {
				w.restore()
			}
		}
		compareLines(t, w.live, m)
		if i%5000 == 0 {
			w.check()
		}
	}
	w.check()
	for _, want := range everyAnswer() {
		if seen[want] == 0 {
			t.Errorf("no command was answered with %s: the script reaches too little", want)
		}
	}
	t.Log(seen)
}

// everyAnswer is each kind of event and each refusal that the core makes.
func everyAnswer() []string {
	all := []string{"replay", "sent again", "sent late", string(ErrNobodyWaits.Code)}
	for k := TicketEnqueued; k.Valid(); k++ {
		all = append(all, k.String())
	}
	for _, c := range coreCodes {
		if c != OutcomeUnknown { // which takes more operations at once than a script makes
			all = append(all, string(c))
		}
	}
	return all
}

func compareStep(t *testing.T, w *witness, m *naive, c *Command, seen map[string]int) {
	t.Helper()
	d, err := w.do(c)
	code, replay, e := m.do(c)
	if codeOf(err) != code || d.ReplayOf != replay || (d.Event == nil) != (e == nil) {
		t.Fatalf("version %d: %T%+v by %s is answered with %q, replay of %d, %+v; want %q, %d, %+v\nline %s",
			w.live.Version(), c.Do, c.Do, c.By, codeOf(err), d.ReplayOf, d.Event, code, replay, e, m.lineString())
	}
	switch {
	case code != "":
		seen[string(code)]++
	case replay != 0 && c.Keyed:
		seen["replay"]++
	case replay != 0 && c.Again:
		seen["sent again"]++
	case replay != 0:
		seen["sent late"]++
	default:
		seen[e.kind.String()]++
		compareEvent(t, m, d.Event, e, c)
	}
}

func compareEvent(t *testing.T, m *naive, got *Event, want *naiveEvent, c *Command) {
	t.Helper()
	whole := Event{
		Version: m.version, Epoch: m.epoch, At: m.at, By: c.By, Kind: want.kind,
		Ticket: want.ticket, Position: want.position, Day: want.day, Seq: want.seq,
		Op: c.Op, Keyed: c.Keyed, Fingerprint: fingerprint(c), Again: c.Again && !c.Keyed, Erases: want.erases,
	}
	if !want.kind.OfTicket() {
		whole.Status, whole.Waiting, whole.Active = m.status, want.waiting, want.active
		if want.kind != QueueDeleted {
			whole.Config = &m.config
		}
	}
	if !reflect.DeepEqual(got, &whole) {
		t.Fatalf("%T: event\n%+v\n%+v, want\n%+v\n%+v", c.Do, got, got.Ticket, whole, whole.Ticket)
	}
}

// fingerprint is the fingerprint that an event bears.
func fingerprint(c *Command) uint64 {
	if len(c.Fingerprints) == 0 {
		return 0
	}
	return c.Fingerprints[0]
}

func compareLines(t *testing.T, s *State, m *naive) {
	t.Helper()
	if s.Waiting() != len(m.line) || s.Exists() != m.exists || s.Version() != m.version {
		t.Fatalf("version %d has %d waiting, want %d with %d", s.Version(), s.Waiting(), m.version, len(m.line))
	}
	place := 0
	s.Page(Waiting, 0, func(tk *Ticket) bool {
		if tk.ID != m.line[place] {
			t.Fatalf("version %d: %s is at position %d; want the line %s", s.Version(), tk.Number, place+1, m.lineString())
		}
		place++
		return true
	})
}

func codeOf(err error) Code {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}
