package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func rulesOf(queue, rules string) RuleList {
	return RuleList{Queue: queue, QueueVersion: 5, Rules: json.RawMessage(rules), UpdatedBy: "u1"}
}

func testRules(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	_, err := d.Rules(ctx, "a")
	want(t, err, ErrNotFound)
	wide := `[{"name":"` + strings.Repeat("ü", 60_000) + `"}]`
	first, err := d.PutRules(ctx, rulesOf("a", wide), nil)
	check(t, err)
	if first.Revision == 0 || string(first.Rules) != wide || !first.UpdatedAt.Equal(at) || first.UpdatedBy != "u1" {
		t.Fatalf("%+v", first)
	}
	if got, err := d.Rules(ctx, "a"); err != nil || !reflect.DeepEqual(got, first) {
		t.Fatalf("%+v, %v", got, err)
	}
	zero, ahead := uint64(0), first.Revision+1
	for _, wrong := range []*uint64{&zero, &ahead} {
		_, err = d.PutRules(ctx, rulesOf("a", `[2]`), wrong)
		want(t, err, ErrStale)
	}
	// The same again, as a retry is, changes nothing, whatever is expected.
	if got, err := d.PutRules(ctx, rulesOf("a", wide), &zero); err != nil || !reflect.DeepEqual(got, first) {
		t.Fatalf("%+v, %v", got, err)
	}
	second, err := d.PutRules(ctx, rulesOf("a", `[2]`), &first.Revision)
	if err != nil || second.Revision <= first.Revision {
		t.Fatalf("%+v, %v", second, err)
	}
	other, err := d.PutRules(ctx, rulesOf("b", `[]`), &zero) // 0: not set so far
	if err != nil || other.Revision <= second.Revision {
		t.Fatalf("%+v, %v", other, err)
	}
	changed := func(after uint64, limit int) (seen []RuleList) {
		seen, err := d.RulesAfter(ctx, after, limit)
		check(t, err)
		return seen
	}
	if got := changed(0, 10); !reflect.DeepEqual(got, []RuleList{second, other}) {
		t.Fatalf("%+v", got)
	}
	if got := changed(0, 1); !reflect.DeepEqual(got, []RuleList{second}) {
		t.Fatalf("%+v", got)
	}
	if got := changed(other.Revision, 10); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
}

// testRulesEnd: a queue's end is its rules' end, and those who follow learn of it.
func testRulesEnd(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	set, err := d.PutRules(ctx, rulesOf("a", `[1]`), nil)
	check(t, err)
	gone := rowOf("a", 9)
	gone.Deleted = true
	check(t, d.PutQueue(ctx, gone))
	ended, err := d.Rules(ctx, "a")
	if err != nil || string(ended.Rules) != `[]` || ended.Revision <= set.Revision {
		t.Fatalf("%+v, %v", ended, err)
	}
	check(t, d.PutQueue(ctx, gone)) // told twice
	if got, err := d.Rules(ctx, "a"); err != nil || !reflect.DeepEqual(got, ended) {
		t.Fatalf("%+v, %v", got, err)
	}
	// Made anew, with rules of its own, before the news of its end comes again.
	anew := rulesOf("a", `[2]`)
	anew.QueueVersion = 10
	kept, err := d.PutRules(ctx, anew, nil)
	check(t, err)
	check(t, d.PutQueue(ctx, gone))
	if got, err := d.Rules(ctx, "a"); err != nil || !reflect.DeepEqual(got, kept) {
		t.Fatalf("%+v, %v", got, err)
	}
}

// testRulesRace: of writers that know the same revision one wins, and whoever
// follows the revisions misses no change.
func testRulesRace(t *testing.T, open opener) {
	handles, ctx := []*Directory{open(t, clock), open(t, clock)}, t.Context()
	const writers, rounds = 6, 10
	won := make([]int, writers)
	var writing, following sync.WaitGroup
	done := make(chan struct{})
	last := map[string]uint64{}
	following.Go(func() {
		known := uint64(0)
		for over := false; ; {
			lists, err := handles[0].RulesAfter(ctx, known, 3)
			if err != nil {
				t.Error(err)
				return
			}
			for _, r := range lists {
				known, last[r.Queue] = r.Revision, r.Revision
			}
			if len(lists) == 0 && over {
				return
			}
			select {
			case <-done:
				over = true
			default:
			}
		}
	})
	for w := range writers {
		writing.Go(func() {
			d := handles[w%2]
			for round := range rounds {
				queue, known := fmt.Sprint("q", w%3), uint64(0)
				if r, err := d.Rules(ctx, queue); err == nil {
					known = r.Revision
				}
				switch _, err := d.PutRules(ctx, rulesOf(queue, fmt.Sprintf("[%d,%d]", w, round)), &known); {
				case err == nil:
					won[w]++
				case !errors.Is(err, ErrStale):
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	close(done)
	following.Wait()
	total := 0
	for _, n := range won {
		total += n
	}
	if total == 0 || total > writers*rounds {
		t.Fatalf("%d writes won", total)
	}
	for queue, revision := range last {
		if r, err := handles[1].Rules(ctx, queue); err != nil || r.Revision != revision {
			t.Fatalf("%s is at %d and was followed to %d, %v", queue, r.Revision, revision, err)
		}
	}
}
