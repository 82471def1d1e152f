package actors

import (
	"math"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"nowserving/actors/queue"
	"nowserving/messages"
)

const (
	// maxBatch bounds the commands of one messages.Batch.
	maxBatch = 1_000
	// batchWithin is how old a batch may be when its commands are decided. A
	// process that was paused must not go on with what others have settled since.
	batchWithin = 8 * time.Second
)

// series is one messages.Batch in a grain. Its commands are items of their own,
// which go their way through appends and loads like all others; what the series
// adds is that none is decided behind one that was refused and may be accepted
// later. A nil series is that of a command that came alone.
type series struct {
	sender *actor.PID
	// pastFull: that the queue is full does not stop it.
	pastFull bool
	came     time.Time

	mu      sync.Mutex
	answers []*messages.Answer
	missing int
	// refusedAt is the place of the first command that the newest state refused
	// for now. It is decided again where that state is thrown away.
	refusedAt int
	// endedAt is the place of the first one that was answered without having
	// been decided, or that was never known to have happened.
	endedAt int
}

// takeBatch accepts a batch.
func (g *grain) takeBatch(sender *actor.PID, m *messages.Batch) {
	n := len(m.Commands)
	s := &series{
		sender: sender, pastFull: m.PastFull, came: time.Now(),
		answers: make([]*messages.Answer, n), missing: n, refusedAt: math.MaxInt, endedAt: math.MaxInt,
	}
	sound := n > 0 && n <= maxBatch
	for _, c := range m.Commands {
		sound = sound && c.GetEnqueue() != nil
	}
	if !sound {
		g.log.Error("a batch cannot be understood", "count", n)
		g.respond(sender, &messages.BatchAnswer{})
		return
	}
	for i, c := range m.Commands {
		g.take(&item{request: c, series: s, place: i, traced: g.traced(c.Trace)})
	}
}

// begin tells whether the command at a place is to be decided.
func (s *series) begin(place int) bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusedAt >= place {
		s.refusedAt = math.MaxInt // if it was this one, it is decided again
	}
	if time.Since(s.came) > batchWithin {
		s.endedAt = min(s.endedAt, place)
	}
	return place < s.refusedAt && place < s.endedAt
}

// refused notes that the state refuses the command at a place.
func (s *series) refused(place int, e *queue.Error) {
	if s == nil || e.Code != queue.OutcomeUnknown && (s.pastFull || e.Code != queue.QueueFull) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusedAt = min(s.refusedAt, place)
}

// end notes that the command at a place is answered for good without having
// been decided, or with an unknown outcome.
func (s *series) end(place int) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endedAt = min(s.endedAt, place)
}

func notTried() *messages.Answer { return &messages.Answer{Problem: problem(queue.ErrUnavailableNow)} }

// partAnswer is what a command of a series is answered: whether it was
// accepted, and not with what.
func (it *item) partAnswer() any {
	switch {
	case it.message != nil:
		return &messages.Answer{Version: it.message.Version}
	case it.replayOf != 0:
		return &messages.Answer{Version: it.replayOf, Replayed: it.replayed()}
	}
	return it.answer
}

// give answers a request: at once, or with the others of its series.
func (g *grainContext) give(it *item, m any) {
	if it.series == nil {
		g.respond(it.sender, m)
		return
	}
	if whole := it.series.answered(it.place, m.(*messages.Answer)); whole != nil {
		g.respond(it.series.sender, whole)
	}
}

// abandon has the batch never answered; false where it was abandoned before.
func (s *series) abandon() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.missing > 0 && s.missing <= len(s.answers)
	s.missing = math.MaxInt
	return first
}

// answered is the answer to the whole batch once its last command has one.
func (s *series) answered(place int, a *messages.Answer) *messages.BatchAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers[place] != nil {
		return nil
	}
	s.answers[place] = a
	if s.missing--; s.missing > 0 {
		return nil
	}
	return &messages.BatchAnswer{Answers: s.answers}
}
