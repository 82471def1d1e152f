// Package directory keeps what belongs to no single queue: users, their
// refresh tokens, and the list of queues. The list is a projection that
// follows the queues' journals; it is never the truth about a queue.
//
// It lives in SQL, reached through gorm: SQLite in the data dir, or MySQL or
// MariaDB for several nodes. Which it is, is decided in dialect.go alone.
package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
)

// MaxLimit is the most rows that one page of a list holds; a limit outside
// 1 to MaxLimit is brought to the nearer end.
const MaxLimit = 1000

// What the methods fail with. No error bears data of a row.
var (
	// ErrNotFound: there is no such row (or, of a token, no such live one).
	ErrNotFound = errors.New("directory: not found")
	// ErrExists: the id or e-mail is taken.
	ErrExists = errors.New("directory: exists already")
	// ErrInvalid: a value that the directory does not take.
	ErrInvalid = errors.New("directory: invalid")
	// ErrReused: a refresh token was used a second time; its family is gone.
	ErrReused = errors.New("directory: refresh token used twice")
	// ErrJustUsed: it was used a second time within the grace; nothing happened.
	ErrJustUsed = errors.New("directory: refresh token used just now")
	// ErrLastAdmin: there would be nobody left who may administer users.
	ErrLastAdmin = errors.New("directory: the last admin")
	// ErrTooMany: there are as many as there may be.
	ErrTooMany = errors.New("directory: too many")
	// ErrNoPrefix: all prefixes from A to ZZZZ are taken.
	ErrNoPrefix = errors.New("directory: no prefix is free")
	// ErrUnavailable: the database did not do it, for a reason that may pass.
	// A write whose commit failed may have happened.
	ErrUnavailable = errors.New("directory: unavailable")
	// ErrRefused: the database is there and does not let this program do its work.
	ErrRefused = errors.New("directory: refused")
)

// Options says where the directory is kept. Exactly one of Dir and
// DatabaseURL is used; DatabaseURL goes first.
type Options struct {
	Dir         string           // folder of the SQLite file directory.db; made if missing
	DatabaseURL string           // mysql://user:password@host:3306/name; see CheckURL
	Now         func() time.Time // time.Now if nil
	Keys        Keys             // seal what is personal of users; without them there are none
}

// Directory is safe for concurrent use, also beside other processes on the
// same database.
type Directory struct {
	db      *gorm.DB
	dialect *dialect
	now     func() time.Time
	keys    Keys
	// writer has room for one: SQLite lets one write at a time, and waiting
	// here is fair and ends with the context, unlike polling for its lock.
	// Nil where the database takes several writers.
	writer chan struct{}
	// deliveries is maxDeliveries; a field for the tests to change.
	deliveries  int
	backlogFull atomic.Uint64 // see BacklogFull
	untrimmedMu sync.Mutex
	untrimmed   map[string]int // deliveries that died at once since the dead were trimmed, by webhook
	failed      atomic.Uint64  // see Failures
}

// Open opens the directory and brings its tables up to date; several
// processes may do so at once. The caller closes it. It fails with
// ErrUnavailable where the database is away just now, and otherwise where
// waiting is of no use.
func Open(ctx context.Context, o Options) (*Directory, error) {
	dialect, err := openDialect(ctx, o)
	if err != nil {
		return nil, err
	}
	d := &Directory{dialect: dialect, now: o.Now, keys: o.Keys, deliveries: maxDeliveries, untrimmed: make(map[string]int)}
	if d.now == nil {
		d.now = time.Now
	}
	if dialect.oneWriter {
		d.writer = make(chan struct{}, 1)
	}
	d.db, err = gorm.Open(dialect.gorm, &gorm.Config{
		// gorm's own log would print statements with e-mail addresses in them.
		Logger:                 logger.Discard,
		TranslateError:         true,
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("directory: open: %w", err), d.Close())
	}
	if d.keys != nil {
		if err := d.sealPlainUsers(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("directory: seal users: %w", err), d.Close())
		}
	}
	return d, nil
}

// Ping fails with ErrUnavailable where the database does not answer.
func (d *Directory) Ping(ctx context.Context) error { return d.fail(d.dialect.db.PingContext(ctx)) }

// Failures counts what the database did not do for a reason that may pass.
func (d *Directory) Failures() uint64 { return d.failed.Load() }

// Close waits for running statements and closes the database.
func (d *Directory) Close() error { return errors.Join(d.dialect.db.Close(), d.dialect.urgent.Close()) }

// read is where every query outside a transaction begins.
func (d *Directory) read(ctx context.Context) *gorm.DB { return d.db.WithContext(ctx) }

// tries bounds how often a transaction that lost to another is tried.
const tries = 8

// write runs do in one transaction, which is kept only if do returns nil. Do
// may run several times: what it gives to the outside must be that of its last
// run alone.
func (d *Directory) write(ctx context.Context, do func(tx *gorm.DB) error) error {
	if d.writer != nil {
		select {
		case d.writer <- struct{}{}:
			defer func() { <-d.writer }()
		case <-ctx.Done():
			return d.fail(ctx.Err())
		}
	}
	for try := 1; ; try++ {
		err := d.db.WithContext(ctx).Transaction(do)
		if err == nil || try == tries || d.dialect.again == nil || !d.dialect.again(err) || ctx.Err() != nil {
			return d.fail(err)
		}
	}
}

// locked makes a query in a transaction lock the rows it reads, on databases
// that lock rows.
func locked(tx *gorm.DB) *gorm.DB { return tx.Clauses(clause.Locking{Strength: "UPDATE"}) }

// fail turns an error of gorm or the driver into one of this package. It
// drops the driver's text, which may quote the values of the row (MySQL:
// "Duplicate entry 'ada@example.org' for key").
func (d *Directory) fail(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, gorm.ErrRecordNotFound):
		return ErrNotFound
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return ErrExists
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		d.failed.Add(1)
		return fmt.Errorf("%w: %w", ErrUnavailable, context.DeadlineExceeded)
	}
	for _, own := range []error{ErrNotFound, ErrExists, ErrInvalid, ErrReused, ErrJustUsed, ErrLastAdmin, ErrTooMany, ErrNoPrefix, ErrMoved, ErrStale, errSealed, ErrUnavailable} {
		if errors.Is(err, own) {
			return err
		}
	}
	kind := ErrUnavailable
	if d.dialect.refused != nil && d.dialect.refused(err) {
		kind = ErrInvalid
	} else {
		d.failed.Add(1)
	}
	return fmt.Errorf("%w: %s", kind, d.dialect.explain(err))
}

// missing turns "no row was changed" into ErrNotFound.
func missing(result *gorm.DB) error {
	if result.Error == nil && result.RowsAffected == 0 {
		return ErrNotFound
	}
	return result.Error
}

func clampLimit(limit int) int { return min(max(limit, 1), MaxLimit) }

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
