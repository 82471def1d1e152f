package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"nowserving/actors/queue"
	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

// past is what happened in a year. It is the same for the same numbers.
type past struct {
	rows   int
	queues []line
	// working are the days of the year that are no weekend, at 0:00 UTC.
	working []time.Time
}

// line is one queue and its share of a day's tickets.
type line struct {
	id       string
	zone     *time.Location
	timezone string
	daily    float64
}

// The year that is made; it ends before the programs that ask have begun.
var (
	begins = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	ends   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

var timezones = []string{"Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"}

const (
	attendants = 400
	fillers    = 4 // each fills a part of the queues
	// usualWait and usualHandle are means, in seconds.
	usualWait, usualHandle = 600, 300
)

func newPast(rows, queues int) *past {
	p := &past{rows: rows}
	for day := begins; day.Before(ends); day = day.AddDate(0, 0, 1) {
		if day.Weekday() != time.Saturday && day.Weekday() != time.Sunday {
			p.working = append(p.working, day)
		}
	}
	daily := float64(rows) / float64(len(p.working))
	for i := range queues {
		l := line{id: fmt.Sprintf("office-%03d", i), timezone: timezones[i%len(timezones)], daily: daily / float64(queues)}
		l.zone, _ = time.LoadLocation(l.timezone)
		if queues > 1 {
			l.daily = daily * 2 / 3 / float64(queues-1)
			if i == 0 {
				l.daily = daily / 3
			}
		}
		p.queues = append(p.queues, l)
	}
	return p
}

// fill records the whole year through the same function as a node.
func (p *past) fill(ctx context.Context, d *directory.Directory) error {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	done := make(chan int, fillers)
	for worker := range fillers {
		group.Go(func() error {
			f := newFiller(p, worker)
			for _, day := range p.working {
				parts, n := f.day(p, worker, day)
				if len(parts) == 0 {
					continue
				}
				if err := d.TakeHistory(ctx, parts); err != nil {
					return err
				}
				select {
				case done <- n:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}
	go func() { _ = group.Wait(); close(done) }()
	total, shown := 0, time.Now()
	for n := range done {
		if total += n; time.Since(shown) > 10*time.Second {
			shown = time.Now()
			fmt.Fprintf(os.Stderr, "%d rows, %.0f a second\n", total, float64(total)/time.Since(began).Seconds())
		}
	}
	fmt.Fprintf(os.Stderr, "%d rows were recorded in %s\n", total, time.Since(began).Round(time.Second))
	p.rows = total
	return group.Wait()
}

// filler makes the days of some queues.
type filler struct {
	random *rand.Rand
	at     []uint64  // versions
	owed   []float64 // parts of a ticket
}

func newFiller(p *past, worker int) *filler {
	return &filler{
		random: rand.New(rand.NewPCG(7, uint64(worker))),
		at:     make([]uint64, len(p.queues)), owed: make([]float64, len(p.queues)),
	}
}

// filledBy tells which filler has a queue: the first one has as much to do with the first queue as each other has.
func filledBy(i int) int {
	if i == 0 {
		return 0
	}
	return 1 + i%(fillers-1)
}

// day is what happened in this filler's queues on one day.
func (f *filler) day(p *past, worker int, day time.Time) (parts []directory.HistoryPart, tickets int) {
	for i := range p.queues {
		l := &p.queues[i]
		if filledBy(i) != worker {
			continue
		}
		f.owed[i] += l.daily
		n := int(f.owed[i])
		f.owed[i] -= float64(n)
		if n == 0 {
			continue
		}
		part := directory.HistoryPart{Queue: l.id, After: f.at[i]}
		for range n {
			t := f.ticket(l, day)
			part.Changes = append(part.Changes, directory.HistoryChange{Arrived: t.EnqueuedAt}, directory.HistoryChange{Finished: t})
		}
		slices.SortStableFunc(part.Changes, func(a, b directory.HistoryChange) int { return int(at(a) - at(b)) })
		f.at[i] += uint64(4 * n)
		part.Upto = f.at[i]
		parts, tickets = append(parts, part), tickets+n
	}
	return parts, tickets
}

func at(c directory.HistoryChange) queue.Time {
	if c.Finished != nil {
		return c.Finished.FinishedAt
	}
	return c.Arrived
}

// ticket came between 8 and 17 o'clock by the queue's clock.
func (f *filler) ticket(l *line, day time.Time) *queue.Ticket {
	opens := time.Date(day.Year(), day.Month(), day.Day(), 8, 0, 0, 0, l.zone).UnixMilli()
	enqueued := queue.Time(opens + f.random.Int64N(9*time.Hour.Milliseconds()))
	called := enqueued + f.lasts(usualWait)
	started := called + f.lasts(20)
	t := &queue.Ticket{
		ID: f.id(enqueued), Number: fmt.Sprintf("A%03d", f.random.IntN(1000)), State: queue.Completed, Source: queue.FromREST,
		Service: "Passports", Attendant: attendant(f.random.IntN(attendants)),
		Desk: fmt.Sprint("Desk ", f.random.IntN(20)), Calls: 1,
		EnqueuedAt: enqueued, CalledAt: called, StartedAt: started, FinishedAt: started + f.lasts(usualHandle),
	}
	t.Visit, t.EnqueuedBy = t.ID, t.Attendant
	t.Customer = ring.Seal("customer", t.Visit, fmt.Appendf(nil, `{"name":"Ada Marsh","phone":"+44 20 7946 %04d","email":null,"ref":null}`, f.random.IntN(10_000)))
	t.Payload = ring.Seal("payload", t.Visit, []byte(`{"documents":["birth certificate","old passport"],"urgent":false}`))
	switch n := f.random.IntN(100); {
	case n < 5:
		t.State, t.StartedAt, t.FinishedAt = queue.NoShow, 0, started
	case n < 10:
		t.State, t.Attendant, t.CalledAt, t.StartedAt, t.FinishedAt = queue.Removed, "", 0, 0, called
	case n < 12:
		t.State = queue.Transferred
	case n < 60:
		t.Outcome = outcomes[f.random.IntN(len(outcomes))]
	}
	return t
}

var outcomes = []string{"issued", "refused", "referred", "incomplete"}

func attendant(n int) string { return fmt.Sprintf("01900f6e-5b1c-7c3a-9f0e-2d4b6a8c%04d", n) }

// lasts gives milliseconds around a mean in seconds, seldom many times as much.
func (f *filler) lasts(mean float64) queue.Time {
	return queue.Time(f.random.ExpFloat64() * mean * 1000)
}

// id is a UUIDv7 of that time.
func (f *filler) id(made queue.Time) (id queue.TicketID) {
	binary.BigEndian.PutUint64(id[:8], uint64(made)<<16|0x7000|uint64(f.random.IntN(1<<12)))
	binary.BigEndian.PutUint64(id[8:], f.random.Uint64()>>2|1<<63)
	return id
}

// dataKeys seals what is made. A node that is to show it takes the same as its --data-keys.
var dataKeys = "bench:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))

func newRing() *seal.Ring {
	ring, err := seal.ParseRing(dataKeys)
	if err != nil {
		panic(err) // it is written above
	}
	return ring
}

var ring = newRing()
