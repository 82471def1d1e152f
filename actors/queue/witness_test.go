package queue

import (
	"bytes"
	"cmp"
	"errors"
	"reflect"
	"slices"
	"testing"
)

// witness drives one queue and holds every step against what must always be
// true of it, whatever the command: the dialogues, the fuzzer and the model all
// act through one.
type witness struct {
	t        testing.TB
	live     *State // decides
	replayed *State // was only ever given copies of live's events
	restored *State // the same from an image on; nil until one was taken
	known    map[TicketID]*Ticket
	ops      map[OpID]doneAt // of commands without a key
	losses   int             // of events, in the store
	thorough bool            // compare everything after every step, not only what was touched
}

type doneAt struct {
	version uint64
	at      Time
	again   bool
}

func newWitness(t testing.TB, id ID) *witness {
	return &witness{t: t, live: New(id), replayed: New(id), known: map[TicketID]*Ticket{}, ops: map[OpID]doneAt{}}
}

// do decides and, where the command is accepted, applies.
func (w *witness) do(c *Command) (Decision, error) {
	w.t.Helper()
	var before *Image
	if w.thorough {
		before = w.live.Image()
	}
	version, unchanged := w.live.Version(), w.watch(c.Do.subject())
	d, err := w.live.Decide(c)
	if w.thorough && !sameImage(before, w.live.Image()) || w.live.Version() != version {
		w.t.Fatalf("deciding %T changed the state", c.Do)
	}
	w.decideRestored(c, d, err)
	w.decidedOnce(c, d, err)
	if err != nil || d.Event == nil {
		if e := (*Error)(nil); err != nil && !errors.As(err, &e) {
			w.t.Fatalf("%T is refused without a code: %v", c.Do, err)
		}
		return d, err
	}
	w.apply(d.Event)
	unchanged()
	return d, nil
}

// decidedOnce holds the decision on a command without a key against whether it
// was accepted before: one of its sendings says that it came again, and they are
// half a minute apart at most.
func (w *witness) decidedOnce(c *Command, d Decision, err error) {
	w.t.Helper()
	if c.Keyed {
		return
	}
	done, known := w.ops[c.Op]
	known = known && (c.Again || done.again)
	switch {
	case known && max(c.At, w.live.LastAt())-done.at > againWithin:
	case errors.Is(err, ErrOutcomeUnknown) && w.live.Version() > recentMax:
	case known && (d.ReplayOf != done.version || err != nil):
		w.t.Fatalf("%T was accepted at version %d; sent again it is answered with %v, %v", c.Do, done.version, d, err)
	case !known && d.ReplayOf != 0:
		w.t.Fatalf("%T was never accepted, and is answered with version %d", c.Do, d.ReplayOf)
	}
}

// newEpoch goes on as after events were lost up to a version.
func (w *witness) newEpoch(known uint64, epoch string, op OpID, now Time) *Event {
	w.t.Helper()
	day, seq, tickets := w.live.day, w.live.seq, len(w.live.Image().Tickets)
	e := w.live.NewEpoch(known, epoch, op, now)
	w.apply(e)
	if w.live.Version() <= known || w.live.Epoch() != epoch || w.live.day == day && w.live.seq <= seq || len(w.live.Image().Tickets) > tickets {
		w.t.Fatalf("the new epoch %s begins at version %d and sequence %d", w.live.Epoch(), w.live.Version(), w.live.seq)
	}
	return e
}

// watch holds the command's ticket, or the first in line where it names none, to
// its promise never to be changed: readers and images share it.
func (w *witness) watch(id TicketID) (unchanged func()) {
	slot := w.live.slots[id]
	if slot == nil && w.live.Waiting() > 0 {
		slot = w.live.waiting().at(0)
	}
	if slot == nil {
		return func() {}
	}
	held, was := slot.ticket, *slot.ticket
	return func() {
		w.t.Helper()
		if !reflect.DeepEqual(*held, was) {
			w.t.Fatalf("a ticket was changed in place: %+v was %+v", *held, was)
		}
	}
}

// decideRestored holds a state that came from an image to the same answers.
// Kept places are not in images, so where there are any it may differ.
func (w *witness) decideRestored(c *Command, d Decision, err error) {
	w.t.Helper()
	if w.restored == nil || len(w.live.places) > 0 {
		return
	}
	d2, err2 := w.restored.Decide(c)
	if !reflect.DeepEqual(d, d2) || !reflect.DeepEqual(err, err2) {
		w.t.Fatalf("%T: a restored state decides %+v, %v; want %+v, %v", c.Do, d2.Event, err2, d.Event, err)
	}
}

func (w *witness) apply(e *Event) {
	w.t.Helper()
	// Only a new epoch leaves versions out.
	if next := w.live.Version() + 1; e.Version < next || e.Version > next && e.Epoch == w.live.Epoch() {
		w.t.Fatalf("event %d at version %d", e.Version, w.live.Version())
	}
	for _, s := range []*State{w.live, w.replayed, w.restored} {
		if s == nil {
			continue
		}
		event := e
		if s != w.live {
			event = cloneEvent(e) // so that a change in place would show
		}
		if err := s.Apply(event); err != nil {
			w.t.Fatalf("%s does not apply: %v", e.Kind, err)
		}
		if s.Version() != e.Version {
			w.t.Fatalf("version %d after event %d", s.Version(), e.Version)
		}
	}
	w.note(e)
	w.touched(e)
	if w.thorough {
		w.check()
	}
}

// note keeps the list of all tickets that must be there, and of what was done.
func (w *witness) note(e *Event) {
	if e.Kind == QueueDeleted {
		clear(w.known)
	}
	if e.Ticket != nil {
		w.known[e.Ticket.ID] = e.Ticket
	}
	if !e.Keyed {
		w.ops[e.Op] = doneAt{e.Version, e.At, e.Again}
	}
}

// touched looks at the event's ticket in every state.
func (w *witness) touched(e *Event) {
	w.t.Helper()
	if e.Ticket == nil {
		return
	}
	for _, s := range []*State{w.live, w.replayed, w.restored} {
		if s == nil {
			continue
		}
		got, position, ok := s.Ticket(e.Ticket.ID)
		if t := e.Ticket; t.State.Finished() && t.FinishedAt < e.At-Day { // it was there only to be erased
			if ok {
				w.t.Fatalf("%s: the ticket is kept beyond its time", e.Kind)
			}
			continue
		}
		if !ok || position != e.Position || !reflect.DeepEqual(got, e.Ticket) {
			w.t.Fatalf("%s: the ticket is %+v at %d, want %+v at %d", e.Kind, got, position, e.Ticket, e.Position)
		}
		if !slices.EqualFunc(s.ByNumber(got.Number), w.live.ByNumber(got.Number), sameID) {
			w.t.Fatalf("%s: tickets of number %s differ", e.Kind, got.Number)
		}
	}
}

// check compares everything. O(n).
func (w *witness) check() {
	w.t.Helper()
	if err := w.live.Check(); err != nil {
		w.t.Fatal(err)
	}
	want := w.live.Image()
	for _, s := range []*State{w.replayed, w.restored} {
		if s == nil {
			continue
		}
		if got := s.Image(); !sameImage(got, want) {
			w.t.Fatalf("a replay gives another state:\n%+v\nwant\n%+v", got, want)
		}
	}
	w.nobodyLost(want)
}

// nobodyLost holds the image against all tickets that ever came: each is there
// once, as its last event left it, at positions 1 to n; only the long finished
// are gone.
func (w *witness) nobodyLost(img *Image) {
	w.t.Helper()
	seen := make(map[TicketID]bool, len(img.Tickets))
	position := 0
	for _, t := range img.Tickets {
		if seen[t.ID] || w.known[t.ID] == nil || w.known[t.ID].State != t.State {
			w.t.Fatalf("ticket %s (%s) is there twice, unknown or not as its last event left it", t.ID[:], t.State)
		}
		seen[t.ID] = true
		want := 0
		if t.State == Waiting {
			position++
			want = position
		}
		if _, got, _ := w.live.Ticket(t.ID); got != want {
			w.t.Fatalf("ticket %s is at position %d, want %d", t.ID[:], got, want)
		}
	}
	if position != w.live.Waiting() {
		w.t.Fatalf("%d wait, %d are counted", position, w.live.Waiting())
	}
	for id, t := range w.known {
		if lapsed := t.State.Finished() && t.FinishedAt < w.live.LastAt()-Day; lapsed {
			delete(w.known, id)
			lapsed = !seen[id]
			if !lapsed {
				w.t.Fatalf("ticket %s is kept beyond its time", id[:])
			}
		} else if !seen[id] {
			w.t.Fatalf("ticket %s (%s) is lost", id[:], t.State)
		}
	}
}

// restore starts a third state from an image of the live one.
func (w *witness) restore() {
	w.t.Helper()
	s, err := Restore(cloneImage(w.live.Image()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.restored = s
}

// delivered tells every state that a transferred ticket has arrived.
func (w *witness) delivered(old TicketID) {
	for _, s := range []*State{w.live, w.replayed, w.restored} {
		if s != nil {
			s.Delivered(old)
		}
	}
}

func cloneEvent(e *Event) *Event {
	c := *e
	if e.Ticket != nil {
		c.Ticket = cloneTicket(e.Ticket)
	}
	if e.Config != nil {
		config := *e.Config
		config.Services = slices.Clone(config.Services)
		c.Config = &config
	}
	return &c
}

func cloneTicket(t *Ticket) *Ticket {
	c := *t
	c.Customer, c.Payload, c.Index = bytes.Clone(t.Customer), bytes.Clone(t.Payload), bytes.Clone(t.Index)
	c.Trail = slices.Clone(t.Trail)
	return &c
}

func cloneImage(img *Image) *Image {
	c := *img
	c.Tickets = make([]*Ticket, len(img.Tickets))
	for i, t := range img.Tickets {
		c.Tickets[i] = cloneTicket(t)
	}
	c.Keys, c.Arrivals, c.Recents = slices.Clone(img.Keys), slices.Clone(img.Arrivals), slices.Clone(img.Recents)
	c.Outbox = slices.Clone(img.Outbox)
	return &c
}

// sameImage compares by value. The outbox has no order.
func sameImage(a, b *Image) bool {
	if !slices.EqualFunc(a.Tickets, b.Tickets, sameTicket) ||
		!slices.Equal(a.Keys, b.Keys) || !slices.Equal(a.Arrivals, b.Arrivals) || !slices.Equal(a.Recents, b.Recents) ||
		!slices.EqualFunc(byID(a.Outbox), byID(b.Outbox), sameTicket) {
		return false
	}
	x, y := *a, *b
	for _, img := range []*Image{&x, &y} {
		img.Tickets, img.Keys, img.Arrivals, img.Recents, img.Outbox = nil, nil, nil, nil, nil
	}
	return reflect.DeepEqual(x, y)
}

func byID(tickets []*Ticket) []*Ticket {
	return slices.SortedFunc(slices.Values(tickets), func(a, b *Ticket) int {
		return cmp.Compare(string(a.ID[:]), string(b.ID[:]))
	})
}

func sameID(a, b *Ticket) bool { return a.ID == b.ID }

// sameTicket is reflect.DeepEqual, but for a ticket that is shared: most are.
func sameTicket(a, b *Ticket) bool { return a == b || reflect.DeepEqual(a, b) }
