package persistence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"nowserving/actors/queue"
)

func openSQLite(t *testing.T, dir string) *SQLiteJournal {
	t.Helper()
	j, err := OpenSQLiteJournal(t.Context(), dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func TestSQLiteDataDirHasOneNode(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	j := openSQLite(t, dir)
	_, err := OpenSQLiteJournal(t.Context(), dir, quiet)
	if err == nil || !strings.Contains(err.Error(), "data dir "+dir+" is in use by another node") {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	openSQLite(t, dir)
}

func TestSQLiteFilesAreTheUsersOwn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data ?#% ü")
	claim(t, openSQLite(t, dir), "q").append(1, "a")
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 4 { // lock, file, -wal, -shm
		t.Fatal(files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatal(f, err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatal(info.Mode(), err)
	}
}

func TestSQLiteRefusesALaterFormat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openSQLite(t, dir)
	mustExec(t, j, "PRAGMA user_version = 99")
	_ = j.Close()
	if _, err := OpenSQLiteJournal(t.Context(), dir, quiet); err == nil || !strings.Contains(err.Error(), "format is 99") {
		t.Fatal(err)
	}
}

// mustExec runs a statement on the writer's connection, between its transactions.
func mustExec(t *testing.T, j *SQLiteJournal, statement string) {
	t.Helper()
	if _, err := j.writer.conn.ExecContext(context.Background(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestSQLiteFullDiskLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openSQLite(t, dir)
	l := claim(t, j, "q")
	a := l.append(1, "a")
	mustExec(t, j, "PRAGMA max_page_count = 1") // SQLite takes the present size instead
	big := l.entry(1, make([]byte, 1<<20))
	wantError(t, l.try(big), queue.ErrUnavailable)
	wantEntries(t, j, "q", 0, 10, a)
	mustExec(t, j, "PRAGMA max_page_count = 1000000")
	if err := l.try(big); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, j, "q", 0, 10, a, big)
	l.j = openAgain(t, j, dir)
	wantEntries(t, l.j, "q", 0, 10, a, big)
}

func openAgain(t *testing.T, j *SQLiteJournal, dir string) *SQLiteJournal {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return openSQLite(t, dir)
}

// TestSQLiteFailedCommit lets a commit fail: everyone in it learns that the fate
// is unknown, and afterwards memory and file agree again.
func TestSQLiteFailedCommit(t *testing.T) {
	t.Parallel()
	j := openSQLite(t, t.TempDir())
	lines := make([]*line, 8)
	for i := range lines {
		lines[i] = claim(t, j, fmt.Sprint("q", i))
		lines[i].append(1, "a")
	}
	failing, err := j.writer.conn.PrepareContext(t.Context(), "INSERT INTO heads (queue) VALUES (NULL)")
	if err != nil {
		t.Fatal(err)
	}
	j.writer.stmts.commit = failing // until settle prepares them all anew
	var wg sync.WaitGroup
	unknowns := make(chan string, len(lines))
	for _, l := range lines {
		wg.Go(func() {
			e := l.entry(1, []byte("b"))
			err := l.try(e)
			if errors.Is(err, queue.ErrUnknown) {
				unknowns <- l.queue
				err = l.try(e)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(unknowns) == 0 {
		t.Fatal("no call learned that its commit failed")
	}
	for _, l := range lines {
		if entries, err := j.Read(t.Context(), l.queue, 0, 10); err != nil || len(entries) != 2 {
			t.Fatal(len(entries), err)
		}
		wantHead(t, j, l.queue, l.head)
	}
}

func TestSQLiteFailedClaimLeavesTheOwner(t *testing.T) {
	t.Parallel()
	j := openSQLite(t, t.TempDir())
	l := claim(t, j, "q")
	failing, err := j.writer.conn.PrepareContext(t.Context(), "INSERT INTO heads (queue) VALUES (NULL)")
	if err != nil {
		t.Fatal(err)
	}
	j.writer.stmts.commit = failing
	_, err = j.Claim(t.Context(), "q", random16())
	wantError(t, err, queue.ErrUnknown)
	if err := owns(j, "q", l.owner); err != nil {
		t.Fatal(err)
	}
	l.append(1, "a")
}

func TestSQLiteSeesDamage(t *testing.T) {
	t.Parallel()
	j := openSQLite(t, t.TempDir())
	l := claim(t, j, "q")
	l.append(1, "a")
	l.append(1, "b")
	l.append(1, "c")
	mustExec(t, j, "DELETE FROM entries WHERE last = 2")
	_, err := j.Read(t.Context(), "q", 0, 10)
	wantError(t, err, queue.ErrDamaged)
}
