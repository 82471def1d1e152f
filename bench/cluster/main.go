// Command cluster measures what three nodes carry beside one on the same Redis and database. The servers and the driver
// have cores of their own.
//
//	cluster -binary nowserving -drive drive -cores 0,1,2 -rest 3-7      # each node on a core
//	cluster -binary nowserving -drive drive -cores 0,0,0 -share 0.3 -rest 1-3
//
// Where cores are too few for that, -share gives each node a part of one, by a control group (of version 1; root only).
// One node and all of them take turns; the ratio is that of the medians.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"

	"nowserving/bench/load"
	"nowserving/persistence/mariadbtest"
)

type config struct {
	binary, drive, cores, rest, args string
	rounds                           int
	share                            float64
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var c config
	flag.StringVar(&c.binary, "binary", "nowserving", "the program")
	flag.StringVar(&c.drive, "drive", "drive", "the driver, bench/drive")
	flag.StringVar(&c.cores, "cores", "0,1,2", "one core for each node")
	flag.Float64Var(&c.share, "share", 0, "part of a core that each node may use; 0: all of it")
	flag.StringVar(&c.rest, "rest", "3", "cores of Redis, MariaDB and the driver")
	flag.StringVar(&c.args, "args", "--queues 60 --connections 240 --depth 100 --duration 10s", "of the driver")
	flag.IntVar(&c.rounds, "rounds", 3, "of each")
	flag.Parse()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c config) error {
	// What is started from here inherits it.
	if err := exec.CommandContext(ctx, "taskset", "-a", "-p", "-c", c.rest, strconv.Itoa(os.Getpid())).Run(); err != nil {
		return fmt.Errorf("taskset: %w", err)
	}
	redis, err := load.StartRedis(ctx, "", "always")
	if err != nil {
		return err
	}
	defer redis.Close()
	database, err := mariadbtest.StartServer(mariadbtest.Options{})
	if err != nil {
		return err
	}
	defer database.Stop()
	db, err := database.Open("")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "CREATE DATABASE bench")
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	w := &world{config: c, redis: "redis://" + redis.Addr, database: database.URL("bench")}
	cores := strings.Split(c.cores, ",")
	var one, three []float64
	for range c.rounds {
		rate, err := w.measure(ctx, cores[:1])
		if err != nil {
			return err
		}
		one = append(one, rate)
		if rate, err = w.measure(ctx, cores); err != nil {
			return err
		}
		three = append(three, rate)
		fmt.Printf("one node %.0f/s, %d nodes %.0f/s\n", one[len(one)-1], len(cores), rate)
	}
	slices.Sort(one)
	slices.Sort(three)
	fmt.Printf("ratio %.2f\n", three[len(three)/2]/one[len(one)/2])
	return nil
}

type world struct {
	config
	redis, database string
}

// measure starts one node for each core and gives operations a second.
func (w *world) measure(ctx context.Context, cores []string) (float64, error) {
	dir, err := os.MkdirTemp("", "nowserving-bench-cluster-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	var urls []string
	for i, core := range cores {
		p, err := w.startNode(ctx, fmt.Sprint(dir, "/", i), core)
		if err != nil {
			return 0, err
		}
		defer p.Stop()
		urls = append(urls, p.URL)
	}
	for _, url := range urls {
		if err := awaitReady(ctx, url); err != nil {
			return 0, err
		}
	}
	args := append([]string{"--json", "--url", strings.Join(urls, ",")}, strings.Fields(w.args)...)
	cmd := exec.CommandContext(ctx, w.drive, args...)
	cmd.Env = append(os.Environ(), "NOWSERVING_ADMIN_PASSWORD="+adminPassword)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("drive: %w", err)
	}
	var result load.Result
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&result); err != nil {
		return 0, err
	}
	if len(result.Errors) > 0 {
		fmt.Fprintln(os.Stderr, "errors:", result.Errors)
	}
	return result.PerSecond, nil
}
