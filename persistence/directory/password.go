package directory

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Argon2id with 19 MiB, two passes, one lane: OWASP Password Storage Cheat
// Sheet. Raising them makes NeedsRehash true for older hashes.
const (
	argonMemory = 19 * 1024 // KiB
	argonTime   = 2
	argonLanes  = 1
	saltSize    = 16
	hashSize    = 32

	// MaxPassword bounds what is hashed, in bytes.
	MaxPassword = 1024
)

// ErrPasswordHash: a stored hash is not one that Hash makes.
var ErrPasswordHash = errors.New("directory: unreadable password hash")

// Hasher hashes passwords, no more at once than there are CPUs: a flood of
// logins must neither take 19 MiB each nor starve the queues.
type Hasher struct {
	slots chan struct{}
	// nobody is a hash that no password has; see Verify.
	nobody argonHash
}

// NewHasher makes a Hasher; a process needs one.
func NewHasher() *Hasher {
	nobody := argonHash{
		memory: argonMemory, time: argonTime, lanes: argonLanes,
		salt: random(saltSize), sum: random(hashSize),
	}
	return &Hasher{slots: make(chan struct{}, runtime.NumCPU()), nobody: nobody}
}

// Hash gives the PHC string of a password. It fails with ErrInvalid for an
// empty password or one over MaxPassword, or when ctx ends while it waits.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if password == "" || len(password) > MaxPassword {
		return "", fmt.Errorf("%w: a password has 1 to %d bytes", ErrInvalid, MaxPassword)
	}
	a := argonHash{memory: argonMemory, time: argonTime, lanes: argonLanes, salt: random(saltSize), sum: make([]byte, hashSize)}
	sum, err := h.compute(ctx, a, password)
	if err != nil {
		return "", err
	}
	a.sum = sum
	return a.String(), nil
}

// Verify reports whether password belongs to hash. For an unknown user pass
// an empty hash: it takes as long as for a known one and gives false. It fails
// with ErrPasswordHash, or when ctx ends while it waits.
func (h *Hasher) Verify(ctx context.Context, hash, password string) (bool, error) {
	a := h.nobody
	if hash != "" {
		var err error
		if a, err = parseArgon(hash); err != nil {
			return false, err
		}
	}
	if len(password) > MaxPassword { // no hash was ever made of it
		a, password = h.nobody, ""
	}
	sum, err := h.compute(ctx, a, password)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(sum, a.sum) == 1, nil
}

// NeedsRehash reports whether hash was made with other costs than today's: at
// the next good login, store a new one.
func (h *Hasher) NeedsRehash(hash string) bool {
	a, err := parseArgon(hash)
	return err != nil || a.memory != argonMemory || a.time != argonTime || a.lanes != argonLanes || len(a.sum) != hashSize
}

func (h *Hasher) compute(ctx context.Context, a argonHash, password string) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("directory: password: %w", ctx.Err())
	}
	return argon2.IDKey([]byte(password), a.salt, a.time, a.memory, a.lanes, uint32(len(a.sum))), nil
}

type argonHash struct {
	memory, time uint32 // KiB, passes
	lanes        uint8
	salt, sum    []byte
}

// String is the PHC string format, as the argon2 reference program prints it.
func (a argonHash) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, a.memory, a.time, a.lanes, b64(a.salt), b64(a.sum))
}

// parseArgon reads a PHC string. Its bounds keep a row that was tampered with
// from taking all memory. The error does not quote the hash.
func parseArgon(s string) (argonHash, error) {
	var a argonHash
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return argonHash{}, ErrPasswordHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &a.memory, &a.time, &a.lanes); err != nil {
		return argonHash{}, ErrPasswordHash
	}
	var errSalt, errSum error
	a.salt, errSalt = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	a.sum, errSum = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	switch {
	case errSalt != nil, errSum != nil,
		a.memory < 8 || a.memory > 256*1024, a.time < 1 || a.time > 16, a.lanes < 1 || a.lanes > 16,
		len(a.salt) < 8 || len(a.salt) > 64, len(a.sum) < 16 || len(a.sum) > 64:
		return argonHash{}, ErrPasswordHash
	}
	return a, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: it ends the program instead
	return b
}
