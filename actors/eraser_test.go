package actors_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
	"nowserving/persistence"
	"nowserving/persistence/redistest"
)

// Ada is a person by her tag, and by what is sealed of her.
var (
	adaTag  = []byte("tag-of-ada-marsh")
	adaData = []byte("sealed-of-ada-marsh")
	bobTag  = []byte("tag-of-bob-young")
)

func enqueuePerson(tag, data []byte) *messages.Command {
	c := enqueue()
	e := c.GetEnqueue()
	e.Index = bytes.Join([][]byte{make([]byte, queue.TagSize), tag}, nil)
	e.Customer, e.Payload = data, data
	return c
}

// rawStores are journals, with all that they keep.
var rawStores = map[string]func(t *testing.T) (actors.Journal, func() []byte){
	"sqlite": func(t *testing.T) (actors.Journal, func() []byte) {
		dir := t.TempDir()
		j := sqliteJournal(t, dir)
		t.Cleanup(func() { _ = j.Close() })
		return j, func() (all []byte) {
			if err := j.Scrub(t.Context()); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil || len(files) == 0 {
				t.Fatal(err)
			}
			for _, file := range files {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, content...)
			}
			return all
		}
	},
	"redis": func(t *testing.T) (actors.Journal, func() []byte) {
		url := redistest.Start(t)
		j, err := persistence.OpenRedisJournal(context.Background(), url, slog.New(slog.DiscardHandler), persistence.RedisOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = j.Close() })
		return j, func() []byte { return redistest.Content(t, url) }
	},
}

// Of somebody who was erased nothing is left in what a store keeps, wherever it
// was; all else goes on.
func TestErasedPersonIsNowhere(t *testing.T) {
	t.Parallel()
	for name, open := range rawStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j, raw := open(t)
			n := startNode(t, j)
			ofTicket := func(a *messages.Answer) []byte { return a.Event.Ticket.Id }
			for _, id := range []string{"a", "b", "gone"} {
				n.do(t, id, create(5))
			}
			// Completed, called, waiting, held, transferred, changed into another
			// person, and in a queue that is no more.
			for range 3 {
				n.do(t, "a", enqueuePerson(adaTag, adaData))
			}
			done := ofTicket(n.do(t, "a", callNext()))
			n.do(t, "a", &messages.Command{Action: &messages.Command_Complete{Complete: &messages.Complete{Ticket: done}}})
			called := ofTicket(n.do(t, "a", callNext()))
			held := ofTicket(n.do(t, "a", enqueuePerson(adaTag, adaData)))
			n.do(t, "a", &messages.Command{Action: &messages.Command_Hold{Hold: &messages.Hold{Ticket: held}}})
			n.do(t, "a", transfer(ofTicket(n.do(t, "a", enqueuePerson(adaTag, adaData))), "b"))
			changed := ofTicket(n.do(t, "b", enqueuePerson(adaTag, adaData)))
			n.do(t, "b", &messages.Command{Action: &messages.Command_Update{Update: &messages.Update{
				Ticket: changed, Fields: uint32(queue.TicketCustomer | queue.TicketPayload), Customer: []byte("bob"), Index: bobTag,
			}}})
			bob := ofTicket(n.do(t, "a", enqueuePerson(bobTag, []byte("bob"))))
			removed := ofTicket(n.do(t, "gone", enqueuePerson(adaTag, adaData)))
			n.do(t, "gone", &messages.Command{Action: &messages.Command_Remove{Remove: &messages.Remove{Ticket: removed}}})
			n.do(t, "gone", &messages.Command{Action: &messages.Command_Delete{Delete: &messages.Delete{}}})
			if p := n.queues.Purge(t.Context(), "b"); p.Problem != nil { // there she stands in the snapshot alone
				t.Fatal(p)
			}
			n.passivate(t)
			for _, what := range [][]byte{adaTag, adaData} {
				if !bytes.Contains(raw(), what) {
					t.Fatalf("%s is not there to begin with", what)
				}
			}
			eraser := actors.NewEraser(n.queues, j)
			tickets, err := eraser.Erase(t.Context(), actors.Person{Tags: [][]byte{[]byte("another---------"), adaTag}}, "adm")
			if err != nil || tickets != 6 {
				t.Fatalf("%d tickets, %v", tickets, err)
			}
			content := raw()
			for _, what := range [][]byte{adaTag, adaData} {
				if bytes.Contains(content, what) {
					t.Errorf("%s is still there", what)
				}
			}
			if !bytes.Contains(content, bobTag) {
				t.Error("somebody else is gone too")
			}
			if tickets, err := eraser.Erase(t.Context(), actors.Person{Tags: [][]byte{adaTag}}, "adm"); err != nil || tickets != 0 {
				t.Errorf("a second time: %d tickets, %v", tickets, err)
			}
			// The queues are as they were, also when they are loaded anew.
			for range 2 {
				for id, want := range map[string][]*messages.Placed{
					"a": {{Ticket: &messages.Ticket{Id: called, State: messages.TicketState_TICKET_STATE_CALLED}}, {Ticket: &messages.Ticket{Id: held, State: messages.TicketState_TICKET_STATE_HELD}},
						{Ticket: &messages.Ticket{Id: done, State: messages.TicketState_TICKET_STATE_COMPLETED}}, {Ticket: &messages.Ticket{Id: bob, State: messages.TicketState_TICKET_STATE_WAITING}, Position: 2}},
				} {
					for _, w := range want {
						v := n.queues.Read(t.Context(), &messages.Read{Queue: id, Question: &messages.Read_Ticket{Ticket: &messages.ReadTicket{Id: w.Ticket.Id}}})
						if v.Problem != nil || v.Tickets[0].Ticket.State != w.Ticket.State || v.Tickets[0].Position != w.Position {
							t.Errorf("%x is %v, want %v", w.Ticket.Id, v, w)
						} else if isBob := bytes.Equal(w.Ticket.Id, bob); isBob != (len(v.Tickets[0].Ticket.Customer) > 0) {
							t.Errorf("%x has the customer %q", w.Ticket.Id, v.Tickets[0].Ticket.Customer)
						}
					}
				}
				n.passivate(t)
			}
		})
	}
}

// A visit of which nobody knows whose it is, for its data is in the payload alone,
// can be erased by its id: in every queue that it went through, in what it was
// changed from, and after a first time nothing is left to do.
func TestErasedVisitIsNowhere(t *testing.T) {
	t.Parallel()
	for name, open := range rawStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j, raw := open(t)
			n := startNode(t, j)
			for _, id := range []string{"a", "b", "c"} {
				n.do(t, id, create(5))
			}
			someone := func(data string) []byte {
				c := enqueue()
				c.GetEnqueue().Payload = []byte(data)
				return n.do(t, "a", c).Event.Ticket.Id
			}
			visit, other := someone("sealed-at-first"), someone("of-another-visit")
			n.do(t, "a", &messages.Command{Action: &messages.Command_Update{Update: &messages.Update{
				Ticket: visit, Fields: uint32(queue.TicketPayload), Payload: []byte("sealed-later-on"),
			}}})
			moved := n.do(t, "a", transfer(visit, "b")).Arrival.Ticket.Id
			moved = n.do(t, "b", transfer(moved, "c")).Arrival.Ticket.Id
			n.do(t, "b", enqueue())                                      // the last entry is always kept
			if p := n.queues.Purge(t.Context(), "b"); p.Problem != nil { // there it stands in the snapshot alone
				t.Fatal(p)
			}
			who := actors.Person{Visit: visit}
			eraser := actors.NewEraser(n.queues, j)
			if tickets, err := eraser.Erase(t.Context(), who, "adm"); err != nil || tickets != 3 {
				t.Fatalf("%d tickets, %v", tickets, err)
			}
			content := raw()
			for _, gone := range []string{"sealed-at-first", "sealed-later-on"} {
				if bytes.Contains(content, []byte(gone)) {
					t.Errorf("%s is still there", gone)
				}
			}
			if !bytes.Contains(content, []byte("of-another-visit")) {
				t.Error("another visit is gone too")
			}
			n.passivate(t)
			if tickets, err := eraser.Erase(t.Context(), who, "adm"); err != nil || tickets != 0 {
				t.Errorf("a second time: %d tickets, %v", tickets, err)
			}
			for id, ticket := range map[string][]byte{"a": other, "c": moved} {
				v := n.queues.Read(t.Context(), &messages.Read{Queue: id, Question: &messages.Read_Ticket{Ticket: &messages.ReadTicket{Id: ticket}}})
				if v.Problem != nil || v.Tickets[0].Position != 1 {
					t.Errorf("%s: %v", id, v)
				}
			}
		})
	}
}

// Events wait in the journal for those who must have them, and hold the person
// meanwhile: the erasure is not done before they have been taken.
func TestErasureWaitsForFollowers(t *testing.T) {
	t.Parallel()
	j := ownJournal(t)
	var followed atomic.Uint64
	n := startNode(t, j, func(d *actors.GrainDeps) {
		d.Followed = func(context.Context, string) (uint64, error) { return followed.Load(), nil }
	})
	n.do(t, "a", create(1))
	n.do(t, "a", enqueuePerson(adaTag, adaData))
	eraser := actors.NewEraser(n.queues, j)
	tickets, err := eraser.Erase(t.Context(), actors.Person{Tags: [][]byte{adaTag}}, "adm")
	if !errors.Is(err, actors.ErrNotErased) || tickets != 1 {
		t.Fatalf("%d tickets, %v", tickets, err)
	}
	if events, err := actors.ReadJournal(t.Context(), j, "a", 0); err != nil || len(events) != 3 {
		t.Fatalf("%d events are left, %v", len(events), err)
	}
	followed.Store(math.MaxUint64)
	if tickets, err = eraser.Erase(t.Context(), actors.Person{Tags: [][]byte{adaTag}}, "adm"); err != nil || tickets != 0 {
		t.Fatalf("%d tickets, %v", tickets, err)
	}
	if _, err := j.Read(t.Context(), "a", 0, 1); !errors.Is(err, queue.ErrTrimmed) {
		t.Fatalf("the journal from the beginning on: %v", err)
	}
}

// Purges are asked for while a queue is at work and loses its store again and
// again; each is answered, and nothing is lost. Where the queue was claimed anew
// meanwhile it has to be asked for once more.
func TestPurgeInMidWork(t *testing.T) {
	t.Parallel()
	j := &faulty{Journal: ownJournal(t)}
	n := startNode(t, j)
	n.do(t, "a", create(1))
	for range 20 {
		j.fail(fault{}, fault{err: queue.ErrUnknown, written: true}, fault{}, fault{err: queue.ErrUnavailable})
		working := make(chan struct{})
		go func() {
			defer close(working)
			makeEvents(t, n, "a", 200)
		}()
		p := n.queues.Purge(t.Context(), "a")
		if p.Problem.GetCode() != string(queue.Unavailable) && (p.Problem != nil || p.TrimmedTo != p.Version || p.Version == 0) {
			t.Errorf("purged: %v", p)
		}
		<-working
	}
	if p := n.queues.Purge(t.Context(), "a"); p.Problem != nil || p.TrimmedTo != p.Version {
		t.Errorf("purged at rest: %v", p)
	}
	if v := n.describe("a"); v.Version < 4_001 {
		t.Errorf("the queue is at version %d", v.Version)
	}
	if p := n.queues.Purge(t.Context(), "nowhere"); p.Problem.GetCode() != string(queue.QueueNotFound) {
		t.Errorf("a queue that never was is purged: %v", p)
	}
}

// What a feed remembers of before an erasure is shown to nobody who comes back.
func TestFeedForgetsTheErased(t *testing.T) {
	t.Parallel()
	n := startNode(t, ownJournal(t))
	n.do(t, "q", create(1))
	feed := n.feeds.Join("q", sleeper{})
	defer n.feeds.Leave(feed, sleeper{})
	eventually(t, "the feed has begun", func() bool { return n.feeds.Known("q") == 1 })
	ticket := n.do(t, "q", enqueuePerson(adaTag, adaData)).Event.Ticket.Id
	eventually(t, "the feed has it", func() bool { items, known := feed.After(1); return known && len(items) == 1 })
	n.do(t, "q", &messages.Command{Action: &messages.Command_Erase{Erase: &messages.Erase{Ticket: ticket}}})
	n.do(t, "q", setStatus(messages.Status_STATUS_PAUSED))
	eventually(t, "the feed has what followed", func() bool { return n.feeds.Known("q") == 4 })
	if items, known := feed.After(2); !known || len(items) != 2 || !items[0].Event.Erases {
		t.Errorf("from the erasure on: %v, %v", items, known)
	}
	if _, known := feed.After(1); known {
		t.Error("what was erased is still shown")
	}
}
