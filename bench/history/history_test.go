package main

import (
	"strings"
	"testing"
	"time"
)

// Every question is answered over a small past, on both databases.
func TestRun(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"sqlite", "mariadb"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			c, err := parse([]string{"--store", store, "--dir", t.TempDir(), "--keep", "--rows", "8000", "--queues", "5", "--duration", "500ms", "--warmup", "0s"})
			if err != nil {
				t.Fatal(err)
			}
			res, err := measure(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Errors) > 0 || res.Operations == 0 {
				t.Fatalf("%d operations, %v", res.Operations, res.Errors)
			}
			for _, q := range questions {
				if res.Ops[q.name].Count == 0 {
					t.Logf("%s was not asked in time", q.name)
				}
			}
		})
	}
}

// What is made adds up, and is not of any other year.
func TestPast(t *testing.T) {
	t.Parallel()
	p := newPast(50_000, 6)
	total, queues := 0, map[string]int{}
	for worker := range fillers {
		f := newFiller(p, worker)
		for _, day := range p.working {
			parts, n := f.day(p, worker, day)
			total += n
			for _, part := range parts {
				queues[part.Queue] += len(part.Changes) / 2
				for _, c := range part.Changes {
					if at := time.UnixMilli(int64(at(c))); at.Before(begins.AddDate(0, 0, -1)) || at.After(ends.AddDate(0, 0, 1)) {
						t.Fatalf("something happened at %s", at)
					}
				}
			}
		}
	}
	if total < 49_990 || total > 50_000 || len(queues) != 6 || queues["office-000"] < 16_000 {
		t.Fatalf("%d tickets: %v", total, queues)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--store postgres", "--rows 0", "--keep", "--callers 0", "--duration 0s"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
}
