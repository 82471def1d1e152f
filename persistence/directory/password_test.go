package directory

import (
	"context"
	"strings"
	"testing"
)

func TestPassword(t *testing.T) {
	t.Parallel()
	h, ctx := NewHasher(), t.Context()
	hash, err := h.Hash(ctx, "correct horse")
	check(t, err)
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") || h.NeedsRehash(hash) {
		t.Fatal("not the form that is stored")
	}
	if again, _ := h.Hash(ctx, "correct horse"); again == hash {
		t.Fatal("no salt")
	}
	for _, c := range []struct {
		hash, password string
		want           bool
	}{
		{hash, "correct horse", true}, {hash, "correct horsE", false}, {hash, "", false},
		{"", "correct horse", false}, {"", "", false}, {hash, strings.Repeat("x", MaxPassword+1), false},
		// From the reference program: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1
		{"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password", true},
	} {
		if got, err := h.Verify(ctx, c.hash, c.password); err != nil || got != c.want {
			t.Errorf("%.12q: %v, %v", c.password, got, err)
		}
	}
}

// Nobody's hash takes as long as anybody's.
func TestNobodyTakesAsLong(t *testing.T) {
	t.Parallel()
	h := NewHasher()
	hash, err := h.Hash(t.Context(), "correct horse")
	check(t, err)
	somebody, err := parseArgon(hash)
	check(t, err)
	if n := h.nobody; n.memory != somebody.memory || n.time != somebody.time || n.lanes != somebody.lanes ||
		len(n.salt) != len(somebody.salt) || len(n.sum) != len(somebody.sum) {
		t.Errorf("%+v, and somebody's is %+v", n, somebody)
	}
}

func TestPasswordsAndHashesThatAreRefused(t *testing.T) {
	t.Parallel()
	h, ctx := NewHasher(), t.Context()
	for _, p := range []string{"", strings.Repeat("x", MaxPassword+1)} {
		_, err := h.Hash(ctx, p)
		want(t, err, ErrInvalid)
	}
	const salt, sum = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, hash := range []string{
		"x", "$argon2i$v=19$m=65536,t=2,p=1$" + salt + "$" + sum, "$argon2id$v=16$m=65536,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=99999999,t=2,p=1$" + salt + "$" + sum, "$argon2id$v=19$m=65536,t=0,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=65536,t=2,p=0$" + salt + "$" + sum, "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$!",
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$", "$argon2id$v=19$m=65536,t=2$" + salt + "$" + sum,
	} {
		_, err := h.Verify(ctx, hash, "password")
		want(t, err, ErrPasswordHash)
		if !h.NeedsRehash(hash) {
			t.Errorf("%s is good enough", hash)
		}
	}
}

func TestHashingWaitsForAPlace(t *testing.T) {
	t.Parallel()
	h := NewHasher()
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Verify(ctx, "", "p")
	want(t, err, context.Canceled)
}

func BenchmarkVerify(b *testing.B) {
	h := NewHasher()
	for b.Loop() {
		if _, err := h.Verify(b.Context(), "", "password"); err != nil {
			b.Fatal(err)
		}
	}
}
