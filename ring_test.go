package main

import (
	"context"
	"path/filepath"
	"testing"

	"nowserving/persistence/seal"
)

// told counts how often a node tells of its ring.
type told struct {
	ringKind
	times int
}

func (k *told) report(context.Context, *seal.Ring) error { k.times++; return nil }

// A node whose ring file cannot be read tells of the ring that it has: who is
// not heard of is not waited for, and would be left without a key.
func TestNodeWithoutItsRingFileIsHeardOf(t *testing.T) {
	t.Parallel()
	ring, err := seal.ParseRing(testRing)
	if err != nil {
		t.Fatal(err)
	}
	kind := &told{}
	k := &ringKeeper{ring: ring, file: ring, kind: kind, path: filepath.Join(t.TempDir(), "missing")}
	if err := k.step(t.Context()); err == nil {
		t.Error("a missing file is taken")
	}
	if kind.times != 1 {
		t.Errorf("it told %d times", kind.times)
	}
}
