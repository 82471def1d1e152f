package seal_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"nowserving/persistence/seal"
)

// A row whose key stands in another's place, and a ring without the right key,
// are of no use.
func TestWrappedKeyIsBoundToItsRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.node("k")
	sealed := d.Seal("a", "name", visitAt(noon), []byte("Ada"))
	rows, err := w.Directory.RecentDataKeys(t.Context(), time.Time{}, 10)
	if err != nil || len(rows) != 1 {
		t.Fatal(len(rows), err)
	}
	good := rows[0]
	if moved, err := ringOf(t, "n", "k").Rewrap(good); err != nil || moved.RingKey != "n" || bytes.Equal(moved.Wrapped, good.Wrapped) {
		t.Errorf("rewrapped: %v, %v", moved.RingKey, err)
	}
	if _, err := ringOf(t, "x").Rewrap(good); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("another ring: %v", err)
	}
	for name, change := range map[string]func(*seal.WrappedKey){
		"id": func(k *seal.WrappedKey) { k.ID[0]++ }, "queue": func(k *seal.WrappedKey) { k.Queue = "b" },
		"day": func(k *seal.WrappedKey) { k.Day++ }, "bytes": func(k *seal.WrappedKey) { k.Wrapped[40]++ },
		"cut": func(k *seal.WrappedKey) { k.Wrapped = k.Wrapped[:59] }, "nothing": func(k *seal.WrappedKey) { k.Wrapped = nil },
	} {
		bad := good
		bad.Wrapped = slices.Clone(good.Wrapped)
		change(&bad)
		if _, err := ringOf(t, "k").Rewrap(bad); !errors.Is(err, seal.ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused(t, w.node("x"), visitAt(noon), sealed, seal.ErrWrongKey)
	refused(t, seal.NewDataKeys(impostor(t), w.door, slog.New(slog.DiscardHandler), w.now), visitAt(noon), sealed, seal.ErrTampered)
}

// impostor is a ring with other bytes under the id k.
func impostor(t testing.TB) *seal.Ring {
	t.Helper()
	r, err := seal.ParseRing("k:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("z"), seal.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
