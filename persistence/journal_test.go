package persistence

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"testing"

	"nowserving/actors/queue"
	"nowserving/persistence/redistest"
)

// journal is what the suite asks of both stores; actors declares its own.
type journal interface {
	Claim(ctx context.Context, queue string, owner queue.OwnerID) (queue.Head, error)
	Append(queue string, owner queue.OwnerID, prev queue.OpID, e queue.Entry, done func(error))
	Owns(queue string, owner queue.OwnerID, at uint64, done func(error))
	LoadSnapshot(ctx context.Context, queue string) (queue.Snapshot, error)
	SaveSnapshot(ctx context.Context, queue string, owner queue.OwnerID, s queue.Snapshot, trimTo uint64) error
	Read(ctx context.Context, queue string, after uint64, maxEntries int) ([]queue.Entry, error)
	Versions(ctx context.Context, queues []string) ([]uint64, error)
	Queues(ctx context.Context, after string, limit int) ([]string, error)
	Ping(ctx context.Context) error
	Close() error
}

// store is one store under test: its journal, and a crash of it.
type store struct {
	journal
	// reopen closes the journal, makes the store itself fall over where it is a
	// process of its own, and opens it again on the same data.
	reopen func() journal
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestJournalConformance(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) *store{"sqlite": openSQLiteStore, "redis": openRedisStore} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range journalCases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(t, open(t))
				})
			}
		})
	}
}

func openSQLiteStore(t *testing.T) *store {
	dir := t.TempDir()
	open := func() journal {
		j, err := OpenSQLiteJournal(t.Context(), dir, quiet)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = j.Close() })
		return j
	}
	s := &store{journal: open()}
	s.reopen = func() journal { _ = s.Close(); s.journal = open(); return s.journal }
	return s
}

func openRedisStore(t *testing.T) *store {
	server := redistest.StartWith(t, redistest.Options{})
	s := &store{journal: openRedis(t, server.URL(), RedisOptions{})}
	s.reopen = func() journal {
		_ = s.Close()
		if err := server.Restart(); err != nil { // with kill -9
			t.Fatal(err)
		}
		s.journal = openRedis(t, server.URL(), RedisOptions{})
		return s.journal
	}
	return s
}

func openRedis(t testing.TB, url string, opts RedisOptions) *RedisJournal {
	t.Helper()
	j, err := OpenRedisJournal(t.Context(), url, quiet, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// random16 makes owners and operations.
func random16() (id [16]byte) {
	_, _ = rand.Read(id[:])
	return id
}

// line is a test's activation of one queue: it appends after what it appended.
type line struct {
	t     testing.TB
	j     journal
	queue string
	owner queue.OwnerID
	head  queue.Head
}

func claim(t testing.TB, j journal, queueID string) *line {
	t.Helper()
	l := &line{t: t, j: j, queue: queueID, owner: random16()}
	head, err := j.Claim(context.Background(), queueID, l.owner)
	if err != nil {
		t.Fatalf("claim: %v", err)
	}
	l.head = head
	return l
}

// entry makes the one of n events that follows.
func (l *line) entry(n int, data []byte) queue.Entry {
	return queue.Entry{First: l.head.Version + 1, Last: l.head.Version + uint64(n), Op: random16(), Data: data}
}

func (l *line) append(n int, data string) queue.Entry {
	l.t.Helper()
	e := l.entry(n, []byte(data))
	if err := l.try(e); err != nil {
		l.t.Fatalf("append %d to %d: %v", e.First, e.Last, err)
	}
	return e
}

func (l *line) try(e queue.Entry) error {
	err := appendTo(l.j, l.queue, l.owner, l.head.Op, e)
	if err == nil {
		l.head.Version, l.head.Op = e.Last, e.Op
	}
	return err
}

// appendTo waits for the answer.
func appendTo(j journal, queueID string, owner queue.OwnerID, prev queue.OpID, e queue.Entry) error {
	answer := make(chan error, 1)
	j.Append(queueID, owner, prev, e, func(err error) { answer <- err })
	return <-answer
}

func owns(j journal, queueID string, owner queue.OwnerID) error { return ownsAt(j, queueID, owner, 0) }

func ownsAt(j journal, queueID string, owner queue.OwnerID, at uint64) error {
	answer := make(chan error, 1)
	j.Owns(queueID, owner, at, func(err error) { answer <- err })
	return <-answer
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func wantHead(t testing.TB, j journal, queueID string, want queue.Head) {
	t.Helper()
	got, err := j.Claim(context.Background(), queueID, random16())
	if err != nil || got != want {
		t.Fatalf("claim: %v, %v, want %v", got, err, want)
	}
}

func wantEntries(t testing.TB, j journal, queueID string, after uint64, limit int, want ...queue.Entry) {
	t.Helper()
	got, err := j.Read(context.Background(), queueID, after, limit)
	if err != nil {
		t.Fatalf("read after %d: %v", after, err)
	}
	if len(got) != len(want) {
		t.Fatalf("read after %d: %d entries, want %d", after, len(got), len(want))
	}
	for i, e := range got {
		if e.First != want[i].First || e.Last != want[i].Last || e.Op != want[i].Op || !bytes.Equal(e.Data, want[i].Data) {
			t.Fatalf("read after %d: entry %d is %d to %d, not as appended", after, i, e.First, e.Last)
		}
	}
}
