package queue

import (
	"fmt"
	"slices"
)

// Image is everything a state is made of, captured in one moment. Tickets and
// memories are shared with the state, which never changes them, so taking one
// costs a copy of pointers: the queue goes on while it is written down.
type Image struct {
	ID      ID
	Version uint64
	Epoch   string
	LastAt  Time
	Exists  bool
	Config  *Config
	Status  Status
	Day     int32
	Seq     uint64

	// When the last number was given out, and the day's numbers by prefix.
	IssuedAt Time
	Issued   []Issued

	// Tickets in the order of their lines: waiting, called, serving, held, finished.
	Tickets  []*Ticket
	Keys     []Remembered
	Arrivals []Remembered
	Recents  []Recent
	// Every operation without a key that came later stands in Recents.
	RecentsAfter Time
	Outbox       []*Ticket
}

// Image captures the state. O(n) in pointers.
func (s *State) Image() *Image {
	img := &Image{
		ID: s.id, Version: s.version, Epoch: s.epoch, LastAt: s.lastAt, Exists: s.exists,
		Config: s.config, Status: s.status, Day: s.day, Seq: s.seq,
		IssuedAt: s.issuedAt, Issued: slices.Clone(s.issued),
		Tickets:  make([]*Ticket, 0, len(s.slots)),
		Keys:     s.keys.ring,
		Arrivals: s.arrivals.ring,
		Recents:  s.recents.ring, RecentsAfter: s.recents.after,
		Outbox: s.Outbox(),
	}
	for i := range s.lines {
		img.Tickets = s.lines[i].appendTo(img.Tickets)
	}
	return img
}

// Restore makes a state of an image; an image that no state could have made is an error.
func Restore(img *Image) (*State, error) {
	s := New(img.ID)
	s.version, s.epoch, s.lastAt, s.exists = img.Version, img.Epoch, img.LastAt, img.Exists
	s.config, s.status, s.day, s.seq = img.Config, img.Status, img.Day, img.Seq
	s.issuedAt, s.issued = img.IssuedAt, slices.Clone(img.Issued)
	if s.exists && (s.config == nil || s.status == 0) {
		return nil, fmt.Errorf("queue: the image of %s has no configuration", img.ID)
	}
	if s.config != nil {
		s.loc = location(s.config.Timezone)
	}
	if len(img.Tickets) > 0 {
		s.slots = make(map[TicketID]*slot, len(img.Tickets))
		s.numbers = make(map[string]*slot, len(img.Tickets))
	}
	for _, t := range img.Tickets {
		if _, twice := s.slots[t.ID]; twice || t.State < Waiting || t.State > Transferred {
			return nil, fmt.Errorf("queue: the image of %s has a ticket twice or in no state", img.ID)
		}
		s.put(s.addSlot(t), t, s.Waiting()+1)
	}
	for _, r := range img.Keys {
		s.keys.add(r)
	}
	for _, r := range img.Arrivals {
		s.arrivals.add(r)
	}
	s.recents.after = img.RecentsAfter
	for _, r := range img.Recents {
		s.recents.add(r)
	}
	for _, t := range img.Outbox {
		if s.outbox == nil {
			s.outbox = make(map[TicketID]*Ticket)
		}
		s.outbox[t.ID] = t
	}
	return s, nil
}
