package main

import (
	"context"

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
