package faults

import (
	"slices"
	"strings"
	"testing"
)

func TestNothingIsWrong(t *testing.T) {
	s := newScene()
	r := Check(s.h, s.e)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if r.Accepted != 9 || r.Frames != 9 || r.Snapshots != 1 || r.Reads != 2 || r.Rows != 2 || r.Requests != 3 || r.Events != 12 {
		t.Errorf("%s", r)
	}
}

// Each fault, seeded into a run without one, is found. The words are of the
// sentence that has to tell of it.
func TestSeededFaultsAreFound(t *testing.T) {
	journal := func(s *scene, q string, version int) *Event { return &s.e.Journals[q][version-1] }
	drop := func(s *scene, q string, version int) {
		s.e.Journals[q] = slices.Delete(s.e.Journals[q], version-1, version)
	}
	op := func(s *scene, command string) *Op {
		return s.h.Ops[slices.IndexFunc(s.h.Ops, func(o *Op) bool { return o.Command == command })]
	}
	item := func(s *scene, i int) *Item { return &s.h.Streams[0].Items[i] }
	for name, seed := range map[string]struct {
		fault func(s *scene)
		words string
	}{
		"an acknowledged operation is lost": {func(s *scene) {
			j := s.e.Journals["a"]
			s.e.Journals["a"] = j[:len(j)-1]
			op(s, "move").Version = uint64(len(j))
		}, "the journal does not have it"},
		"an operation has happened twice": {func(s *scene) {
			e := *journal(s, "a", 7)
			e.Version = uint64(len(s.e.Journals["a"]) + 1)
			s.e.Journals["a"] = append(s.e.Journals["a"], e)
		}, "more than was asked for"},
		"an unkeyed one has happened twice": {func(s *scene) {
			o := op(s, "move")
			o.Outcome, o.Version = Unknown, 0
			e := *journal(s, "a", 7)
			e.Version = uint64(len(s.e.Journals["a"]) + 1)
			s.e.Journals["a"] = append(s.e.Journals["a"], e)
		}, "more than was asked for"},
		"a refused one has happened": {func(s *scene) { op(s, "move").Outcome = Refused }, "more than was asked for"},
		"a wrong version was told":   {func(s *scene) { op(s, "complete").Version = 5 }, "told twice"},
		"a wrong ticket was told":    {func(s *scene) { op(s, "call_next").Told.ID = "a-3" }, "was told"},
		"a wrong number was told":    {func(s *scene) { op(s, "enqueue").Told.Number = "A009" }, "was told"},
		"a wrong position was told":  {func(s *scene) { op(s, "move").Told.Position = 2 }, "was told"},
		"a wrong desk":               {func(s *scene) { journal(s, "a", 5).Ticket.Desk = "other" }, "was told"},
		"a version is left out":      {func(s *scene) { drop(s, "a", 7) }, "version 8 follows 6"},
		"a hole at a new epoch": {func(s *scene) {
			j := s.e.Journals["b"]
			s.e.Journals["b"] = append(j, Event{Version: 9, Epoch: "b2", At: j[1].At, Kind: "queue.configured", Status: "open", MaxActive: 2})
		}, "though nothing was lost"},
		"an erasure does more": {func(s *scene) {
			e := *journal(s, "a", 6)
			e.Kind, e.Erases, e.Bare, e.Version = "ticket.updated", true, false, uint64(len(s.e.Journals["a"])+1)
			s.e.Journals["a"] = append(s.e.Journals["a"], e)
		}, "does more than to erase"},
		"a finished ticket is updated": {func(s *scene) {
			e := *journal(s, "a", 6)
			e.Kind, e.Bare, e.Version = "ticket.updated", true, uint64(len(s.e.Journals["a"])+1)
			s.e.Journals["a"] = append(s.e.Journals["a"], e)
		}, "which is completed"},
		"time goes back": {func(s *scene) { journal(s, "a", 6).At = 1 }, "time goes back"},
		"a ticket was called by two": {func(s *scene) {
			again := *journal(s, "a", 5)
			ticket := *again.Ticket
			ticket.Calls, ticket.Desk = 2, "m-other"
			again.Version, again.Ticket = uint64(len(s.e.Journals["a"])+1), &ticket
			s.e.Journals["a"] = append(s.e.Journals["a"], again)
			o := *op(s, "call_next")
			o.Version, o.Told, o.Mark, o.Sent, o.Answered = again.Version, ticket, "m-other", s.clock, s.clock
			s.h.addOp(&o)
		}, "which is completed"},
		"a number was issued twice": {func(s *scene) {
			journal(s, "a", 4).Ticket.Number = "A002"
			s.h.Ops[4].Told.Number = "A002"
		}, "issued twice"},
		"the capacity is overshot":           {func(s *scene) { journal(s, "a", 1).Capacity = 2 }, "overshoots"},
		"an attendant has too many":          {func(s *scene) { journal(s, "a", 1).MaxActive = 0 }, "by an attendant who has"},
		"who did not stand first was called": {func(s *scene) { journal(s, "a", 4).Position, s.h.Ops[4].Told.Position = 1, 1 }, "not 3"},
		"a newcomer jumps the line":          {func(s *scene) { journal(s, "a", 4).Position, s.h.Ops[4].Told.Position = 2, 2 }, "not 3"},
		"a read is stale": {func(s *scene) {
			s.h.Reads[1].Version, s.h.Reads[1].States = 4, nil
			s.h.Reads[1].Waiting = s.h.Reads[0].Waiting
		}, "stale"},
		"a zombie writes":                    {func(s *scene) { op(s, "call_next").Sent = s.clock; op(s, "call_next").Answered = s.clock }, "stale"},
		"a read shows another line":          {func(s *scene) { s.h.Reads[0].Waiting = []string{"a-2", "a-1", "a-3"} }, "shows the line"},
		"a read shows another state":         {func(s *scene) { s.h.Reads[1].States["a-3"] = "called" }, "shows ticket"},
		"a read shows what is not there":     {func(s *scene) { s.h.Reads[1].Version = 99 }, "which the journal does not have"},
		"a stream skips":                     {func(s *scene) { d := s.h.Streams[0]; d.Items = slices.Delete(d.Items, 4, 5) }, "was sent version 5 after 3"},
		"a stream repeats":                   {func(s *scene) { d := s.h.Streams[0]; d.Items = slices.Insert(d.Items, 4, d.Items[3]) }, "was sent version 3 after 3"},
		"a stream shows something else":      {func(s *scene) { item(s, 4).Ticket = "a-1" }, "and version 4 is"},
		"a stream is resumed somewhere else": {func(s *scene) { d := s.h.Streams[0]; d.Items[len(d.Items)-1].Version-- }, "was resumed"},
		"a stream is resumed in another one": {func(s *scene) { d := s.h.Streams[0]; d.Items[len(d.Items)-1].Epoch = "a2" }, "was resumed"},
		"a stream stops":                     {func(s *scene) { d := s.h.Streams[0]; d.Items = d.Items[:5] }, "has come to version 4"},
		"a snapshot lacks a ticket": {func(s *scene) {
			*item(s, 1) = Item{Kind: "snapshot", Version: 3, Epoch: "a1", Waiting: []string{"a-1"}}
		}, "sent a snapshot of"},
		"a snapshot goes back":               {func(s *scene) { *item(s, 4) = Item{Kind: "snapshot", Version: 1, Epoch: "a1"} }, "was shown version 1"},
		"a transfer has not arrived":         {func(s *scene) { drop(s, "b", 2) }, "has arrived"},
		"a transfer has arrived twice":       {func(s *scene) { s.arriveAgain() }, "happened twice"},
		"a transfer arrived that never left": {func(s *scene) { op(s, "transfer").Outcome = Refused; drop(s, "a", 8) }, "never left"},
		"a request has no ticket":            {func(s *scene) { s.h.addRequests(Request{Queue: "b", ID: "x-9", Mark: "x-9"}) }, "request x-9 has no ticket"},
		"a request has two":                  {func(s *scene) { journal(s, "a", 10).Ticket.Service = "x-1" }, "has a ticket twice"},
		"requests out of order":              {func(s *scene) { q := s.h.Requests; q[0], q[1] = q[1], q[0] }, "out of order"},
		"poison is not buried":               {func(s *scene) { s.h.Dead = nil }, "not among the dead"},
		"a good request is buried":           {func(s *scene) { s.h.Dead = append(s.h.Dead, "x-1") }, "x-1 is among the dead"},
		"history lacks a ticket":             {func(s *scene) { s.e.Rows["a"] = s.e.Rows["a"][1:] }, "history has"},
		"history has one twice":              {func(s *scene) { s.e.Rows["a"] = append(s.e.Rows["a"], s.e.Rows["a"][0]) }, "twice"},
		"history has one that is not over":   {func(s *scene) { s.e.Rows["a"] = append(s.e.Rows["a"], Ticket{ID: "a-3"}) }, "history has ticket a-3"},
		"history has another outcome":        {func(s *scene) { s.e.Rows["a"][0].Outcome = "other" }, "history has"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			seed.fault(s)
			err := Check(s.h, s.e).Err()
			if err == nil || !strings.Contains(err.Error(), seed.words) {
				t.Errorf("%v", err)
			}
		})
	}
}

func (s *scene) arriveAgain() {
	again := s.e.Journals["b"][1]
	ticket := *again.Ticket
	ticket.ID = "b-again"
	again.Ticket, again.Version, again.Position = &ticket, 3, 2
	s.e.Journals["b"] = append(s.e.Journals["b"], again)
}

// A store that was set back may have lost events, if a new epoch says so, and
// nothing else is forgiven.
func TestWhatAStoreMayLose(t *testing.T) {
	back := func() *scene {
		s := newScene()
		s.e.MayLose = true
		j := s.e.Journals["b"]
		s.e.Journals["b"] = []Event{j[0], {Version: 5, Epoch: "b2", At: j[1].At, Kind: "queue.configured", Status: "open", MaxActive: 2}}
		s.h.addOp(&Op{Client: "c", Queue: "b", Command: "enqueue", Mark: "gone", Outcome: Accepted, Version: 3, Sent: s.clock, Answered: s.clock})
		return s
	}
	s := back()
	if r := Check(s.h, s.e); r.Err() != nil || r.Lost != 1 {
		t.Errorf("%v, %d lost", r.Err(), r.Lost)
	}
	s = back()
	s.h.Ops[len(s.h.Ops)-1].Version = 6
	if err := Check(s.h, s.e).Err(); err == nil {
		t.Error("what was lost after the epoch began is forgiven")
	}
	s = back()
	s.e.Journals["b"][1].Version = 2
	if err := Check(s.h, s.e).Err(); err == nil {
		t.Error("versions that come again as something else are forgiven")
	}
}
