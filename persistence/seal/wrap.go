package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// A value that a data key sealed:
//
//	byte 0        format version, 2
//	16 bytes      id of the data key
//	12 bytes      random nonce
//	the rest      AES-256-GCM ciphertext and its 16-byte tag
const (
	formatV2 = 2
	headV2   = 1 + len(KeyID{})
)

// KeyID names a data key: 128 random bits.
type KeyID [16]byte

// WrappedKey is a data key as it is kept: sealed by a key of the ring, bound to
// its id, queue and day, so that one row's key is none in another.
type WrappedKey struct {
	ID    KeyID
	Queue string
	// Day is the UTC day of the visits whose data it seals, counted from 1970.
	Day       int64
	RingKey   string // the id of the ring's key
	Wrapped   []byte // nonce, ciphertext, tag
	CreatedAt time.Time
}

// ErrNoDataKey: the data key of a value is not kept any more, and with it the value.
var ErrNoDataKey = errors.New("seal: the value's data key is gone")

// dataKey seals and opens what belongs to one queue and day.
type dataKey struct {
	id   KeyID
	at   slot
	aead cipher.AEAD
	// ahead: the key of the next day has been asked for.
	ahead atomic.Bool
}

// slot is what has one data key.
type slot struct {
	queue string
	day   int64
}

// newDataKey makes a random one under the ring's first key.
func (r *Ring) newDataKey(at slot, now time.Time) WrappedKey {
	k := WrappedKey{Queue: at.queue, Day: at.day, CreatedAt: now}
	var secret [KeySize]byte
	rand.Read(k.ID[:]) // never fails: it ends the program instead
	rand.Read(secret[:])
	set := r.now.Load()
	k.RingKey = set.keys[0].id
	k.Wrapped = set.keys[0].wrapper().Seal(nil, nil, secret[:], k.bound())
	return k
}

// unwrap gives the key itself. It fails with ErrWrongKey or ErrTampered.
func (r *Ring) unwrap(k WrappedKey) ([]byte, error) {
	set := r.now.Load()
	at, known := set.byID[k.RingKey]
	if !known {
		return nil, ErrWrongKey
	}
	if len(k.Wrapped) != nonceSize+KeySize+tagSize {
		return nil, ErrTampered
	}
	secret, err := set.keys[at].wrapper().Open(nil, nil, k.Wrapped, k.bound())
	if err != nil {
		return nil, ErrTampered
	}
	return secret, nil
}

// Rewrap gives the same data key under the ring's first key. It fails with
// ErrWrongKey or ErrTampered.
func (r *Ring) Rewrap(k WrappedKey) (WrappedKey, error) {
	secret, err := r.unwrap(k)
	if err != nil {
		return WrappedKey{}, fmt.Errorf("data key of %s, day %d: %w", k.Queue, k.Day, err)
	}
	first := r.now.Load().keys[0]
	k.RingKey = first.id
	k.Wrapped = first.wrapper().Seal(nil, nil, secret, k.bound())
	return k, nil
}

func (r *Ring) open(k WrappedKey) (*dataKey, error) {
	secret, err := r.unwrap(k)
	if err != nil {
		return nil, err
	}
	return &dataKey{id: k.ID, at: slot{k.Queue, k.Day}, aead: newAEAD(secret)}, nil
}

// wrapper is the cipher of the ring key that wraps data keys, of which there are
// far fewer than the 2^32 that random nonces allow.
func (k *ringKey) wrapper() cipher.AEAD { return newAEAD(k.derive("wrap/v1")) }

// bound is the additional data of a wrapped key: id and day have a fixed length.
func (k *WrappedKey) bound() []byte {
	b := append(make([]byte, 0, 32+len(k.Queue)), k.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(k.Day))
	return append(b, k.Queue...)
}

func (k *dataKey) seal(field string, visit [16]byte, plaintext []byte) []byte {
	sealed := make([]byte, headV2, headV2+nonceSize+len(plaintext)+tagSize)
	sealed[0] = formatV2
	copy(sealed[1:], k.id[:])
	var buf [64]byte
	return k.aead.Seal(sealed, nil, plaintext, additional(buf[:0], field, visit))
}

func (k *dataKey) open(field string, visit [16]byte, sealed []byte) ([]byte, error) {
	var buf [64]byte
	plaintext, err := k.aead.Open(nil, nil, sealed[headV2:], additional(buf[:0], field, visit))
	if err != nil {
		return nil, ErrTampered
	}
	return plaintext, nil
}

// keyOf gives the data key that a value names; known is false for values of
// another format. It fails with ErrTampered.
func keyOf(sealed []byte) (id KeyID, known bool, err error) {
	if len(sealed) == 0 || sealed[0] != formatV2 {
		return id, false, nil
	}
	// Strictly more than nonce and tag: nothing seals to nothing.
	if len(sealed) <= headV2+nonceSize+tagSize {
		return id, false, ErrTampered
	}
	return KeyID(sealed[1:headV2]), true, nil
}

// DirectKey gives the id of the ring's key that sealed a value itself, as was done
// before there were data keys and is while none can be had.
func DirectKey(sealed []byte) (id string, direct bool) {
	if len(sealed) < 2 || sealed[0] != formatV1 || len(sealed) < 2+int(sealed[1]) {
		return "", false
	}
	return string(sealed[2 : 2+int(sealed[1])]), true
}
