package main

import (
	"context"

	"nowserving/gateway"
	"nowserving/persistence/directory"
)

// userStore is the directory as the gateway wants it for administering users.
type userStore struct{ d *directory.Directory }

func (a userStore) ListUsers(ctx context.Context, after string, limit int) ([]gateway.User, error) {
	found, err := a.d.ListUsers(ctx, after, limit)
	list := make([]gateway.User, len(found))
	for i, u := range found {
		list[i] = adaptedUser(u)
	}
	return list, adapted(err)
}

func (a userStore) ListOperators(ctx context.Context, queue, after string, limit int) ([]gateway.User, error) {
	found, err := a.d.ListOperators(ctx, queue, after, limit)
	list := make([]gateway.User, len(found))
	for i, u := range found {
		list[i] = gateway.User{ID: u.ID, Name: u.Name}
	}
	return list, adapted(err)
}

func (a userStore) CreateUser(ctx context.Context, u gateway.User, e gateway.AuditEntry) (gateway.User, error) {
	kept, err := a.d.CreateUser(ctx, directory.User{
		ID: u.ID, Email: u.Email, Name: u.Name, Level: directory.Level(u.Level), Queues: u.Queues, PasswordHash: u.PasswordHash,
	}, directory.AuditEntry(e))
	return adaptedUser(kept), adapted(err)
}

func (a userStore) UpdateUser(ctx context.Context, id string, p gateway.UserPatch, e gateway.AuditEntry) (gateway.User, error) {
	u, err := a.d.UpdateUser(ctx, id, directory.UserPatch{
		Email: p.Email, Name: p.Name, Level: (*directory.Level)(p.Level), Queues: p.Queues, Disabled: p.Disabled, PasswordHash: p.PasswordHash,
	}, directory.AuditEntry(e))
	return adaptedUser(u), adapted(err)
}

func (a userStore) DeleteUser(ctx context.Context, id string, e gateway.AuditEntry) error {
	return adapted(a.d.DeleteUser(ctx, id, directory.AuditEntry(e)))
}

// keyStore is the directory as the gateway wants it for API keys.
type keyStore struct{ d *directory.Directory }

func (a keyStore) KeyByHash(ctx context.Context, hash [32]byte) (gateway.APIKey, gateway.User, error) {
	k, u, err := a.d.KeyByHash(ctx, hash)
	return gateway.APIKey(k), adaptedUser(u), adapted(err)
}

func (a keyStore) ListKeys(ctx context.Context, userID, after string, limit int) ([]gateway.APIKey, error) {
	found, err := a.d.ListKeys(ctx, userID, after, limit)
	list := make([]gateway.APIKey, len(found))
	for i, k := range found {
		list[i] = gateway.APIKey(k)
	}
	return list, adapted(err)
}

func (a keyStore) AddKey(ctx context.Context, k gateway.APIKey, e gateway.AuditEntry) (gateway.APIKey, error) {
	kept, err := a.d.AddKey(ctx, directory.APIKey(k), directory.AuditEntry(e))
	return gateway.APIKey(kept), adapted(err)
}

func (a keyStore) DropKey(ctx context.Context, userID, id string, e gateway.AuditEntry) error {
	return adapted(a.d.DropKey(ctx, userID, id, directory.AuditEntry(e)))
}

// attempts is the directory as the gateway wants it for failed logins.
type attempts struct{ d *directory.Directory }

func (a attempts) Begin(ctx context.Context, email, address string) (gateway.Login, error) {
	l, err := a.d.BeginLogin(ctx, email, address, directory.LoginLimits{
		OfEmail: gateway.FailuresOfEmail, OfAddress: gateway.FailuresOfAddress, Within: gateway.ThrottleWindow,
	})
	return gateway.Login(l), err
}

func (a attempts) End(ctx context.Context, attempt string, failed bool) error {
	if failed {
		return a.d.FailLogin(ctx, attempt)
	}
	return a.d.EndLogin(ctx, attempt)
}
