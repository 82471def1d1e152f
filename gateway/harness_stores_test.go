package gateway

// The directory as the gateway wants it, in tests.

import (
	"context"
	"errors"
	"time"

	"nowserving/persistence/directory"
)

func adapted(err error) error {
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, directory.ErrReused):
		return ErrReused
	case errors.Is(err, directory.ErrJustUsed):
		return ErrJustUsed
	case errors.Is(err, directory.ErrExists):
		return ErrExists
	case errors.Is(err, directory.ErrTooMany):
		return ErrTooMany
	case errors.Is(err, directory.ErrSealed):
		return ErrSealed
	case errors.Is(err, directory.ErrLastAdmin):
		return ErrLastAdmin
	}
	return err
}

func userOf(u directory.User) User {
	return User{
		ID: u.ID, Email: u.Email, Name: u.Name, Level: Level(u.Level), Queues: u.Queues,
		PasswordHash: u.PasswordHash, Disabled: u.Disabled, TokenEpoch: u.TokenEpoch, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt,
	}
}

func (a directoryOf) UserByEmail(ctx context.Context, email string) (User, error) {
	u, err := a.d.UserByEmail(ctx, email)
	return userOf(u), adapted(err)
}

func (a directoryOf) UserByID(ctx context.Context, id string) (User, error) {
	u, err := a.d.UserByID(ctx, id)
	return userOf(u), adapted(err)
}

func (a directoryOf) RehashPassword(ctx context.Context, userID, old, hash string) error {
	return adapted(a.d.RehashPassword(ctx, userID, old, hash))
}

func (a directoryOf) AddRefresh(ctx context.Context, t RefreshToken) error {
	return adapted(a.d.AddRefresh(ctx, directory.RefreshToken(t)))
}

func (a directoryOf) RotateRefresh(ctx context.Context, hash, next [32]byte, expiresAt, now time.Time, grace time.Duration) (RefreshToken, User, error) {
	t, u, err := a.d.RotateRefresh(ctx, hash, next, expiresAt, now, grace)
	return RefreshToken(t), userOf(u), adapted(err)
}

func (a directoryOf) DropFamily(ctx context.Context, family string) error {
	return adapted(a.d.DropFamily(ctx, family))
}

func (a directoryOf) AccessChanges(ctx context.Context, after uint64, limit int) ([]AccessChange, uint64, error) {
	found, reached, err := a.d.AccessChanges(ctx, after, limit)
	changes := make([]AccessChange, len(found))
	for i, c := range found {
		changes[i] = AccessChange(c)
	}
	return changes, reached, adapted(err)
}

func (a directoryOf) ListQueues(ctx context.Context, ids []string, after string, limit int) ([]QueueRow, error) {
	rows, err := a.d.ListQueues(ctx, ids, after, limit)
	out := make([]QueueRow, len(rows))
	for i, row := range rows {
		out[i] = QueueRow{
			ID: row.ID, Name: row.Name, Prefix: row.Prefix, Status: row.Status, Version: row.Version, Epoch: row.Epoch, Config: row.Config,
			Waiting: row.Waiting, Active: row.Active, UpdatedAt: row.UpdatedAt, Deleted: row.Deleted, Line: QueueLine(*row.Line),
		}
	}
	return out, adapted(err)
}

func (a directoryOf) PutQueue(ctx context.Context, q QueueRow) error {
	return adapted(a.d.PutQueue(ctx, directory.QueueRow{
		ID: q.ID, Name: q.Name, Prefix: q.Prefix, Status: q.Status, Version: q.Version, Epoch: q.Epoch, Config: q.Config,
		Waiting: q.Waiting, Active: q.Active, UpdatedAt: q.UpdatedAt, Deleted: q.Deleted,
	}))
}

func (a directoryOf) StatisticsOf(ctx context.Context, spans []Span) ([]Statistics, error) {
	asked := make([]directory.Span, len(spans))
	for i := range spans {
		asked[i] = directory.Span(spans[i])
	}
	found, err := a.d.StatisticsOf(ctx, asked)
	out := make([]Statistics, len(found))
	for i := range found {
		out[i] = statisticsOf(found[i])
	}
	return out, adapted(err)
}

func (a directoryOf) ReservePrefix(ctx context.Context, id string) (string, error) {
	prefix, err := a.d.ReservePrefix(ctx, id)
	return prefix, adapted(err)
}

func (a directoryOf) ReleasePrefix(ctx context.Context, id string) error {
	return adapted(a.d.ReleasePrefix(ctx, id))
}

func (a directoryOf) Statistics(ctx context.Context, id string, edges []time.Time, target int64) ([]Statistics, Statistics, error) {
	parts, total, err := a.d.Statistics(ctx, directory.StatisticsQuery{Queue: id, Edges: edges, Target: target})
	out := make([]Statistics, len(parts))
	for i := range parts {
		out[i] = statisticsOf(parts[i])
	}
	return out, statisticsOf(total), adapted(err)
}

func statisticsOf(s directory.Statistics) Statistics {
	return Statistics{
		Arrivals: s.Arrivals, Served: s.Served, NoShows: s.NoShows, Removed: s.Removed,
		Wait: Durations(s.Wait), Handle: Durations(s.Handle), Within: s.Within,
	}
}

// attempts is the directory as the gateway wants it for failed logins.
type attempts struct{ d *directory.Directory }

func (a attempts) Begin(ctx context.Context, email, address string) (Login, error) {
	l, err := a.d.BeginLogin(ctx, email, address, directory.LoginLimits{
		OfEmail: FailuresOfEmail, OfAddress: FailuresOfAddress, Within: ThrottleWindow,
	})
	return Login(l), err
}

func (a attempts) End(ctx context.Context, attempt string, failed bool) error {
	if failed {
		return a.d.FailLogin(ctx, attempt)
	}
	return a.d.EndLogin(ctx, attempt)
}
