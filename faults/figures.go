package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// figures are what a load's clients saw beside their answers.
type figures struct {
	mu        sync.Mutex
	failures  map[string]int // attempts by what they failed with
	latencies []time.Duration
	surprises []string
	surprised int
	breaks    []string // of connections, the first few
	answers   int
	more      chan struct{} // closed at the next answer
}

// failed counts an attempt that was not answered as a client wishes.
func (f *figures) failed(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures[what]++
}

// broken counts an attempt that ended without an answer.
func (f *figures) broken(url string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failures["broken"]++; len(f.breaks) < maxTold {
		f.breaks = append(f.breaks, fmt.Sprintf("%s: %v", url, err))
	}
}

// unexpected is an answer that no fault excuses.
func (f *figures) unexpected(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.surprised++; f.surprised <= maxTold {
		f.surprises = append(f.surprises, fmt.Sprintf(format, args...))
	}
}

func (f *figures) latency(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latencies = append(f.latencies, d)
	f.answers++
	if f.more != nil {
		close(f.more)
		f.more = nil
	}
}

// after waits for n more answers.
func (f *figures) after(ctx context.Context, n int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for target := f.answers + n; f.answers < target; {
		if f.more == nil {
			f.more = make(chan struct{})
		}
		more := f.more
		f.mu.Unlock()
		select {
		case <-more:
			f.mu.Lock()
		case <-ctx.Done():
			f.mu.Lock()
			return fmt.Errorf("%d of %d answers came: %w", f.answers+n-target, n, ctx.Err())
		}
	}
	return nil
}

// Figures are what was seen since they were last taken.
type Figures struct {
	// Refused are attempts for which no node took the connection, Broken those
	// that ended without an answer, Failed those answered 503 or 429.
	Refused, Broken, Failed int
	Codes                   map[string]int
	Answers                 int
	P50, P99, Longest       time.Duration
	// Surprises are answers that no fault excuses.
	Surprises []string
	// Breaks are what the first connections that broke off ended with.
	Breaks []string
}

func (f *figures) take() Figures {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.latencies)
	out := Figures{Codes: f.failures, Answers: len(f.latencies), Surprises: f.surprises, Breaks: f.breaks}
	for code, n := range f.failures {
		switch code {
		case "refused":
			out.Refused += n
		case "broken":
			out.Broken += n
		default:
			if !strings.HasPrefix(code, "closed") {
				out.Failed += n
			}
		}
	}
	out.P50, out.P99 = Percentile(f.latencies, 50), Percentile(f.latencies, 99)
	out.Longest = Percentile(f.latencies, 100)
	f.failures, f.latencies, f.surprises, f.surprised = make(map[string]int), nil, nil, 0
	f.breaks = nil
	return out
}

// Percentile is the nearest-rank percentile of durations in order.
func Percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func (f Figures) String() string {
	var codes []string
	for code, n := range f.Codes {
		codes = append(codes, fmt.Sprintf("%d %s", n, code))
	}
	slices.Sort(codes)
	return fmt.Sprintf("%d answers, p50 %s, p99 %s, longest %s; attempts that failed: %s", f.Answers,
		f.P50.Round(time.Millisecond), f.P99.Round(time.Millisecond), f.Longest.Round(time.Millisecond), strings.Join(codes, ", "))
}
