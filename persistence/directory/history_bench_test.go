package directory

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"nowserving/actors/queue"
)

// busyQueues makes the parts that a follower hands over while queues are busy:
// tickets of 64 queues, 50 attendants and four outcomes, with sealed data of
// usual lengths.
type busyQueues struct {
	random *rand.Rand
	now    queue.Time
	at     [64]uint64
}

func newBusyQueues(now queue.Time) *busyQueues {
	return &busyQueues{random: rand.New(rand.NewPCG(uint64(now), 9)), now: now}
}

// next makes parts with so many finished tickets, and as many arrivals.
func (b *busyQueues) next(finished int) []HistoryPart {
	parts := make([]HistoryPart, len(b.at))
	for i := range parts {
		parts[i] = HistoryPart{Queue: fmt.Sprintf("office-%02d", i), After: b.at[i], Upto: b.at[i]}
	}
	for n := range finished {
		i := b.random.IntN(len(parts))
		b.now += queue.Time(n & 1)
		ticket := b.ticket()
		parts[i].Changes = append(parts[i].Changes, HistoryChange{Arrived: ticket.EnqueuedAt}, HistoryChange{Finished: ticket})
		parts[i].Upto += 4 // it was also called and started
	}
	for i := range parts {
		b.at[i] = parts[i].Upto
	}
	return parts
}

var benchOutcomes = []string{"", "", "resolved", "resolved", "escalated"}

func (b *busyQueues) ticket() *queue.Ticket {
	id := queue.TicketID(uuid.Must(uuid.NewV7()))
	t := &queue.Ticket{
		ID: id, Visit: id, Number: fmt.Sprintf("A%03d", b.random.IntN(1000)), State: queue.Completed, Source: queue.FromREST,
		Service: "Passports", Customer: bytes.Repeat([]byte{0xa5}, 150), Payload: bytes.Repeat([]byte{0x5a}, 100),
		EnqueuedBy: uuid.NewString(), Attendant: fmt.Sprintf("01900f6e-5b1c-7c3a-9f0e-2d4b6a8c0e%02d", b.random.IntN(50)),
		Desk: fmt.Sprint("Desk ", b.random.IntN(20)), Calls: 1,
		EnqueuedAt: b.now - 900_000, CalledAt: b.now - 300_000, StartedAt: b.now - 280_000, FinishedAt: b.now,
		Outcome: benchOutcomes[b.random.IntN(len(benchOutcomes))],
	}
	if b.random.IntN(10) == 0 {
		t.State, t.Outcome, t.StartedAt = queue.NoShow, "", 0
	}
	return t
}

// One operation is one transaction. A follower hands over about 2,000 events,
// which is 500 finished tickets.
func BenchmarkTakeHistory(b *testing.B) {
	benchEach(b, func(b *testing.B, d *Directory) {
		for _, finished := range []int{1, 500} {
			b.Run(fmt.Sprint(finished), func(b *testing.B) {
				queues := newBusyQueues(queue.Time(time.Now().UnixMilli()))
				forget(b, d)
				for b.Loop() {
					if err := d.TakeHistory(b.Context(), queues.next(finished)); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(finished*b.N)/b.Elapsed().Seconds(), "tickets/s")
			})
		}
	})
}

func forget(b *testing.B, d *Directory) {
	b.Helper()
	if err := d.db.WithContext(context.Background()).Exec("DELETE FROM checkpoints").Error; err != nil {
		b.Fatal(err)
	}
}
