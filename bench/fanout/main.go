//go:build linux

// Command fanout measures how long one event takes to reach many WebSocket sessions of one queue.
//
//	fanout --url http://127.0.0.1:8080 --password … --sessions 10000   a running node
//	fanout --baseline --sessions 10000                                 a bare Fiber server that loops over its sessions
//
// Each event is one enqueue or remove over REST; the next one is sent when all sessions have the last. Sessions are
// read with epoll by a few threads, for the clients share the cores with the server that is measured.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"nowserving/bench/load"
)

type config struct {
	url, email, password, token, queue string
	sessions, events, readers, pid     int
	pause, warmup                      time.Duration
	baseline, json                     bool
}

// report is what one run found. Latencies are those of an event's last arrival.
type report struct {
	Name         string           `json:"name"`
	Sessions     int              `json:"sessions"`
	Events       int              `json:"events"`
	FromSend     load.Latency     `json:"from_send"`  // from just before the command was sent
	FromReply    load.Latency     `json:"from_reply"` // from the server's reply; 0 where all had arrived before it
	Reply        load.Latency     `json:"reply"`      // of the command itself
	Incomplete   int              `json:"incomplete"` // events that did not reach every session within 10 s
	Gaps         int64            `json:"gaps"`       // versions that a session got twice, out of order, or not at all
	Closed       int64            `json:"closed"`     // sessions that the server ended
	OpenSeconds  float64          `json:"open_seconds"`
	SessionBytes int64            `json:"session_bytes,omitempty"` // growth of the server's resident memory per session
	Errors       map[string]int64 `json:"errors,omitempty"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fanout:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "naive-server" { // the child of --baseline
		return serveNaive()
	}
	c, err := parse(args)
	if err != nil {
		return err
	}
	// 10,000 sessions are 10,000 descriptors here and as many in the baseline's process, which inherits the limit.
	if err := load.RaiseFiles(uint64(c.sessions) + 512); err != nil {
		return err
	}
	name := "node"
	if c.baseline {
		server, err := load.StartChild(ctx, "naive-server")
		if err != nil {
			return err
		}
		defer server.Close()
		c.url, c.pid, c.password, name = server.URL, server.PID, "naive", "naive loop"
	}
	debug.SetGCPercent(400) // the readers make no garbage worth a collection in the middle of an event
	rep, err := measure(ctx, c)
	if err != nil {
		return err
	}
	rep.Name = name
	if c.json {
		return load.WriteJSON(os.Stdout, rep)
	}
	rep.print()
	return nil
}

func parse(args []string) (config, error) {
	var c config
	f := flag.NewFlagSet("fanout", flag.ContinueOnError)
	f.StringVar(&c.url, "url", "http://127.0.0.1:8080", "the node; plain HTTP, IPv4")
	f.StringVar(&c.email, "email", "admin@localhost", "who logs in")
	f.StringVar(&c.password, "password", os.Getenv("NOWSERVING_ADMIN_PASSWORD"), "password; default $NOWSERVING_ADMIN_PASSWORD")
	f.StringVar(&c.token, "token", "", "access token instead of a login")
	f.StringVar(&c.queue, "queue", "bench-fanout", "queue to watch, made when missing")
	f.IntVar(&c.sessions, "sessions", 1000, "WebSocket sessions")
	f.IntVar(&c.events, "events", 100, "events to measure, after ten that are not counted")
	f.IntVar(&c.readers, "readers", 2, "threads that read the sessions")
	f.DurationVar(&c.pause, "pause", 20*time.Millisecond, "between the last arrival of one event and the next command")
	f.IntVar(&c.pid, "pid", 0, "the node's process id: report its memory per session")
	f.DurationVar(&c.warmup, "settle", time.Second, "wait between opening the sessions and the first event")
	f.BoolVar(&c.baseline, "baseline", false, "measure a bare Fiber server that loops over its sessions, instead of a node")
	f.BoolVar(&c.json, "json", false, "print JSON")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	switch {
	case c.sessions < 1 || c.sessions > 25_000:
		return c, fmt.Errorf("--sessions is 1 to 25000: one address has no more free ports to one server")
	case c.events < 1 || c.readers < 1:
		return c, fmt.Errorf("--events and --readers are at least 1")
	case !strings.HasPrefix(c.url, "http://"):
		return c, fmt.Errorf("--url %q: the sessions' reader speaks plain http:// only", c.url)
	case !c.baseline && c.password == "" && c.token == "":
		return c, fmt.Errorf("want --password, --token or --baseline")
	}
	return c, nil
}

func (r *report) print() {
	fmt.Printf("%s: %d sessions, %d events; sessions opened in %.1f s\n", r.Name, r.Sessions, r.Events, r.OpenSeconds)
	for _, row := range []struct {
		name string
		l    load.Latency
	}{{"send to last arrival", r.FromSend}, {"reply to last arrival", r.FromReply}, {"command's reply", r.Reply}} {
		fmt.Printf("  %-22s p50 %8.3f   p99 %8.3f   max %8.3f ms\n", row.name, row.l.P50, row.l.P99, row.l.Max)
	}
	if r.SessionBytes > 0 {
		fmt.Printf("  server's memory: %.1f kB a session\n", float64(r.SessionBytes)/1000)
	}
	if r.Incomplete > 0 || r.Gaps > 0 || r.Closed > 0 || len(r.Errors) > 0 {
		fmt.Printf("  events incomplete %d, gaps %d, sessions closed %d, errors %v\n", r.Incomplete, r.Gaps, r.Closed, r.Errors)
	}
}
