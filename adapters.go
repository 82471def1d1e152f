package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/gateway"
	"nowserving/messages"
	"nowserving/persistence"
	"nowserving/persistence/directory"
)

// users is the directory as the gateway wants it. The two packages do not know
// each other, so their words are translated here and nowhere else.
type users struct{ d *directory.Directory }

// adapted gives an error its name in the gateway.
func adapted(err error) error {
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return gateway.ErrNotFound
	case errors.Is(err, directory.ErrReused):
		return gateway.ErrReused
	case errors.Is(err, directory.ErrJustUsed):
		return gateway.ErrJustUsed
	case errors.Is(err, directory.ErrExists):
		return gateway.ErrExists
	case errors.Is(err, directory.ErrTooMany):
		return gateway.ErrTooMany
	case errors.Is(err, directory.ErrSealed):
		return gateway.ErrSealed
	case errors.Is(err, directory.ErrLastAdmin):
		return gateway.ErrLastAdmin
	}
	return err
}

func adaptedUser(u directory.User) gateway.User {
	return gateway.User{
		ID: u.ID, Email: u.Email, Name: u.Name, Level: gateway.Level(u.Level), Queues: u.Queues,
		PasswordHash: u.PasswordHash, Disabled: u.Disabled, TokenEpoch: u.TokenEpoch, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt,
	}
}

func (a users) UserByEmail(ctx context.Context, email string) (gateway.User, error) {
	u, err := a.d.UserByEmail(ctx, email)
	return adaptedUser(u), adapted(err)
}

func (a users) UserByID(ctx context.Context, id string) (gateway.User, error) {
	u, err := a.d.UserByID(ctx, id)
	return adaptedUser(u), adapted(err)
}

func (a users) RehashPassword(ctx context.Context, userID, old, hash string) error {
	return adapted(a.d.RehashPassword(ctx, userID, old, hash))
}

func (a users) AddRefresh(ctx context.Context, t gateway.RefreshToken) error {
	return adapted(a.d.AddRefresh(ctx, directory.RefreshToken(t)))
}

func (a users) RotateRefresh(ctx context.Context, hash, next [32]byte, expiresAt, now time.Time, grace time.Duration) (gateway.RefreshToken, gateway.User, error) {
	t, u, err := a.d.RotateRefresh(ctx, hash, next, expiresAt, now, grace)
	return gateway.RefreshToken(t), adaptedUser(u), adapted(err)
}

func (a users) DropFamily(ctx context.Context, family string) error {
	return adapted(a.d.DropFamily(ctx, family))
}

func (a users) AccessChanges(ctx context.Context, after uint64, limit int) ([]gateway.AccessChange, uint64, error) {
	found, reached, err := a.d.AccessChanges(ctx, after, limit)
	changes := make([]gateway.AccessChange, len(found))
	for i, c := range found {
		changes[i] = gateway.AccessChange(c)
	}
	return changes, reached, adapted(err)
}

func (a users) ListQueues(ctx context.Context, ids []string, after string, limit int) ([]gateway.QueueRow, error) {
	rows, err := a.d.ListQueues(ctx, ids, after, limit)
	queues := make([]gateway.QueueRow, len(rows))
	for i, row := range rows {
		queues[i] = gateway.QueueRow{
			ID: row.ID, Name: row.Name, Prefix: row.Prefix, Status: row.Status, Version: row.Version, Epoch: row.Epoch, Config: row.Config,
			Waiting: row.Waiting, Active: row.Active, UpdatedAt: row.UpdatedAt, Deleted: row.Deleted, Line: gateway.QueueLine(*row.Line),
		}
	}
	return queues, adapted(err)
}

func (a users) PutQueue(ctx context.Context, q gateway.QueueRow) error {
	return adapted(a.d.PutQueue(ctx, directory.QueueRow{
		ID: q.ID, Name: q.Name, Prefix: q.Prefix, Status: q.Status, Version: q.Version, Epoch: q.Epoch, Config: q.Config,
		Waiting: q.Waiting, Active: q.Active, UpdatedAt: q.UpdatedAt, Deleted: q.Deleted,
	}))
}

func (a users) ReservePrefix(ctx context.Context, id string) (string, error) {
	prefix, err := a.d.ReservePrefix(ctx, id)
	return prefix, adapted(err)
}

func (a users) ReleasePrefix(ctx context.Context, id string) error {
	return adapted(a.d.ReleasePrefix(ctx, id))
}

func (a users) Statistics(ctx context.Context, id string, edges []time.Time, target int64) ([]gateway.Statistics, gateway.Statistics, error) {
	parts, total, err := a.d.Statistics(ctx, directory.StatisticsQuery{Queue: id, Edges: edges, Target: target})
	adaptedParts := make([]gateway.Statistics, len(parts))
	for i := range parts {
		adaptedParts[i] = adaptedStatistics(parts[i])
	}
	return adaptedParts, adaptedStatistics(total), adapted(err)
}

func (a users) StatisticsOf(ctx context.Context, spans []gateway.Span) ([]gateway.Statistics, error) {
	asked := make([]directory.Span, len(spans))
	for i := range spans {
		asked[i] = directory.Span(spans[i])
	}
	found, err := a.d.StatisticsOf(ctx, asked)
	stats := make([]gateway.Statistics, len(found))
	for i := range found {
		stats[i] = adaptedStatistics(found[i])
	}
	return stats, adapted(err)
}

func adaptedStatistics(s directory.Statistics) gateway.Statistics {
	return gateway.Statistics{
		Arrivals: s.Arrivals, Served: s.Served, NoShows: s.NoShows, Removed: s.Removed,
		Wait: gateway.Durations(s.Wait), Handle: gateway.Durations(s.Handle), Within: s.Within,
	}
}

// queueList is the directory as the projector wants it. What it is told of lines
// is kept for those who measure them.
type queueList struct {
	d     *directory.Directory
	lines *lines
}

func (a queueList) PutViews(ctx context.Context, views map[string]*messages.View) error {
	rows := make([]directory.QueueRow, 0, len(views))
	for id, v := range views {
		rows = append(rows, rowOf(id, v))
	}
	a.lines.note(rows...)
	return a.d.PutQueues(ctx, rows...)
}

// rowOf writes the same as the gateway does after a change of a queue.
func rowOf(id string, v *messages.View) directory.QueueRow {
	row := directory.QueueRow{
		Line: &directory.QueueLine{
			Version: v.Version, Called: int64(v.Called), Serving: int64(v.Serving), Held: int64(v.HeldCount),
			Attendants: int64(v.Attendants), WaitingSince: time.UnixMilli(v.WaitingSince),
		},
		ID: id, Version: v.Version, Epoch: v.Epoch, Status: queue.Status(v.Status).String(),
		Waiting: int64(v.Waiting), Active: int64(v.Active), UpdatedAt: time.UnixMilli(v.LastAt),
	}
	// An older node does not tell of the line: what is known of it stays, and the
	// queue is described again at the next start.
	if v.Called+v.Serving != v.Active || v.Waiting > 0 && v.WaitingSince == 0 {
		row.Line = nil
	}
	if v.Problem != nil { // that there is no such queue
		row.Deleted = true
		return row
	}
	row.Name, row.Prefix, row.Config = v.Config.GetName(), v.Config.GetPrefix(), gateway.EncodeConfig(v.Config)
	return row
}

// KnownVersions are those that were described, for a queue's command may have
// written its row before it was.
func (a queueList) KnownVersions(ctx context.Context, queues []string) ([]uint64, error) {
	known, err := a.d.DescribedVersions(ctx, queues)
	if err != nil {
		return nil, err
	}
	versions := make([]uint64, len(queues))
	for i, id := range queues {
		versions[i] = known[id]
	}
	rows, err := a.d.ListQueues(ctx, queues, "", len(queues))
	if err == nil {
		there := make(map[string]bool, len(rows))
		for _, row := range rows {
			there[row.ID] = true
		}
		for _, id := range queues {
			if !there[id] { // it was deleted while it lived on another node
				rows = append(rows, directory.QueueRow{ID: id, Deleted: true})
			}
		}
		a.lines.note(rows...)
	}
	return versions, err
}

// finishedTickets is the directory as the gateway wants it for finished tickets.
type finishedTickets struct{ d *directory.Directory }

func (a finishedTickets) ListHistory(ctx context.Context, f gateway.HistoryFilter, after *gateway.HistoryPlace, limit int) ([]gateway.HistoryRow, *gateway.HistoryPlace, error) {
	var from *directory.HistoryPlace
	if after != nil {
		from = &directory.HistoryPlace{FinishedAt: queue.Time(after.FinishedAt), ID: after.ID}
	}
	found, behind, err := a.d.ListHistory(ctx, directory.HistoryFilter{
		Queues: f.Queues, Attendant: f.Attendant, Outcome: f.Outcome, From: queue.Time(f.From), To: queue.Time(f.To),
	}, from, limit)
	if err != nil {
		return nil, nil, adapted(err)
	}
	rows := make([]gateway.HistoryRow, len(found))
	for i, row := range found {
		rows[i] = gateway.HistoryRow{Queue: string(row.Queue), Ticket: actors.TicketToMessage(row.Ticket)}
	}
	var next *gateway.HistoryPlace
	if behind != nil {
		next = &gateway.HistoryPlace{FinishedAt: int64(behind.FinishedAt), ID: behind.ID}
	}
	return rows, next, nil
}

func (a finishedTickets) KnowsQueue(ctx context.Context, id string) (bool, error) {
	known, err := a.d.KnowsQueue(ctx, id)
	return known, adapted(err)
}

// historySink is the history as a follower of the journals wants it.
type historySink struct {
	d    *directory.Directory
	read func(context.Context, *messages.Read) *messages.View
	wake func() // there is something for webhooks
}

func (s historySink) Checkpoints(ctx context.Context, queues []string) ([]uint64, error) {
	return s.d.HistoryCheckpoints(ctx, queues)
}

func (s historySink) Take(ctx context.Context, parts []actors.Part) error {
	taken := make([]directory.HistoryPart, len(parts))
	wanted := false // by a webhook
	for n, p := range parts {
		taken[n] = directory.HistoryPart{
			Queue: p.Queue, After: p.After, Upto: p.Upto,
			Events: len(p.Events), Event: func(i int) directory.WebhookEvent { return webhookEvent(p.Queue, p.Events[i], &wanted) },
		}
		for at, i := p.After, 0; i < len(p.Events); i++ {
			e := p.Events[i]
			// Events are gone that the history had: those of tickets that had finished
			// before, and were requeued or finished anew, have left it otherwise than
			// the queue has them now.
			if lost := at > 0 && e.Version > at+1 && queue.Kind(e.Kind) == queue.QueueConfigured; lost {
				finished, err := s.finished(ctx, p.Queue)
				if err != nil {
					return err
				}
				taken[n].Changes = append(taken[n].Changes, finished...)
			}
			at = e.Version
			change, err := historyChange(e)
			if err != nil {
				return fmt.Errorf("%s: event %d: %w", p.Queue, e.Version, err)
			}
			if change != nil {
				taken[n].Changes = append(taken[n].Changes, *change)
			}
		}
	}
	err := s.d.TakeHistory(ctx, taken)
	if errors.Is(err, directory.ErrMoved) {
		return actors.ErrMoved
	}
	if err == nil && wanted {
		s.wake()
	}
	return err
}

// finished are the tickets that a queue has finished within the last day.
func (s historySink) finished(ctx context.Context, id string) (changes []directory.HistoryChange, err error) {
	list := &messages.ReadList{Limit: 1_000, States: []messages.TicketState{
		messages.TicketState(queue.Completed), messages.TicketState(queue.NoShow),
		messages.TicketState(queue.Removed), messages.TicketState(queue.Transferred),
	}}
	for {
		v := s.read(ctx, &messages.Read{Queue: id, Question: &messages.Read_List{List: list}})
		switch {
		case v.Problem.GetCode() == string(queue.QueueNotFound):
			return nil, nil
		case v.Problem != nil:
			return nil, fmt.Errorf("finished tickets of queue %s: %s", id, v.Problem.Code)
		}
		for _, placed := range v.Tickets {
			t, err := actors.TicketFromMessage(placed.Ticket)
			if err != nil {
				return nil, err
			}
			changes = append(changes, directory.HistoryChange{Finished: t})
		}
		if list.After = v.Next; v.Next == nil {
			return changes, nil
		}
	}
}

// historyChange is nil for an event that the history does not tell of.
func historyChange(e *messages.Event) (*directory.HistoryChange, error) {
	switch queue.Kind(e.Kind) {
	case queue.TicketEnqueued, queue.TicketRequeued,
		queue.TicketCompleted, queue.TicketNoShow, queue.TicketRemoved, queue.TicketTransferred:
	default:
		return nil, nil
	}
	t, err := actors.TicketFromMessage(e.Ticket)
	switch {
	case err != nil:
		return nil, err
	case t.State.Finished():
		return &directory.HistoryChange{Finished: t}, nil
	case queue.Kind(e.Kind) == queue.TicketRequeued:
		return &directory.HistoryChange{Requeued: t.ID}, nil
	}
	return &directory.HistoryChange{Arrived: t.EnqueuedAt}, nil
}

// checkIns counts those of an address where all nodes see it, by a keyed hash; nil
// where there is one node.
func (n *Node) checkIns() gateway.Pace {
	shared, ok := n.journal.(*persistence.RedisJournal)
	if !ok {
		return nil
	}
	return func(ctx context.Context, address string, limit int, window time.Duration) (time.Duration, error) {
		mac := hmac.New(sha256.New, n.dataKeys.SubKey("check-ins/v1")[0].Bytes) // the ring may rotate
		mac.Write([]byte(address))
		return shared.Pace(ctx, base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16]), limit, window)
	}
}
