package queue

// The actions on the queue itself.

// Create makes the queue: the first event of a new history. A queue that was
// deleted goes on above the last version that it ever had.
type Create struct {
	Epoch  string // names the new history; never used before
	Config Config
}

func (*Create) subject() TicketID { return TicketID{} }

func (a *Create) validate() error { return a.Config.validate() }

func (a *Create) decide(s *State, _ *Command) (*Event, error) {
	if s.exists {
		return nil, ErrQueueExists
	}
	config := a.Config
	return &Event{Kind: QueueConfigured, Epoch: a.Epoch, Config: &config, Status: Open}, nil
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

// Delete ends the queue's history. Tickets that wait, are held or active forbid it.
type Delete struct{}

func (*Delete) subject() TicketID { return TicketID{} }

func (*Delete) decide(s *State, c *Command) (*Event, error) {
	if s.Waiting()+s.Active()+s.Count(Held)+s.kept(s.now(c))+len(s.outbox) > 0 {
		return nil, ErrQueueNotEmpty
	}
	return &Event{Kind: QueueDeleted}, nil
}
