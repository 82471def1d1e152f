package directory

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

func testKnownVersions(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	var ids []string
	var rows []QueueRow
	for i := range 2*idsPerQuery + 7 {
		row := rowOf(fmt.Sprintf("q%05d", i), uint64(i+1))
		row.Deleted = i%3 == 0
		ids, rows = append(ids, row.ID, "unknown"+row.ID), append(rows, row)
	}
	check(t, d.PutQueues(ctx, rows...))
	known, err := d.KnownVersions(ctx, append(ids, ids[0]))
	if err != nil || len(known) != len(rows) {
		t.Fatalf("%d queues are known, %v", len(known), err)
	}
	for _, row := range rows {
		if known[row.ID] != row.Version {
			t.Fatalf("%s is known at version %d, want %d", row.ID, known[row.ID], row.Version)
		}
	}
	if known, err := d.KnownVersions(ctx, nil); err != nil || len(known) != 0 {
		t.Fatal(known, err)
	}
}

// testWidestValues: what the rest of the program lets pass has room.
func testWidestValues(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	u := someone(strings.Repeat("ü", 126) + "@x")
	u.Name = strings.Repeat("😀", 200)
	u.Queues = make([]string, 10_000)
	for i := range u.Queues {
		u.Queues[i] = strings.Repeat("q", 63)
	}
	u.PasswordHash = strings.Repeat("h", 400)
	created, err := d.CreateUser(ctx, u)
	check(t, err)
	if got, err := d.UserByEmail(ctx, u.Email); err != nil || !reflect.DeepEqual(got, created) {
		t.Fatal("the user comes back otherwise", err)
	}
	row := rowOf(strings.Repeat("q", 63), math.MaxInt64)
	row.Name, row.Prefix, row.Waiting = strings.Repeat("😀", 200), "ZZZZ", math.MaxInt64
	row.Config = json.RawMessage(`"` + strings.Repeat("ü", 100_000) + `"`)
	check(t, d.PutQueue(ctx, row))
	if got, err := d.GetQueue(ctx, row.ID); err != nil || !reflect.DeepEqual(got, row) {
		t.Fatal("the queue comes back otherwise", err)
	}
}

// testBytesAreCompared: neither case nor accents make two things one, and
// pages come in the order of Go's strings.
func testBytesAreCompared(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	for _, email := range []string{"jose@x", "josé@x", "jose'\\\"@x", "ß@x", "ss@x"} {
		u, err := d.CreateUser(ctx, someone(email))
		check(t, err)
		if got, err := d.UserByEmail(ctx, email); err != nil || got.ID != u.ID {
			t.Fatalf("%s is found as %s, %v", email, got.Email, err)
		}
	}
	ids := []string{"B", "a", "a-b", "a0", "aa", "z"}
	for _, id := range ids {
		check(t, d.PutQueue(ctx, rowOf(id, 1)))
	}
	if seen := walk(t, d, nil, 2); !reflect.DeepEqual(seen, ids) {
		t.Fatal(seen)
	}
	for _, id := range []string{"A", "AA", "ü", "a\x00"} {
		_, err := d.GetQueue(ctx, id)
		want(t, err, ErrNotFound)
	}
}
