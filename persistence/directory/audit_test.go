package directory

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// testAudit: entries come newest first, once each, whatever the filter and the
// size of pages.
func testAudit(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	var all []AuditEntry
	for i := range 60 {
		e := AuditEntry{
			ID: numbered(uint64(1000 - i)), At: at.Add(time.Duration(i/7) * time.Millisecond), UserID: fmt.Sprint("u", i%2),
			Action: fmt.Sprint("thing.done", i%3), Target: fmt.Sprint("t", i%5), Address: "2001:db8::1",
		}
		if i%4 == 0 {
			e.KeyID, e.Details = "k", json.RawMessage(`{"a":"ü"}`)
		}
		all = append(all, e)
	}
	shuffled := slices.Clone(all)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, e := range append(shuffled, all[3]) { // one of them twice
		check(t, d.AddAudit(ctx, e))
	}
	slices.SortFunc(all, func(a, b AuditEntry) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return slices.Compare(b.ID[:], a.ID[:])
	})
	for _, f := range []AuditFilter{
		{}, {UserID: "u1"}, {Action: "thing.done2"}, {Target: "t4"}, {UserID: "u0", Action: "thing.done1", Target: "t0"},
		{From: at.Add(2 * time.Millisecond), To: at.Add(5 * time.Millisecond)}, {UserID: "nobody"},
	} {
		expected := slices.DeleteFunc(slices.Clone(all), func(e AuditEntry) bool {
			return f.UserID != "" && e.UserID != f.UserID || f.Action != "" && e.Action != f.Action || f.Target != "" && e.Target != f.Target ||
				e.At.Before(f.From) || !f.To.IsZero() && !e.At.Before(f.To)
		})
		for _, limit := range []int{1, 7, 100} {
			seen := []AuditEntry{}
			for after := (*AuditPlace)(nil); ; {
				page, next, err := d.ListAudit(ctx, f, after, limit)
				check(t, err)
				seen = append(seen, page...)
				if after = next; next == nil {
					break
				}
			}
			for i := range seen {
				if len(seen[i].Details) == 0 {
					seen[i].Details = nil
				}
			}
			if !reflect.DeepEqual(seen, expected) {
				t.Fatalf("%+v by %d: %d entries, want %d", f, limit, len(seen), len(expected))
			}
		}
	}
}
