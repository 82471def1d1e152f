package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// Fingerprints hashes parts to 64 bits, once under each ring key, first key
// first: HMAC-SHA256 of the length-prefixed parts, so that ("ab","c") and
// ("a","bc") differ. Remember the first; compare a new command with all: a
// command remembered before a rotation is then still known after it. Without
// the ring's keys a fingerprint tells nothing about guessable content, such
// as a phone number.
func (r *Ring) Fingerprints(parts ...[]byte) []uint64 {
	set := r.now.Load()
	prints := make([]uint64, len(set.keys))
	for i := range set.keys {
		mac := hmac.New(sha256.New, set.keys[i].fingerprint)
		var length [8]byte
		for _, part := range parts {
			binary.BigEndian.PutUint64(length[:], uint64(len(part)))
			mac.Write(length[:])
			mac.Write(part)
		}
		var sum [sha256.Size]byte
		prints[i] = binary.BigEndian.Uint64(mac.Sum(sum[:0]))
	}
	return prints
}
