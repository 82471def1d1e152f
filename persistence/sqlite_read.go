package persistence

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"nowserving/actors/queue"
)

// Read answers, in order, entries that hold events after version after: the
// first may begin at or before it. At most maxEntries, ending after the one that
// brings it to 8 MiB; none where after is the journal's version. Errors:
// ErrTrimmed (the events right after it are no longer kept), ErrLost (the
// journal ends before it), ErrDamaged, ErrUnavailable.
func (j *SQLiteJournal) Read(ctx context.Context, queueID string, after uint64, maxEntries int) ([]queue.Entry, error) {
	if maxEntries <= 0 || after >= MaxVersion {
		return nil, nil
	}
	// The head first: entries that end before it have been lost. The other way
	// round an append in between would look like one.
	var head int64
	var version uint64
	err := j.read.QueryRowContext(ctx, "SELECT id, version FROM heads WHERE queue = ?", queueID).Scan(&head, &version)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, readError(ctx, err)
	}
	switch {
	case version < after:
		return nil, lost(queueID, version, after)
	case version == after:
		return nil, nil
	}
	rows, err := j.read.QueryContext(ctx,
		"SELECT first, last, op, data FROM entries WHERE head = ? AND last > ? ORDER BY last LIMIT ?", head, after, maxEntries)
	if err != nil {
		return nil, readError(ctx, err)
	}
	defer rows.Close()
	entries, err := scanEntries(ctx, queueID, rows)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 || entries[0].First > after+1 {
		return nil, fmt.Errorf("%w: queue %s after version %d", queue.ErrTrimmed, queueID, after)
	}
	return entries, nil
}

func scanEntries(ctx context.Context, queueID string, rows *sql.Rows) ([]queue.Entry, error) {
	var entries []queue.Entry
	var last queue.Entry
	for size := 0; size < readBytes && rows.Next(); {
		var e queue.Entry
		var op sql.RawBytes
		if err := rows.Scan(&e.First, &e.Last, &op, &e.Data); err != nil {
			return nil, readError(ctx, err)
		}
		if copy(e.Op[:], op) != len(e.Op) {
			return nil, fmt.Errorf("%w: queue %s, entry %d", queue.ErrDamaged, queueID, e.Last)
		}
		if err := follows(queueID, last, e); err != nil {
			return nil, err
		}
		entries, last = append(entries, e), e
		size += len(e.Data)
	}
	if err := rows.Err(); err != nil {
		return nil, readError(ctx, err)
	}
	return entries, nil
}
