package faults

import (
	"fmt"
	"strings"
)

// maxTold bounds what a report tells: a few violations say as much as thousands.
const maxTold = 25

// Report is what a check found.
type Report struct {
	// Violations are sentences, at most maxTold of them.
	Violations []string
	// Found is how many there were.
	Found int
	// What was held against the journals.
	Queues, Events, Accepted, Replayed, Unknown, Happened, Reads, Frames, Snapshots, Requests, Rows, Rounds int
	// Lost are acknowledged operations that the store has lost, which only a
	// store that was rolled back may.
	Lost int
}

func (r *Report) wrong(format string, args ...any) {
	if r.Found++; r.Found <= maxTold {
		r.Violations = append(r.Violations, fmt.Sprintf(format, args...))
	}
}

// Err is nil where nothing was found.
func (r *Report) Err() error {
	if r.Found == 0 {
		return nil
	}
	return fmt.Errorf("%d violations, such as:\n\t%s", r.Found, strings.Join(r.Violations, "\n\t"))
}

// String says what was checked.
func (r *Report) String() string {
	return fmt.Sprintf("%d events of %d queues; %d operations accepted (%d by a replay), %d without an answer of which %d had happened; "+
		"%d reads, %d frames and %d snapshots; %d requests; %d history rows; %d rounds; %d violations, %d lost by the store",
		r.Events, r.Queues, r.Accepted, r.Replayed, r.Unknown, r.Happened, r.Reads, r.Frames, r.Snapshots, r.Requests, r.Rows, r.Rounds, r.Found, r.Lost)
}
