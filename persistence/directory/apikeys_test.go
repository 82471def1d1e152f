package directory

import (
	"crypto/sha256"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"
)

func keyOf(user string, n int) APIKey {
	return APIKey{ID: fmt.Sprintf("key%03d", n), Hash: sha256.Sum256([]byte{byte(n)}), UserID: user, Name: "Büro"}
}

func testKeys(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	u, err := d.CreateUser(ctx, someone("a@x"))
	check(t, err)
	other, err := d.CreateUser(ctx, someone("b@x"))
	check(t, err)
	var keys []APIKey
	for n := range maxKeys {
		k := keyOf(u.ID, n)
		if n == 1 {
			k.ExpiresAt = at.Add(time.Hour)
		}
		kept, err := d.AddKey(ctx, k)
		check(t, err)
		if k.CreatedAt = at; !reflect.DeepEqual(kept, k) {
			t.Fatalf("%+v, want %+v", kept, k)
		}
		keys = append(keys, k)
	}
	want(t, second(d.AddKey(ctx, keyOf(u.ID, maxKeys))), ErrTooMany)
	want(t, second(d.AddKey(ctx, keyOf("nobody", maxKeys))), ErrNotFound)
	if first, err := d.ListKeys(ctx, u.ID, "", 2); err != nil || !reflect.DeepEqual(first, keys[:2]) {
		t.Fatalf("%+v, %v", first, err)
	}
	if rest, err := d.ListKeys(ctx, u.ID, keys[1].ID, 1000); err != nil || !reflect.DeepEqual(rest, keys[2:]) {
		t.Fatalf("%+v, %v", rest, err)
	}
	if k, owner, err := d.KeyByHash(ctx, keys[1].Hash); err != nil || !reflect.DeepEqual(k, keys[1]) || !reflect.DeepEqual(owner, u) {
		t.Fatalf("%+v, %+v, %v", k, owner, err)
	}

	want(t, d.DropKey(ctx, other.ID, keys[0].ID), ErrNotFound) // another user's
	check(t, d.DropKey(ctx, u.ID, keys[0].ID))
	want(t, d.DropKey(ctx, u.ID, keys[0].ID), ErrNotFound)
	_, _, err = d.KeyByHash(ctx, keys[0].Hash)
	want(t, err, ErrNotFound)
	changes, _, err := d.AccessChanges(ctx, 0, 10)
	if err != nil || len(changes) != 1 || changes[0].Family != keys[0].ID {
		t.Fatalf("%+v, %v", changes, err)
	}

	check(t, d.DeleteUser(ctx, u.ID))
	_, _, err = d.KeyByHash(ctx, keys[1].Hash)
	want(t, err, ErrNotFound)
	if left, err := d.ListKeys(ctx, u.ID, "", 1); err != nil || len(left) != 0 {
		t.Fatalf("%+v, %v", left, err)
	}
	if changes, _, err = d.AccessChanges(ctx, 0, 10); err != nil || changes[1].UserID != u.ID || changes[1].Epoch != math.MaxInt64 {
		t.Fatalf("%+v, %v", changes, err)
	}
}
