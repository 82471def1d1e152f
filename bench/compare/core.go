package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/google/uuid"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/bench/load"
	"nowserving/cluster"
	"nowserving/messages"
	"nowserving/persistence"
)

// core is one caller's Line to queue grains in this process, as the gateway reaches them: durable answers, sealed
// data of the size that the sorted set keeps, positions with the check of ownership.
type core struct {
	ctx    context.Context
	queues *actors.Queues
	by     string
}

var sealedTicket = make([]byte, len(ticketJSON))

func (c *core) Do(op load.Op) (string, error) {
	id := fmt.Sprintf("q%d", op.Queue)
	m := &messages.Command{Queue: id, By: c.by}
	switch op.Kind {
	case load.Get:
		v := c.queues.Read(c.ctx, &messages.Read{Queue: id, Question: &messages.Read_Ticket{Ticket: &messages.ReadTicket{Id: ticketBytes(op.Ticket)}}})
		return "", refused(v.Problem)
	case load.Enqueue:
		ticket := uuid.Must(uuid.NewV7())
		m.Action = &messages.Command_Enqueue{Enqueue: &messages.Enqueue{
			Id: ticket[:], Priority: uint32(op.Priority), Payload: sealedTicket, Source: messages.Source_SOURCE_REST,
		}}
	case load.Move:
		m.Action = &messages.Command_Move{Move: &messages.Move{Ticket: ticketBytes(op.Ticket), Position: int64(op.Position)}}
	case load.Remove:
		m.Action = &messages.Command_Remove{Remove: &messages.Remove{Ticket: ticketBytes(op.Ticket)}}
	case load.CallNext:
		m.Action = &messages.Command_CallNext{CallNext: &messages.CallNext{}}
	default:
		return "", &load.Refusal{Code: "not in the comparison: " + string(op.Kind)}
	}
	var opID [16]byte
	_, _ = rand.Read(opID[:])
	m.Op = opID[:]
	a := c.queues.Do(c.ctx, m)
	if a.Problem != nil || a.Event == nil {
		return "", refused(a.Problem)
	}
	return hex.EncodeToString(a.Event.Ticket.Id), nil
}

func refused(p *messages.Problem) error {
	if p == nil {
		return nil
	}
	return &load.Refusal{Code: p.Code}
}

func ticketBytes(s string) []byte {
	b, _ := hex.DecodeString(s)
	return b
}

// timed notes how long appends take and how much each carries.
type timed struct {
	*persistence.RedisJournal
	appends, events, nanos atomic.Int64
}

func (t *timed) Append(id string, owner queue.OwnerID, prev queue.OpID, e queue.Entry, done func(error)) {
	start := time.Now()
	t.RedisJournal.Append(id, owner, prev, e, func(err error) {
		t.appends.Add(1)
		t.events.Add(int64(e.Last - e.First + 1))
		t.nanos.Add(int64(time.Since(start)))
		done(err)
	})
}

func (t *timed) print(w io.Writer) {
	if n := t.appends.Swap(0); n > 0 {
		fmt.Fprintf(w, "  %d appends, %.1f events each, %s each\n", n, float64(t.events.Swap(0))/float64(n), time.Duration(t.nanos.Swap(0)/n))
	}
}

// inProcess is one node without a gateway.
type inProcess struct {
	journal *timed
	node    *cluster.Node
	queues  *actors.Queues
}

func startInProcess(ctx context.Context, redisAddr string, pipes int) (*inProcess, error) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	journal, err := persistence.OpenRedisJournal(ctx, "redis://"+redisAddr, log, persistence.RedisOptions{Pipes: pipes})
	if err != nil {
		return nil, err
	}
	p := &inProcess{journal: &timed{RedisJournal: journal}}
	deps := actors.GrainDeps{
		Journal: p.journal, Log: log,
		Now: func() queue.Time { return queue.Time(time.Now().UnixMilli()) },
		Request: func(ctx context.Context, kind, id string, m any) (any, error) {
			return p.node.Request(ctx, kind, id, m)
		},
		Committed: func(string, uint64) {},
		Known:     func(context.Context, string) (uint64, error) { return 0, nil },
		Followed:  func(context.Context, string) (uint64, error) { return math.MaxUint64, nil },
		Passivate: func(m any) bool { _, ok := m.(cluster.Passivate); return ok },
	}
	p.node, err = cluster.New(cluster.Options{
		Name: "bench", Addr: "127.0.0.1:0", Log: log, IdleAfter: time.Hour,
		Kinds: map[string]func(string) actor.Actor{actors.QueueKind: actors.NewGrain(deps)},
	})
	if err != nil {
		return nil, errors.Join(err, journal.Close())
	}
	p.node.Join()
	p.queues = actors.NewQueues(p.node.Request, func(err error) bool { return errors.Is(err, cluster.ErrUndelivered) })
	return p, nil
}

func (p *inProcess) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	p.node.Shutdown(ctx)
	_ = p.journal.Close()
}

// fill makes the queues and their tickets.
func (p *inProcess) fill(ctx context.Context, w *load.Workload, queues, depth int) error {
	for i := range queues {
		epoch := uuid.NewString()
		var op [16]byte
		_, _ = rand.Read(op[:])
		a := p.queues.Do(ctx, &messages.Command{Queue: fmt.Sprintf("q%d", i), By: "bench", Op: op[:], Action: &messages.Command_Create{
			Create: &messages.Create{Epoch: epoch, Config: &messages.Config{Name: "bench", Prefix: "A", MaxActive: queue.MaxMaxActive, Timezone: "UTC"}},
		}})
		if err := refused(a.Problem); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	failed := make(chan error, 64)
	for worker := range 64 {
		wg.Go(func() {
			c := &core{ctx: ctx, queues: p.queues, by: "bench"}
			for n := worker; n < queues*depth; n += 64 {
				ticket, err := c.Do(load.Op{Kind: load.Enqueue, Queue: n % queues})
				if err != nil {
					failed <- err
					return
				}
				w.Add(n%queues, ticket)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// bothSeries drives the sorted set and the grains in turn, on the same Redis, and gives the ratio of their medians. A
// call is not completed: the sorted set has no such thing either. So each caller is many attendants, a new one when one
// has as many active tickets as a queue allows.
func bothSeries(ctx context.Context, c config) ([]load.Series, error) {
	mix, err := load.ParseMix(c.mix)
	if err != nil {
		return nil, err
	}
	if c.redisAddr == "" {
		server, err := load.StartRedis(ctx, c.dir, c.fsync)
		if err != nil {
			return nil, err
		}
		defer server.Close()
		c.redisAddr = server.Addr
	}
	set, setWork, err := openZset(ctx, c, mix)
	if err != nil {
		return nil, err
	}
	defer set.client.Close()
	node, err := startInProcess(ctx, c.redisAddr, c.pipes)
	if err != nil {
		return nil, err
	}
	defer node.stop()
	nodeWork := load.NewWorkload(mix, c.queues, c.depth)
	if err := node.fill(ctx, nodeWork, c.queues, c.depth); err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	pace := load.Pace{Callers: c.callers, Rate: c.rate, Warmup: c.warmup, Duration: c.duration}
	var setRuns, nodeRuns []*load.Result
	for range c.runs {
		runtime.GC() // neither pays for the other's garbage
		setRuns = append(setRuns, load.Run(ctx, pace, func(caller int) load.Step { return setWork.Step(caller, set, false) }))
		runtime.GC()
		nodeRuns = append(nodeRuns, load.Run(ctx, pace, func(caller int) load.Step {
			return nodeWork.Step(caller, &manyAttendants{core: core{ctx: ctx, queues: node.queues, by: uuid.NewString()}}, false)
		}))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	series := []load.Series{
		load.NewSeries("sorted set, "+c.shape(), setRuns), load.NewSeries("nowserving, "+c.shape(), nodeRuns),
	}
	if !c.json {
		series[0].Print(os.Stdout)
		series[1].Print(os.Stdout)
		fmt.Fprintf(os.Stdout, "  ratio %.2f\n", series[1].Median/series[0].Median)
		node.journal.print(os.Stdout)
	}
	return series, nil
}

// manyAttendants takes a new attendant after a thousand calls.
type manyAttendants struct {
	core
	calls int
}

func (m *manyAttendants) Do(op load.Op) (string, error) {
	if op.Kind == load.CallNext && m.calls%queue.MaxMaxActive == 0 {
		m.by = uuid.NewString()
	}
	if op.Kind == load.CallNext {
		m.calls++
	}
	return m.core.Do(op)
}
