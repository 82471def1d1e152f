package persistence

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the "sqlite" driver

	"nowserving/actors/queue"
)

// sqliteJournalFormat is the file's user_version. A file of a later one is refused.
const sqliteJournalFormat = 1

// The entries stand in the order in which they came (a rowid table), so that one
// transaction fills few pages however many queues it is of; ordering them by
// queue instead (WITHOUT ROWID) halved the rate. Versions fit SQLite's signed
// integers, for MaxVersion does.
const sqliteJournalSchema = `
CREATE TABLE IF NOT EXISTS heads (
  id INTEGER PRIMARY KEY,
  queue TEXT NOT NULL UNIQUE,
  owner BLOB NOT NULL,
  version INTEGER NOT NULL,
  op BLOB NOT NULL,
  snapshot INTEGER NOT NULL -- the newest snapshot's version
) STRICT;
CREATE TABLE IF NOT EXISTS entries (
  head INTEGER NOT NULL,
  last INTEGER NOT NULL,
  first INTEGER NOT NULL,
  op BLOB NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (head, last)
) STRICT;
CREATE TABLE IF NOT EXISTS snapshots (
  head INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS settled (id INTEGER PRIMARY KEY, count INTEGER NOT NULL) STRICT;
`

// ownsTimeout bounds the look into the file where the owner is not in memory.
const ownsTimeout = 5 * time.Second

// SQLiteJournal is the embedded journal: one file in the data dir, whose only
// writer is one goroutine of this process. It puts all calls that wait, of all
// queues, into one synced transaction.
type SQLiteJournal struct {
	lock   *os.File
	write  *sql.DB // one connection, the writer's
	read   *sql.DB
	writer *sqliteWriter
	calls  *callLine
}

// OpenSQLiteJournal opens journal.db in dir, making both where they are missing
// (readable by their user only), and starts the writer; Close ends it. It fails
// where another process, or another journal of this one, has the dir open.
func OpenSQLiteJournal(ctx context.Context, dir string, log *slog.Logger) (*SQLiteJournal, error) {
	lock, err := lockDataDir(dir)
	if err != nil {
		return nil, err
	}
	j := &SQLiteJournal{lock: lock, calls: newCallLine()}
	if err := j.open(ctx, dir, log); err != nil {
		_ = j.Close()
		return nil, fmt.Errorf("journal in %s: %w", dir, err)
	}
	j.calls.start(j.writer.commit)
	return j, nil
}

func (j *SQLiteJournal) open(ctx context.Context, dir string, log *slog.Logger) error {
	path, err := filepath.Abs(filepath.Join(dir, "journal.db"))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would make it readable by all
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// What is dropped is overwritten: a person who was erased is not to stand in a
	// page that nothing has used again yet.
	if j.write, err = sql.Open("sqlite", sqliteDSN(path, "journal_mode(WAL)", "synchronous(FULL)", "journal_size_limit(67108864)", "secure_delete(1)")); err != nil {
		return err
	}
	j.write.SetMaxOpenConns(1)
	if err := migrateSQLiteJournal(ctx, j.write); err != nil {
		return err
	}
	if j.read, err = sql.Open("sqlite", sqliteDSN(path, "query_only(1)")); err != nil {
		return err
	}
	j.read.SetMaxOpenConns(4)
	j.read.SetMaxIdleConns(4)
	j.writer, err = newSQLiteWriter(ctx, j.write, log)
	return err
}

func sqliteDSN(path string, pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{"busy_timeout(5000)"}, pragmas...)}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

func migrateSQLiteJournal(ctx context.Context, db *sql.DB) error {
	var format int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&format); err != nil {
		return err
	}
	if format > sqliteJournalFormat {
		return fmt.Errorf("its format is %d, this program knows up to %d", format, sqliteJournalFormat)
	}
	if format == sqliteJournalFormat {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, sqliteJournalSchema); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", sqliteJournalFormat)); err != nil {
		return err
	}
	return tx.Commit()
}

// Close ends the writer after the transaction that is under way, closes the
// file and gives the data dir free. Calls that still wait are answered ErrUnavailable.
func (j *SQLiteJournal) Close() error {
	j.calls.stop()
	var errs []error
	if j.writer != nil {
		errs = append(errs, j.writer.close())
	}
	for _, db := range []*sql.DB{j.read, j.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(append(errs, j.lock.Close())...)
}

// Claim makes owner the queue's only writer and answers where its journal
// stands; a queue that was never seen has Head{}. Errors: ErrUnavailable,
// ErrUnknown (owner may be the owner; claim again, with a new one), ErrMalformed.
func (j *SQLiteJournal) Claim(ctx context.Context, queueID string, owner queue.OwnerID) (queue.Head, error) {
	if err := checkOwner(queueID, owner); err != nil {
		return queue.Head{}, err
	}
	return j.calls.do(ctx, &journalCall{kind: callClaim, queue: queueID, owner: owner})
}

// Append adds entry e if owner is still the owner, the journal stands at
// e.First-1 and prev is the operation of its last entry. The same entry again
// is success. Entries are added in the order of the calls; the next one may be
// handed over before done has been called for this one. done is called once,
// from another goroutine, and must not block. e.Data must not change until
// then. Answers: ErrFenced, ErrGap, ErrUnknown (it may have happened),
// ErrUnavailable (certainly not), ErrMalformed.
func (j *SQLiteJournal) Append(queueID string, owner queue.OwnerID, prev queue.OpID, e queue.Entry, done func(error)) {
	if err := checkEntry(queueID, owner, e); err != nil {
		go done(err)
		return
	}
	j.calls.put(&journalCall{kind: callAppend, queue: queueID, owner: owner, prev: prev, entry: e, done: done})
}

// SaveSnapshot stores s in place of the older snapshot and, in the same atomic
// step, drops the entries whose Last <= trimTo, but never the last one. A
// snapshot older than the one stored is ignored as a whole. It keeps s.Data as
// Append does. Errors: ErrFenced, ErrGap (the journal does not reach
// s.Version), ErrUnknown, ErrUnavailable, ErrMalformed.
func (j *SQLiteJournal) SaveSnapshot(ctx context.Context, queueID string, owner queue.OwnerID, s queue.Snapshot, trimTo uint64) error {
	if err := checkSnapshot(queueID, owner, s, trimTo, MaxSQLiteSnapshotBytes); err != nil {
		return err
	}
	_, err := j.calls.do(ctx, &journalCall{kind: callSnapshot, queue: queueID, owner: owner, snapshot: s, trimTo: trimTo})
	return err
}

// Owns checks that owner is still the owner, and that the journal is at version
// at or above. It needs no look into the file for
// a queue in memory: the lock on the data dir makes this process the only
// writer, and the memory is what it last committed. done is called once, from
// another goroutine. Answers: ErrFenced, ErrGap, ErrUnavailable, ErrMalformed.
func (j *SQLiteJournal) Owns(queueID string, owner queue.OwnerID, at uint64, done func(error)) {
	go func() { done(j.owns(queueID, owner, at)) }()
}

func (j *SQLiteJournal) owns(queueID string, owner queue.OwnerID, at uint64) error {
	if err := checkOwner(queueID, owner); err != nil {
		return err
	}
	current, version, known := j.writer.stands(queueID)
	if !known {
		ctx, cancel := context.WithTimeout(context.Background(), ownsTimeout)
		defer cancel()
		var stored []byte
		err := j.read.QueryRowContext(ctx, "SELECT owner, version FROM heads WHERE queue = ?", queueID).Scan(&stored, &version)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return readError(ctx, err)
		}
		copy(current[:], stored)
	}
	if current != owner {
		return fmt.Errorf("%w: queue %s", queue.ErrFenced, queueID)
	}
	if version < at {
		return gapAt(queueID, version)
	}
	return nil
}

// LoadSnapshot answers the newest snapshot. Errors: ErrNoSnapshot, ErrUnavailable.
func (j *SQLiteJournal) LoadSnapshot(ctx context.Context, queueID string) (queue.Snapshot, error) {
	var s queue.Snapshot
	err := j.read.QueryRowContext(ctx,
		"SELECT s.version, s.data FROM snapshots s JOIN heads h ON h.id = s.head WHERE h.queue = ?", queueID).Scan(&s.Version, &s.Data)
	if errors.Is(err, sql.ErrNoRows) {
		return queue.Snapshot{}, fmt.Errorf("%w: queue %s", queue.ErrNoSnapshot, queueID)
	}
	if err != nil {
		return queue.Snapshot{}, readError(ctx, err)
	}
	return s, nil
}

// Versions answers the version of each queue's journal, 0 for unknown ones, in
// one query. Errors: ErrUnavailable.
func (j *SQLiteJournal) Versions(ctx context.Context, queues []string) ([]uint64, error) {
	versions := make([]uint64, len(queues))
	names, err := json.Marshal(queues)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	rows, err := j.read.QueryContext(ctx,
		"SELECT q.key, h.version FROM json_each(?) q JOIN heads h ON h.queue = q.value", string(names))
	if err != nil {
		return nil, readError(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var i int
		var version uint64
		if err := rows.Scan(&i, &version); err != nil {
			return nil, readError(ctx, err)
		}
		versions[i] = version
	}
	if err := rows.Err(); err != nil {
		return nil, readError(ctx, err)
	}
	return versions, nil
}

// Queues lists the ids of all queues that were ever claimed, in byte order,
// those after the given id, at most limit. Errors: ErrUnavailable.
func (j *SQLiteJournal) Queues(ctx context.Context, after string, limit int) ([]string, error) {
	if limit <= 0 {
		return nil, nil
	}
	rows, err := j.read.QueryContext(ctx,
		"SELECT queue FROM heads WHERE queue > ? ORDER BY queue LIMIT ?", after, min(limit, maxListed))
	if err != nil {
		return nil, readError(ctx, err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, readError(ctx, err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, readError(ctx, err)
	}
	return ids, nil
}

// Scrub empties the write-ahead log, which holds what was dropped until it is
// written over. Errors: ErrUnavailable; others may have been at work.
func (j *SQLiteJournal) Scrub(ctx context.Context) error {
	var busy, frames, moved int
	if err := j.read.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved); err != nil {
		return readError(ctx, err)
	}
	if busy != 0 {
		return unavailable(errors.New("the write-ahead log is in use"))
	}
	return nil
}

// Ping says whether the file can be read. Errors: ErrUnavailable.
func (j *SQLiteJournal) Ping(ctx context.Context) error {
	var n int
	if err := j.read.QueryRowContext(ctx, "SELECT count(*) FROM settled").Scan(&n); err != nil {
		return readError(ctx, err)
	}
	return nil
}
