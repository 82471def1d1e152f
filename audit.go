package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"nowserving/gateway"
	"nowserving/persistence/directory"
)

// auditStore is the directory as the gateway's audit log wants it.
type auditStore struct{ d *directory.Directory }

func (a auditStore) AddAudit(ctx context.Context, e gateway.AuditEntry) error {
	err := a.d.AddAudit(ctx, directory.AuditEntry(e))
	if errors.Is(err, directory.ErrInvalid) {
		return fmt.Errorf("%w: %w", gateway.ErrRefused, err)
	}
	return adapted(err)
}

func (a auditStore) ListAudit(ctx context.Context, f gateway.AuditFilter, after *gateway.AuditPlace, limit int) ([]gateway.AuditEntry, *gateway.AuditPlace, error) {
	found, next, err := a.d.ListAudit(ctx, directory.AuditFilter(f), (*directory.AuditPlace)(after), limit)
	entries := make([]gateway.AuditEntry, len(found))
	for i, e := range found {
		entries[i] = gateway.AuditEntry(e)
	}
	return entries, (*gateway.AuditPlace)(next), adapted(err)
}

// byOperator is an entry of what somebody did at the command line.
func byOperator(action, target, details string) directory.AuditEntry {
	return directory.AuditEntry{ID: newID(), At: time.Now().UTC(), Action: action, Target: target, Details: json.RawMessage(details)}
}

// byProvider is an entry of what a user's own sign-in has changed.
func byProvider(action, id string, who gateway.ForeignUser) directory.AuditEntry {
	details, _ := json.Marshal(map[string]any{"level": who.Level, "queues": who.Queues}) // texts always encode
	return directory.AuditEntry{ID: newID(), At: time.Now().UTC(), UserID: id, Action: action, Target: id, Details: details}
}

func newID() uuid.UUID {
	id, _ := uuid.NewV7() // never fails: Go ends the program instead
	return id
}
