package directory

import (
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"nowserving/persistence/seal"
)

// dataKeyTests are part of the suite that each database must pass.
var dataKeyTests = map[string]func(*testing.T, opener){
	"data keys": testDataKeys, "data keys race": testDataKeysRace,
}

func wrapped(queue string, day int64, id byte) seal.WrappedKey {
	return seal.WrappedKey{
		ID: seal.KeyID{id, 0, 0xff, '\'', 15: id}, Queue: queue, Day: day, RingKey: "k1",
		Wrapped: append([]byte{0, 0xff, '\\'}, make([]byte, 57)...), CreatedAt: clock().Add(time.Duration(id) * time.Second),
	}
}

func testDataKeys(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	long := strings.Repeat("q", 63)
	check(t, d.PutQueues(ctx, rowOf("a", 1), rowOf(long, 1)))
	gone := rowOf("gone", 1)
	gone.Deleted = true
	check(t, d.PutQueue(ctx, gone))
	a1, a2, b1 := wrapped("a", 1, 1), wrapped("a", 2, 2), wrapped(long, 1, 3)
	ensure := func(keys []seal.WrappedKey, want ...seal.WrappedKey) {
		t.Helper()
		got, err := d.EnsureDataKeys(ctx, keys)
		check(t, err)
		if !reflect.DeepEqual(byKey(got), byKey(want)) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	ensure([]seal.WrappedKey{a1}, a1)
	// What is there stays, what is twice is kept once, and a queue that is not there has none.
	ensure([]seal.WrappedKey{wrapped("a", 1, 9), a2, b1, wrapped("a", 2, 8), wrapped("gone", 1, 7), wrapped("never", 1, 6)}, a1, a2, b1)
	ensure([]seal.WrappedKey{wrapped("gone", 1, 7)})

	got, err := d.DataKeys(ctx, []seal.KeyID{b1.ID, {1}, a2.ID})
	check(t, err)
	if !reflect.DeepEqual(byKey(got), byKey([]seal.WrappedKey{a2, b1})) {
		t.Fatal(got)
	}
	got, err = d.RecentDataKeys(ctx, a2.CreatedAt, 10)
	check(t, err)
	if !reflect.DeepEqual(got, []seal.WrappedKey{b1, a2}) {
		t.Fatal(got)
	}
	got, err = d.RecentDataKeys(ctx, time.Time{}, 1)
	check(t, err)
	if !reflect.DeepEqual(got, []seal.WrappedKey{b1}) {
		t.Fatal(got)
	}
	if n, err := d.DropDataKeys(ctx, "a", 2); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	again := wrapped("a", 1, 5)
	ensure([]seal.WrappedKey{again, a2, b1}, again, a2, b1)
}

func byKey(keys []seal.WrappedKey) map[seal.KeyID]seal.WrappedKey {
	found := make(map[seal.KeyID]seal.WrappedKey)
	for _, k := range keys {
		found[k.ID] = k
	}
	return found
}

// Of several nodes that make the same keys, all get the same.
func testDataKeysRace(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	check(t, d.PutQueues(ctx, rowOf("a", 1), rowOf("b", 1)))
	var all sync.WaitGroup
	found := make([]map[seal.KeyID]seal.WrappedKey, 12)
	for i := range found {
		node := d
		if i%2 == 1 {
			node = open(t, clock)
		}
		all.Go(func() {
			keys := []seal.WrappedKey{wrapped("a", 1, byte(4*i)), wrapped("a", 2, byte(4*i+1)), wrapped("b", 1, byte(4*i+2))}
			if i%3 == 0 {
				keys[0], keys[2] = keys[2], keys[0]
			}
			got, err := node.EnsureDataKeys(ctx, keys)
			if err != nil || len(got) != 3 {
				t.Error(len(got), err)
			}
			found[i] = byKey(got)
		})
	}
	all.Wait()
	for _, keys := range found {
		if !reflect.DeepEqual(keys, found[0]) {
			t.Fatalf("%v and %v", keys, found[0])
		}
	}
}
