package load

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// Latency is in milliseconds.
type Latency struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// Result is what one run counted. Errors are not among the operations.
type Result struct {
	Name       string             `json:"name,omitempty"`
	Callers    int                `json:"callers"`
	TargetRate float64            `json:"target_rate,omitempty"`
	Seconds    float64            `json:"seconds"`
	Operations uint64             `json:"operations"`
	PerSecond  float64            `json:"per_second"`
	Latency    Latency            `json:"latency"`
	Late       *Latency           `json:"late,omitempty"`   // open loop: how far behind its time each operation was sent
	Unsent     int64              `json:"unsent,omitempty"` // open loop: operations that were due and never sent
	Ops        map[string]Latency `json:"ops"`
	Errors     map[string]int64   `json:"errors,omitempty"`
}

// Summary reads a histogram.
func Summary(h *Histogram) Latency {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return Latency{Count: h.Count(), P50: ms(h.Quantile(0.5)), P99: ms(h.Quantile(0.99)),
		P999: ms(h.Quantile(0.999)), Max: ms(h.Max())}
}

func (r *recorder) result(p Pace, took time.Duration) *Result {
	res := &Result{Callers: p.Callers, TargetRate: p.Rate, Seconds: took.Seconds(), Unsent: r.unsent.Load(),
		Ops: map[string]Latency{}, Errors: map[string]int64{}}
	var all Histogram
	r.ops.Range(func(name, h any) bool {
		all.Merge(h.(*Histogram))
		res.Ops[name.(string)] = Summary(h.(*Histogram))
		return true
	})
	r.errs.Range(func(code, n any) bool {
		res.Errors[code.(string)] = n.(*atomic.Int64).Load()
		return true
	})
	res.Latency = Summary(&all)
	res.Operations = res.Latency.Count
	if took > 0 {
		res.PerSecond = float64(res.Operations) / took.Seconds()
	}
	if p.Rate > 0 {
		late := Summary(&r.late)
		res.Late = &late
	}
	return res
}

// Print writes the result for people.
func (r *Result) Print(w io.Writer) {
	fmt.Fprintf(w, "%s%.0f operations/s (%d in %.1f s, %d callers", prefix(r.Name), r.PerSecond, r.Operations, r.Seconds, r.Callers)
	if r.TargetRate > 0 {
		fmt.Fprintf(w, ", %.0f/s asked for", r.TargetRate)
	}
	fmt.Fprint(w, ")\n")
	width := 16
	for name := range r.Ops {
		width = max(width, len(name))
	}
	line := func(name string, l Latency) {
		fmt.Fprintf(w, "  %-*s %10d   p50 %8.3f   p99 %8.3f   p99.9 %8.3f   max %8.3f ms\n", width, name, l.Count, l.P50, l.P99, l.P999, l.Max)
	}
	line("all", r.Latency)
	for _, name := range slices.Sorted(maps.Keys(r.Ops)) {
		line(name, r.Ops[name])
	}
	if r.Late != nil {
		line("sent late by", *r.Late)
	}
	if r.Unsent > 0 {
		fmt.Fprintf(w, "  %d operations were due and never sent: the server does not keep up\n", r.Unsent)
	}
	for _, code := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(w, "  error %-30s %d\n", code, r.Errors[code])
	}
}

func prefix(name string) string {
	if name == "" {
		return ""
	}
	return name + ": "
}

// Series is the same run several times over: on a machine with other work the median and the range say more than one.
type Series struct {
	Name   string    `json:"name"`
	Median float64   `json:"median_per_second"`
	Min    float64   `json:"min_per_second"`
	Max    float64   `json:"max_per_second"`
	P99    float64   `json:"median_p99_ms"`
	Runs   []*Result `json:"runs"`
}

// NewSeries sums up runs, of which there is at least one.
func NewSeries(name string, runs []*Result) Series {
	byRate := slices.SortedFunc(slices.Values(runs), func(a, b *Result) int { return cmp.Compare(a.PerSecond, b.PerSecond) })
	p99 := make([]float64, len(runs))
	for i, r := range runs {
		p99[i] = r.Latency.P99
	}
	slices.Sort(p99)
	return Series{Name: name, Median: byRate[len(runs)/2].PerSecond, Min: byRate[0].PerSecond,
		Max: byRate[len(runs)-1].PerSecond, P99: p99[len(runs)/2], Runs: runs}
}

// Print writes one line: median, range, p99, and the errors of all runs.
func (s Series) Print(w io.Writer) {
	errs := map[string]int64{}
	for _, r := range s.Runs {
		for code, n := range r.Errors {
			errs[code] += n
		}
	}
	fmt.Fprintf(w, "%-56s median %8.0f/s   range %8.0f … %-8.0f   p99 %7.3f ms   n=%d", s.Name, s.Median, s.Min, s.Max, s.P99, len(s.Runs))
	if len(errs) > 0 {
		fmt.Fprintf(w, "   errors %v", errs)
	}
	fmt.Fprintln(w)
}

// WriteJSON writes v with indentation.
func WriteJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
