package seal_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// visitAt is a UUIDv7 of that moment.
func visitAt(at time.Time) (v [16]byte) {
	binary.BigEndian.PutUint64(v[:8], uint64(at.UnixMilli())<<16|0x7000)
	v[8] = 0x80
	return v
}

// ringOf makes a ring of keys whose bytes are all the id's first letter.
func ringOf(t testing.TB, ids ...string) *seal.Ring {
	t.Helper()
	var text []byte
	for _, id := range ids {
		text = append(text, id+":"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte(id[:1]), seal.KeySize))+","...)
	}
	r, err := seal.ParseRing(string(text[:len(text)-1]))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// door is a real store to which the way can be shut.
type door struct {
	*directory.Directory
	shut  atomic.Bool
	calls atomic.Int64
}

var errShut = errors.New("the door is shut")

func (s *door) pass() error {
	s.calls.Add(1)
	if s.shut.Load() {
		return errShut
	}
	return nil
}

func (s *door) EnsureDataKeys(ctx context.Context, keys []seal.WrappedKey) ([]seal.WrappedKey, error) {
	if err := s.pass(); err != nil {
		return nil, err
	}
	return s.Directory.EnsureDataKeys(ctx, keys)
}

func (s *door) DataKeys(ctx context.Context, ids []seal.KeyID) ([]seal.WrappedKey, error) {
	if err := s.pass(); err != nil {
		return nil, err
	}
	return s.Directory.DataKeys(ctx, ids)
}

func (s *door) RecentDataKeys(ctx context.Context, since time.Time, limit int) ([]seal.WrappedKey, error) {
	if err := s.pass(); err != nil {
		return nil, err
	}
	return s.Directory.RecentDataKeys(ctx, since, limit)
}

// world is a directory with the queues a and b, and a clock.
type world struct {
	t testing.TB
	*door
	clock atomic.Int64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t}
	w.clock.Store(noon.UnixMilli())
	d, err := directory.Open(t.Context(), directory.Options{Dir: t.TempDir(), Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	for _, id := range []string{"a", "b"} {
		if err := d.PutQueue(t.Context(), directory.QueueRow{ID: id, Version: 1}); err != nil {
			t.Fatal(err)
		}
	}
	w.door = &door{Directory: d}
	return w
}

func (w *world) now() time.Time { return time.UnixMilli(w.clock.Load()) }

func (w *world) node(ids ...string) *seal.DataKeys {
	w.t.Helper()
	return seal.NewDataKeys(ringOf(w.t, ids...), w.door, slog.New(slog.DiscardHandler), w.now)
}

// running is a node that looks after its keys until the test's end.
func (w *world) running(ids ...string) *seal.DataKeys {
	w.t.Helper()
	d := w.node(ids...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.Run(ctx)
	}()
	w.t.Cleanup(func() {
		cancel()
		<-done
	})
	return d
}

// What is found by a key is found after every rotation, and on every node.
func TestNamedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named := func(purpose string, ring ...string) []seal.Key {
		t.Helper()
		keys, err := w.node(ring...).Named(t.Context(), purpose)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	var all sync.WaitGroup
	found := make([][]seal.Key, 8)
	for i := range found {
		all.Go(func() { found[i] = named("index", "k") })
	}
	all.Wait()
	first := found[0]
	for _, keys := range found {
		if len(keys) != 1 || !reflect.DeepEqual(keys, first) {
			t.Fatal("two nodes have different keys")
		}
	}
	if rotated := named("index", "new", "k"); !reflect.DeepEqual(rotated, first) {
		t.Error("another ring gives another key")
	}
	if other := named("other", "k"); bytes.Equal(other[0].Bytes, first[0].Bytes) {
		t.Error("two purposes share a key")
	}
	anew := named("index", "x")
	if len(anew) != 1 || bytes.Equal(anew[0].Bytes, first[0].Bytes) {
		t.Error("a ring without the key")
	}
	if both := named("index", "k", "x"); len(both) != 2 || both[0].ID != anew[0].ID || both[1].ID != first[0].ID {
		t.Error("not both keys, the newest first")
	}
}

// byDataKey tells a value that a data key sealed from one that the ring did.
func byDataKey(sealed []byte) bool { return len(sealed) > 0 && sealed[0] == 2 }

func opens(t testing.TB, d *seal.DataKeys, visit [16]byte, sealed []byte) {
	t.Helper()
	if got, err := d.Open("name", visit, sealed); string(got) != "Ada" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func refused(t testing.TB, d *seal.DataKeys, visit [16]byte, sealed []byte, why error) {
	t.Helper()
	if got, err := d.Open("name", visit, sealed); got != nil || !errors.Is(err, why) {
		t.Errorf("%q, %v, want %v", got, err, why)
	}
}

func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if ask() {
			return
		}
	}
	t.Fatalf("it did not come to be: %s", what)
}

func TestDataKeyOfQueueAndDay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, other := w.node("k"), w.node("k")
	tomorrow := visitAt(noon.Add(24 * time.Hour))
	keys := map[string]bool{}
	for _, v := range []struct {
		queue string
		visit [16]byte
	}{{"a", visitAt(noon)}, {"b", visitAt(noon)}, {"a", tomorrow}} {
		sealed := one.Seal(v.queue, "name", v.visit, []byte("Ada"))
		if !byDataKey(sealed) || bytes.Contains(sealed, []byte("Ada")) {
			t.Fatalf("%x", sealed)
		}
		opens(t, one, v.visit, sealed)
		opens(t, other, v.visit, sealed)
		keys[string(sealed[1:17])] = true
		if again := other.Seal(v.queue, "name", v.visit, []byte("Ada")); !bytes.Equal(again[:17], sealed[:17]) || bytes.Equal(again, sealed) {
			t.Errorf("two nodes seal as %x and %x", sealed, again)
		}
	}
	if len(keys) != 3 {
		t.Errorf("three places share %d keys", len(keys))
	}
	if one.Seal("a", "name", tomorrow, nil) != nil || one.Direct() != 0 {
		t.Error("nothing was sealed, or without a data key")
	}
}

// Nodes that need the same key at the same time get the same one.
func TestDataKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all sync.WaitGroup
	heads := make([][]byte, 32)
	nodes := []*seal.DataKeys{w.node("k"), w.node("k"), w.node("k"), w.node("k")}
	for i := range heads {
		all.Go(func() { heads[i] = nodes[i%len(nodes)].Seal("a", "name", visitAt(noon), []byte("Ada"))[:17] })
	}
	all.Wait()
	for _, head := range heads {
		if !bytes.Equal(head, heads[0]) {
			t.Fatalf("sealed with %x and %x", head, heads[0])
		}
	}
}

func TestSealingAsksTheStoreOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.node("k")
	for range 1_000 {
		opens(t, d, visitAt(noon), d.Seal("a", "name", visitAt(noon), []byte("Ada")))
	}
	if n := w.calls.Load(); n != 1 {
		t.Errorf("the store was asked %d times", n)
	}
}

// At midnight nobody waits for the store, which may be away.
func TestKeyOfTheNextDayIsMadeAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.running("k")
	if !byDataKey(d.Seal("a", "name", visitAt(noon), []byte("Ada"))) {
		t.Fatal("no data key today")
	}
	eventually(t, "there are two keys", func() bool { return d.AtHand() == 2 })
	w.shut.Store(true)
	w.clock.Add((24 * time.Hour).Milliseconds())
	sealed := d.Seal("a", "name", visitAt(w.now()), []byte("Ada"))
	if !byDataKey(sealed) {
		t.Error("no data key at midnight")
	}
	opens(t, d, visitAt(w.now()), sealed)
}

// While the store is away the ring seals, nobody asks the store, and data keys
// are used again when it is back.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d, other := w.node("k"), w.node("k")
	known := d.Seal("a", "name", visitAt(noon), []byte("Ada"))
	w.shut.Store(true)
	opens(t, d, visitAt(noon), known)
	if !byDataKey(d.Seal("a", "name", visitAt(noon), []byte("Ada"))) {
		t.Error("the key at hand is not used")
	}
	w.calls.Store(0)
	for range 100 {
		direct := d.Seal("b", "name", visitAt(noon), []byte("Ada"))
		if byDataKey(direct) {
			t.Fatal("a data key that the store does not have")
		}
		opens(t, d, visitAt(noon), direct)
		if _, err := other.Open("name", visitAt(noon), known); err == nil {
			t.Fatal("it opened without its key")
		}
	}
	if n := w.calls.Load(); n != 2 { // one of each node
		t.Errorf("the store that is away was asked %d times", n)
	}
	if d.Direct() != 100 {
		t.Errorf("%d values were sealed by the ring", d.Direct())
	}
	w.shut.Store(false)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = d.Run(ctx) })
	running.Go(func() { _ = other.Run(ctx) })
	eventually(t, "data keys are used again", func() bool { return byDataKey(d.Seal("b", "name", visitAt(noon), []byte("Ada"))) })
	eventually(t, "data keys are read again", func() bool {
		got, err := other.Open("name", visitAt(noon), known)
		return string(got) == "Ada" && err == nil
	})
	cancel()
	running.Wait()
}

func TestQueueThatIsNotThereLeavesNoKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.node("k")
	for range 100 {
		if byDataKey(d.Seal("nowhere", "name", visitAt(noon), []byte("Ada"))) {
			t.Fatal("a key was made")
		}
	}
	rows, err := w.Directory.RecentDataKeys(t.Context(), time.Time{}, 10)
	if err != nil || len(rows) != 0 || w.calls.Load() != 1 {
		t.Errorf("%d rows, %v, %d calls", len(rows), err, w.calls.Load())
	}
}

// What a data key sealed goes with it, on every node.
func TestDeletedDataKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d, other := w.node("k"), w.node("k")
	today, tomorrow := visitAt(noon), visitAt(noon.Add(24*time.Hour))
	gone, kept := d.Seal("a", "name", today, []byte("Ada")), d.Seal("a", "name", tomorrow, []byte("Ada"))
	elsewhere := d.Seal("b", "name", today, []byte("Ada"))
	if n, err := w.DropDataKeys(t.Context(), "a", noon.Unix()/86_400+1); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := d.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, node := range []*seal.DataKeys{d, other} {
		refused(t, node, today, gone, seal.ErrNoDataKey)
		if u := &node.Unopened; u.Ended.Load() != 1 || u.NoKey.Load()+u.Changed.Load() != 0 {
			t.Errorf("counted are %d that have ended", u.Ended.Load())
		}
		opens(t, node, tomorrow, kept)
		opens(t, node, today, elsewhere)
	}
	again := d.Seal("a", "name", today, []byte("Ada"))
	opens(t, other, today, again)
	if bytes.Equal(again[:17], gone[:17]) {
		t.Error("the deleted key is used again")
	}
}

func TestMovedOrDamagedDoesNotOpen(t *testing.T) {
	t.Parallel()
	d := newWorld(t).node("k")
	sealed := d.Seal("a", "name", visitAt(noon), []byte("Ada"))
	refused(t, d, visitAt(noon.Add(time.Millisecond)), sealed, seal.ErrTampered)
	if got, err := d.Open("phone", visitAt(noon), sealed); got != nil || !errors.Is(err, seal.ErrTampered) {
		t.Errorf("another field: %q, %v", got, err)
	}
	b := d.Seal("b", "name", visitAt(noon), []byte("Ada"))
	refused(t, d, visitAt(noon), append(slices.Clone(b[:17]), sealed[17:]...), seal.ErrTampered)
	for i := range sealed {
		bad := slices.Clone(sealed)
		bad[i] ^= 0x40
		if got, err := d.Open("name", visitAt(noon), bad); got != nil || err == nil {
			t.Fatalf("byte %d: %q", i, got)
		}
		if got, err := d.Open("name", visitAt(noon), sealed[:i]); i > 0 && (got != nil || err == nil) {
			t.Fatalf("cut to %d bytes: %q", i, got)
		}
	}
}

// golden is what the first version with data keys kept: the row of queue a and
// the day of noon, and "Ada" as the field "name". It must open for ever.
var golden = struct{ id, wrapped, sealed string }{
	id:      "d3d811d08938dd1b12a04550225af33c",
	wrapped: "cfb0c8362fb352189e42fac35dc50d69a8d0374e1505143391f2881de5dd28ba927709114bc1d38d75fa867d9ed0dd47aa48e8bd8e18fe8f50558d26",
	sealed:  "02d3d811d08938dd1b12a04550225af33cd9c997fd1d9e82f7eab7176cba0c75ca1bb11094ae56278112803a5fff47f7",
}

func goldenRow(t testing.TB) (row seal.WrappedKey, sealed []byte) {
	t.Helper()
	id, err := hex.DecodeString(golden.id)
	wrapped, err2 := hex.DecodeString(golden.wrapped)
	sealed, err3 := hex.DecodeString(golden.sealed)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	return seal.WrappedKey{ID: seal.KeyID(id), Queue: "a", Day: noon.Unix() / 86_400, RingKey: "k", Wrapped: wrapped, CreatedAt: noon}, sealed
}

func TestFormatOfDataKeysStillOpens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.node("new", "k")
	row, sealed := goldenRow(t)
	if _, err := w.EnsureDataKeys(t.Context(), []seal.WrappedKey{row}); err != nil {
		t.Fatal(err)
	}
	opens(t, d, visitAt(noon), sealed)
	// And of the version before, for which the ring itself sealed.
	opens(t, d, visitAt(noon), ringOf(t, "k").Seal("name", visitAt(noon), []byte("Ada")))
}

func BenchmarkSealWithDataKey(b *testing.B) {
	d := newWorld(b).node("k")
	plain := make([]byte, 128)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			d.Seal("a", "payload", visitAt(noon), plain)
		}
	})
}

// No value opens but one that was sealed with the key that it names.
func FuzzOpenWithDataKey(f *testing.F) {
	w := newWorld(f)
	d := w.node("new", "k")
	row, genuine := goldenRow(f)
	if _, err := w.EnsureDataKeys(f.Context(), []seal.WrappedKey{row}); err != nil {
		f.Fatal(err)
	}
	at := visitAt(noon)
	f.Add("name", at[:], genuine)
	f.Add("name", at[:], genuine[:17+12+16])
	f.Add("name", at[:], []byte{2})
	f.Add("", []byte{}, append([]byte{2}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, field string, id, sealed []byte) {
		var visit [16]byte
		copy(visit[:], id)
		got, err := d.Open(field, visit, sealed)
		switch {
		case err == nil && len(got) > 0 && !bytes.Equal(sealed, genuine):
			t.Fatalf("a forgery opened: %x", sealed)
		case err != nil && got != nil, err != nil && !errors.Is(err, seal.ErrTampered) && !errors.Is(err, seal.ErrWrongKey) && !errors.Is(err, seal.ErrNoDataKey):
			t.Fatalf("%q, %v", got, err)
		}
	})
}

// No key unwraps but one that was wrapped for its queue and day.
func FuzzUnwrap(f *testing.F) {
	ring := ringOf(f, "new", "k")
	genuine, _ := goldenRow(f)
	f.Add(genuine.ID[:], genuine.Queue, genuine.Day, genuine.RingKey, genuine.Wrapped)
	f.Add([]byte{}, "", int64(-1), "new", []byte{})
	f.Add(genuine.ID[:], "b", genuine.Day, "k", genuine.Wrapped[:59])
	f.Fuzz(func(t *testing.T, id []byte, queue string, day int64, ringKey string, wrapped []byte) {
		row := seal.WrappedKey{Queue: queue, Day: day, RingKey: ringKey, Wrapped: wrapped, CreatedAt: noon}
		copy(row.ID[:], id)
		_, err := ring.Rewrap(row)
		switch {
		case err == nil && !reflect.DeepEqual(row, genuine):
			t.Fatalf("a forgery was unwrapped: %+v", row)
		case err != nil && !errors.Is(err, seal.ErrTampered) && !errors.Is(err, seal.ErrWrongKey):
			t.Fatal(err)
		}
	})
}
