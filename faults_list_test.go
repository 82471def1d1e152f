package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"nowserving/faults"
)

// worldNodes is how many nodes the suite runs.
const worldNodes = 3

// worldFaults are those of issue 4, in the order in which a world suffers them:
// that after which the store has lost something comes last.
var worldFaults = []fault{
	{name: "kill -9 of a node", do: killNode, p50: 1500 * time.Millisecond, p99: 3 * time.Second},
	{name: "SIGTERM of a node", do: stopNode, clean: true},
	{name: "a node joins", do: joinNode, clean: true},
	{name: "rolling restart of all", do: rollNodes, clean: true},
	{name: "SIGSTOP of a node for 12 s", do: pauseNode, p50: 8 * time.Second, p99: 8 * time.Second},
	{name: "a cut between two nodes", do: cutNodes(faults.Cut, faults.Cut)},
	{name: "a cut between two nodes, one-way", do: cutNodes(faults.Mode{CutTo: true}, faults.Mode{CutFrom: true})},
	{name: "a node cut off from Redis", do: cutRedis, p50: 8 * time.Second, p99: 8 * time.Second},
	{name: "answers of Redis swallowed", do: during(faults.Mode{Swallow: true}, time.Second, 5*time.Second)},
	{name: "Redis slow by 200 ms", do: during(faults.Mode{Delay: 200 * time.Millisecond}, 3*time.Second, 30*time.Second)},
	{name: "kill -9 of Redis", do: killRedis},
	{name: "Redis read-only", do: configured("min-replicas-to-write", "1", "0")},
	{name: "Redis out of memory", do: configured("maxmemory", "1mb", "0")},
	{name: "disk full", do: fullDisk},
	{name: "kill -9 of RabbitMQ", do: killRabbit},
	{name: "MySQL stopped", do: stopDatabase},
	{name: "poison and duplicates in the stream", do: dirtyStream},
	{name: "a wall clock an hour off", do: wrongClock},
	{name: "a slow WebSocket reader", do: slowReader},
	{name: "sockets that come back at once", do: crowdReturns, p50: 10 * time.Second, p99: 10 * time.Second},
	{name: "a grain that panics", do: panicGrain},
	{name: "transfers cut in the middle", do: cutTransfers},
	{name: "Redis rolled back", do: rollBack, lossy: true},
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

// hit is a fault of one node, which its balancer has taken out: the others
// are asked how long it takes until every queue is served again. A node that
// lives on is asked too: it must say nothing that is not true any more.
func (w *world) hit(n *worldNode, lives bool, short, long time.Duration, begin, end func()) map[string]time.Duration {
	w.t.Helper()
	w.balancer.Drop(n.name)
	begin()
	if lives {
		defer w.load.Haunt(n.url)()
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		last(short, long)
	}()
	pauses := w.load.Probe()
	<-over
	end()
	eventually(w.t, n.name+" is ready again", func() bool { return ready(w.t, n.url) == "200 ready" })
	w.balancer.Put(n.name, n.url)
	return slowest(pauses, len(w.nodes))
}

// slowest are the queues of the node that was hit, as far as can be told from
// outside: the slowest of all queues, as many as a node has.
func slowest(pauses map[string]time.Duration, nodes int) map[string]time.Duration {
	queues := slices.SortedFunc(maps.Keys(pauses), func(a, b string) int { return cmp.Compare(pauses[b], pauses[a]) })
	out := make(map[string]time.Duration)
	for _, q := range queues[:len(queues)/nodes] {
		out[q] = pauses[q]
	}
	return out
}

func killNode(w *world) map[string]time.Duration {
	n := w.one()
	return w.hit(n, false, 0, 0, n.kill, func() { w.start(n) })
}

func (w *world) stop(n *worldNode) {
	w.t.Helper()
	if code, took := n.stop(); code != 0 || took > 30*time.Second {
		w.t.Errorf("%s ended with exit code %d after %s", n.name, code, took)
	} else {
		w.t.Logf("%s stopped within %s", n.name, took.Round(time.Millisecond))
	}
	w.balancer.Drop(n.name)
}

func stopNode(w *world) map[string]time.Duration {
	n := w.one()
	w.stop(n)
	w.answers(answersAround)
	w.start(n)
	return nil
}

// joinNode has one more node join, which leaves again.
func joinNode(w *world) map[string]time.Duration {
	n := w.places[len(w.places)-1]
	w.start(n)
	w.answers(answersAround)
	w.stop(n)
	return nil
}

func rollNodes(w *world) map[string]time.Duration {
	for _, n := range w.nodes {
		w.stop(n)
		w.start(n)
	}
	return nil
}

// pauseNode: the node does not know that it slept, and must not go on as if it had not.
func pauseNode(w *world) map[string]time.Duration {
	n := w.one()
	return w.hit(n, true, 12*time.Second, 12*time.Second, func() { n.signalled(w, syscall.SIGSTOP) }, func() { n.signalled(w, syscall.SIGCONT) })
}

// cutNodes cuts the links between two nodes: what one side does to those that
// it made and what to those that the other made.
func cutNodes(made, taken faults.Mode) func(w *world) map[string]time.Duration {
	return func(w *world) map[string]time.Duration {
		a := w.one()
		b := w.nodes[(slices.Index(w.nodes, a)+1)%len(w.nodes)]
		a.peers[b].Set(made)
		b.peers[a].Set(taken)
		pauses := w.load.Probe()
		last(4*time.Second, 15*time.Second)
		a.peers[b].Set(faults.Mode{})
		b.peers[a].Set(faults.Mode{})
		return pauses
	}
}

func cutRedis(w *world) map[string]time.Duration {
	n := w.one()
	return w.hit(n, true, 6*time.Second, 15*time.Second, func() { n.redis.Set(faults.Cut) }, func() { n.redis.Set(faults.Mode{}) })
}

// during is a fault of the links between all nodes and Redis.
func during(m faults.Mode, short, long time.Duration) func(w *world) map[string]time.Duration {
	return func(w *world) map[string]time.Duration {
		for _, n := range w.nodes {
			n.redis.Set(m)
		}
		last(short, long)
		for _, n := range w.nodes {
			n.redis.Set(faults.Mode{})
		}
		return w.load.Probe()
	}
}

func killRedis(w *world) map[string]time.Duration {
	w.redis.Kill()
	last(time.Second, 5*time.Second)
	w.must(w.redis.Restart())
	return w.load.Probe()
}

// wrongClock starts a node again whose wall clock is an hour fast.
func wrongClock(w *world) map[string]time.Duration {
	n := w.one()
	again := func(more ...string) {
		w.balancer.Drop(n.name)
		n.kill()
		w.start(n, more...)
	}
	again(testClock + "=59m") // after a whole hour finished tickets are requeued no more, rightly
	w.answers(2 * answersAround)
	again()
	return nil
}

func panicGrain(w *world) map[string]time.Duration {
	w.one().signalled(w, grainPanics)
	return w.load.Probe()
}

// cutTransfers kills a node while many tickets are between two queues: what it
// sends to the others is late, and is lost with it.
func cutTransfers(w *world) map[string]time.Duration {
	n := w.one()
	const late = 300 * time.Millisecond
	for _, link := range n.peers {
		link.Set(faults.Mode{DelayTo: late})
	}
	transfers := w.load.Transfers(300)
	last(3*late/2, 3*late/2) // a place is asked for, then the ticket is sent
	pauses := w.hit(n, false, 0, 0, func() {
		n.kill()
		for _, link := range n.peers {
			link.Break()
			link.Set(faults.Mode{})
		}
	}, func() { w.start(n) })
	transfers()
	return pauses
}

// rollBack sets Redis back to what it was a moment ago, as a failover to a
// replica does that was behind.
func rollBack(w *world) map[string]time.Duration {
	old := filepath.Join(w.t.TempDir(), "old")
	w.must(w.redis.Pause())
	w.must(os.CopyFS(old, os.DirFS(w.redis.Dir())))
	w.must(w.redis.Resume())
	w.answers(answersAround)
	w.load.Forgetful()
	w.redis.Kill()
	w.must(os.RemoveAll(w.redis.Dir()))
	w.must(os.CopyFS(w.redis.Dir(), os.DirFS(old)))
	w.must(w.redis.Restart())
	return w.load.Probe()
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
	info, err := c.InfoMap(context.Background(), "server").Result()
	w.must(err)
	limit := fmt.Sprint("--fsize=", w.appended()+100_000)
	w.must(exec.Command("prlimit", "--pid", info["Server"]["process_id"], limit).Run())
	eventually(w.t, "Redis ends", func() bool { return c.Ping(context.Background()).Err() != nil })
	last(time.Second, 5*time.Second)
	w.must(w.redis.Restart())
	return w.load.Probe()
}

// appended is the size of the file that Redis appends to: the newest one, for
// it begins another whenever it writes its journal anew.
func (w *world) appended() int64 {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.redis.Dir(), "appendonlydir", "*.incr.aof"))
	w.must(err)
	var newest os.FileInfo
	for _, name := range files {
		info, err := os.Stat(name)
		w.must(err)
		if newest == nil || info.ModTime().After(newest.ModTime()) {
			newest = info
		}
	}
	if newest == nil {
		w.t.Fatal("Redis has no journal")
	}
	return newest.Size()
}

func killRabbit(w *world) map[string]time.Duration {
	w.broker.Kill()
	last(time.Second, 5*time.Second)
	w.must(w.broker.Restart())
	return nil
}

// dirtyStream has every request come twice, and every third be poison. Some are
// always among them.
func dirtyStream(w *world) map[string]time.Duration {
	w.load.Dirty(true)
	w.answers(2 * answersAround)
	w.load.Dirty(false)
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

// crowdReturns: thousands of sessions of all nodes end at once, and come back.
func crowdReturns(w *world) map[string]time.Duration {
	n := 1000
	if *faultLong {
		n = 5000
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	crowd, err := w.load.NewCrowd(ctx, n)
	w.must(err)
	defer crowd.Close()
	began := time.Now()
	crowd.Cut()
	w.must(crowd.Back(ctx))
	took := time.Since(began)
	w.answers(answersAround)
	w.load.Stop()
	defer w.load.Start()
	var r *faults.Report
	for deadline := time.Now().Add(settleWithin); ; { // requests may still come from RabbitMQ
		r = &faults.Report{}
		soon, cancel := context.WithTimeout(ctx, settleWithin/3)
		if journals, err := w.journals(ctx, w.load.Queues()); err == nil {
			crowd.Check(soon, r, journals)
		}
		cancel()
		if r.Frames > 0 && r.Err() == nil {
			break
		}
		if time.Now().After(deadline) {
			w.t.Errorf("sockets that come back at once (seed %d): %v", w.seed, r.Err())
			break
		}
	}
	w.t.Logf("%d sockets were back after %s, and were sent %d events", n, took, r.Frames)
	return map[string]time.Duration{"all": took}
}

// signalled sends a signal to a node's process.
func (n *worldNode) signalled(w *world, s syscall.Signal) {
	w.t.Helper()
	w.must(n.cmd.Process.Signal(s))
}
