package faults

import "slices"

// takeStream holds what one follower was sent of a queue against its events:
// every version once and in order, or a fresh snapshot.
func (c *checker) takeStream(s *Stream) {
	q := c.of(s.Queue, "stream")
	if q == nil {
		return
	}
	at, epoch := uint64(0), "" // where the follower is
	known, heard := false, ""
	for i := range s.Items {
		item := &s.Items[i]
		switch item.Kind {
		case "subscribe":
		case "snapshot":
			c.Snapshots++
			if item.Version < at {
				c.wrong("%s: %s was shown version %d after %d", s.Queue, s.Follower, item.Version, at)
			}
			if known && item.Epoch == epoch && heard == "event" {
				c.wrong("%s: %s was sent a snapshot at version %d in the middle of an epoch", s.Queue, s.Follower, item.Version)
			}
			at, epoch, known = item.Version, item.Epoch, true
			q.lookAtSnapshot(s.Follower, item)
		case "resumed":
			if !known || item.Version != at || item.Epoch != epoch {
				c.wrong("%s: %s was resumed at version %d of %s, and is at %d of %s", s.Queue, s.Follower, item.Version, item.Epoch, at, epoch)
			}
		case "event":
			c.Frames++
			if !known || item.Version != at+1 {
				c.wrong("%s: %s was sent version %d after %d", s.Queue, s.Follower, item.Version, at)
			}
			at = item.Version
			q.compareFrame(s.Follower, epoch, item)
		case "gone":
			if j, there := q.at(at + 1); !there || q.events[j].Kind != "queue.deleted" {
				c.wrong("%s: %s was told that the queue is gone after version %d", s.Queue, s.Follower, at)
			}
			known = false
		}
		heard = item.Kind
	}
	if n := len(q.events); n > 0 && known && at != q.events[n-1].Version {
		c.wrong("%s: %s has come to version %d of %d", s.Queue, s.Follower, at, q.events[n-1].Version)
	}
}

func (q *queueCheck) lookAtSnapshot(follower string, item *Item) {
	q.look(item.Version, "a snapshot", func(m *model) {
		if item.Epoch != m.epoch || !slices.Equal(item.Waiting, m.line) ||
			!slices.Equal(sorted(item.Active), m.in("called", "serving")) || !slices.Equal(sorted(item.Held), m.in("held")) {
			q.wrong("%s: %s was sent a snapshot of version %d, epoch %s, with %v, %v, %v; it is epoch %s, %v, %v, %v", q.id, follower,
				item.Version, item.Epoch, item.Waiting, item.Active, item.Held, m.epoch, m.line, m.in("called", "serving"), m.in("held"))
		}
	})
}

func (q *queueCheck) compareFrame(follower, epoch string, item *Item) {
	i, there := q.at(item.Version)
	if !there {
		if !q.evidence.MayLose {
			q.wrong("%s: %s was sent version %d, which the journal does not have", q.id, follower, item.Version)
		}
		return
	}
	e := &q.events[i]
	fits := e.Kind == item.Event && e.Epoch == epoch
	if e.Ticket != nil {
		t := e.Ticket
		fits = fits && t.ID == item.Ticket && t.Number == item.Number && t.State == item.State && e.Position == item.Position
	}
	if !fits {
		q.wrong("%s: %s was sent %+v, and version %d is %s of %s %+v", q.id, follower, *item, e.Version, e.Kind, e.Epoch, e.Ticket)
	}
}

func sorted(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return ids
}
