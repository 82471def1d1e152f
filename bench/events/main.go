// Command events measures how far what is published to RabbitMQ is behind the
// journals: grains of many queues on a private Redis are driven at a steady rate,
// one follower publishes their events to a private RabbitMQ, and a consumer
// compares when each event came with when its queue stamped it. Both have their
// time from the same clock.
//
// With -alone no queue is bound, so that RabbitMQ confirms at once: what is left
// is what the follower and the publisher can do.
//
//	go run ./bench/events -rate 15000 -for 30s
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
	"nowserving/persistence/directory"
	"nowserving/persistence/redistest"
)

type config struct {
	queues, rate, callers int
	during                time.Duration
	fsync, amqpURL        string
	alone                 bool
}

func main() {
	var c config
	flag.IntVar(&c.queues, "queues", 64, "queues that are driven")
	flag.IntVar(&c.rate, "rate", 15_000, "events a second, of all queues")
	flag.IntVar(&c.callers, "callers", 1_024, "callers that share the rate")
	flag.DurationVar(&c.during, "for", 30*time.Second, "how long")
	flag.StringVar(&c.fsync, "fsync", "always", "appendfsync of Redis")
	flag.StringVar(&c.amqpURL, "amqp-url", "", "a RabbitMQ; a private one if left out")
	flag.BoolVar(&c.alone, "alone", false, "bind no queue")
	flag.Parse()
	if err := run(c); err != nil {
		fmt.Fprintln(os.Stderr, "events:", err)
		os.Exit(1)
	}
}

func run(c config) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "bench-events-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	redis, err := redistest.StartServer(redistest.Options{Fsync: c.fsync, Dir: dir})
	if err != nil {
		return err
	}
	defer redis.Stop()
	if c.amqpURL == "" {
		server, err := rabbittest.StartServer()
		if err != nil {
			return err
		}
		defer server.Stop()
		c.amqpURL = server.URL()
	}
	d, err := directory.Open(ctx, directory.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer d.Close()
	conn, err := rabbit.New(rabbit.Options{URL: c.amqpURL, Name: "bench events", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = conn.Run(ctx) })
	m, err := listen(ctx, conn, c.alone)
	if err != nil {
		return err
	}
	if !c.alone {
		running.Go(func() { m.run(ctx) })
	}
	n, err := start(ctx, redis.URL(), conn, d)
	if err != nil {
		return err
	}
	defer n.stop()
	running.Go(func() { _ = n.follower.Run(ctx) })
	return measure(ctx, c, n, m)
}

func measure(ctx context.Context, c config, n *node, m *meter) error {
	if err := n.create(ctx, c.queues); err != nil {
		return err
	}
	fmt.Printf("%d queues, %d callers, %d events a second for %s\n", c.queues, c.callers, c.rate, c.during)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	most := n.watchBehind(watching)
	began := time.Now()
	sent, err := n.drive(ctx, c)
	took := time.Since(began)
	if err != nil {
		return err
	}
	rate := float64(sent) / took.Seconds()
	if c.alone {
		for n.follower.Behind() > 0 {
			time.Sleep(time.Millisecond)
		}
	} else {
		late := time.NewTimer(time.Minute)
		defer late.Stop()
		select {
		case <-m.reached(sent + c.queues):
		case <-late.C:
			return errors.New("the events do not all come")
		}
	}
	fmt.Printf("  %d events in %s: %.0f a second; the last one was out %s after that\n",
		sent, took.Round(time.Millisecond), rate, (time.Since(began) - took).Round(time.Millisecond))
	stop()
	events := <-most
	fmt.Printf("  at most %d events were not published, those of %.2f s\n", events, float64(events)/rate)
	if c.alone {
		return nil
	}
	lags, wrong := m.result()
	if wrong != "" {
		return errors.New(wrong)
	}
	fmt.Printf("  consumed after: p50 %s, p99 %s, most %s; %d repeats\n", at(lags, 0.5), at(lags, 0.99), lags[len(lags)-1], m.repeats)
	return nil
}

// at gives the nearest rank.
func at(sorted []time.Duration, share float64) time.Duration {
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

func sorted(lags []time.Duration) []time.Duration {
	slices.SortFunc(lags, cmp.Compare[time.Duration])
	return lags
}
