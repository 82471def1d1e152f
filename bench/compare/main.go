// Command compare measures queue grains in this process beside what a user would write instead, in turn and on the same
// servers: a Redis sorted set per queue with one Lua script per operation, and a bare Fiber v2 JSON echo.
//
//	compare line      --callers 64 --queues 1 --depth 10000
//	compare position  --callers 64
//	compare echo      --connections 256
//	compare footprint memory of idle queues, time of the first answer
//	compare all       every row of the bench table that needs no gateway
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"nowserving/bench/load"
)

type config struct {
	callers, queues, depth, pool, runs int
	connections, pipes                 int
	rate                               float64
	duration, warmup                   time.Duration
	mix, redisAddr, dir, fsync         string
	profile                            string
	tickets, json                      bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want line, position, echo, footprint or all")
	}
	if args[0] == "echo-server" { // the child of echo
		return serveEcho()
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // as a node does, for what it is compared with too
	}
	c, err := parse(args[0], args[1:])
	if err != nil {
		return err
	}
	if c.profile != "" {
		file, err := os.Create(c.profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	all, err := measure(ctx, args[0], c)
	if err != nil {
		return err
	}
	if c.json {
		return load.WriteJSON(os.Stdout, all)
	}
	return nil
}

func parse(name string, args []string) (config, error) {
	var c config
	f := flag.NewFlagSet("compare "+name, flag.ContinueOnError)
	f.IntVar(&c.callers, "callers", 64, "goroutines that call at once")
	f.IntVar(&c.queues, "queues", 1, "sorted sets")
	f.IntVar(&c.depth, "depth", 10_000, "tickets in each, kept to within a tenth")
	f.IntVar(&c.pool, "pool", 0, "connections of go-redis's pool; 0: its default, 10 per CPU")
	f.IntVar(&c.pipes, "pipes", 0, "connections of the journal; 0: its default")
	f.IntVar(&c.connections, "connections", 256, "HTTP connections to the echo")
	f.Float64Var(&c.rate, "rate", 0, "operations a second (open loop); 0: as fast as answers come")
	f.IntVar(&c.runs, "runs", 5, "times to run each; the median and the range are reported")
	f.DurationVar(&c.duration, "duration", 5*time.Second, "counted time of a run")
	f.DurationVar(&c.warmup, "warmup", time.Second, "time before it")
	f.StringVar(&c.mix, "mix", "enqueue=40,move=20,remove=20,call-next=20", "operations by weight")
	f.BoolVar(&c.tickets, "tickets", true, "keep each ticket's JSON in a hash beside the sorted set, as any real use must")
	f.StringVar(&c.redisAddr, "redis", "", "host:port of a Redis to use (its keys bench:* are deleted); empty: start a private one")
	f.StringVar(&c.dir, "dir", "", "where the private Redis keeps its data; empty: the temporary folder")
	f.StringVar(&c.fsync, "appendfsync", "always", "of the private Redis")
	f.StringVar(&c.profile, "cpuprofile", "", "write a CPU profile of the run to this file")
	f.BoolVar(&c.json, "json", false, "print JSON with every run")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if c.callers < 1 || c.queues < 1 || c.depth < 1 || c.runs < 1 || c.connections < 1 || c.duration <= 0 {
		return c, fmt.Errorf("callers, queues, depth, runs, connections and duration are at least 1")
	}
	return c, nil
}

func measure(ctx context.Context, name string, c config) ([]load.Series, error) {
	switch name {
	case "line":
		return bothSeries(ctx, c)
	case "position":
		c.mix = "get=1"
		return bothSeries(ctx, c)
	case "echo":
		s, err := echoSeries(ctx, c)
		return []load.Series{s}, err
	case "footprint":
		return nil, footprint(ctx, c)
	case "all":
		return everything(ctx, c)
	}
	return nil, fmt.Errorf("%q is none of line, position, echo, footprint, all", name)
}

func everything(ctx context.Context, c config) ([]load.Series, error) {
	var all []load.Series
	add := func(s []load.Series, err error) error {
		all = append(all, s...)
		return err
	}
	for _, queues := range []int{1, 64} {
		// With 512 callers the sorted set's default pool is its bottleneck; who tunes it gets the better figure, so both
		// are shown.
		for _, row := range []struct{ callers, pool int }{{64, c.pool}, {512, c.pool}, {512, 512}} {
			c := c
			c.queues, c.callers, c.pool = queues, row.callers, row.pool
			if err := add(bothSeries(ctx, c)); err != nil {
				return all, err
			}
		}
	}
	c.queues, c.callers, c.mix = 1, 64, "get=1"
	if err := add(bothSeries(ctx, c)); err != nil {
		return all, err
	}
	if err := footprint(ctx, c); err != nil {
		return all, err
	}
	s, err := echoSeries(ctx, c)
	return append(all, s), err
}

// series runs once after the other and, unless JSON was asked for, prints each result's line when its last run is in.
func series(ctx context.Context, name string, c config, once func() *load.Result) (load.Series, error) {
	var runs []*load.Result
	for range c.runs {
		r := once()
		if ctx.Err() != nil {
			return load.Series{}, ctx.Err()
		}
		r.Name = name
		runs = append(runs, r)
	}
	s := load.NewSeries(name, runs)
	if !c.json {
		s.Print(os.Stdout)
	}
	return s, nil
}
