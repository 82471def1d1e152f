package persistence_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"nowserving/persistence"
)

// endsAfter is a context that ends when it has been looked at so often.
type endsAfter struct {
	context.Context
	mu    sync.Mutex
	looks int
	end   context.CancelFunc
}

func (e *endsAfter) look() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.looks--; e.looks < 0 {
		e.end()
	}
}

func (e *endsAfter) Done() <-chan struct{} {
	e.look()
	return e.Context.Done()
}

func (e *endsAfter) Err() error {
	e.look()
	return e.Context.Err()
}

// A node may be stopped anywhere in its start.
func TestOpeningAJournalMayBeStoppedAnywhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for looks := range 10_000 {
		ctx, cancel := context.WithCancel(context.Background())
		j, err := persistence.OpenSQLiteJournal(&endsAfter{Context: ctx, looks: looks, end: cancel}, dir, slog.New(slog.DiscardHandler))
		cancel()
		if err == nil {
			t.Logf("it was opened in %d looks at its context", looks)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Error("it cannot be opened")
}
