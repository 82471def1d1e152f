package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"strconv"
)

// A sealed value:
//
//	byte 0        format version, 1
//	byte 1        length n of the key id, 1 to 32
//	n bytes       key id
//	12 bytes      random nonce
//	the rest      AES-256-GCM ciphertext and its 16-byte tag
const (
	formatV1  = 1
	nonceSize = 12
	tagSize   = 16
)

// Overhead is the most bytes that sealing adds to a value.
const Overhead = 2 + maxKeyID + nonceSize + tagSize

// maxAEADs bounds the derived ciphers kept: a few ring keys times the days
// that are read at once. A miss costs two microseconds.
const maxAEADs = 256

const msPerDay = 24 * 60 * 60 * 1000

// What Open refuses with. Neither bears any of the value.
var (
	// ErrWrongKey: the ring does not hold the key that sealed the value.
	ErrWrongKey = errors.New("seal: the ring does not hold this value's key")
	// ErrTampered: the value is damaged, or was sealed for another field or
	// another visit.
	ErrTampered = errors.New("seal: the value is damaged or was sealed elsewhere")
)

// Seal encrypts plaintext with the ring's first key, for one field of one
// visit (a UUIDv7, whose first 48 bits are Unix milliseconds): a sealed value
// that is moved to another field or visit does not open. The visit binds, not
// ticket or queue, because a transferred ticket keeps its visit. Nothing to
// seal (nil or empty) gives nil.
func (r *Ring) Seal(field string, visit [16]byte, plaintext []byte) []byte {
	if len(plaintext) == 0 {
		return nil
	}
	set := r.now.Load()
	id := set.keys[0].id
	sealed := make([]byte, 0, 2+len(id)+nonceSize+len(plaintext)+tagSize)
	sealed = append(sealed, formatV1, byte(len(id)))
	sealed = append(sealed, id...)
	var buf [64]byte
	return set.aead(0, day(visit)).Seal(sealed, nil, plaintext, additional(buf[:0], field, visit))
}

// Open decrypts what Seal made for the same field and visit. Nil or empty
// gives nil. It fails with ErrWrongKey or ErrTampered.
func (r *Ring) Open(field string, visit [16]byte, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	if len(sealed) < 2 || sealed[0] != formatV1 {
		return nil, ErrTampered
	}
	idEnd := 2 + int(sealed[1])
	// Strictly more than nonce and tag: Seal never makes an empty value.
	if idEnd == 2 || idEnd > 2+maxKeyID || len(sealed) <= idEnd+nonceSize+tagSize {
		return nil, ErrTampered
	}
	set := r.now.Load()
	key, known := set.byID[string(sealed[2:idEnd])]
	if !known {
		return nil, ErrWrongKey
	}
	var buf [64]byte
	plaintext, err := set.aead(key, day(visit)).Open(nil, nil, sealed[idEnd:], additional(buf[:0], field, visit))
	if err != nil {
		return nil, ErrTampered
	}
	return plaintext, nil
}

// additional is the data that the tag covers beside the ciphertext. The visit
// has a fixed length, so field and visit cannot run into each other.
func additional(buf []byte, field string, visit [16]byte) []byte {
	return append(append(buf, field...), visit[:]...)
}

// day is the UTC day, counted from 1970, of a UUIDv7's timestamp (RFC 9562,
// section 5.7: the first 48 bits are Unix milliseconds).
func day(visit [16]byte) uint64 {
	return binary.BigEndian.Uint64(visit[:8]) >> 16 / msPerDay
}

type aeadKey struct {
	key int // index in the ring
	day uint64
}

// aead gives the cipher of one ring key and day. A key per day keeps random
// 96-bit nonces far from their bound of 2^32 values under one key (NIST SP
// 800-38D, section 8.3). Finding a kept one takes no lock.
func (s *keySet) aead(key int, day uint64) cipher.AEAD {
	at := aeadKey{key, day}
	if a, ok := s.aeads.Load(at); ok {
		return a.(cipher.AEAD)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.aeads.Load(at); ok {
		return a.(cipher.AEAD)
	}
	if s.kept == maxAEADs { // rare enough that starting afresh beats counting uses
		s.aeads.Clear()
		s.kept = 0
	}
	a := newAEAD(s.keys[key].derive("seal/v1/day/" + strconv.FormatUint(day, 10)))
	s.aeads.Store(at, a)
	s.kept++
	return a
}

func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("seal: aes refused a constant key size: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("seal: gcm refused an aes block: " + err.Error())
	}
	return aead
}
