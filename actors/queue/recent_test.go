package queue

import (
	"encoding/binary"
	"testing"
)

// What may be sent again is answered from the journal, so its events are kept;
// a minute later they need not be.
func TestTrimKeepsWhatMayBeSentAgain(t *testing.T) {
	t.Parallel()
	s, at := New("bank"), scriptStart
	op := uint64(0)
	do := func(a Action) {
		t.Helper()
		op++
		c := &Command{At: at, Do: a}
		binary.BigEndian.PutUint64(c.Op[:], op)
		d, err := s.Decide(c)
		if err == nil {
			err = s.Apply(d.Event)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	do(&Create{Epoch: "e", Config: Config{Name: "b", MaxActive: 1, Timezone: "UTC"}})
	for range 2 * ResumeWindow {
		do(&SetStatus{Status: Open})
	}
	if trim := s.TrimTo(); trim != 0 {
		t.Errorf("trimmed to version %d, and all of it is of this moment", trim)
	}
	at += recentFor
	do(&SetStatus{Status: Open})
	if trim := s.TrimTo(); trim != 0 {
		t.Errorf("trimmed to version %d, which came a minute ago", trim)
	}
	at++
	do(&SetStatus{Status: Open})
	if trim, want := s.TrimTo(), s.Version()-ResumeWindow; trim != want {
		t.Errorf("trimmed to version %d, want %d", trim, want)
	}
}
