package actors_test

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/actors"
)

// tardySocket takes a frame for each token that it is given.
type tardySocket struct{ tokens chan struct{} }

func (s *tardySocket) Write([]byte) error {
	<-s.tokens
	return nil
}
func (s *tardySocket) Ping() error       { return nil }
func (s *tardySocket) Close(int, string) {}

// A client that asks for more than it reads is not listened to meanwhile.
func TestSessionHoldsBackWhoeverHandsOver(t *testing.T) {
	socket := &tardySocket{tokens: make(chan struct{}, 1_000)}
	s := actors.OpenSession(actors.SessionDeps{System: sharedNode(t).System(), Log: slog.New(slog.DiscardHandler)}, socket)
	const frames = 3 * actors.MaxHanded
	var handed atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range frames {
			s.Write(nil)
			handed.Add(1)
		}
	}()
	const most = actors.MaxHanded + 1 // one is being written
	eventually(t, "the mailbox is full", func() bool { return handed.Load() == most })
	socket.tokens <- struct{}{}
	eventually(t, "one more is handed over", func() bool { return handed.Load() == most+1 })
	select {
	case <-done:
		t.Error("all was handed over")
	case <-time.After(20 * time.Millisecond): // what must not come
	}
	if n := handed.Load(); n != most+1 {
		t.Errorf("%d frames were handed over", n)
	}
	s.Close(1000, "") // behind all that was handed over
	for range frames {
		socket.tokens <- struct{}{}
	}
	<-done
	<-s.Done()
	s.Write(nil) // to nobody, and does not wait
}
