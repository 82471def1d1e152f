package queue

// The actions on the queue itself.

// Create makes the queue: the first event of a new history. A queue that was
// deleted goes on above the last version that it ever had.
type Create struct {
	Epoch  string // names the new history; never used before
	Config Config
	// Known is the highest version of the queue that is known outside its
	// journal: above the state's own where the store has lost events.
	Known uint64
}

func (*Create) subject() TicketID { return TicketID{} }

func (a *Create) validate() error { return a.Config.validate() }

func (a *Create) decide(s *State, c *Command) (*Event, error) {
	if s.exists {
		return nil, ErrQueueExists
	}
	config := a.Config
	e := &Event{Kind: QueueConfigured, Epoch: a.Epoch, Config: &config, Status: Open}
	if a.Known > s.version {
		s.goBeyond(a.Known, s.now(c), config.Timezone, e)
	}
	return e, nil
}

// Configure changes the named fields of the configuration.
type Configure struct {
	Fields Field
	Config Config
}

func (*Configure) subject() TicketID { return TicketID{} }

func (a *Configure) validate() error {
	whole := Config{Name: "-", MaxActive: 1, Timezone: "UTC"}.with(a.Fields, a.Config)
	return whole.validate()
}

func (a *Configure) decide(s *State, _ *Command) (*Event, error) {
	config := s.config.with(a.Fields, a.Config)
	return &Event{Kind: QueueConfigured, Config: &config}, nil
}

// SetStatus opens, pauses or closes the queue.
type SetStatus struct{ Status Status }

func (*SetStatus) subject() TicketID { return TicketID{} }

func (a *SetStatus) decide(*State, *Command) (*Event, error) {
	kinds := [...]Kind{Open: QueueOpened, Paused: QueuePausedEvent, Closed: QueueClosedEvent}
	return &Event{Kind: kinds[a.Status], Status: a.Status}, nil
}

// skipNumbers is how far a new epoch moves the day's numbers on at least: those
// that the lost events gave out are in people's hands.
const skipNumbers = 500

// EpochGap is how far above the highest version that is known a new epoch begins.
// What is known is a little old: whoever follows a queue, the history above all,
// may be about to note that it has some more of the lost events, and must not
// take the new ones for those. It is more than a follower takes in at once.
const EpochGap = 100_000

// NewEpoch is the event with which a queue goes on whose store has lost events:
// a new history above every version that was ever known.
func (s *State) NewEpoch(known uint64, epoch string, op OpID, now Time) *Event {
	e := &Event{
		Epoch: epoch, At: max(now, s.lastAt), Kind: QueueConfigured,
		Config: s.config, Status: s.status, Waiting: s.Waiting(), Active: s.Active(), Op: op,
	}
	s.goBeyond(known, e.At, s.config.Timezone, e)
	return e
}

// goBeyond lets an event begin an epoch above every version that was known. Each
// lost event may have given out one number, today's too where none is left of today.
func (s *State) goBeyond(known uint64, now Time, timezone string, e *Event) {
	lost := max(known, s.version) - s.version
	e.Version, e.Day, e.Seq = s.version+lost+EpochGap, s.day, s.seq
	if today := serviceDay(now, location(timezone)); today > s.day {
		e.Day, e.Seq = today, 0
	}
	e.Seq += max(skipNumbers, lost)
}

// Delete ends the queue's history. Tickets that wait, are held or active forbid it.
type Delete struct{}

func (*Delete) subject() TicketID { return TicketID{} }

func (*Delete) decide(s *State, c *Command) (*Event, error) {
	if s.Waiting()+s.Active()+s.Count(Held)+s.kept(s.now(c))+len(s.outbox) > 0 {
		return nil, ErrQueueNotEmpty
	}
	return &Event{Kind: QueueDeleted}, nil
}
