package directory

import (
	"encoding/base64"
	"errors"
	"testing"

	"nowserving/persistence/seal"
)

// A stored hash is one that Hash makes, with bounds on what it may cost to check.
func FuzzArgonHash(f *testing.F) {
	hash, err := NewHasher().Hash(f.Context(), "a password")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(hash)
	f.Add("$argon2id$v=19$m=4294967295,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseArgon(text)
		if err != nil {
			if !errors.Is(err, ErrPasswordHash) {
				t.Fatal(err)
			}
			return
		}
		if a.memory > 256*1024 || a.time > 16 || a.lanes > 16 || len(a.sum) > 64 || len(a.salt) > 64 {
			t.Fatalf("%+v", a)
		}
		if again, err := parseArgon(a.String()); err != nil || again.String() != a.String() {
			t.Fatalf("%s is read as %v, %v", a, again, err)
		}
	})
}

// Statistics that are stored are read as they stand, or are damaged.
func FuzzStoredStatistics(f *testing.F) {
	f.Add(appendPair(appendPair(nil, 3, 1), 4, 2), int64(5), int64(1))
	f.Add([]byte{0xff}, int64(0), int64(-1))
	f.Add(appendMoment(nil, statChange{kind: statServed, at: 4, sign: -1, wait: 7, handle: -1}), int64(1), int64(0))
	f.Fuzz(func(t *testing.T, stored []byte, value, change int64) {
		if err := eachMoment(stored, 1, func(statChange) {}); err != nil && !errors.Is(err, errStatistics) {
			t.Fatal(err)
		}
		total := func(stored []byte) (sum int64, err error) {
			err = eachPair(stored, func(_, count int64) { sum += count })
			return sum, err
		}
		before, err := total(stored)
		if err != nil || value < 0 || value > 1<<40 || change < 0 || change > 1<<40 {
			return
		}
		changed, err := changeHistogram(stored, map[int64]int64{value: change})
		if err != nil {
			t.Fatal(err)
		}
		if after, err := total(changed); err != nil {
			t.Fatalf("%d after %d: %v", after, before, err)
		}
	})
}

// What stands sealed in a row of a user or a webhook opens as it was sealed there,
// or not at all.
func FuzzOpenValue(f *testing.F) {
	ring, err := seal.ParseRing("k:" + base64.StdEncoding.EncodeToString(make([]byte, seal.KeySize)))
	if err != nil {
		f.Fatal(err)
	}
	d := &Directory{keys: ring}
	sealed, err := d.sealField("a user", "name", "Ada")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a user", "name", sealed)
	f.Add("a user", "email", sealed)
	f.Add("", "", []byte{sealedFormat, 255})
	f.Add("", "", []byte{sealedFormat, 1, 'k'})
	f.Fuzz(func(t *testing.T, user, field string, stored []byte) {
		plain, err := d.openField(user, field, stored)
		switch {
		case err != nil && !errors.Is(err, errSealed):
			t.Fatal(err)
		case err == nil && (plain != "Ada" || user != "a user" || field != "name"): // of this run or another one
			t.Fatalf("a forgery opened: %x", stored)
		}
		again, err := d.sealField(user, field, plain)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := d.openField(user, field, again); err != nil || back != plain {
			t.Fatalf("no way back: %v", err)
		}
	})
}
