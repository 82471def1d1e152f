package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// entry is a ring entry whose key bytes are all fill.
func entry(id string, fill byte) string {
	return id + ":" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, KeySize))
}

func mustRing(t testing.TB, entries ...string) *Ring {
	t.Helper()
	r, err := ParseRing(strings.Join(entries, ","))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// visitAt is a UUIDv7 of that moment.
func visitAt(at time.Time, tail byte) (v [16]byte) {
	binary.BigEndian.PutUint64(v[:8], uint64(at.UnixMilli())<<16|0x7000)
	v[8], v[15] = 0x80, tail
	return v
}

var (
	noon  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	visit = visitAt(noon, 1)
)

func TestSealedValueOpensForItsFieldAndVisit(t *testing.T) {
	t.Parallel()
	r := mustRing(t, entry("a", 1))
	for _, n := range []int{1, 15, 16, 17, 16384} {
		plain := bytes.Repeat([]byte("x"), n)
		sealed := r.Seal("phone", visit, plain)
		if len(sealed) > n+Overhead || bytes.Contains(sealed, plain[:min(n, 8)]) && n > 8 {
			t.Fatalf("%d bytes: sealed to %d bytes", n, len(sealed))
		}
		got, err := r.Open("phone", visit, sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: err %v", n, err)
		}
	}
	if a, b := r.Seal("phone", visit, []byte("x")), r.Seal("phone", visit, []byte("x")); bytes.Equal(a, b) {
		t.Fatal("the same value was sealed to the same bytes twice")
	}
}

// golden was sealed by the first version: "secret" as field "name" of visit,
// key k1. It must open for ever, or stored data is lost.
const golden = "01026b31b797e32c7d58dc6f8a6cb1f8a956b1ca9acefe156dfd25d8e52804c0d38246b2d101"

func TestFormatOfTheFirstVersionStillOpens(t *testing.T) {
	t.Parallel()
	sealed, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, err := mustRing(t, entry("k2", 2), entry("k1", 1)).Open("name", visit, sealed)
	if err != nil || string(got) != "secret" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestNothingSealsToNothing(t *testing.T) {
	t.Parallel()
	r := mustRing(t, entry("a", 1))
	if r.Seal("f", visit, nil) != nil || r.Seal("f", visit, []byte{}) != nil {
		t.Fatal("nothing was sealed to something")
	}
	if got, err := r.Open("f", visit, nil); got != nil || err != nil {
		t.Fatal(got, err)
	}
}

func TestMovedValueDoesNotOpen(t *testing.T) {
	t.Parallel()
	r := mustRing(t, entry("a", 1))
	sealed := r.Seal("name", visit, []byte("secret"))
	for name, at := range map[string]struct {
		field string
		visit [16]byte
	}{
		"other field":       {"email", visit},
		"field and visit":   {"name" + string(visit[:1]), visit},
		"visit same day":    {"name", visitAt(noon, 2)},
		"visit another day": {"name", visitAt(noon.Add(24*time.Hour), 1)},
	} {
		if got, err := r.Open(at.field, at.visit, sealed); !errors.Is(err, ErrTampered) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestEveryFlippedBitAndEveryCutIsFound(t *testing.T) {
	t.Parallel()
	r := mustRing(t, entry("k1", 1), entry("k2", 2))
	sealed := r.Seal("name", visit, []byte("secret"))
	for i := range sealed {
		for bit := range 8 {
			bad := slices.Clone(sealed)
			bad[i] ^= 1 << bit
			got, err := r.Open("name", visit, bad)
			if got != nil || !errors.Is(err, ErrTampered) && !errors.Is(err, ErrWrongKey) {
				t.Fatalf("byte %d bit %d: %q, %v", i, bit, got, err)
			}
		}
		if got, err := r.Open("name", visit, sealed[:i]); i > 0 && (got != nil || err == nil) {
			t.Fatalf("cut to %d bytes: %q, %v", i, got, err)
		}
	}
	if _, err := r.Open("name", visit, append(slices.Clone(sealed), 0)); !errors.Is(err, ErrTampered) {
		t.Fatalf("one byte more: %v", err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	before := mustRing(t, entry("a", 1))
	after := mustRing(t, entry("b", 2), entry("a", 1))
	without := mustRing(t, entry("b", 2))
	impostor := mustRing(t, entry("a", 9))

	old := before.Seal("f", visit, []byte("v"))
	if got, err := after.Open("f", visit, old); string(got) != "v" || err != nil {
		t.Fatalf("the old key no longer opens: %v", err)
	}
	if _, err := before.Open("f", visit, after.Seal("f", visit, []byte("v"))); !errors.Is(err, ErrWrongKey) {
		t.Fatalf("the new first key does not seal: %v", err)
	}
	if _, err := without.Open("f", visit, old); !errors.Is(err, ErrWrongKey) {
		t.Fatalf("a key that is gone: %v", err)
	}
	if _, err := impostor.Open("f", visit, old); !errors.Is(err, ErrTampered) {
		t.Fatalf("another key of the same id: %v", err)
	}

	if f, g := before.Fingerprints([]byte("x")), after.Fingerprints([]byte("x")); len(g) != 2 || g[1] != f[0] || g[0] == g[1] {
		t.Fatalf("fingerprints %x, then %x", f, g)
	}
	if k, l := before.SubKey("token"), after.SubKey("token"); l[0].ID != "b" || l[1].ID != "a" || !bytes.Equal(k[0].Bytes, l[1].Bytes) {
		t.Fatal("sub keys do not follow the ring")
	}
}

func TestFingerprintKnowsWhereAPartEnds(t *testing.T) {
	t.Parallel()
	r := mustRing(t, entry("a", 1))
	seen := map[uint64]bool{}
	for _, parts := range [][][]byte{{}, {{}}, {{}, {}}, {[]byte("ab"), []byte("c")}, {[]byte("a"), []byte("bc")}, {[]byte("abc")}} {
		print := r.Fingerprints(parts...)[0]
		if seen[print] {
			t.Fatalf("%q is not told apart", parts)
		}
		seen[print] = true
	}
}

func TestSubKeysOfTwoPurposesDiffer(t *testing.T) {
	t.Parallel()
	r := mustRing(t, entry("a", 1))
	a, b := r.SubKey("access")[0].Bytes, r.SubKey("refresh")[0].Bytes
	if len(a) != KeySize || bytes.Equal(a, b) || bytes.Equal(a, r.now.Load().keys[0].secret) || bytes.Equal(a, r.now.Load().keys[0].fingerprint) {
		t.Fatal("sub keys are related")
	}
}

func TestRingsThatAreRefused(t *testing.T) {
	t.Parallel()
	key := strings.TrimPrefix(entry("", 7), ":")
	for name, s := range map[string]string{
		"empty":              "",
		"blank":              " \n",
		"no id":              ":" + key,
		"no colon":           key,
		"long id":            strings.Repeat("a", 33) + ":" + key,
		"odd id":             "a.b:" + key,
		"short key":          "a:" + base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"long key":           "a:" + base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"url base64":         "a:" + strings.ReplaceAll(base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{255}, 32)), "/", "_"),
		"no padding":         "a:" + strings.TrimRight(key, "="),
		"loose padding bits": "a:" + key[:42] + "d=",
		"inner newline":      "a:" + key[:8] + "\n" + key[8:],
		"twice":              entry("a", 1) + "," + entry("a", 2),
		"trailing comma":     entry("a", 1) + ",",
		"swapped":            key + ":a",
		"too many":           strings.Repeat(entry("a", 1)+",", MaxKeys) + entry("b", 1),
	} {
		r, err := ParseRing(s)
		if r != nil || !errors.Is(err, ErrRing) {
			t.Errorf("%s: %v, %v", name, r, err)
		} else if strings.Contains(err.Error(), key[:8]) {
			t.Errorf("%s: the error tells of the key: %v", name, err)
		}
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	t.Parallel()
	r := mustRing(t, entry("a", 'K'))
	key := Key{ID: "a", Bytes: bytes.Repeat([]byte("K"), KeySize)}
	var out bytes.Buffer
	for _, v := range []any{r, *key.clone(), []Key{key}, &key, struct{ K Key }{key}} {
		fmt.Fprintf(&out, "%v %+v %#v %s %x %q\n", v, v, v, v, v, v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		_ = json.NewEncoder(&out).Encode(v)
	}
	for _, leak := range []string{"KKKK", "75, 75", "75 75", "4b4b", "0x4b, 0x4b", "S0tL"} {
		if strings.Contains(out.String(), leak) {
			t.Fatalf("key bytes as %q in:\n%s", leak, out.String())
		}
	}
}

func (k Key) clone() *Key { return &k }

func TestDayIsTheVisitsUTCDay(t *testing.T) {
	t.Parallel()
	midnight := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	if got, want := day(visitAt(midnight, 1)), uint64(midnight.Unix()/86400); got != want {
		t.Fatalf("day %d, want %d", got, want)
	}
	if day(visitAt(midnight.Add(-time.Millisecond), 1)) == day(visitAt(midnight, 1)) {
		t.Fatal("two days share a key")
	}
}

func TestCacheIsBoundedAndConcurrent(t *testing.T) {
	t.Parallel()
	r := mustRing(t, entry("a", 1))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for d := range 2 * maxAEADs {
				v := visitAt(noon.Add(time.Duration(d)*24*time.Hour), byte(g))
				if got, err := r.Open("f", v, r.Seal("f", v, []byte("x"))); err != nil || string(got) != "x" {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	n := 0
	r.now.Load().aeads.Range(func(any, any) bool { n++; return true })
	if n > maxAEADs || n != r.now.Load().kept {
		t.Fatalf("%d ciphers kept, %d counted", n, r.now.Load().kept)
	}
}

func TestRingFileIsMadeOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "data.keys")
	rings := make([]*Ring, 16)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() {
			var err error
			if rings[i], err = LoadOrCreateRing(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range rings {
		if r == nil || r.encode() != rings[0].encode() {
			t.Fatal("two rings came of one file")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
}

func TestRingFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.WriteFile(open, []byte(entry("a", 1)), 0o600), os.Chmod(open, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateRing(open); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Fatalf("a file open to all: %v", err)
	}
	for name, content := range map[string]string{"empty": "", "broken": "a:b", "huge": strings.Repeat("a", maxRingFile+1)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := LoadOrCreateRing(path); err == nil || r != nil {
			t.Errorf("%s was taken", name)
		}
		if now, _ := os.ReadFile(path); string(now) != content {
			t.Errorf("%s was overwritten", name)
		}
	}
}

func FuzzOpen(f *testing.F) {
	r := mustRing(f, entry("k1", 1), entry("k2", 2))
	// Not sealed here: the fuzzer's workers are processes of their own, each
	// of which would get another nonce.
	genuine, err := hex.DecodeString(golden)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("name", visit[:], genuine)
	f.Add("name", visit[:], []byte{1, 2, 'k', '1'})
	f.Add("", []byte{}, []byte{1, 255})
	f.Fuzz(func(t *testing.T, field string, id, sealed []byte) {
		var v [16]byte
		copy(v[:], id)
		got, err := r.Open(field, v, sealed)
		if err != nil && got != nil || err != nil && !errors.Is(err, ErrTampered) && !errors.Is(err, ErrWrongKey) {
			t.Fatalf("%q, %v", got, err)
		}
		if err == nil && len(got) > 0 && !bytes.Equal(sealed, genuine) {
			t.Fatalf("a forgery opened: %x", sealed)
		}
		if got, err := r.Open(field, v, r.Seal(field, v, sealed)); err != nil || !bytes.Equal(got, sealed) {
			t.Fatalf("no way back: %v", err)
		}
	})
}

func FuzzParseRing(f *testing.F) {
	f.Add(entry("a", 1) + "," + entry("b", 2))
	f.Add(" " + entry("a", 1) + "\n")
	f.Add("a:,b")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRing(s)
		if err != nil {
			if !errors.Is(err, ErrRing) || r != nil {
				t.Fatal(r, err)
			}
			return
		}
		again, err := ParseRing(r.encode())
		if err != nil || again.encode() != r.encode() {
			t.Fatalf("no way back: %v", err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	r := mustRing(b, entry("a", 1))
	for _, n := range []int{32, 1024, 16384} {
		plain := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r.Seal("payload", visit, plain)
				}
			})
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	r := mustRing(b, entry("a", 1))
	for _, n := range []int{32, 1024, 16384} {
		sealed := r.Seal("payload", visit, make([]byte, n))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := r.Open("payload", visit, sealed); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkFingerprints(b *testing.B) {
	r := mustRing(b, entry("a", 1))
	body := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		r.Fingerprints([]byte("user"), body)
	}
}

func BenchmarkNewDay(b *testing.B) {
	r := mustRing(b, entry("a", 1))
	for d := uint64(0); b.Loop(); d++ {
		r.now.Load().aead(0, d)
	}
}
