// Command drive drives a running nowserving node over REST or WebSocket and prints operations a second, latencies and
// errors by code.
//
//	drive --url http://127.0.0.1:8080 --email admin@localhost --password … --queues 64 --depth 10000 --connections 256
//
// It makes the queues that are missing, fills each to --depth, and then draws operations from --mix. Every call-next
// is followed by its complete, on the same connection and in the call's next turn, and counted as an operation.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"nowserving/bench/load"
)

type config struct {
	url, email, password, tokens, via, prefix, mix string
	queues, depth, connections, priorities         int
	payload                                        int
	duration, warmup                               time.Duration
	rate, frames                                   float64
	keys, customer, insecure, json                 bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := parse(os.Args[1:])
	if err == nil {
		var res *load.Result
		if res, err = drive(ctx, c); err == nil {
			err = show(res, c.json)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "drive:", err)
		os.Exit(1)
	}
}

func show(res *load.Result, asJSON bool) error {
	if asJSON {
		return load.WriteJSON(os.Stdout, res)
	}
	res.Print(os.Stdout)
	return nil
}

func parse(args []string) (config, error) {
	var c config
	f := flag.NewFlagSet("drive", flag.ContinueOnError)
	f.StringVar(&c.url, "url", "http://127.0.0.1:8080", "the node; several, separated by commas, share the connections")
	f.StringVar(&c.email, "email", "admin@localhost", "who logs in")
	f.StringVar(&c.password, "password", os.Getenv("NOWSERVING_ADMIN_PASSWORD"), "password; default $NOWSERVING_ADMIN_PASSWORD")
	f.StringVar(&c.tokens, "token", "", "access token instead of a login; several, separated by commas, share the connections")
	f.StringVar(&c.via, "via", "rest", "rest or ws")
	f.IntVar(&c.queues, "queues", 1, "number of queues, made when missing")
	f.StringVar(&c.prefix, "prefix", "bench-", "of the queues' ids; a number follows")
	f.IntVar(&c.depth, "depth", 1000, "waiting tickets in each queue: filled before, kept to within a tenth by a mix that fills and empties; 0: leave as it is")
	f.IntVar(&c.connections, "connections", 64, "connections, one request in flight on each")
	f.StringVar(&c.mix, "mix", "enqueue=40,move=20,remove=20,call-next=20", "operations by weight; get, get-queue and list too, over REST")
	f.IntVar(&c.priorities, "priorities", 1, "newcomers draw a priority below this (1 to 10)")
	f.IntVar(&c.payload, "payload", 0, "bytes of payload of each enqueue")
	f.BoolVar(&c.customer, "customer", false, "give each enqueue a customer with name and phone")
	f.BoolVar(&c.keys, "keys", false, "give each command an idempotency key")
	f.DurationVar(&c.duration, "duration", 10*time.Second, "counted time")
	f.DurationVar(&c.warmup, "warmup", 2*time.Second, "time before it")
	f.Float64Var(&c.rate, "rate", 0, "operations a second (open loop: latency counts from the time an operation was due); 0: as fast as answers come")
	f.Float64Var(&c.frames, "ws-frames", 95, "most frames a second on one WebSocket: a node closes one that sends more than 100; 0: no bound")
	f.BoolVar(&c.insecure, "insecure", false, "accept any TLS certificate")
	f.BoolVar(&c.json, "json", false, "print JSON")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	return c, c.check()
}

func (c *config) check() error {
	switch {
	case c.via != "rest" && c.via != "ws":
		return fmt.Errorf("--via %q is neither rest nor ws", c.via)
	case c.queues < 1 || c.connections < 1 || c.depth < 0 || c.duration <= 0 || c.rate < 0:
		return fmt.Errorf("--queues, --connections and --duration are at least 1, --depth and --rate at least 0")
	case c.priorities < 1 || c.priorities > 10:
		return fmt.Errorf("--priorities is 1 to 10")
	case c.tokens == "" && c.password == "":
		return fmt.Errorf("want --password or --token")
	case c.via == "ws" && c.frames > 0 && (c.rate == 0 || c.rate > c.frames*float64(c.connections)):
		c.rate = c.frames * float64(c.connections)
		fmt.Fprintf(os.Stderr, "drive: held to %.0f operations/s: %g frames a second on each of %d sockets\n", c.rate, c.frames, c.connections)
	}
	return nil
}

func drive(ctx context.Context, c config) (*load.Result, error) {
	mix, err := load.ParseMix(c.mix)
	if err != nil {
		return nil, err
	}
	if c.via == "ws" && (mix.Has(load.Get) || mix.Has(load.GetQueue) || mix.Has(load.List)) {
		return nil, fmt.Errorf("reads are not commands: get, get-queue and list need --via rest")
	}
	if err := load.RaiseFiles(uint64(c.connections) + 256); err != nil {
		return nil, err
	}
	n := &node{config: c, urls: strings.Split(c.url, ",")}
	if err := n.login(ctx); err != nil {
		return nil, err
	}
	w := load.NewWorkload(mix, c.queues, c.depth)
	w.Priorities = c.priorities
	if err := n.prepare(ctx, w); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	lines := make([]line, c.connections)
	for i := range lines {
		if lines[i], err = n.line(i); err != nil {
			return nil, err
		}
		defer lines[i].Close()
	}
	pace := load.Pace{Callers: c.connections, Rate: c.rate, Warmup: c.warmup, Duration: c.duration}
	res := load.Run(ctx, pace, func(i int) load.Step { return w.Step(i, lines[i], true) })
	res.Name = c.via
	for i, l := range lines {
		if err := w.Finish(i, l); err != nil {
			fmt.Fprintln(os.Stderr, "drive: a ticket stays active:", err)
		}
	}
	return res, nil
}
