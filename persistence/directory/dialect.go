package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"gorm.io/gorm"
	"modernc.org/sqlite"
)

// This file alone knows which databases there are; mysql.go is about MySQL
// and MariaDB. What holds of both kinds:
//   - An update counts the rows that it matched (missing relies on it).
//   - Text is compared by its bytes.
//   - A transaction reads what was committed before its statement began, or
//     has the whole database to itself.
//   - One that lost to another (a deadlock) is tried again by Directory.write.

// dialect is an open database and what is peculiar to it.
type dialect struct {
	db        *sql.DB
	urgent    *sql.DB // the same database over connections that nothing else takes; see AccessChanges
	gorm      gorm.Dialector
	oneWriter bool
	// explain describes a driver's error without any value of a row.
	explain func(error) string
	// again reports whether a transaction failed only because another went
	// first, refused whether a value does not fit its column. Nil: never.
	again, refused func(error) bool
}

const (
	sqliteFile = "directory.db"
	// sqliteLock is an always empty database whose lock is held while the
	// real one is opened and migrated; it ends with the process that holds it.
	sqliteLock = "directory.lock"

	urgentConns = 1
	sqliteConns = 8 // readers work in parallel; more would only wait for disk
	// How long a statement waits for another process's write, and an opening
	// process for another's migration.
	busyTimeout = 5 * time.Second
	lockTimeout = 60 * time.Second
)

// openDialect opens the database that the options name, with its tables as
// the newest migration makes them.
func openDialect(ctx context.Context, o Options) (*dialect, error) {
	if o.DatabaseURL == "" {
		return openSQLite(ctx, o.Dir)
	}
	// The URL bears a password: nothing of it but the scheme is repeated.
	scheme, _, _ := strings.Cut(o.DatabaseURL, "://")
	if scheme == mysqlScheme {
		return openMySQL(ctx, o.DatabaseURL)
	}
	return nil, fmt.Errorf("%w: a database URL begins with mysql://", ErrInvalid)
}

func openSQLite(ctx context.Context, dir string) (*dialect, error) {
	if dir == "" {
		return nil, fmt.Errorf("%w: no folder for the directory's file", ErrInvalid)
	}
	path, err := privateFile(dir)
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	unlock, err := lockSQLite(ctx, filepath.Join(filepath.Dir(path), sqliteLock))
	if err != nil {
		return nil, fmt.Errorf("%w: wait for another process's migration: %w", ErrUnavailable, err)
	}
	defer unlock()

	db, err := sql.Open("sqlite", sqliteDSN(path, busyTimeout))
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	db.SetMaxOpenConns(sqliteConns)
	db.SetMaxIdleConns(sqliteConns)
	if err := prepareSQLite(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("directory: %s: %w", path, err), db.Close())
	}
	urgent, err := sql.Open("sqlite", sqliteDSN(path, busyTimeout))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("directory: %w", err), db.Close())
	}
	urgent.SetMaxOpenConns(urgentConns)
	return &dialect{db: db, urgent: urgent, gorm: sqliteDialector{db}, oneWriter: true, explain: explainSQLite}, nil
}

// prepareSQLite runs under the lock: changing to WAL fails at once, without
// waiting, where another connection is there.
func prepareSQLite(ctx context.Context, db *sql.DB) error {
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("this file system gives journal mode %s instead of wal", mode)
	}
	return migrate(ctx, db, goose.DialectSQLite3, "sqlite")
}

// privateFile makes the folder and empty files that only this user can read,
// the database's and its lock's; SQLite gives its other files the same mode.
func privateFile(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	for _, name := range []string{sqliteLock, sqliteFile} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return "", err
		}
		if err := f.Close(); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, sqliteFile), nil
}

// sqliteDSN: transactions begin IMMEDIATE, for one that reads first and
// writes later could otherwise fail without waiting (SQLITE_BUSY_SNAPSHOT).
// Synchronous FULL makes a commit survive a power cut: a password change or a
// used refresh token must not come undone.
func sqliteDSN(path string, busy time.Duration) string {
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(" + strconv.FormatInt(busy.Milliseconds(), 10) + ")",
		"synchronous(FULL)",
		"secure_delete(1)", // what a person's erasure drops is overwritten
	}}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: query.Encode()}).String()
}

// lockSQLite waits until no other process, and no other goroutine, holds path.
func lockSQLite(ctx context.Context, path string) (unlock func(), err error) {
	db, err := sql.Open("sqlite", sqliteDSN(path, lockTimeout))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // the transaction below belongs to the one connection
	if _, err := db.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return func() { _ = db.Close() }, nil // closing rolls back, and so lets go
}

func explainSQLite(err error) string {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("%T", err)
	}
	// The low byte is the primary code, which always has a name.
	return fmt.Sprintf("sqlite: %s, code %d", sqlite.ErrorCodeString[e.Code()&0xff], e.Code())
}
