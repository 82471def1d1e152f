package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"nowserving/messages"
	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

const (
	benchQueues  = 64
	benchServers = 256 // clients, each with one ticket at a time
)

// BenchmarkHistoryFollows takes tickets to their ends in 64 queues of a whole
// node, without HTTP: enqueue, call and complete, on Redis (AOF always), with
// MariaDB behind. All of it, the clients too, shares this machine. It reports
// finished tickets a second from the first command until the last is in the
// history, how far the history was behind, and how fast it caught up when the
// commands were over.
//
//	go test -run '^$' -bench HistoryFollows -benchtime 200000x .
func BenchmarkHistoryFollows(b *testing.B) {
	n := benchNode(b)
	ids := make([]string, benchQueues)
	for i := range ids {
		ids[i] = fmt.Sprintf("office-%02d", i)
		do(b, n, ids[i], &messages.Command{Action: &messages.Command_Create{Create: &messages.Create{
			Epoch: uuid.NewString(), Config: &messages.Config{Name: ids[i], Prefix: "A", MaxActive: 1000, Timezone: "UTC"},
		}}})
	}
	customer := []byte(`{"name":"Ada Marsh","phone":"+44 20 7946 0018","email":null,"ref":"C-1187"}`)
	b.ResetTimer()
	began := time.Now()
	stop, worst := watchBehind(n)
	var left atomic.Int64
	left.Store(int64(b.N))
	var clients sync.WaitGroup
	for i := range benchServers {
		clients.Go(func() {
			id, desk := ids[i%benchQueues], fmt.Sprint("Desk ", i)
			for left.Add(-1) >= 0 {
				ticket := [16]byte(uuid.Must(uuid.NewV7()))
				for _, c := range []*messages.Command{
					{Action: &messages.Command_Enqueue{Enqueue: &messages.Enqueue{
						Id: ticket[:], Source: messages.Source_SOURCE_REST, Service: "Passports", Customer: n.sealer.Seal(id, "customer", ticket, customer),
					}}},
					{Action: &messages.Command_Call{Call: &messages.Call{Ticket: ticket[:], Desk: desk}}},
					{Action: &messages.Command_Complete{Complete: &messages.Complete{Ticket: ticket[:], Outcome: "helped"}}},
				} {
					c.By = fmt.Sprintf("01900f6e-5b1c-7c3a-9f0e-2d4b6a8c0%03d", i)
					do(b, n, id, c)
				}
			}
		})
	}
	clients.Wait()
	commands := time.Since(began)
	behind := n.followers[0].Behind()
	awaitHistory(b, n, ids)
	all := time.Since(began)
	stop()
	if behind > 0 { // three events are one ticket
		b.ReportMetric(float64(behind/3)/(all-commands).Seconds(), "tickets/s-catching-up")
	}
	b.ReportMetric(float64(b.N)/all.Seconds(), "tickets/s")
	b.ReportMetric(float64((all - commands).Milliseconds()), "ms-behind-at-the-end")
	b.ReportMetric(float64(worst.Load()), "events-behind-at-most")
}

func benchNode(b *testing.B) *Node {
	b.Helper()
	c, err := readConfig([]string{
		"--http-addr", "127.0.0.1:0", "--data-dir", b.TempDir(), "--redis-url", redistest.Start(b), "--database-url", mariadbtest.Start(b),
	}, func(string) string { return "" })
	if err != nil {
		b.Fatal(err)
	}
	c.AdminPassword = adminPassword
	n, err := Start(b.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := n.Shutdown(); err != nil {
			b.Error(err)
		}
	})
	return n
}

func do(b *testing.B, n *Node, id string, c *messages.Command) {
	c.Queue, c.Op = id, make([]byte, 16)
	_, _ = rand.Read(c.Op)
	if a := n.queues.Do(context.Background(), c); a.Problem != nil {
		b.Error(a.Problem)
	}
}

// watchBehind keeps the most events that the history was behind.
func watchBehind(n *Node) (stop func(), worst *atomic.Uint64) {
	worst = &atomic.Uint64{}
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ending:
				return
			case <-tick.C:
				worst.Store(max(worst.Load(), n.followers[0].Behind()))
			}
		}
	}()
	return func() { close(ending); <-ended }, worst
}

// awaitHistory waits until the history has every event of some queues.
func awaitHistory(b *testing.B, n *Node, ids []string) {
	b.Helper()
	versions, err := n.journal.Versions(b.Context(), ids)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * patience); err == nil && time.Now().Before(deadline); <-tick.C {
		var at []uint64
		at, err = n.sinks[0].Checkpoints(b.Context(), ids)
		missing := false
		for i := range at {
			missing = missing || at[i] < versions[i]
		}
		if err == nil && !missing {
			return
		}
	}
	b.Fatal(errors.Join(errors.New("the history does not follow"), err))
}
