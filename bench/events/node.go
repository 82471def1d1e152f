package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/google/uuid"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/cluster"
	"nowserving/gateway"
	"nowserving/gateway/rabbit"
	"nowserving/messages"
	"nowserving/persistence"
	"nowserving/persistence/directory"
)

// node is one node without a gateway.
type node struct {
	journal  *persistence.RedisJournal
	member   *cluster.Node
	queues   *actors.Queues
	follower *actors.JournalFollower
}

// checkpoints is the directory as the sink wants it.
type checkpoints struct{ d *directory.Directory }

func (c checkpoints) Checkpoints(ctx context.Context, queues []string) ([]uint64, error) {
	return c.d.Checkpoints(ctx, "events", queues)
}

func (c checkpoints) Move(ctx context.Context, parts []actors.Part) error {
	moves := make([]directory.CheckpointMove, len(parts))
	for i, p := range parts {
		moves[i] = directory.CheckpointMove{Queue: p.Queue, After: p.After, Upto: p.Upto}
	}
	return c.d.MoveCheckpoints(ctx, "events", moves)
}

func start(ctx context.Context, redisURL string, conn *rabbit.Conn, d *directory.Directory) (*node, error) {
	log := slog.New(slog.DiscardHandler)
	journal, err := persistence.OpenRedisJournal(ctx, redisURL, log, persistence.RedisOptions{})
	if err != nil {
		return nil, err
	}
	n := &node{journal: journal}
	sink := rabbit.NewEventSink(conn, checkpoints{d}, gateway.CloudEvent)
	n.follower = actors.NewJournalFollower("events", journal, sink, log)
	deps := actors.GrainDeps{
		Journal: journal, Log: log,
		Now: func() queue.Time { return queue.Time(time.Now().UnixMilli()) },
		Request: func(ctx context.Context, kind, id string, m any) (any, error) {
			return n.member.Request(ctx, kind, id, m)
		},
		Committed: n.follower.Note,
		Known:     func(context.Context, string) (uint64, error) { return 0, nil },
		Followed:  func(ctx context.Context, id string) (uint64, error) { return actors.Followed(ctx, id, sink) },
		Passivate: func(m any) bool { _, ok := m.(cluster.Passivate); return ok },
	}
	n.member, err = cluster.New(cluster.Options{
		Name: "bench", Addr: "127.0.0.1:0", Log: log, IdleAfter: time.Hour,
		Kinds: map[string]func(string) actor.Actor{actors.QueueKind: actors.NewGrain(deps)},
	})
	if err != nil {
		return nil, errors.Join(err, journal.Close())
	}
	n.member.Join()
	n.queues = actors.NewQueues(n.member.Request, func(err error) bool { return errors.Is(err, cluster.ErrUndelivered) })
	return n, nil
}

func (n *node) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	n.member.Shutdown(ctx)
	_ = n.journal.Close()
}

func (n *node) do(ctx context.Context, m *messages.Command) error {
	m.By, m.Op = "bench", make([]byte, 16)
	_, _ = rand.Read(m.Op)
	if a := n.queues.Do(ctx, m); a.Problem != nil {
		return errors.New(a.Problem.Code)
	}
	return nil
}

// watchBehind gives, when ctx is over, the most events that were not published
// at once.
func (n *node) watchBehind(ctx context.Context) <-chan uint64 {
	most := make(chan uint64, 1)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		worst := uint64(0)
		for {
			select {
			case <-ctx.Done():
				most <- worst
				return
			case <-tick.C:
				worst = max(worst, n.follower.Behind())
			}
		}
	}()
	return most
}

func name(i int) string { return fmt.Sprintf("q%d", i) }

func (n *node) create(ctx context.Context, queues int) error {
	for i := range queues {
		err := n.do(ctx, &messages.Command{Queue: name(i), Action: &messages.Command_Create{Create: &messages.Create{
			Epoch: uuid.NewString(), Config: &messages.Config{Name: "bench", Prefix: "A", MaxActive: 1, Timezone: "UTC"},
		}}})
		if err != nil {
			return err
		}
	}
	return nil
}

// drive has each caller enqueue in one queue at its share of the rate. One that
// is late does not catch up: the rate that came of it is printed.
func (n *node) drive(ctx context.Context, c config) (sent int, err error) {
	var count atomic.Int64
	var callers sync.WaitGroup
	failed := make(chan error, c.callers)
	every := time.Second * time.Duration(c.callers) / time.Duration(c.rate)
	customer := make([]byte, 200) // sealed data is of about that size
	end := time.Now().Add(c.during)
	for caller := range c.callers {
		callers.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for time.Now().Before(end) {
				<-tick.C
				id := uuid.Must(uuid.NewV7())
				err := n.do(ctx, &messages.Command{Queue: name(caller % c.queues), Action: &messages.Command_Enqueue{
					Enqueue: &messages.Enqueue{Id: id[:], Source: messages.Source_SOURCE_REST, Customer: customer},
				}})
				if err != nil {
					failed <- err
					return
				}
				count.Add(1)
			}
		})
	}
	callers.Wait()
	select {
	case err = <-failed:
	default:
	}
	return int(count.Load()), err
}
