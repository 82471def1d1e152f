package main

import (
	"context"
	"errors"
	"time"

	"nowserving/actors/queue"
	"nowserving/gateway"
	"nowserving/messages"
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
	}
	return err
}

func adaptedUser(u directory.User) gateway.User {
	return gateway.User{
		ID: u.ID, Email: u.Email, Name: u.Name, Level: gateway.Level(u.Level), Queues: u.Queues,
		PasswordHash: u.PasswordHash, Disabled: u.Disabled, TokenEpoch: u.TokenEpoch,
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

func (a users) AddRefresh(ctx context.Context, t gateway.RefreshToken) error {
	return adapted(a.d.AddRefresh(ctx, directory.RefreshToken(t)))
}

func (a users) RotateRefresh(ctx context.Context, hash, next [32]byte, expiresAt, now time.Time) (gateway.RefreshToken, gateway.User, error) {
	t, u, err := a.d.RotateRefresh(ctx, hash, next, expiresAt, now)
	return gateway.RefreshToken(t), adaptedUser(u), adapted(err)
}

func (a users) DropFamily(ctx context.Context, family string) error {
	return adapted(a.d.DropFamily(ctx, family))
}

func (a users) ListQueues(ctx context.Context, ids []string, after string, limit int) ([]gateway.QueueRow, error) {
	rows, err := a.d.ListQueues(ctx, ids, after, limit)
	queues := make([]gateway.QueueRow, len(rows))
	for i, row := range rows {
		queues[i] = gateway.QueueRow(row)
	}
	return queues, adapted(err)
}

func (a users) PutQueue(ctx context.Context, q gateway.QueueRow) error {
	return adapted(a.d.PutQueue(ctx, directory.QueueRow(q)))
}

func (a users) ReservePrefix(ctx context.Context, id string) (string, error) {
	prefix, err := a.d.ReservePrefix(ctx, id)
	return prefix, adapted(err)
}

func (a users) ReleasePrefix(ctx context.Context, id string) error {
	return adapted(a.d.ReleasePrefix(ctx, id))
}

// queueList is the directory as the projector wants it.
type queueList struct{ d *directory.Directory }

func (a queueList) PutViews(ctx context.Context, views map[string]*messages.View) error {
	rows := make([]directory.QueueRow, 0, len(views))
	for id, v := range views {
		rows = append(rows, rowOf(id, v))
	}
	return a.d.PutQueues(ctx, rows...)
}

// rowOf writes the same as the gateway does after a change of a queue.
func rowOf(id string, v *messages.View) directory.QueueRow {
	row := directory.QueueRow{
		ID: id, Version: v.Version, Epoch: v.Epoch, Status: queue.Status(v.Status).String(),
		Waiting: int64(v.Waiting), Active: int64(v.Active), UpdatedAt: time.UnixMilli(v.LastAt),
	}
	if v.Problem != nil { // that there is no such queue
		row.Deleted = true
		return row
	}
	row.Name, row.Prefix, row.Config = v.Config.GetName(), v.Config.GetPrefix(), gateway.EncodeConfig(v.Config)
	return row
}

func (a queueList) KnownVersions(ctx context.Context, queues []string) ([]uint64, error) {
	known, err := a.d.KnownVersions(ctx, queues)
	if err != nil {
		return nil, err
	}
	versions := make([]uint64, len(queues))
	for i, id := range queues {
		versions[i] = known[id]
	}
	return versions, nil
}
