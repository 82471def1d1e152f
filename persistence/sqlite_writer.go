package persistence

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"nowserving/actors/queue"
)

// maxCachedHeads bounds the memory of heads (about 150 bytes each). Beyond it
// all are forgotten and read again as they are needed.
const maxCachedHeads = 100_000

// sqliteHead is a row of heads; its id is 0 before the queue's first claim.
type sqliteHead struct {
	queue.Head
	id    int64
	owner queue.OwnerID
}

// sqliteWriter is the file's only writer. All its methods but owner are called
// by one goroutine.
type sqliteWriter struct {
	db  *sql.DB
	log *slog.Logger

	conn  *sql.Conn
	stmts sqliteStmts

	// doubtful after a transaction failed: its frames may stand whole in the
	// write-ahead log, and a crash could bring them back. Nothing is written or
	// judged before settle.
	doubtful bool

	// heads is what was last committed, changed what the transaction under way
	// would make of it.
	mu      sync.RWMutex
	heads   map[string]sqliteHead
	changed map[string]sqliteHead
}

type sqliteStmts struct {
	begin, commit, rollback, settle       *sql.Stmt
	loadHead, addHead, setHead            *sql.Stmt
	addEntry, trim, setSnapshot, markHead *sql.Stmt
}

func newSQLiteWriter(ctx context.Context, db *sql.DB, log *slog.Logger) (*sqliteWriter, error) {
	w := &sqliteWriter{db: db, log: log, heads: map[string]sqliteHead{}, changed: map[string]sqliteHead{}}
	if err := w.connect(ctx); err != nil {
		return nil, err // there is nothing of it to close
	}
	return w, nil
}

// connect prepares the statements on a connection of the writer's own.
func (w *sqliteWriter) connect(ctx context.Context) error {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return err
	}
	w.conn = conn
	s := &w.stmts
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&s.begin, "BEGIN IMMEDIATE"},
		{&s.commit, "COMMIT"},
		{&s.rollback, "ROLLBACK"},
		{&s.settle, "INSERT INTO settled (id, count) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET count = count + 1"},
		{&s.loadHead, "SELECT id, owner, version, op, snapshot FROM heads WHERE queue = ?"},
		{&s.addHead, "INSERT INTO heads (queue, owner, version, op, snapshot) VALUES (?, ?, 0, ?, 0)"},
		{&s.setHead, "UPDATE heads SET owner = ?, version = ?, op = ? WHERE id = ?"},
		{&s.addEntry, "INSERT INTO entries (head, last, first, op, data) VALUES (?, ?, ?, ?, ?)"},
		{&s.trim, "DELETE FROM entries WHERE head = ? AND last <= ? AND last < ?"},
		{&s.setSnapshot, "INSERT OR REPLACE INTO snapshots (head, version, data) VALUES (?, ?, ?)"},
		{&s.markHead, "UPDATE heads SET snapshot = ? WHERE id = ?"},
	} {
		if *p.stmt, err = conn.PrepareContext(ctx, p.text); err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	return nil
}

// close gives the connection back; its statements end with it.
func (w *sqliteWriter) close() error {
	if err := w.conn.Close(); !errors.Is(err, sql.ErrConnDone) {
		return err
	}
	return nil
}

// stands answers the queue's owner and version as last committed, if it is in memory.
func (w *sqliteWriter) stands(queueID string) (owner queue.OwnerID, version uint64, known bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	h, known := w.heads[queueID]
	return h.owner, h.Version, known
}

// commit puts a batch into one transaction and answers every call: with its own
// verdict where the transaction is committed, else all with the same error.
func (w *sqliteWriter) commit(batch []*journalCall) {
	// Not the callers' contexts: one transaction carries many callers.
	ctx := context.Background()
	verdicts := make([]error, len(batch))
	err := w.transact(ctx, batch, verdicts)
	if err != nil && !w.doubtful { // once, not for each batch while the disk is full
		w.doubtful = true
		w.log.Error("journal transaction failed", "calls", len(batch), "error", err)
	}
	for i, c := range batch {
		if err != nil {
			verdicts[i], c.head = err, queue.Head{}
		}
		c.answer(verdicts[i])
	}
}

// transact fails as a whole with ErrUnavailable where certainly nothing was
// written, and with ErrUnknown where that depends on the disk.
func (w *sqliteWriter) transact(ctx context.Context, batch []*journalCall, verdicts []error) error {
	clear(w.changed)
	if w.doubtful {
		if err := w.settle(ctx); err != nil {
			return unavailable(err)
		}
	}
	if _, err := w.stmts.begin.ExecContext(ctx); err != nil {
		return unavailable(err)
	}
	for i, c := range batch {
		verdict, err := w.apply(ctx, c)
		if err != nil {
			w.rollback(ctx)
			return unavailable(err)
		}
		verdicts[i] = verdict
	}
	if _, err := w.stmts.commit.ExecContext(ctx); err != nil {
		w.rollback(ctx)
		var failed *sqlite.Error
		if errors.As(err, &failed) && failed.Code() == sqlite3.SQLITE_FULL {
			return unavailable(err) // it could not be written to its end, so no crash can bring it back
		}
		return unknown(err)
	}
	w.mu.Lock()
	if len(w.heads)+len(w.changed) > maxCachedHeads {
		clear(w.heads)
	}
	maps.Copy(w.heads, w.changed)
	w.mu.Unlock()
	return nil
}

// rollback ends a failed transaction. SQLite has often done so by itself, so its
// error says nothing; settle finds out.
func (w *sqliteWriter) rollback(ctx context.Context) { _, _ = w.stmts.rollback.ExecContext(ctx) }

// settle makes the fate of a failed transaction certain: it commits a small one,
// whose frames overwrite what the failed one may have left in the write-ahead
// log, and forgets all heads, so that they are read from the file again.
func (w *sqliteWriter) settle(ctx context.Context) error {
	if err := w.close(); err != nil {
		return err
	}
	if err := w.connect(ctx); err != nil {
		return err
	}
	w.rollback(ctx)
	if _, err := w.stmts.settle.ExecContext(ctx); err != nil {
		return fmt.Errorf("after a failed transaction: %w", err)
	}
	w.mu.Lock()
	clear(w.heads)
	w.mu.Unlock()
	w.doubtful = false
	w.log.Info("journal writes again")
	return nil
}

// head answers where a queue stands within the transaction under way.
func (w *sqliteWriter) head(ctx context.Context, queueID string) (sqliteHead, error) {
	if h, ok := w.changed[queueID]; ok {
		return h, nil
	}
	w.mu.RLock()
	h, ok := w.heads[queueID]
	w.mu.RUnlock()
	if ok {
		return h, nil
	}
	var owner, op []byte
	err := w.stmts.loadHead.QueryRowContext(ctx, queueID).Scan(&h.id, &owner, &h.Version, &op, &h.SnapshotVersion)
	if errors.Is(err, sql.ErrNoRows) {
		return sqliteHead{}, nil
	}
	copy(h.owner[:], owner)
	copy(h.Op[:], op)
	return h, err
}

// apply judges one call and writes what it may. The first error is the call's
// verdict, given before anything is written for it; the second is the store's
// and ends the transaction.
func (w *sqliteWriter) apply(ctx context.Context, c *journalCall) (verdict, err error) {
	h, err := w.head(ctx, c.queue)
	if err != nil {
		return nil, err
	}
	if c.kind == callClaim {
		c.head = h.Head
		return nil, w.claim(ctx, c, h)
	}
	if h.id == 0 {
		return gapAt(c.queue, 0), nil
	}
	if h.owner != c.owner {
		return fmt.Errorf("%w: queue %s", queue.ErrFenced, c.queue), nil
	}
	if c.kind == callSnapshot {
		return w.snapshot(ctx, c, h)
	}
	return w.append(ctx, c, h)
}

func gapAt(queueID string, version uint64) error {
	return fmt.Errorf("%w: queue %s is at version %d", queue.ErrGap, queueID, version)
}

func (w *sqliteWriter) claim(ctx context.Context, c *journalCall, h sqliteHead) error {
	h.owner = c.owner
	if h.id == 0 {
		added, err := w.stmts.addHead.ExecContext(ctx, c.queue, h.owner[:], h.Op[:])
		if err != nil {
			return err
		}
		if h.id, err = added.LastInsertId(); err != nil {
			return err
		}
	} else if _, err := w.stmts.setHead.ExecContext(ctx, h.owner[:], h.Version, h.Op[:], h.id); err != nil {
		return err
	}
	w.changed[c.queue] = h
	return nil
}

func (w *sqliteWriter) append(ctx context.Context, c *journalCall, h sqliteHead) (verdict, err error) {
	e := c.entry
	if h.Version != e.First-1 || h.Op != c.prev {
		if h.Version == e.Last && h.Op == e.Op {
			return nil, nil // the same again: its answer was lost
		}
		return gapAt(c.queue, h.Version), nil
	}
	h.Version, h.Op = e.Last, e.Op
	if _, err := w.stmts.addEntry.ExecContext(ctx, h.id, e.Last, e.First, e.Op[:], notNull(e.Data)); err != nil {
		return nil, err
	}
	if _, err := w.stmts.setHead.ExecContext(ctx, h.owner[:], h.Version, h.Op[:], h.id); err != nil {
		return nil, err
	}
	w.changed[c.queue] = h
	return nil, nil
}

func (w *sqliteWriter) snapshot(ctx context.Context, c *journalCall, h sqliteHead) (verdict, err error) {
	s := c.snapshot
	if s.Version > h.Version {
		return gapAt(c.queue, h.Version), nil
	}
	if s.Version < h.SnapshotVersion {
		return nil, nil // a newer one is stored
	}
	if _, err := w.stmts.setSnapshot.ExecContext(ctx, h.id, s.Version, notNull(s.Data)); err != nil {
		return nil, err
	}
	if _, err := w.stmts.markHead.ExecContext(ctx, s.Version, h.id); err != nil {
		return nil, err
	}
	if _, err := w.stmts.trim.ExecContext(ctx, h.id, c.trimTo, h.Version); err != nil {
		return nil, err
	}
	h.SnapshotVersion = s.Version
	w.changed[c.queue] = h
	return nil, nil
}

// notNull makes the blob of no bytes, where a nil slice would be NULL.
func notNull(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}
