package directory

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"
)

// testAccessChanges: whatever ends access is told in order, and nothing else is.
func testAccessChanges(t *testing.T, open opener) {
	now := at
	d, ctx := open(t, func() time.Time { return now }), t.Context()
	u, err := d.CreateUser(ctx, someone("a@x"))
	check(t, err)
	yes, no, name, level, queues := true, false, "Ada", Supervisor, []string{"q2", "q1"}
	known := uint64(0)
	expect := func(what string, changes ...AccessChange) {
		t.Helper()
		got, reached, err := d.AccessChanges(ctx, known, 10)
		check(t, err)
		for i := range changes {
			known++
			changes[i].Revision = known
		}
		if fmt.Sprint(got) != fmt.Sprint(changes) || reached != known {
			t.Fatalf("%s: %v up to %d, want %v up to %d", what, got, reached, changes, known)
		}
	}
	update := func(p UserPatch) {
		t.Helper()
		check(t, second(d.UpdateUser(ctx, u.ID, p)))
	}
	expect("a new user")
	update(UserPatch{Name: &name})
	update(UserPatch{Level: &u.Level, Queues: &u.Queues, Disabled: &no})
	expect("nothing that matters")
	update(UserPatch{Level: &level})
	update(UserPatch{Queues: &queues})
	update(UserPatch{Disabled: &yes})
	update(UserPatch{Disabled: &yes})
	update(UserPatch{Disabled: &no})
	check(t, d.SetPassword(ctx, u.ID, "new"))
	check(t, d.DropUserSessions(ctx, u.ID))
	expect("a user that changes", AccessChange{UserID: u.ID, Epoch: 1}, AccessChange{UserID: u.ID, Epoch: 2},
		AccessChange{UserID: u.ID, Epoch: 3}, AccessChange{UserID: u.ID, Epoch: 4}, AccessChange{UserID: u.ID, Epoch: 5})

	token := tokenOf(u.ID, "login", 5)
	check(t, d.AddRefresh(ctx, token))
	_, _, err = d.RotateRefresh(ctx, token.Hash, TokenHash{1}, token.ExpiresAt, at, 0)
	check(t, err)
	expect("a login that goes on")
	_, _, err = d.UseRefresh(ctx, token.Hash, at)
	want(t, err, ErrReused)
	check(t, d.DropFamily(ctx, "other"))
	check(t, d.DeleteUser(ctx, u.ID))
	now = now.Add(accessKept) // what is as old as that is kept
	check(t, d.DropFamily(ctx, "later"))
	expect("logins that end", AccessChange{Family: token.Family}, AccessChange{Family: "other"},
		AccessChange{UserID: u.ID, Epoch: math.MaxInt64}, AccessChange{Family: "later"})

	now = now.Add(time.Millisecond)
	_, err = d.dialect.db.Exec("UPDATE access_clock SET revision = 8 + ?", accessNewest-1)
	check(t, err)
	check(t, d.DropFamily(ctx, "last"))
	if got, reached, err := d.AccessChanges(ctx, 0, 10); err != nil || reached != 8+accessNewest || len(got) != 2 || got[0].Family != "later" {
		t.Fatal("what is old is forgotten", got, reached, err)
	}
	if got, reached, err := d.AccessChanges(ctx, 9+accessNewest, 10); err != nil || reached != 8+accessNewest || len(got) != 0 {
		t.Fatal("a database that was set back", got, reached, err)
	}
	if got, _, err := d.AccessChanges(ctx, 0, 1); err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
}

// testNarrowedLoginGoesOn: after a change of level or queues the refresh tokens
// still give access, and the access tokens of before are void.
func testNarrowedLoginGoesOn(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	u, err := d.CreateUser(ctx, someone("a@x"))
	check(t, err)
	check(t, d.DropUserSessions(ctx, u.ID))
	live, late := tokenOf(u.ID, "live", 1), tokenOf(u.ID, "late", 0)
	check(t, d.AddRefresh(ctx, live))
	check(t, d.AddRefresh(ctx, late)) // read the user before its sessions were ended
	level := Viewer
	changed, err := d.UpdateUser(ctx, u.ID, UserPatch{Level: &level})
	check(t, err)
	used, owner, err := d.UseRefresh(ctx, live.Hash, at)
	if err != nil || used.UserEpoch != 2 || owner.TokenEpoch != 2 || owner.Level != Viewer || changed.TokenEpoch != 2 {
		t.Fatalf("%+v, %+v, %v", used, owner, err)
	}
	want(t, second2(d.UseRefresh(ctx, late.Hash, at)), ErrNotFound)
}

func second2[A, B any](_ A, _ B, err error) error { return err }

// testAccessRace: whoever follows while many end access, over two handles, sees
// every change.
func testAccessRace(t *testing.T, open opener) {
	a, b, ctx := open(t, clock), open(t, clock), t.Context()
	const each = 40
	var wg sync.WaitGroup
	for i := range 4 {
		d := []*Directory{a, b}[i%2]
		wg.Go(func() {
			for n := range each {
				if err := d.DropFamily(ctx, fmt.Sprint(i, "/", n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen, known := make(map[string]bool), uint64(0)
	for len(seen) < 4*each && !t.Failed() {
		changes, _, err := b.AccessChanges(ctx, known, 7)
		check(t, err)
		for _, c := range changes {
			if c.Revision != known+1 {
				t.Fatalf("revision %d after %d", c.Revision, known)
			}
			seen[c.Family], known = true, c.Revision
		}
	}
	wg.Wait()
}

// testAccessFastClock: a node whose clock is far ahead takes nothing away that
// others may not have read yet.
func testAccessFastClock(t *testing.T, open opener) {
	d, fast, ctx := open(t, clock), open(t, func() time.Time { return at.Add(2 * accessKept) }), t.Context()
	check(t, d.DropFamily(ctx, "a"))
	check(t, fast.DropFamily(ctx, "b"))
	if got, _, err := d.AccessChanges(ctx, 0, 10); err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
}

// testAccessWhileBusy: where all connections are taken, it is still told whose
// access has ended.
func testAccessWhileBusy(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	check(t, d.DropFamily(ctx, "login"))
	for range d.dialect.db.Stats().MaxOpenConnections {
		conn, err := d.dialect.db.Conn(ctx)
		check(t, err)
		defer conn.Close()
	}
	soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	want(t, d.Ping(soon), ErrUnavailable)
	if changes, reached, err := d.AccessChanges(ctx, 0, 10); err != nil || len(changes) != 1 || reached != 1 {
		t.Fatal(changes, reached, err)
	}
}
