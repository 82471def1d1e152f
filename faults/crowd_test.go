package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
)

// watch has a screen be sent what the events say, from a snapshot on.
func watch(events []Event, since int) *screen {
	s := &screen{queue: "a"}
	s.take(&frame{Type: "snapshot", Version: uint64(since), Epoch: "a1"})
	for _, e := range events[since:] {
		s.take(eventFrame(e))
	}
	return s
}

func eventFrame(e Event) *frame {
	data, _ := json.Marshal(map[string]string{"id": e.Ticket.ID})
	return &frame{Type: "event", Version: e.Version, Event: e.Kind, Data: data}
}

func TestSeededFaultsOfACrowdAreFound(t *testing.T) {
	events := newScene().e.Journals["a"]
	n := len(events)
	late, cancel := context.WithCancel(context.Background())
	cancel() // what has not come does not come
	for name, fault := range map[string]func() *screen{
		"":         func() *screen { return watch(events, 3) },
		"it stops": func() *screen { return watch(events[:n-1], 3) },
		"it skips": func() *screen {
			s := watch(events[:5], 3)
			s.take(eventFrame(events[6]))
			return s
		},
		"it repeats": func() *screen {
			s := watch(events, 3)
			s.take(eventFrame(events[n-1]))
			return s
		},
		"it shows another ticket": func() *screen {
			s := watch(events[:n-1], 3)
			e := events[n-1]
			e.Ticket = &Ticket{ID: "other"}
			s.take(eventFrame(e))
			return s
		},
		"it is resumed elsewhere": func() *screen {
			s := watch(events, 3)
			s.take(&frame{Type: "resumed", Version: uint64(n - 1), Epoch: "a1"})
			return s
		},
		"it goes back": func() *screen {
			s := watch(events, 3)
			s.take(&frame{Type: "snapshot", Version: 5, Epoch: "a2"})
			return s
		},
	} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			r := &Report{}
			c := &Crowd{members: []*screen{fault()}}
			c.Check(late, r, map[string][]Event{"a": events})
			if err := r.Err(); (err == nil) != (name == "") {
				t.Errorf("%v", err)
			}
		})
	}
}
