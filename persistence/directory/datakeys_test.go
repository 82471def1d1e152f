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
	"data keys": testDataKeys, "data keys race": testDataKeysRace, "rewrapped": testRewrapped,
	"rings": testRings, "first rings": testFirstRings,
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
	older, newer := wrapped("#name", 0, 10), wrapped("#name", 1, 11)
	ensure([]seal.WrappedKey{older, newer, wrapped("#other", 0, 12)}, older, newer, wrapped("#other", 0, 12))
	if named, err := d.NamedDataKeys(ctx, "#name"); err != nil || !reflect.DeepEqual(named, []seal.WrappedKey{newer, older}) {
		t.Fatal(named, err)
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

func testRewrapped(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	check(t, d.PutQueues(ctx, rowOf("a", 1)))
	var keys []seal.WrappedKey
	for i := range byte(5) {
		keys = append(keys, wrapped("a", int64(i), i+1))
	}
	keys[1].RingKey = "k2"
	_, err := d.EnsureDataKeys(ctx, keys)
	check(t, err)
	found, err := d.DataKeysNotUnder(ctx, "k2", seal.KeyID{}, 2)
	check(t, err)
	more, err := d.DataKeysNotUnder(ctx, "k2", found[1].ID, 9)
	check(t, err)
	if !reflect.DeepEqual(append(found, more...), []seal.WrappedKey{keys[0], keys[2], keys[3], keys[4]}) {
		t.Fatal(found, more)
	}
	anew := wrapped("a", 0, 1)
	anew.RingKey, anew.Wrapped = "k3", []byte("anew")
	gone := wrapped("b", 0, 77)
	check(t, d.PutRewrapped(ctx, []seal.WrappedKey{anew, gone}))
	if got, err := d.DataKeys(ctx, []seal.KeyID{anew.ID, gone.ID}); err != nil || !reflect.DeepEqual(got, []seal.WrappedKey{anew}) {
		t.Fatal(got, err)
	}
	rings, err := d.RingKeys(ctx)
	check(t, err)
	if !reflect.DeepEqual(rings, []RingKey{
		{ID: "k1", DataKeys: 3, Oldest: 2, Newest: 4}, {ID: "k2", DataKeys: 1, Oldest: 1, Newest: 1}, {ID: "k3", DataKeys: 1},
	}) {
		t.Fatal(rings)
	}
}

func proofs(ids ...string) []seal.Proof {
	found := make([]seal.Proof, len(ids))
	for i, id := range ids {
		found[i].ID = id
		copy(found[i].Proof[:], "\x00\xff"+id)
	}
	return found
}

func testRings(t *testing.T, open opener) {
	now := clock()
	d, ctx := open(t, func() time.Time { return now }), t.Context()
	report := func(node string, direct []string, ids ...string) {
		t.Helper()
		check(t, d.ReportRing(ctx, RingReport{Node: node, Name: "at " + node, Keys: proofs(ids...), Direct: direct}))
	}
	nodes := func(want ...RingNode) {
		t.Helper()
		if got, err := d.RingNodes(ctx); err != nil || !reflect.DeepEqual(got, append([]RingNode{}, want...)) {
			t.Fatal(got, err)
		}
	}
	began := now
	report("a", nil, "k1")
	now = now.Add(10 * time.Second)
	report("b", nil, "k2", "k1")
	nodes(RingNode{"a", "at a", []string{"k1"}}, RingNode{"b", "at b", []string{"k2", "k1"}})
	report("a", []string{"k1"}, "k1", "k2")
	nodes(RingNode{"a", "at a", []string{"k1", "k2"}}, RingNode{"b", "at b", []string{"k2", "k1"}})
	keys, err := d.RingKeys(ctx)
	check(t, err)
	if !reflect.DeepEqual(keys, []RingKey{{ID: "k2", First: now, Led: now}, {ID: "k1", First: began, Led: now, Direct: now}}) {
		t.Fatal(keys)
	}

	other := proofs("k3", "k1")
	other[1].Proof[15]++
	want(t, d.ReportRing(ctx, RingReport{Node: "c", Keys: other}), ErrOtherKey)
	want(t, d.CheckRing(ctx, other), ErrOtherKey)
	check(t, d.CheckRing(ctx, proofs("k1", "k9")))
	if keys, err := d.RingKeys(ctx); err != nil || len(keys) != 2 {
		t.Fatal(keys, err)
	}

	now = now.Add(ringNodeLives - time.Second)
	report("b", nil, "k2")
	nodes(RingNode{"a", "at a", []string{"k1", "k2"}}, RingNode{"b", "at b", []string{"k2"}})
	now = now.Add(2 * time.Second)
	nodes(RingNode{"b", "at b", []string{"k2"}})
	check(t, d.ForgetRingNode(ctx, "b"))
	check(t, d.ForgetRingNode(ctx, "b"))
	nodes()
}

// The first rings that a directory with queues hears of have sealed values
// themselves; later ones have not, and those of a new directory neither.
func testFirstRings(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	check(t, d.PutQueues(ctx, rowOf("a", 1)))
	check(t, d.ReportRing(ctx, RingReport{Node: "a", Keys: proofs("k1")}))
	check(t, d.ReportRing(ctx, RingReport{Node: "a", Keys: proofs("k2", "k1")}))
	keys, err := d.RingKeys(ctx)
	check(t, err)
	for _, k := range keys {
		if k.Direct.IsZero() != (k.ID == "k2") {
			t.Error(k)
		}
	}
}
