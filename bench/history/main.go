// Command history fills a database with the history of some millions of tickets, as a node would have recorded it, and
// measures what reading it costs: pages of /history by varied filters, and statistics.
//
//	history --rows 10000000                            # a private MariaDB, removed afterwards
//	history --rows 10000000 --store sqlite
//	history --rows 10000000 --dir /var/tmp/h --keep    # and then, with the same data:
//	history --dir /var/tmp/h --keep --callers 1 --buffer-pool 128M
//
//	history --dir /var/tmp/h --keep --serve            # prints what a node with that data is to be given, and then:
//	history --url http://127.0.0.1:8080 --password …   # asks the node instead
//
// The tickets are of one year, in working hours of weekdays, of queues in five timezones whose first one has a third of
// them all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"time"

	"nowserving/bench/load"
	"nowserving/persistence/directory"
)

type config struct {
	store, dir, pool      string
	url, email, password  string
	rows, queues, callers int
	duration, warmup      time.Duration
	rate                  float64
	keep, serve, json     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "history:", err)
		os.Exit(1)
	}
}

func parse(args []string) (config, error) {
	var c config
	f := flag.NewFlagSet("history", flag.ContinueOnError)
	f.StringVar(&c.store, "store", "mariadb", "mariadb or sqlite")
	f.StringVar(&c.dir, "dir", "", "folder of the data, which may be there from an earlier run; default a temporary one")
	f.StringVar(&c.pool, "buffer-pool", "2G", "MariaDB's innodb_buffer_pool_size while it is measured")
	f.IntVar(&c.rows, "rows", 1_000_000, "finished tickets to make, where the folder has none yet")
	f.IntVar(&c.queues, "queues", 50, "queues that have them")
	f.IntVar(&c.callers, "callers", 4, "callers, each asking as soon as it is answered")
	f.Float64Var(&c.rate, "rate", 0, "questions a second (open loop: latency counts from the time a question was due); 0: as fast as answers come")
	f.DurationVar(&c.duration, "duration", 30*time.Second, "counted time")
	f.DurationVar(&c.warmup, "warmup", 5*time.Second, "time before it")
	f.BoolVar(&c.keep, "keep", false, "leave the data in --dir")
	f.BoolVar(&c.serve, "serve", false, "do not ask, but print what a node needs and leave MariaDB running until interrupted")
	f.StringVar(&c.url, "url", "", "ask a node that has the data, made with the same --rows and --queues")
	f.StringVar(&c.email, "email", "admin@localhost", "who logs in")
	f.StringVar(&c.password, "password", os.Getenv("NOWSERVING_ADMIN_PASSWORD"), "password; default $NOWSERVING_ADMIN_PASSWORD")
	f.BoolVar(&c.json, "json", false, "print JSON")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	switch {
	case c.store != "mariadb" && c.store != "sqlite":
		return c, fmt.Errorf("--store %q is neither mariadb nor sqlite", c.store)
	case c.rows < 1 || c.queues < 1 || c.callers < 1 || c.duration <= 0 || c.rate < 0:
		return c, errors.New("--rows, --queues, --callers and --duration are at least 1, --rate at least 0")
	case c.serve && c.store != "mariadb":
		return c, errors.New("--serve is for MariaDB; a node takes SQLite's folder as its --data-dir")
	case c.keep && c.dir == "":
		return c, errors.New("--keep needs --dir")
	}
	return c, nil
}

func run(ctx context.Context, c config) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // as a node does
	}
	do := measure
	if c.url != "" {
		do = measureNode
	}
	res, err := do(ctx, c)
	switch {
	case err != nil || res == nil:
		return err
	case c.json:
		return load.WriteJSON(os.Stdout, res)
	}
	res.Print(os.Stdout)
	return nil
}

// measure fills the folder, unless it has been filled before, and asks.
func measure(ctx context.Context, c config) (res *load.Result, err error) {
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "nowserving-bench-history-"); err != nil {
			return nil, err
		}
	}
	if !c.keep {
		defer func() { err = errors.Join(err, os.RemoveAll(c.dir)) }()
	}
	filled := filepath.Join(c.dir, "filled")
	if text, err := os.ReadFile(filled); err == nil {
		if _, err := fmt.Sscan(string(text), &c.rows, &c.queues); err != nil {
			return nil, fmt.Errorf("%s: %w", filled, err)
		}
	} else {
		filling := c
		filling.serve = false
		err := with(ctx, filling, fillArgs, newPast(c.rows, c.queues).fill)
		if err != nil {
			return nil, fmt.Errorf("fill: %w", err)
		}
		if err := os.WriteFile(filled, fmt.Appendln(nil, c.rows, c.queues), 0o600); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(os.Stderr, "%d rows take %d MB\n", c.rows, size(c.dir)>>20)
	args := []string{"--innodb-buffer-pool-size=" + c.pool, "--innodb-log-file-size=1G"}
	err = with(ctx, c, args, func(ctx context.Context, d *directory.Directory) error {
		if c.serve {
			<-ctx.Done()
			return nil
		}
		res, err = newPast(c.rows, c.queues).ask(ctx, stored{d}, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	if res != nil {
		res.Name = c.store
	}
	return res, nil
}

func measureNode(ctx context.Context, c config) (*load.Result, error) {
	n, err := openNode(ctx, c)
	if err != nil {
		return nil, err
	}
	p := newPast(c.rows, c.queues)
	if err := n.prepare(ctx, p); err != nil {
		return nil, err
	}
	res, err := p.ask(ctx, n, c)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	res.Name = "node"
	return res, nil
}

func size(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil
	})
	return bytes
}
