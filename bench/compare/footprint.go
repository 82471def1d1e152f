package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"nowserving/bench/load"
	"nowserving/messages"
)

// footprint measures what queues cost that do nothing, and how long one takes to answer that is not in memory.
func footprint(ctx context.Context, c config) error {
	server, err := load.StartRedis(ctx, c.dir, c.fsync)
	if err != nil {
		return err
	}
	defer server.Close()
	p, err := startInProcess(ctx, server.Addr, c.pipes)
	if err != nil {
		return err
	}
	if err := idleQueues(ctx, p, 10_000); err != nil {
		return err
	}
	if err := passivated(ctx, p); err != nil {
		return err
	}
	return crashed(ctx, p, server.Addr, c.pipes)
}

// idleQueues: heap and stacks of queues that were made and had one ticket each.
func idleQueues(ctx context.Context, p *inProcess, n int) error {
	before := inUse()
	w := load.NewWorkload(load.Mix{}, n, 1)
	if err := p.fill(ctx, w, n, 1); err != nil {
		return err
	}
	after := inUse()
	runtime.KeepAlive(w)
	fmt.Fprintf(os.Stdout, "idle queue of one ticket   %d queues   %.1f kB each\n", n, float64(after-before)/float64(n)/1000)
	return nil
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// passivated: the first answer of queues that were stopped.
func passivated(ctx context.Context, p *inProcess) error {
	if !p.node.Passivate(ctx, func(string) bool { return true }) {
		return ctx.Err()
	}
	var took []time.Duration
	for i := range 1_000 {
		start := time.Now()
		if v := p.describe(ctx, fmt.Sprintf("q%d", i)); v.Problem != nil {
			return refused(v.Problem)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	fmt.Fprintf(os.Stdout, "passivated queue answers   p50 %s   p99 %s   max %s\n", took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	return nil
}

// crashed: the first answer of a queue of 100,000 tickets at a node that finds it as a crash left it: a snapshot and
// what came after.
func crashed(ctx context.Context, p *inProcess, addr string, pipes int) error {
	const depth = 100_000
	w := load.NewWorkload(load.Mix{}, 1, depth)
	var wg sync.WaitGroup
	errs := make(chan error, 64)
	for worker := range 64 {
		wg.Go(func() {
			line := &core{ctx: ctx, queues: p.queues, by: "bench"}
			for n := worker; n < depth; n += 64 {
				if _, err := line.Do(load.Op{Kind: load.Enqueue}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	runtime.KeepAlive(w)
	for range 5 {
		// The node before is not stopped: it is simply not asked any more, as if it had died.
		next, err := startInProcess(ctx, addr, pipes)
		if err != nil {
			return err
		}
		runtime.GC()
		start := time.Now()
		v := next.describe(ctx, "q0")
		if v.Problem != nil {
			return refused(v.Problem)
		}
		fmt.Fprintf(os.Stdout, "%d tickets after a crash answer in %s\n", v.Waiting, time.Since(start))
	}
	return nil
}

func (p *inProcess) describe(ctx context.Context, id string) *messages.View {
	return p.queues.Read(ctx, &messages.Read{Queue: id, Question: &messages.Read_Describe{Describe: &messages.ReadQueue{}}})
}
