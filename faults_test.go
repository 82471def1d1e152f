package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"nowserving/faults"
)

// The long form of the fault suite is go test -run TestFaults -timeout 6h
// -faults.seeds 10 -faults.long -faults.table docs/reliability-table.md .
var (
	faultSeeds = flag.Int("faults.seeds", 1, "how often the fault suite runs, each time with other dice")
	faultLong  = flag.Bool("faults.long", false, "faults last as long as the issue names, not just long enough")
	faultTable = flag.String("faults.table", "", "a file to which the table of results is written")
	faultOnly  = flag.String("faults.only", "", "run only faults whose names match")
)

// fault is one thing that goes wrong, and is over when do returns.
type fault struct {
	name string
	// do gives what took how long by queue, where the fault is measured so.
	do func(w *world) map[string]time.Duration
	// lossy faults make the store forget what it acknowledged.
	lossy bool
	// clean faults must not make a single request fail.
	clean bool
	// p50 and p99 bound, in the long form, how long the queues of the node that
	// was hit pause; zero: they are not bounded.
	p50, p99 time.Duration
}

// result is a fault's line in the table.
type result struct {
	fault    string
	runs     int
	pauses   []time.Duration
	figures  []faults.Figures
	accepted int
	found    int
}

const (
	// answersAround is how many answers come before and after each fault.
	answersAround = 150
	answersWithin = 60 * time.Second
)

// TestFaults puts a whole system under load through one fault after the other,
// and after each holds it against all that it has told.
func TestFaults(t *testing.T) {
	only, err := regexp.Compile(*faultOnly)
	if err != nil {
		t.Fatal(err)
	}
	results := make(map[string]*result)
	for seed := range *faultSeeds {
		var left []fault
		for _, f := range worldFaults {
			if only.MatchString(f.name) {
				left = append(left, f)
			}
		}
		for len(left) > 0 { // a world in which something is wrong is given up
			sound := false
			t.Run(fmt.Sprint("seed-", seed+1), func(t *testing.T) {
				w := startWorld(t, uint64(seed+1), worldNodes)
				w.warmUp()
				sound = !t.Failed()
				for whole := sound; whole && len(left) > 0; {
					f := left[0]
					left = left[1:]
					whole = w.suffer(f, results)
				}
			})
			if !sound {
				t.Fatal("something is wrong without a fault")
			}
		}
	}
	report(t, results)
	for _, f := range worldFaults {
		if r := results[f.name]; *faultLong && r != nil && f.p99 > 0 {
			if p50, p99 := faults.Percentile(r.pauses, 50), faults.Percentile(r.pauses, 99); p50 > f.p50 || p99 > f.p99 {
				t.Errorf("%s: queues paused for %s at p50 and %s at p99, where %s and %s are the bounds", f.name, p50, p99, f.p50, f.p99)
			}
		}
	}
}

// warmUp has every part work once, and notes what a node at rest has.
func (w *world) warmUp() {
	w.t.Helper()
	w.dice = rand.New(rand.NewPCG(w.seed, 1))
	w.load.Start()
	w.answers(2 * answersAround)
	w.load.Stop()
	w.check("without a fault")
	w.noteRest()
	w.load.Figures()
}

func (w *world) answers(n int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), answersWithin)
	defer cancel()
	if err := w.load.After(ctx, n); err != nil {
		w.t.Error(err)
	}
}

// suffer puts the world through a fault, and tells whether nothing was wrong.
func (w *world) suffer(f fault, results map[string]*result) bool {
	w.t.Helper()
	began := time.Now()
	w.load.Start()
	w.answers(answersAround)
	pauses := f.do(w)
	w.lossy = w.lossy || f.lossy
	for _, n := range w.nodes {
		eventually(w.t, n.name+" is ready again", func() bool { return ready(w.t, n.url) == "200 ready" })
	}
	w.answers(answersAround)
	w.load.Stop()
	figures := w.load.Figures()
	r := w.check(f.name)
	w.checkRest(f.name)
	for _, surprise := range figures.Surprises {
		w.t.Errorf("%s (seed %d): %s", f.name, w.seed, surprise)
	}
	if f.clean && figures.Failed+figures.Broken > 0 {
		w.t.Errorf("%s (seed %d): requests failed: %s\n%s", f.name, w.seed, figures, strings.Join(figures.Breaks, "\n"))
	}
	w.t.Logf("%s took %s: %s; pauses p50 %s p99 %s", f.name, time.Since(began).Round(time.Millisecond), figures,
		percentile(pauses, 50), percentile(pauses, 99))
	all := results[f.name]
	if all == nil {
		all = &result{fault: f.name}
		results[f.name] = all
	}
	all.runs++
	all.accepted, all.found = all.accepted+figures.Answers, all.found+r.Found
	all.figures = append(all.figures, figures)
	for _, p := range pauses {
		all.pauses = append(all.pauses, p)
	}
	return r.Found == 0
}

func percentile(of map[string]time.Duration, p int) time.Duration {
	var all []time.Duration
	for _, d := range of {
		all = append(all, d)
	}
	slices.Sort(all)
	return faults.Percentile(all, p).Round(time.Millisecond)
}

// report prints the table, and writes it where it was asked to.
func report(t *testing.T, results map[string]*result) {
	t.Helper()
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(table, "| fault\t runs\t queue answers again, p50\t p99\t answered\t 503 or 429\t broken off\t p99\t longest\t violations\t")
	fmt.Fprintln(table, "| ---\t ---:\t ---:\t ---:\t ---:\t ---:\t ---:\t ---:\t ---:\t ---:\t")
	for _, f := range worldFaults {
		if r := results[f.name]; r != nil {
			fmt.Fprintln(table, r.line())
		}
	}
	_ = table.Flush()
	t.Logf("\n%s", b.String())
	if *faultTable != "" {
		if err := os.WriteFile(*faultTable, []byte(b.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func (r *result) line() string {
	var failed, broken int
	var p99, longest time.Duration
	for _, f := range r.figures {
		failed, broken = failed+f.Failed, broken+f.Broken
		p99, longest = max(p99, f.P99), max(longest, f.Longest)
	}
	ms := func(d time.Duration) string { return d.Round(time.Millisecond).String() }
	p50s, p99s := "", ""
	if len(r.pauses) > 0 {
		slices.Sort(r.pauses)
		p50s, p99s = ms(faults.Percentile(r.pauses, 50)), ms(faults.Percentile(r.pauses, 99))
	}
	return fmt.Sprintf("| %s\t %d\t %s\t %s\t %d\t %d\t %d\t %s\t %s\t %d\t", r.fault, r.runs, p50s, p99s, r.accepted, failed, broken, ms(p99), ms(longest), r.found)
}
