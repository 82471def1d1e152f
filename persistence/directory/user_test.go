package directory

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func someone(email string) User {
	return User{Email: email, Name: "N", Level: Attendant, Queues: []string{"q1", "q2"}, PasswordHash: "h"}
}

// At is a clock that stands still; milliseconds, as the database keeps them.
var at = time.Date(2026, 11, 22, 12, 0, 0, 5e6, time.UTC)

func clock() time.Time { return at }

func testUsers(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	created, err := d.CreateUser(ctx, someone("  Ada@Example.ORG "))
	check(t, err)
	if created.Email != "ada@example.org" || created.ID == "" || !created.CreatedAt.Equal(at) {
		t.Fatalf("%+v", created)
	}
	byEmail, err := d.UserByEmail(ctx, "ADA@example.org")
	check(t, err)
	byID, err := d.UserByID(ctx, created.ID)
	check(t, err)
	if !reflect.DeepEqual(byEmail, created) || !reflect.DeepEqual(byID, created) {
		t.Fatalf("%+v, %+v", byEmail, byID)
	}

	name, level, queues := "Ada", Supervisor, []string{"*"}
	updated, err := d.UpdateUser(ctx, created.ID, UserPatch{Name: &name, Level: &level, Queues: &queues})
	check(t, err)
	expected := created
	expected.Name, expected.Level, expected.Queues, expected.TokenEpoch = name, level, queues, 1
	if byID, err = d.UserByID(ctx, created.ID); err != nil || !reflect.DeepEqual(updated, expected) || !reflect.DeepEqual(byID, expected) {
		t.Fatalf("%+v, %+v, %v", updated, byID, err)
	}

	check(t, d.DeleteUser(ctx, created.ID))
	for _, err := range []error{
		second(d.UserByID(ctx, created.ID)), second(d.UserByEmail(ctx, created.Email)),
		second(d.UpdateUser(ctx, created.ID, UserPatch{})), d.DeleteUser(ctx, created.ID),
		d.SetPassword(ctx, created.ID, "h2"), d.DropUserSessions(ctx, created.ID),
	} {
		want(t, err, ErrNotFound)
	}
}

func second[T any](_ T, err error) error { return err }

func testUserPages(t *testing.T, open opener) {
	d, ctx := open(t, nil), t.Context()
	var ids []string
	for _, email := range []string{"a@x", "b@x", "c@x", "d@x", "e@x"} {
		u, err := d.CreateUser(ctx, someone(email))
		check(t, err)
		ids = append(ids, u.ID)
	}
	var seen []string
	for after := ""; ; after = seen[len(seen)-1] {
		page, err := d.ListUsers(ctx, after, 2)
		check(t, err)
		for _, u := range page {
			seen = append(seen, u.ID)
		}
		if len(page) < 2 {
			break
		}
	}
	if !reflect.DeepEqual(seen, ids) {
		t.Fatalf("%v, want %v", seen, ids)
	}
}

// testOperators: those who may serve in a queue, and nobody else.
func testOperators(t *testing.T, open opener) {
	d, ctx := open(t, nil), t.Context()
	want := ""
	for i, c := range []struct {
		level  Level
		queues []string
		gone   bool
		serves bool
	}{
		{level: Admin, serves: true}, {level: Attendant, queues: []string{"q", "b"}, serves: true},
		{level: Supervisor, queues: []string{"a", "q"}, serves: true}, {level: Attendant, queues: []string{"*"}, serves: true},
		{level: Attendant, queues: []string{"qq", "a-q", "q-a"}}, {level: Attendant}, {level: Integration, queues: []string{"q"}},
		{level: Viewer, queues: []string{"*"}}, {level: Attendant, queues: []string{"q"}, gone: true}, {level: Admin, gone: true},
		{level: Supervisor, queues: []string{"q"}, serves: true},
	} {
		u := someone(fmt.Sprintf("%d@x", i))
		u.Name, u.Level, u.Queues, u.Disabled = fmt.Sprint(i), c.level, c.queues, c.gone
		_, err := d.CreateUser(ctx, u)
		check(t, err)
		if c.serves {
			want += u.Name + " "
		}
	}
	seen := ""
	for after := ""; ; {
		page, err := d.ListOperators(ctx, "q", after, 2)
		check(t, err)
		for _, u := range page {
			seen += u.Name + " "
			after = u.ID
		}
		if len(page) < 2 {
			break
		}
	}
	if seen != want {
		t.Fatalf("%s, want %s", seen, want)
	}
}

func testErrorsHoldNoAddress(t *testing.T, open opener) {
	d, ctx := open(t, nil), t.Context()
	a, err := d.CreateUser(ctx, someone("ada@example.org"))
	check(t, err)
	b, err := d.CreateUser(ctx, someone("bob@example.org"))
	check(t, err)
	taken, nobody := "ADA@example.org", Level("root")
	sameID := someone("eve@example.org")
	sameID.ID = a.ID
	for _, c := range []struct{ err, want error }{
		{second(d.CreateUser(ctx, someone(taken))), ErrExists},
		{second(d.CreateUser(ctx, sameID)), ErrExists},
		{second(d.UpdateUser(ctx, b.ID, UserPatch{Email: &taken})), ErrExists},
		{second(d.UpdateUser(ctx, b.ID, UserPatch{Level: &nobody})), ErrInvalid},
		{second(d.CreateUser(ctx, User{Email: " ", Level: Admin})), ErrInvalid},
		{second(d.UserByEmail(ctx, "eve@example.org")), ErrNotFound},
	} {
		want(t, c.err, c.want)
		if strings.Contains(strings.ToLower(c.err.Error()), "example") {
			t.Fatal(c.err)
		}
	}
}

func testSessionsEnd(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	u, err := d.CreateUser(ctx, someone("a@x"))
	check(t, err)
	yes, no, epoch := true, false, int64(0)
	for name, end := range map[string]func() error{
		"dropped":  func() error { return d.DropUserSessions(ctx, u.ID) },
		"password": func() error { return d.SetPassword(ctx, u.ID, "new") },
		"disabled": func() error {
			got, err := d.UpdateUser(ctx, u.ID, UserPatch{Disabled: &yes})
			return errors.Join(err, second(d.UpdateUser(ctx, u.ID, UserPatch{Disabled: &no})), map[bool]error{false: errors.New("epoch")}[got.TokenEpoch == epoch+1])
		},
	} {
		token := tokenOf(u.ID, name, epoch)
		check(t, d.AddRefresh(ctx, token))
		check(t, end())
		epoch++
		_, _, err := d.UseRefresh(ctx, token.Hash, at)
		want(t, err, ErrNotFound)
		// A login that read the user before the end and finishes after it.
		late := tokenOf(u.ID, "late "+name, epoch-1)
		check(t, d.AddRefresh(ctx, late))
		_, _, err = d.UseRefresh(ctx, late.Hash, at)
		want(t, err, ErrNotFound)
	}
	got, err := d.UserByID(ctx, u.ID)
	if err != nil || got.TokenEpoch != 3 || got.PasswordHash != "new" {
		t.Fatalf("%+v, %v", got, err)
	}
}

func tokenOf(user, text string, epoch int64) RefreshToken {
	return RefreshToken{
		Hash: sha256.Sum256([]byte(text)), Family: "family of " + text, UserID: user,
		UserEpoch: epoch, ExpiresAt: at.Add(time.Hour),
	}
}

func testRefreshOnce(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	u, err := d.CreateUser(ctx, someone("a@x"))
	check(t, err)
	first, other := tokenOf(u.ID, "1", 0), tokenOf(u.ID, "other login", 0)
	check(t, d.AddRefresh(ctx, first))
	check(t, d.AddRefresh(ctx, other))
	want(t, d.AddRefresh(ctx, first), ErrExists)

	next := sha256.Sum256([]byte("2"))
	used, owner, err := d.RotateRefresh(ctx, first.Hash, next, at.Add(2*time.Hour), at, 0)
	check(t, err)
	first.UsedAt = at
	if used != first || !reflect.DeepEqual(owner, u) {
		t.Fatalf("%+v, %+v", used, owner)
	}

	grace := 10 * time.Second
	_, _, err = d.RotateRefresh(ctx, first.Hash, TokenHash{3}, first.ExpiresAt, at.Add(grace-time.Millisecond), grace)
	want(t, err, ErrJustUsed)
	_, _, err = d.RotateRefresh(ctx, first.Hash, TokenHash{3}, first.ExpiresAt, at.Add(grace), grace)
	want(t, err, ErrReused)
	_, _, err = d.UseRefresh(ctx, next, at)
	want(t, err, ErrNotFound) // the family is gone
	_, _, err = d.UseRefresh(ctx, other.Hash, at)
	check(t, err)

	check(t, d.DropFamily(ctx, other.Family))
	check(t, d.DropFamily(ctx, other.Family))
	_, _, err = d.UseRefresh(ctx, other.Hash, at)
	want(t, err, ErrNotFound)
}

func testRefreshVoid(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	u, err := d.CreateUser(ctx, someone("a@x"))
	check(t, err)
	expired, orphan := tokenOf(u.ID, "expired", 0), tokenOf("nobody", "orphan", 0)
	check(t, d.AddRefresh(ctx, expired))
	check(t, d.AddRefresh(ctx, orphan))
	for _, token := range []RefreshToken{expired, orphan, tokenOf(u.ID, "unknown", 0)} {
		_, _, err := d.UseRefresh(ctx, token.Hash, expired.ExpiresAt)
		want(t, err, ErrNotFound)
	}
}

// testRefreshRace: of many who use one token at once, over two handles, one
// gets it, one ends the family, and the new token never outlives it.
func testRefreshRace(t *testing.T, open opener) {
	a, b, ctx := open(t, clock), open(t, clock), t.Context()
	u, err := a.CreateUser(ctx, someone("a@x"))
	check(t, err)
	token := tokenOf(u.ID, "t", 0)
	check(t, a.AddRefresh(ctx, token))
	var won, reused atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		d := []*Directory{a, b}[i%2]
		wg.Go(func() {
			_, _, err := d.RotateRefresh(ctx, token.Hash, sha256.Sum256([]byte{byte(i)}), token.ExpiresAt, at, 0)
			switch {
			case err == nil:
				won.Add(1)
			case errors.Is(err, ErrReused):
				reused.Add(1)
			case !errors.Is(err, ErrNotFound):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || reused.Load() != 1 {
		t.Fatalf("%d got it, %d reuses seen", won.Load(), reused.Load())
	}
	for i := range 8 {
		_, _, err := a.UseRefresh(ctx, sha256.Sum256([]byte{byte(i)}), at)
		want(t, err, ErrNotFound)
	}
}

func testSweep(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	old, live := tokenOf("u", "old", 0), tokenOf("u", "live", 0)
	live.ExpiresAt = at.Add(2 * time.Hour)
	check(t, d.AddRefresh(ctx, old))
	check(t, d.AddRefresh(ctx, live))
	if n, err := d.SweepRefresh(ctx, old.ExpiresAt); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	want(t, d.AddRefresh(ctx, live), ErrExists)
	check(t, d.AddRefresh(ctx, old))
}

// testLastAdmin: of admins who take each other's level at once, over two
// handles, one stays.
func testLastAdmin(t *testing.T, open opener) {
	a, b, ctx := open(t, clock), open(t, clock), t.Context()
	viewer, yes := Viewer, true
	var ids []string
	for i := range 6 {
		u := someone(fmt.Sprintf("u%d@x", i))
		u.Level = Admin
		u, err := a.CreateUser(ctx, u)
		check(t, err)
		ids = append(ids, u.ID)
	}
	var refused atomic.Int32
	var wg sync.WaitGroup
	for i, id := range ids {
		d := []*Directory{a, b}[i%2]
		wg.Go(func() {
			var err error
			switch i / 2 {
			case 0:
				_, err = d.UpdateUser(ctx, id, UserPatch{Level: &viewer})
			case 1:
				_, err = d.UpdateUser(ctx, id, UserPatch{Disabled: &yes})
			default:
				err = d.DeleteUser(ctx, id)
			}
			if errors.Is(err, ErrLastAdmin) {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if refused.Load() != 1 {
		t.Fatalf("%d of six stay admins, want one", refused.Load())
	}
}

// testAuditedUsers: what is not done to a user is not in the audit log.
func testAuditedUsers(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	n := uint64(0)
	entry := func(action string) AuditEntry {
		n++
		return AuditEntry{ID: numbered(n), At: at.Add(time.Duration(n) * time.Millisecond), Action: action}
	}
	root := someone("root@x")
	root.Level = Admin
	root, err := d.CreateUser(ctx, root, entry("made"))
	check(t, err)
	want(t, second(d.CreateUser(ctx, someone("ROOT@x"), entry("no"))), ErrExists)
	level := Viewer
	want(t, second(d.UpdateUser(ctx, root.ID, UserPatch{Level: &level}, entry("no"))), ErrLastAdmin)
	want(t, d.DeleteUser(ctx, root.ID, entry("no")), ErrLastAdmin)
	want(t, d.SetPassword(ctx, "nobody", "h", entry("no")), ErrNotFound)
	check(t, d.SetPassword(ctx, root.ID, "h", entry("password")))
	other, err := d.CreateUser(ctx, someone("a@x"), entry("made"))
	check(t, err)
	check(t, d.DeleteUser(ctx, other.ID, entry("gone")))
	entries, _, err := d.ListAudit(ctx, AuditFilter{}, nil, 100)
	check(t, err)
	said := ""
	for _, e := range entries {
		said += e.Action + " "
	}
	if said != "gone made password made " {
		t.Fatal(said)
	}
}
