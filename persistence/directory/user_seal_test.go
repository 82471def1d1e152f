package directory

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pressly/goose/v3"

	"nowserving/persistence/seal"
)

// ringOf has a key for each id, the same each time.
func ringOf(ids ...string) *seal.Ring {
	var entries []string
	for _, id := range ids {
		entries = append(entries, id+":"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte(id)[:1], seal.KeySize)))
	}
	r, err := seal.ParseRing(strings.Join(entries, ","))
	if err != nil {
		panic(err)
	}
	return r
}

var oneRing = ringOf("k1")

// with opens a database again with another ring.
func with(t *testing.T, o Options, ids ...string) *Directory {
	o.Keys, o.Now = ringOf(ids...), clock
	return mustOpen(t, o)
}

// dump is every value of every row that is about users.
func dump(t *testing.T, d *Directory) string {
	t.Helper()
	var text strings.Builder
	for _, table := range []string{"users", "user_emails", "audit_log", "api_keys", "refresh_tokens", "webhooks"} {
		dumpTable(t, d, table, &text)
	}
	return text.String()
}

func dumpTable(t *testing.T, d *Directory, table string, text *strings.Builder) {
	t.Helper()
	rows, err := d.dialect.db.Query("SELECT * FROM " + table)
	check(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	check(t, err)
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new([]byte)
		}
		check(t, rows.Scan(values...))
		for _, v := range values {
			text.Write(*v.(*[]byte))
			text.WriteByte('\n')
		}
	}
	check(t, rows.Err())
}

// files is what stands in the files of an embedded directory.
func files(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	check(t, err)
	var all []byte
	for _, name := range names {
		text, err := os.ReadFile(name)
		check(t, err)
		all = append(all, text...)
	}
	return string(all)
}

func TestUsersAreSealed(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, fresh func(testing.TB) Options) {
		o := fresh(t)
		d, ctx := with(t, o, "k1"), t.Context()
		u := someone("lovelace@example.org")
		u.Name = "Ada Lovelace"
		u, err := d.CreateUser(ctx, u)
		check(t, err)
		name, email := "Countess Lovelace", "lovelace@example.net"
		u, err = d.UpdateUser(ctx, u.ID, UserPatch{Name: &name, Email: &email})
		check(t, err)
		raw := dump(t, d)
		if o.Dir != "" {
			raw += files(t, o.Dir)
		}
		if !strings.Contains(raw, u.ID) || strings.Contains(strings.ToLower(raw), "lovelace") {
			t.Fatal("the database can be read, or is not what was read")
		}
		want(t, second(d.UserByEmail(ctx, "lovelace@example.org")), ErrNotFound)
		if got, err := d.UserByEmail(ctx, email); err != nil || !reflect.DeepEqual(got, u) || u.Email != email || u.Name != name {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

// What a version before left as it was typed is sealed at the start, and is in no
// file any more.
func TestPlainUsersAreSealedAtTheStart(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, fresh func(testing.TB) Options) {
		o := fresh(t)
		d, ctx := with(t, o, "k1"), t.Context()
		dialect, folder := goose.DialectSQLite3, "sqlite"
		if o.DatabaseURL != "" {
			dialect, folder = goose.DialectMySQL, "mysql"
		}
		p, err := newProvider(d.dialect.db, dialect, folder)
		check(t, err)
		_, err = p.DownTo(ctx, 9)
		check(t, err)
		var users []User
		for i := range 200 { // pages enough that some are left over
			u := someone(fmt.Sprintf("lovelace%d@example.org", i))
			u.ID, u.Name, u.CreatedAt, u.UpdatedAt = fmt.Sprint("user", i), "Ada Lovelace", at, at
			_, err = d.dialect.db.Exec("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
				u.ID, u.Email, u.Name, u.Level, queuesColumn(u.Queues), u.PasswordHash, false, millis(at), millis(at), 0)
			check(t, err)
			users = append(users, u)
		}
		d = with(t, o, "k1")
		for _, u := range users {
			if got, err := d.UserByEmail(ctx, u.Email); err != nil || !reflect.DeepEqual(got, u) {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		raw := dump(t, d)
		if o.Dir != "" {
			raw += files(t, o.Dir)
		}
		if strings.Contains(strings.ToLower(raw), "lovelace") {
			t.Fatal("the database can still be read")
		}
	})
}

// Values that were moved or changed do not open, and lead to nobody.
func TestMovedUsersDoNotOpen(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, fresh func(testing.TB) Options) {
		o := fresh(t)
		d, ctx := with(t, o, "k1"), t.Context()
		var ids []string
		for _, email := range []string{"a@x", "b@x", "c@x", "d@x", "e@x"} {
			u, err := d.CreateUser(ctx, someone(email))
			check(t, err)
			ids = append(ids, u.ID)
		}
		rows := map[string]userRow{}
		for _, id := range ids {
			var row userRow
			check(t, d.read(ctx).Where("id = ?", id).Take(&row).Error)
			rows[id] = row
		}
		put := func(id string, email, name []byte) {
			t.Helper()
			_, err := d.dialect.db.Exec("UPDATE users SET email = ?, name = ? WHERE id = ?", email, name, id)
			check(t, err)
		}
		flipped := bytes.Clone(rows[ids[1]].Email)
		flipped[len(flipped)-1] ^= 1
		check(t, d.DeleteUser(ctx, ids[4]))
		put(ids[0], rows[ids[4]].Email, rows[ids[4]].Name) // of another user
		put(ids[1], flipped, rows[ids[1]].Name[:5])
		put(ids[2], rows[ids[2]].Name, rows[ids[2]].Email) // of another field
		for _, id := range ids[:3] {
			if u, err := d.UserByID(ctx, id); err != nil || u.Email != "" || u.Name != "" || u.Level != Attendant {
				t.Errorf("%+v, %v", u, err)
			}
		}
		// An index that was bent to another user leads to nobody.
		_, err := d.dialect.db.Exec("UPDATE user_emails SET user_id = ? WHERE user_id = ?", ids[3], ids[0])
		check(t, err)
		want(t, second(d.UserByEmail(ctx, "a@x")), ErrNotFound)
		if u, err := d.UserByEmail(ctx, "d@x"); err != nil || u.ID != ids[3] {
			t.Errorf("%+v, %v", u, err)
		}
	})
}

// A ring is rotated beside nodes that have the old one: add at the end, move to
// the front, reseal, remove.
func TestUsersFollowTheRing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, fresh func(testing.TB) Options) {
		o := fresh(t)
		ctx := t.Context()
		old, added, front := with(t, o, "a"), with(t, o, "a", "b"), with(t, o, "b", "a")
		for i, d := range []*Directory{old, added, front} {
			_, err := d.CreateUser(ctx, someone(fmt.Sprintf("u%d@x", i)))
			check(t, err)
		}
		found := func(d *Directory, emails ...string) {
			t.Helper()
			for _, email := range emails {
				if u, err := d.UserByEmail(ctx, email); err != nil || u.Email != email {
					t.Fatalf("%s: %+v, %v", email, u, err)
				}
			}
		}
		found(added, "u0@x", "u1@x", "u2@x")
		found(front, "u0@x", "u1@x", "u2@x")
		// An address is taken, whichever ring one has.
		for _, d := range []*Directory{old, added, front} {
			for i := range 3 {
				want(t, second(d.CreateUser(ctx, someone(fmt.Sprintf("u%d@x", i)))), ErrExists)
			}
		}
		var won atomic.Int32
		var wg sync.WaitGroup
		for _, d := range []*Directory{added, front, added, front} {
			wg.Go(func() {
				if _, err := d.CreateUser(ctx, someone("race@x")); err == nil {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d have the address", won.Load())
		}
		changed, lost, err := front.ResealUsers(ctx)
		if err != nil || changed != 4 || lost != 0 {
			t.Fatalf("%d changed, %d lost, %v", changed, lost, err)
		}
		if keys, err := front.UserRingKeys(ctx); err != nil || !reflect.DeepEqual(keys, map[string]int{"b": 4}) {
			t.Fatalf("%v, %v", keys, err)
		}
		removed := with(t, o, "b")
		found(removed, "u0@x", "u1@x", "u2@x", "race@x")

		// With a ring that has lost the key the user still is, without its name.
		other := with(t, o, "c")
		u, err := other.UserByID(ctx, mustFind(t, removed, "u0@x"))
		if err != nil || u.Email != "" || u.Level != Attendant {
			t.Fatalf("%+v, %v", u, err)
		}
		want(t, second(other.UserByEmail(ctx, "u0@x")), ErrNotFound)
		if changed, lost, err := other.ResealUsers(ctx); err != nil || changed != 0 || lost != 4 {
			t.Fatalf("%d changed, %d lost, %v", changed, lost, err)
		}
		found(removed, "u0@x")
	})
}

func mustFind(t *testing.T, d *Directory, email string) string {
	t.Helper()
	u, err := d.UserByEmail(t.Context(), email)
	check(t, err)
	return u.ID
}
