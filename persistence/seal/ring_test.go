package seal

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAddKeyPutsANewOneInFront(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data.keys")
	before, err := LoadOrCreateRing(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := 2; n <= MaxKeys; n++ {
		added, err := AddKey(path, noon)
		if err != nil {
			t.Fatal(err)
		}
		after, err := ReadRing(path, true)
		if err != nil || after.encode() != added.encode() || !strings.HasSuffix(after.encode(), ","+before.encode()) || len(after.IDs()) != n {
			t.Fatal(err, before, after)
		}
		before = after
	}
	if r, err := AddKey(path, noon); r != nil || !errors.Is(err, ErrRing) {
		t.Errorf("one too many: %v, %v", r, err)
	}
	info, err := os.Stat(path)
	left, err2 := os.ReadDir(filepath.Dir(path))
	if err != nil || err2 != nil || info.Mode().Perm() != 0o600 || len(left) != 1 {
		t.Error(info.Mode(), left, err, err2)
	}
	if after, err := ReadRing(path, true); err != nil || after.encode() != before.encode() {
		t.Error(after, err)
	}
}

// Whoever holds a ring has its keys of the moment.
func TestReplacedRing(t *testing.T) {
	t.Parallel()
	r := mustRing(t, entry("a", 1), entry("b", 2), entry("c", 3))
	old := r.Seal("f", visit, []byte("v"))
	led := r.Leading("b")
	if got := led.IDs(); !slices.Equal(got, []string{"b", "a", "c"}) || !slices.Equal(r.IDs(), []string{"a", "b", "c"}) {
		t.Fatal(got, r.IDs())
	}
	if got := r.Leading("x").IDs(); !slices.Equal(got, r.IDs()) {
		t.Error(got)
	}
	r.Replace(led)
	if id, direct := DirectKey(r.Seal("f", visit, []byte("v"))); id != "b" || !direct {
		t.Error(id, direct)
	}
	if got, err := r.Open("f", visit, old); string(got) != "v" || err != nil {
		t.Error(got, err)
	}
	p, q := mustRing(t, entry("a", 1), entry("b", 2)).Proofs(), mustRing(t, entry("b", 9), entry("a", 1)).Proofs()
	if p[0] != q[1] || p[1].Proof == q[0].Proof || p[0].Proof == p[1].Proof {
		t.Error("proofs do not tell keys apart")
	}
	for _, v := range [][]byte{nil, {1}, {1, 5, 'a'}, {2, 1, 'a'}} {
		if id, direct := DirectKey(v); direct {
			t.Errorf("%x: %s", v, id)
		}
	}
}
