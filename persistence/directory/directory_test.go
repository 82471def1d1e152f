package directory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"nowserving/persistence/mariadbtest"
)

// opener opens a directory of the same database each time it is called.
type opener func(t *testing.T, now func() time.Time) *Directory

// databases give the options of a fresh, empty database. Every one of them
// must pass the same suite.
var databases = map[string]func(t testing.TB) Options{
	"sqlite":  func(t testing.TB) Options { return Options{Dir: t.TempDir()} },
	"mariadb": func(t testing.TB) Options { return Options{DatabaseURL: mariadbtest.Start(t)} },
}

func onEach(t *testing.T, test func(t *testing.T, fresh func(testing.TB) Options)) {
	t.Helper()
	for name, fresh := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fresh)
		})
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, fresh func(testing.TB) Options) {
		conformance(t, func(t *testing.T) opener {
			o := fresh(t)
			return func(t *testing.T, now func() time.Time) *Directory {
				o := o
				o.Now = now
				return mustOpen(t, o)
			}
		})
	})
}

func conformance(t *testing.T, newDatabase func(*testing.T) opener) {
	for name, test := range historyTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newDatabase(t))
		})
	}
	for name, test := range checkpointTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newDatabase(t))
		})
	}
	for name, test := range webhookTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newDatabase(t))
		})
	}
	for name, test := range dataKeyTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newDatabase(t))
		})
	}
	for name, test := range map[string]func(*testing.T, opener){
		"users": testUsers, "user pages": testUserPages, "sessions end": testSessionsEnd,
		"errors hold no address": testErrorsHoldNoAddress,
		"refresh once":           testRefreshOnce, "refresh void": testRefreshVoid, "refresh race": testRefreshRace,
		"sweep":             testSweep,
		"access while busy": testAccessWhileBusy, "logins": testLogins, "logins at once": testLoginsAtOnce, "login cut off": testLoginCutOff, "operators": testOperators, "queue version": testQueueVersion, "queue line": testQueueLine, "queue race": testQueueRace, "queue pages": testQueuePages,
		"known versions": testKnownVersions, "widest values": testWidestValues, "bytes are compared": testBytesAreCompared,
		"prefix order": testPrefixOrder, "prefix lapse": testPrefixLapse, "prefix race": testPrefixRace,
		"prefix of a queue made anew": testPrefixOfQueueMadeAnew,
		"two handles":                 testTwoHandles, "context": testContext,
		"statistics": testStatistics, "statistics of many": testStatisticsOf, "statistics in parts": testStatisticsParts,
		"rules": testRules, "rules end": testRulesEnd, "rules race": testRulesRace, "audit": testAudit, "last admin": testLastAdmin, "audited users": testAuditedUsers, "api keys": testKeys,
		"access changes": testAccessChanges, "narrowed login": testNarrowedLoginGoesOn, "access race": testAccessRace, "access and a fast clock": testAccessFastClock,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newDatabase(t))
		})
	}
}

func mustOpen(t *testing.T, o Options) *Directory {
	t.Helper()
	if o.Keys == nil {
		o.Keys = oneRing
	}
	d, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

// testTwoHandles: several openings at once migrate once, and see each other.
func testTwoHandles(t *testing.T, open opener) {
	handles := make([]*Directory, 4)
	var wg sync.WaitGroup
	for i := range handles {
		wg.Go(func() { handles[i] = open(t, nil) })
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for i, d := range handles {
		wg.Go(func() {
			for n := range 10 {
				if _, err := d.CreateUser(t.Context(), someone(fmt.Sprintf("u%d-%d@x", i, n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n, err := handles[0].CountUsers(t.Context())
	if err != nil || n != 40 {
		t.Fatalf("%d users, %v", n, err)
	}
}

func testContext(t *testing.T, open opener) {
	d := open(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.CountUsers(ctx)
	want(t, err, ErrUnavailable)
	want(t, err, context.Canceled)
	want(t, d.PutQueue(ctx, QueueRow{ID: "q"}), context.Canceled)
	check(t, d.Ping(t.Context()))
}

// Beyond what is seen through the directory's methods.

func TestMain(m *testing.M) {
	// The child of TestProcessesOpenAtOnce.
	if dir, url := os.Getenv("DIRECTORY_TEST_DIR"), os.Getenv("DIRECTORY_TEST_URL"); dir+url != "" {
		os.Exit(child(Options{Dir: dir, DatabaseURL: url}))
	}
	os.Exit(m.Run())
}

func child(o Options) int {
	o.Keys = oneRing
	d, err := Open(context.Background(), o)
	if err == nil {
		for i := 0; i < 20 && err == nil; i++ {
			_, err = d.CreateUser(context.Background(), someone(fmt.Sprintf("%d-%d@x", os.Getpid(), i)))
		}
		err = errors.Join(err, d.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestProcessesOpenAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, fresh func(testing.TB) Options) {
		o := fresh(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), "DIRECTORY_TEST_DIR="+o.Dir, "DIRECTORY_TEST_URL="+o.DatabaseURL)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		wg.Wait()
		n, err := mustOpen(t, o).CountUsers(t.Context())
		if err != nil || n != 80 {
			t.Fatalf("%d users, %v", n, err)
		}
	})
}

func TestNewerTablesAreRefused(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, fresh func(testing.TB) Options) {
		o := fresh(t)
		d := mustOpen(t, o)
		_, err := d.dialect.db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
		check(t, err)
		if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "version 99") {
			t.Fatal(err)
		}
	})
}

func TestMigrationGoesBackAndForth(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, fresh func(testing.TB) Options) {
		o := fresh(t)
		d := mustOpen(t, o)
		dialect, folder := goose.DialectSQLite3, "sqlite"
		if o.DatabaseURL != "" {
			dialect, folder = goose.DialectMySQL, "mysql"
		}
		p, err := newProvider(d.dialect.db, dialect, folder)
		check(t, err)
		_, err = p.DownTo(t.Context(), 0)
		check(t, err)
		_, err = p.Up(t.Context())
		check(t, err)
	})
}

func TestDatabaseURLsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://u:hunter2@h/db", "hunter2", "mysql:hunter2", "mysql://u:hunter2@h", "mysql://u:hunter2@h/", "mysql://u:hunter2@h/a/b",
		"mysql://u:hunter2%@h/db", "mysql://u:hunter2@/db", "mysql://:hunter2@h/db", "mysql://u:hunter2@h:port/db",
		"mysql://u:hunter2@h/db?tls=hunter2", "mysql://u:hunter2@h/db?hunter2=1", "mysql://u:p@h/db?tls=true&tls=true", "mysql://u:hunter2@h/db#x",
	} {
		_, err := Open(t.Context(), Options{Dir: t.TempDir(), DatabaseURL: url})
		want(t, err, ErrInvalid)
		if strings.Contains(err.Error(), "hunter2") {
			t.Fatal("the error tells the password")
		}
		if !errors.Is(CheckURL(url), ErrInvalid) && strings.HasPrefix(url, "mysql") {
			t.Fatal("CheckURL lets it pass: " + url)
		}
	}
	_, err := Open(t.Context(), Options{})
	want(t, err, ErrInvalid)
}

// What is SQLite's own.

func TestSQLiteFileIsPrivateAndKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "odd %41? name#")
	d := mustOpen(t, Options{Dir: dir})
	_, err := d.CreateUser(t.Context(), someone("a@x"))
	check(t, err)
	files, err := filepath.Glob(filepath.Join(dir, sqliteFile+"*"))
	if err != nil || len(files) != 3 { // the file, -wal and -shm
		t.Fatal(files, err)
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatal(name, info.Mode(), err)
		}
	}
	if n, err := mustOpen(t, Options{Dir: dir}).CountUsers(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d users, %v", n, err)
	}
}

func TestWriteBesideAHeldLockWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := mustOpen(t, Options{Dir: dir}), mustOpen(t, Options{Dir: dir})
	tx := a.db.Begin()
	check(t, tx.Error)
	done := make(chan error)
	go func() { done <- b.PutQueue(context.Background(), QueueRow{ID: "q", Version: 1}) }()
	if _, err := b.GetQueue(t.Context(), "q"); !errors.Is(err, ErrNotFound) { // readers do not wait
		t.Fatal(err)
	}
	check(t, tx.Commit().Error)
	check(t, <-done)
}
