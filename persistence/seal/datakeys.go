package seal

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// keyWithin is how long a request waits for a data key that is not at hand.
	// It is the first one of a queue; where the store is away nobody waits.
	keyWithin = time.Second
	// workEvery, refreshEvery and forgetEvery are the paces of Run.
	workEvery    = time.Second
	refreshEvery = 15 * time.Second
	forgetEvery  = time.Minute
	// skew is how much the clocks of nodes may differ.
	skew = time.Minute
	// atOnce bounds what one call to the store is about.
	atOnce = 200
	// maxWanted bounds the keys that are to be made.
	maxWanted = 10_000
)

var errAway = errors.New("seal: the store of data keys is away")

// KeyStore keeps wrapped data keys. No call is about more than 200 keys.
type KeyStore interface {
	// EnsureDataKeys keeps each key whose queue is there and has none of that
	// day yet, and gives the keys of all these queues and days that there are then.
	EnsureDataKeys(ctx context.Context, keys []WrappedKey) ([]WrappedKey, error)
	// NamedDataKeys gives the keys of a name, which begins with # and so is no
	// queue's, the newest first.
	NamedDataKeys(ctx context.Context, name string) ([]WrappedKey, error)
	// DataKeys gives those that there are.
	DataKeys(ctx context.Context, ids []KeyID) ([]WrappedKey, error)
	// RecentDataKeys gives those made since then, the newest first.
	RecentDataKeys(ctx context.Context, since time.Time, limit int) ([]WrappedKey, error)
}

// DataKeys seals personal data with a key for each queue and UTC day of visits,
// which the ring wraps and a store keeps: when the data key is deleted, so is all
// that it sealed, wherever copies of it are. Sealing needs the store once for a
// queue, for the key of the next day is made ahead. While the store is away and
// no key is at hand, values are sealed with the ring itself, so that queues go on.
type DataKeys struct {
	ring  *Ring
	store KeyStore
	log   *slog.Logger
	now   func() time.Time

	keep    *keep
	loading singleflight.Group
	away    atomic.Bool   // the store failed, and Run sees when it is back
	direct  atomic.Uint64 // values that the ring itself sealed
	// Unopened counts values that could not be opened.
	Unopened Unopened

	mu     sync.Mutex
	wanted map[slot]bool // to be made by Run
}

// Unopened is why values could not be opened: the ring lacks the key, the value was
// changed, its data key could not be had just then, or it has ended, as it should.
type Unopened struct{ NoKey, Changed, Away, Ended atomic.Uint64 }

func (u *Unopened) count(err error) {
	switch {
	case err == nil:
	case errors.Is(err, ErrNoDataKey):
		u.Ended.Add(1)
	case errors.Is(err, ErrWrongKey):
		u.NoKey.Add(1)
	case errors.Is(err, ErrTampered):
		u.Changed.Add(1)
	default:
		u.Away.Add(1)
	}
}

// NewDataKeys makes one whose Run must be running for it to do without the store.
func NewDataKeys(ring *Ring, store KeyStore, log *slog.Logger, now func() time.Time) *DataKeys {
	return &DataKeys{
		ring: ring, store: store, log: log, now: now, keep: newKeep(), wanted: make(map[slot]bool),
	}
}

// Fingerprints is the ring's.
func (d *DataKeys) Fingerprints(parts ...[]byte) []uint64 { return d.ring.Fingerprints(parts...) }

// Named gives the keys of one purpose, the newest first, of which the first is to
// be used: random ones, which every node has alike and no rotation of the ring
// changes. A new one is made where there is none, or none that the ring can unwrap.
func (d *DataKeys) Named(ctx context.Context, purpose string) ([]Key, error) {
	name, day := "#"+purpose, int64(0)
	for {
		rows, err := d.store.NamedDataKeys(ctx, name)
		if err != nil {
			return nil, err
		}
		var keys []Key
		for _, row := range rows {
			day = max(day, row.Day+1)
			secret, err := d.ring.unwrap(row)
			if err != nil {
				d.log.Error("a key cannot be unwrapped; what it is for begins anew", "purpose", purpose, "ring_key", row.RingKey, "error", err)
				continue
			}
			keys = append(keys, Key{ID: hex.EncodeToString(row.ID[:]), Bytes: secret})
		}
		if len(keys) > 0 {
			return keys, nil
		}
		if _, err := d.store.EnsureDataKeys(ctx, []WrappedKey{d.ring.newDataKey(slot{name, day}, d.now())}); err != nil {
			return nil, err
		}
	}
}

// Direct counts the values that the ring itself sealed.
func (d *DataKeys) Direct() uint64 { return d.direct.Load() }

// Seal encrypts plaintext for one field of one visit, whose day and queue choose
// the key. The value opens for no other field and visit. Nothing to seal gives nil.
func (d *DataKeys) Seal(queue, field string, visit [16]byte, plaintext []byte) []byte {
	if len(plaintext) == 0 {
		return nil
	}
	if key := d.sealing(slot{queue, int64(day(visit))}); key != nil {
		return key.seal(field, visit, plaintext)
	}
	d.direct.Add(1)
	return d.ring.Seal(field, visit, plaintext)
}

// Open decrypts what Seal made for the same field and visit. It fails with
// ErrWrongKey, ErrNoDataKey or ErrTampered, or as the store does that is away.
func (d *DataKeys) Open(field string, visit [16]byte, sealed []byte) (plaintext []byte, err error) {
	defer func() { d.Unopened.count(err) }()
	id, known, err := keyOf(sealed)
	switch {
	case err != nil:
		return nil, err
	case !known:
		return d.ring.Open(field, visit, sealed)
	}
	key, err := d.opening(id)
	if err != nil {
		return nil, err
	}
	return key.open(field, visit, sealed)
}

// Prepare has the keys of values at hand that are opened next: one call to the
// store instead of one for each. What cannot be had is found out by Open.
func (d *DataKeys) Prepare(ctx context.Context, values ...[]byte) {
	var ids []KeyID
	seen := make(map[KeyID]bool)
	for _, sealed := range values {
		id, known, err := keyOf(sealed)
		if err != nil || !known || seen[id] || d.keep.has(id) {
			continue
		}
		seen[id] = true
		ids = append(ids, id)
	}
	for len(ids) > 0 && !d.away.Load() {
		part := ids[:min(len(ids), atOnce)]
		ids = ids[len(part):]
		ctx, cancel := context.WithTimeout(ctx, keyWithin)
		err := d.load(ctx, part)
		cancel()
		if err != nil {
			return
		}
	}
}

// sealing gives the key to seal with, nil where it cannot be had now.
func (d *DataKeys) sealing(at slot) *dataKey {
	now := d.now()
	today := now.UnixMilli() / msPerDay
	key, idle := d.keep.forSlot(at, now)
	if key == nil && !idle && !d.away.Load() {
		_, _, _ = d.loading.Do(fmt.Sprint(at), func() (any, error) {
			ctx, cancel := context.WithTimeout(context.Background(), keyWithin)
			defer cancel()
			return nil, d.ensure(ctx, []slot{at})
		})
		key, _ = d.keep.forSlot(at, now)
	}
	switch {
	case key == nil:
		d.want(at)
	case at.day == today && key.ahead.CompareAndSwap(false, true):
		d.want(slot{at.queue, today + 1})
	}
	return key
}

// opening gives the key that sealed a value.
func (d *DataKeys) opening(id KeyID) (*dataKey, error) {
	if key, err := d.keep.named(id, d.now()); key != nil || err != nil {
		return key, err
	}
	if d.away.Load() {
		return nil, errAway
	}
	_, err, _ := d.loading.Do(string(id[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), keyWithin)
		defer cancel()
		return nil, d.load(ctx, []KeyID{id})
	})
	if err != nil {
		return nil, err
	}
	key, err := d.keep.named(id, d.now())
	if key == nil && err == nil {
		err = ErrNoDataKey
	}
	return key, err
}
