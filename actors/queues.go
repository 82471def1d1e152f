package actors

import (
	"context"
	"errors"
	"time"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// requestTimeout bounds a request whose context has no end.
const requestTimeout = 10 * time.Second

// Queues is how the rest of the program speaks to queues.
type Queues struct {
	request  Requester
	underway *shares
	// undelivered recognises the error of a request that certainly reached nobody.
	undelivered func(error) bool
}

// NewQueues makes the client. undelivered tells of a Requester's error whether
// the request certainly reached no grain.
func NewQueues(request Requester, undelivered func(error) bool) *Queues {
	return &Queues{request: request, undelivered: undelivered, underway: newShares()}
}

// Underway counts requests that are not answered yet.
func (q *Queues) Underway() int64 { return q.underway.all.Load() }

// Do sends a command to its queue and gives the answer, which is never nil: a
// command that could not be answered is refused with unavailable, where
// certainly nothing happened, or outcome_unknown. Commands of one caller are
// decided in the order in which Do is called one after the other.
func (q *Queues) Do(ctx context.Context, c *messages.Command) *messages.Answer {
	m, err := q.ask(ctx, c.Queue, c)
	if a, ok := m.(*messages.Answer); ok {
		return a
	}
	if err != nil && q.undelivered(err) || errors.Is(err, errTooMany) {
		return &messages.Answer{Problem: problem(queue.ErrUnavailableNow)}
	}
	return &messages.Answer{Problem: problem(queue.ErrOutcomeUnknown)}
}

// Enqueue sends enqueues of one queue, at most 1,000, to be decided in order. The
// answers, one for each, say whether it was accepted, and hold no event. None
// was accepted behind one that was refused and may be accepted later; where
// pastFull is set, queue_full is a refusal like any other.
func (q *Queues) Enqueue(ctx context.Context, id string, commands []*messages.Command, pastFull bool) []*messages.Answer {
	m, err := q.ask(ctx, id, &messages.Batch{Queue: id, Commands: commands, PastFull: pastFull})
	if a, ok := m.(*messages.BatchAnswer); ok && len(a.Answers) == len(commands) {
		return a.Answers
	}
	refusal := queue.ErrOutcomeUnknown
	if err != nil && q.undelivered(err) || errors.Is(err, errTooMany) {
		refusal = queue.ErrUnavailableNow
	}
	answers := make([]*messages.Answer, len(commands))
	for i := range answers {
		answers[i] = &messages.Answer{Problem: problem(refusal)}
	}
	return answers
}

// Read asks a queue a question. The view is never nil; it shows every event
// that was acknowledged before Read was called.
func (q *Queues) Read(ctx context.Context, r *messages.Read) *messages.View {
	m, _ := q.ask(ctx, r.Queue, r)
	if v, ok := m.(*messages.View); ok {
		return v
	}
	return &messages.View{Problem: problem(queue.ErrUnavailableNow)}
}

// maxTransfers bounds how far a ticket is followed.
const maxTransfers = 100

// Follow reads a ticket where it is by now: in its queue, or in the one that it
// was transferred to. The view holds it, or a problem; that it is not there yet,
// in the middle of a transfer, is unavailable.
func Follow(ctx context.Context, read func(context.Context, *messages.Read) *messages.View, id string, ticket []byte) (*messages.View, string) {
	onItsWay := false
	for range maxTransfers {
		v := read(ctx, &messages.Read{Queue: id, Question: &messages.Read_Ticket{Ticket: &messages.ReadTicket{Id: ticket}}})
		switch code := queue.Code(v.Problem.GetCode()); {
		case code == queue.QueueNotFound, code == queue.TicketNotFound:
			v = &messages.View{Problem: problem(queue.ErrTicketNotFound)}
			if onItsWay {
				v.Problem = problem(queue.ErrUnavailableNow)
			}
			return v, id
		case v.Problem != nil:
			return v, id
		}
		t := v.Tickets[0].Ticket
		if t.State != messages.TicketState_TICKET_STATE_TRANSFERRED {
			return v, id
		}
		// Read before the target is asked: what has left nothing to send has arrived.
		id, ticket, onItsWay = t.TransferQueue, t.TransferredTo, v.InTransit > 0
	}
	return &messages.View{Problem: problem(queue.ErrTicketNotFound)}, id
}

// Purge has a queue written down and all events before dropped that everybody
// who must have them has. The answer is never nil.
func (q *Queues) Purge(ctx context.Context, id string) *messages.Purged {
	m, _ := q.ask(ctx, id, &messages.Purge{Queue: id})
	if p, ok := m.(*messages.Purged); ok {
		return p
	}
	return &messages.Purged{Problem: problem(queue.ErrUnavailableNow)}
}

// Again marks a request as one that may have reached its queue before. It gives a
// copy, for whoever got the first one may still hold it; what can be sent twice
// without harm it gives back as it is.
func Again(message any) any {
	switch m := message.(type) {
	case *messages.Command:
		return again(m)
	case *messages.Batch:
		marked := &messages.Batch{Queue: m.Queue, PastFull: m.PastFull, Commands: make([]*messages.Command, len(m.Commands))}
		for i, c := range m.Commands {
			marked.Commands[i] = again(c)
		}
		return marked
	}
	return message
}

func again(c *messages.Command) *messages.Command {
	return &messages.Command{
		Queue: c.Queue, By: c.By, OwnOnly: c.OwnOnly, Op: c.Op, Keyed: c.Keyed,
		Fingerprints: c.Fingerprints, IfMatch: c.IfMatch, Action: c.Action, Again: true, Trace: c.Trace,
	}
}

var errTooMany = errors.New("too many requests are under way")

func (q *Queues) ask(ctx context.Context, id string, m any) (any, error) {
	if !q.underway.take(id) {
		return nil, errTooMany
	}
	defer q.underway.give(id)
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestTimeout)
		defer cancel()
	}
	return q.request(ctx, QueueKind, id, m)
}
