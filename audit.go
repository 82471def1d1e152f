package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"nowserving/gateway"
	"nowserving/persistence/directory"
)

// auditStore is the directory as the gateway's audit log wants it.
type auditStore struct{ d *directory.Directory }

func (a auditStore) AddAudit(ctx context.Context, e gateway.AuditEntry) error {
	return adapted(a.d.AddAudit(ctx, directory.AuditEntry(e)))
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

func newID() uuid.UUID {
	id, _ := uuid.NewV7() // never fails: Go ends the program instead
	return id
}
