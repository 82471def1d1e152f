// Package seal keeps personal data unreadable at rest: a ring of named keys,
// the sealing of single values with them, keyed fingerprints for idempotency
// checks, and the keys derived from the ring for other purposes (tokens).
//
// A ring key itself never touches data. Every use derives its own key with
// HKDF-SHA256 (RFC 5869), so that no two uses can be played against each other.
package seal

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// KeySize is the length of a ring key in bytes.
	KeySize = 32
	// MaxKeys bounds a ring: every fingerprint is computed once per key.
	MaxKeys = 32

	maxKeyID = 32
)

// ErrRing is the error, wrapped with what was wrong, of a ring that cannot be
// read. It names positions and key ids, never key material.
var ErrRing = errors.New("bad key ring")

// Ring is an ordered set of keys. The first one encrypts and signs; all decrypt
// and verify. It is safe for concurrent use, and Replace gives it other keys
// while it is used, so that whoever holds a ring follows its rotation.
type Ring struct{ now atomic.Pointer[keySet] }

// keySet is what a ring holds at one time; it does not change.
type keySet struct {
	keys []ringKey
	byID map[string]int

	aeads sync.Map   // aeadKey to cipher.AEAD
	mu    sync.Mutex // held to add to aeads
	kept  int        // how many aeads holds
}

type ringKey struct {
	id          string
	secret      []byte
	fingerprint []byte // HMAC key of Fingerprints
}

// Key is a key that SubKey derived.
type Key struct {
	ID    string
	Bytes []byte // KeySize bytes
}

// ParseRing reads "id:base64,id2:base64". An id is 1 to 32 of A-Z, a-z, 0-9,
// "_" and "-", and unique; a key is standard base64 of exactly 32 bytes. White
// space around the whole and around each entry is ignored, so a file may end
// with a newline. Errors wrap ErrRing.
func ParseRing(s string) (*Ring, error) {
	if strings.TrimSpace(s) == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrRing)
	}
	// One more than allowed is enough to know that there are too many.
	entries := strings.SplitN(s, ",", MaxKeys+1)
	if len(entries) > MaxKeys {
		return nil, fmt.Errorf("%w: more than %d keys", ErrRing, MaxKeys)
	}
	set := &keySet{byID: make(map[string]int, len(entries))}
	for i, entry := range entries {
		if err := set.add(strings.TrimSpace(entry)); err != nil {
			return nil, fmt.Errorf("%w: key %d: %w", ErrRing, i+1, err)
		}
	}
	return newRing(set), nil
}

func newRing(set *keySet) *Ring {
	r := &Ring{}
	r.now.Store(set)
	return r
}

// Replace gives the ring the keys of another one.
func (r *Ring) Replace(by *Ring) { r.now.Store(by.now.Load()) }

// add reads one "id:base64". Its errors never quote the entry: whoever swaps
// id and key would find the key in a log.
func (s *keySet) add(entry string) error {
	id, encoded, found := strings.Cut(entry, ":")
	if !found {
		return errors.New("not of the form id:base64")
	}
	if !validID(id) {
		return errors.New("an id is 1 to 32 letters, digits, '_' or '-'")
	}
	if _, taken := s.byID[id]; taken {
		return errors.New("its id was used before")
	}
	// Strict: of two texts for the same bytes one would not survive a rewrite.
	// Newlines are refused because the decoder would skip them.
	secret, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return errors.New("not standard base64")
	}
	if len(secret) != KeySize {
		return fmt.Errorf("%d bytes long instead of %d", len(secret), KeySize)
	}
	key := ringKey{id: id, secret: secret}
	key.fingerprint = key.derive("fingerprint/v1")
	s.byID[id] = len(s.keys)
	s.keys = append(s.keys, key)
	return nil
}

func validID(id string) bool {
	if id == "" || len(id) > maxKeyID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// derive gives the key for one purpose. Purposes begin with a word and a
// version ("seal/v1/…"), which keeps the uses inside this package apart.
func (k *ringKey) derive(purpose string) []byte {
	out, err := hkdf.Key(sha256.New, k.secret, nil, "nowserving/"+purpose, KeySize)
	if err != nil {
		// Only a length above 255 hashes or, in FIPS mode, a key under 112
		// bits is refused; both are constants here.
		panic("seal: hkdf refused constant sizes: " + err.Error())
	}
	return out
}

// SubKey derives one key for purpose from each ring key, first key first. It
// is meant for token signing, where the id says which one signed. Equal
// purposes give equal keys; different ones give unrelated keys.
func (r *Ring) SubKey(purpose string) []Key {
	set := r.now.Load()
	keys := make([]Key, len(set.keys))
	for i := range set.keys {
		keys[i] = Key{ID: set.keys[i].id, Bytes: set.keys[i].derive("sub/v1/" + purpose)}
	}
	return keys
}

// IDs lists the key ids, first key first.
func (r *Ring) IDs() []string {
	set := r.now.Load()
	ids := make([]string, len(set.keys))
	for i := range set.keys {
		ids[i] = set.keys[i].id
	}
	return ids
}

// Proof tells whether two rings hold the same key under an id, and nothing else.
type Proof struct {
	ID    string
	Proof [16]byte
}

// Proofs are those of the keys, first key first.
func (r *Ring) Proofs() []Proof {
	set := r.now.Load()
	proofs := make([]Proof, len(set.keys))
	for i := range set.keys {
		proofs[i] = Proof{set.keys[i].id, [16]byte(set.keys[i].derive("proof/v1"))}
	}
	return proofs
}

// Leading gives a ring of the same keys in which the one of that id is the first.
func (r *Ring) Leading(id string) *Ring {
	set := r.now.Load()
	at, known := set.byID[id]
	if !known || at == 0 {
		return newRing(set)
	}
	led := &keySet{byID: make(map[string]int, len(set.keys))}
	led.keys = append(append(append(led.keys, set.keys[at]), set.keys[:at]...), set.keys[at+1:]...)
	for i := range led.keys {
		led.byID[led.keys[i].id] = i
	}
	return newRing(led)
}

// encode is the inverse of ParseRing.
func (r *Ring) encode() string {
	set := r.now.Load()
	entries := make([]string, len(set.keys))
	for i, k := range set.keys {
		entries[i] = k.id + ":" + base64.StdEncoding.EncodeToString(k.secret)
	}
	return strings.Join(entries, ",")
}

// Format prints the ids only, under every verb: a ring that ends up in a log
// or a panic must not take its keys with it.
func (r *Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.describe()) }

// LogValue does for slog what Format does for fmt.
func (r *Ring) LogValue() slog.Value { return slog.StringValue(r.describe()) }

func (r *Ring) describe() string { return "ring(" + strings.Join(r.IDs(), ",") + ")" }

// Format prints the id only, under every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key("+k.ID+")") }

// LogValue does for slog what Format does for fmt.
func (k Key) LogValue() slog.Value { return slog.StringValue("key(" + k.ID + ")") }

// MarshalJSON gives the id only.
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"key(` + k.ID + `)"`), nil }
