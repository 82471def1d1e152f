package main

import (
	"context"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"nowserving/faults"
)

// worldNodes is how many nodes the suite runs.
const worldNodes = 1

// worldFaults are those of issue 4, in the order in which a world suffers them:
// those after which the store has lost something come last.
var worldFaults = []fault{
	{name: "kill -9 of a node", do: killNode},
	{name: "kill -9 of Redis", do: killRedis},
	{name: "Redis slow by 200 ms", do: slowRedis},
	{name: "answers of Redis swallowed", do: during(faults.Mode{Swallow: true}, 2*time.Second)},
	{name: "a node cut off from Redis", do: during(faults.Cut, 5*time.Second)},
	{name: "Redis read-only", do: configured("min-replicas-to-write", "1", "0")},
	{name: "Redis out of memory", do: configured("maxmemory", "1mb", "0")},
	{name: "disk full", do: fullDisk},
	{name: "kill -9 of RabbitMQ", do: killRabbit},
	{name: "MySQL stopped", do: stopDatabase},
	{name: "slow WebSocket reader", do: slowReader},
}

// one picks a node.
func (w *world) one() *worldNode { return w.nodes[w.dice.IntN(len(w.nodes))] }

// last lets a fault last: that long, or in the long form as long as the issue
// names.
func last(short, long time.Duration) {
	if *faultLong {
		short = long
	}
	<-time.After(short)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func killNode(w *world) map[string]time.Duration {
	n := w.one()
	w.balancer.Drop(n.name)
	n.kill()
	if len(w.nodes) == 1 {
		w.start(n)
		return w.load.Probe()
	}
	pauses := w.load.Probe()
	w.start(n)
	return pauses
}

func killRedis(w *world) map[string]time.Duration {
	w.redis.Kill()
	last(time.Second, 5*time.Second)
	w.must(w.redis.Restart())
	return w.load.Probe()
}

func slowRedis(w *world) map[string]time.Duration {
	return during(faults.Mode{Delay: 200 * time.Millisecond}, 3*time.Second)(w)
}

// during is a fault of the link between one node and Redis.
func during(m faults.Mode, long time.Duration) func(w *world) map[string]time.Duration {
	return func(w *world) map[string]time.Duration {
		n := w.one()
		n.redis.Set(m)
		last(min(long, 3*time.Second), long)
		n.redis.Set(faults.Mode{})
		return w.load.Probe()
	}
}

// configured is a fault that Redis's configuration makes.
func configured(name, wrong, right string) func(w *world) map[string]time.Duration {
	return func(w *world) map[string]time.Duration {
		w.configure(name, wrong)
		last(2*time.Second, 10*time.Second)
		w.configure(name, right)
		return w.load.Probe()
	}
}

func (w *world) configure(name, value string) {
	w.t.Helper()
	c := redis.NewClient(&redis.Options{Addr: w.redis.Addr()})
	defer c.Close()
	w.must(c.ConfigSet(context.Background(), name, value).Err())
}

// fullDisk: the kernel does not let the journal's file grow, as on a full disk.
// Redis, which syncs every write, ends itself; it comes back when there is room.
func fullDisk(w *world) map[string]time.Duration {
	c := redis.NewClient(&redis.Options{Addr: w.redis.Addr()})
	defer c.Close()
	info, err := c.InfoMap(context.Background(), "server", "persistence").Result()
	w.must(err)
	pid := info["Server"]["process_id"]
	size, err := strconv.Atoi(info["Persistence"]["aof_current_size"])
	w.must(err)
	w.must(exec.Command("prlimit", "--pid", pid, "--fsize="+strconv.Itoa(size+100_000)).Run())
	eventually(w.t, "Redis ends", func() bool { return c.Ping(context.Background()).Err() != nil })
	last(time.Second, 5*time.Second)
	w.must(w.redis.Restart())
	return w.load.Probe()
}

func killRabbit(w *world) map[string]time.Duration {
	w.broker.Kill()
	last(time.Second, 5*time.Second)
	w.must(w.broker.Restart())
	return nil
}

func stopDatabase(w *world) map[string]time.Duration {
	w.database.Kill()
	last(5*time.Second, time.Minute)
	pauses := w.load.Probe() // queues go on
	w.must(w.database.Restart())
	return pauses
}

func slowReader(w *world) map[string]time.Duration {
	goOn := w.load.Slow(w.dice.IntN(worldFollowers))
	last(3*time.Second, 30*time.Second)
	goOn()
	return nil
}

// signalled sends a signal to a node's process.
func (n *worldNode) signalled(w *world, s syscall.Signal) {
	w.t.Helper()
	w.must(n.cmd.Process.Signal(s))
}
