package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"nowserving/persistence/mariadbtest"
)

// What is MySQL's and MariaDB's own.

func TestMySQLURL(t *testing.T) {
	t.Parallel()
	for url, expected := range map[string]string{
		"mysql://u:p%40ss%2Fw%3A%25@db.example:3307/queues": "u p@ss/w:% db.example:3307 queues ",
		"mysql://u@h/n":                    "u  h:3306 n ",
		"mysql://a%20b:@[::1]/n%20m":       "a b  [::1]:3306 n m ",
		"mysql://u:p@h/n?tls=skip-verify":  "u p h:3306 n skip-verify",
		"mysql://u:p@127.0.0.1/n?tls=true": "u p 127.0.0.1:3306 n true",
	} {
		c, err := mysqlConfig(url)
		check(t, err)
		if got := fmt.Sprintf("%s %s %s %s %s", c.User, c.Passwd, c.Addr, c.DBName, c.TLSConfig); got != expected {
			t.Errorf("%s: %s, want %s", url, got, expected)
		}
	}
}

func TestMySQLThatDoesNotLetUsIn(t *testing.T) {
	t.Parallel()
	good := mariadbtest.Start(t)
	userinfo := good[:strings.Index(good, "@127")]
	for url, why := range map[string]struct {
		kind error
		says string
	}{
		strings.Replace(good, userinfo, "mysql://nowserving:hunter2", 1): {ErrRefused, "wrong user or password"},
		strings.Replace(good, "/test_", "/hunter2_", 1):                  {ErrRefused, "no such database"},
		good + "?tls=true":                 {ErrRefused, "TLS"},
		"mysql://u:hunter2@127.0.0.1:1/db": {ErrUnavailable, "connection refused"},
	} {
		_, err := Open(t.Context(), Options{DatabaseURL: url})
		want(t, err, why.kind)
		if !strings.Contains(err.Error(), why.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %s", err, why.says)
		}
	}
}

// A process that was killed between two statements of a migration leaves
// tables that no version tells of.
func TestMySQLMigrationGoesOnWhereItWasCutOff(t *testing.T) {
	t.Parallel()
	o := Options{DatabaseURL: mariadbtest.Start(t)}
	d := mustOpen(t, o)
	_, err := d.CreateUser(t.Context(), someone("a@x"))
	check(t, err)
	for _, statement := range []string{"DELETE FROM goose_db_version WHERE version_id > 0", "DROP TABLE prefix_reservations"} {
		_, err := d.dialect.db.Exec(statement)
		check(t, err)
	}
	again := mustOpen(t, o)
	reserve(t, again, "q", "A")
	if n, err := again.CountUsers(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d users, %v", n, err)
	}
}

func TestMySQLSession(t *testing.T) {
	t.Parallel()
	d := mustOpen(t, Options{DatabaseURL: mariadbtest.Start(t)})
	var isolation, mode, zone string
	check(t, d.dialect.db.QueryRow("SELECT @@tx_isolation, @@sql_mode, @@time_zone").Scan(&isolation, &mode, &zone))
	if isolation != "READ-COMMITTED" || !strings.Contains(mode, "STRICT_ALL_TABLES") || zone != "+00:00" {
		t.Fatal(isolation, mode, zone)
	}
	// Strict: what does not fit is refused, not cut off, and for good.
	u := someone("a@x")
	u.ID = strings.Repeat("a", 255)
	_, err := d.CreateUser(t.Context(), u)
	want(t, err, ErrInvalid)
	if strings.Contains(err.Error(), "aa") {
		t.Fatal("the error tells the value")
	}
}

// Two transactions that lock two rows in opposite orders: the server ends one
// of them, which is then tried again.
func TestMySQLDeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	d, ctx := mustOpen(t, Options{DatabaseURL: mariadbtest.Start(t)}), t.Context()
	check(t, d.PutQueues(ctx, rowOf("a", 1), rowOf("b", 1)))
	bump := func(tx *gorm.DB, id string) error {
		return tx.Model(&queueRow{}).Where("id = ?", id).Update("waiting", gorm.Expr("waiting + 1")).Error
	}
	var both, each sync.WaitGroup
	both.Add(2)
	runs := make(chan struct{}, 2*tries)
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		each.Go(func() {
			met := false
			err := d.write(ctx, func(tx *gorm.DB) error {
				runs <- struct{}{}
				if err := bump(tx, order[0]); err != nil {
					return err
				}
				if !met { // both hold their first row now
					met = true
					both.Done()
					both.Wait()
				}
				return bump(tx, order[1])
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	each.Wait()
	if len(runs) != 3 {
		t.Errorf("%d runs, want 3", len(runs))
	}
	for _, id := range []string{"a", "b"} {
		if q, err := d.GetQueue(ctx, id); err != nil || q.Waiting != 5 {
			t.Errorf("%s: %d, %v", id, q.Waiting, err)
		}
	}
}

// A killed server costs errors while it is away, and nothing afterwards: no
// restart of ours, and all that was acknowledged is there.
func TestMySQLComesBack(t *testing.T) {
	t.Parallel()
	server := mariadbtest.StartWith(t, mariadbtest.Options{})
	d := mustOpen(t, Options{DatabaseURL: server.Database(t)})
	for round := range 3 {
		var clients sync.WaitGroup
		var mu sync.Mutex
		var kept []string
		failed := make(chan struct{})
		var once sync.Once
		enough, stop := make(chan struct{}, 8), make(chan struct{})
		for i := range 8 {
			clients.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					email := fmt.Sprintf("%d-%d-%d@x", round, i, n)
					_, err := d.CreateUser(t.Context(), someone(email))
					switch {
					case err == nil:
						mu.Lock()
						kept = append(kept, email)
						mu.Unlock()
					case !errors.Is(err, ErrUnavailable):
						t.Errorf("%s: %v", email, err)
						return
					default:
						once.Do(func() { close(failed) })
					}
					if n == 10 {
						enough <- struct{}{}
					}
				}
			})
		}
		for range 8 {
			within(t, "users are made", enough)
		}
		server.Kill()
		within(t, "it is noticed", failed)
		want(t, d.Ping(t.Context()), ErrUnavailable)
		close(stop)
		clients.Wait()
		check(t, server.Restart())
		for _, email := range kept {
			check(t, second(d.UserByEmail(t.Context(), email)))
		}
		check(t, d.PutQueue(t.Context(), rowOf("q", uint64(round+1))))
		check(t, d.Ping(t.Context()))
	}
}

// A server that is there and says nothing costs its callers no more than the
// time that they have.
func TestMySQLThatHangs(t *testing.T) {
	t.Parallel()
	server := mariadbtest.StartWith(t, mariadbtest.Options{})
	d := mustOpen(t, Options{DatabaseURL: server.Database(t)})
	check(t, d.PutQueue(t.Context(), rowOf("q", 1)))
	check(t, server.Pause())
	for gone := false; !gone; { // the signal needs a moment
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		gone = d.Ping(ctx) != nil
		cancel()
	}
	began := time.Now()
	var callers sync.WaitGroup
	for range 2 * mysqlConns { // more than there are connections
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := d.GetQueue(ctx, "q")
			if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		})
	}
	callers.Wait()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	check(t, server.Resume())
	if q, err := d.GetQueue(t.Context(), "q"); err != nil || q.Version != 1 {
		t.Fatal(q, err)
	}
}

func within[T any](t *testing.T, what string, done <-chan T) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("it did not come to be: %s", what)
	}
}

// A logout waits for a refresh of its login that is under way, and leaves nothing
// of it: the next token may lie where the deletion has been already, for at READ
// COMMITTED the room between rows is nobody's.
func TestMySQLLogoutInTheMiddleOfARefresh(t *testing.T) {
	t.Parallel()
	d, ctx := mustOpen(t, Options{DatabaseURL: mariadbtest.Start(t)}), t.Context()
	u, err := d.CreateUser(ctx, someone("a@x"))
	check(t, err)
	token := tokenOf(u.ID, "login", 0)
	token.Hash = TokenHash{0xff}
	check(t, d.AddRefresh(ctx, token))
	out := make(chan error, 1)
	_, _, err = d.useRefresh(ctx, token.Hash, at, 0, func(tx *gorm.DB, used RefreshToken) error {
		go func() { out <- d.DropFamily(ctx, token.Family) }()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for waits := 0; waits < 10; <-tick.C {
			var n int
			check(t, d.dialect.db.QueryRow("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'DELETE FROM `refresh_tokens`%'").Scan(&n))
			waits += n
		}
		used.Hash, used.UsedAt = TokenHash{1}, time.Time{}
		row := newRefreshRow(used)
		return tx.Create(&row).Error
	})
	check(t, err)
	check(t, <-out)
	_, _, err = d.UseRefresh(ctx, TokenHash{1}, at)
	want(t, err, ErrNotFound)
}
