package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"nowserving/faults"
	"nowserving/gateway/rabbit/rabbittest"
	"nowserving/persistence"
	"nowserving/persistence/child"
	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
	"nowserving/persistence/seal"
)

// world is a whole system under load: servers, nodes that reach Redis over
// links of their own, and clients.
type world struct {
	t        testing.TB
	seed     uint64
	redis    *redistest.Server
	broker   *rabbittest.Server
	database *mariadbtest.Server
	dbURL    string

	places   []*worldNode
	nodes    []*worldNode // those that run
	balancer *faults.Nodes
	history  *faults.History
	load     *faults.Load
	dice     *rand.Rand
	reader   *caller
	rest     map[string]int // what a node at rest has
	lossy    bool           // the store was set back
}

// worldNode is a place for a node: it may be killed and started again there.
type worldNode struct {
	*process
	name  string
	dir   string
	addr  string // for the other nodes
	redis *faults.Link
	peers map[*worldNode]*faults.Link // over which it reaches the others
	env   []string
}

// testRing is a key ring that all nodes share.
var testRing = "k:" + base64.StdEncoding.EncodeToString(make([]byte, seal.KeySize))

// quiet is where what the tests themselves would log goes.
var quiet = slog.New(slog.DiscardHandler)

const (
	worldQueues    = 50
	worldREST      = 8
	worldSockets   = 3
	worldFollowers = 3
)

// startWorld starts everything and lets the load rest.
func startWorld(t testing.TB, seed uint64, nodes int) *world {
	t.Helper()
	w := &world{t: t, seed: seed, balancer: faults.NewNodes(), history: faults.NewHistory()}
	var servers sync.WaitGroup // they take seconds to start
	servers.Go(func() { w.redis = redistest.StartWith(t, redistest.Options{}) })
	servers.Go(func() { w.broker = rabbittest.StartPrivate(t) })
	servers.Go(func() { w.database = mariadbtest.StartWith(t, mariadbtest.Options{}) })
	servers.Wait()
	if t.Failed() {
		t.FailNow()
	}
	w.dbURL = w.database.Database(t)
	for i := range nodes + 1 { // one that may join
		w.places = append(w.places, w.place(fmt.Sprint("node-", i)))
	}
	for _, n := range w.places {
		w.connect(n)
	}
	for _, n := range w.places[:nodes] {
		w.start(n)
		w.nodes = append(w.nodes, n)
	}
	t.Cleanup(w.balancer.Close)
	load, err := faults.NewLoad(faults.LoadOptions{
		Nodes: w.balancer, History: w.history, Email: defaultAdmin, Password: adminPassword, AMQP: w.broker.URL(), Seed: seed,
		Pace: 15 * time.Millisecond, Queues: worldQueues, RESTClients: worldREST, SocketClients: worldSockets, Followers: worldFollowers,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.load = load
	t.Cleanup(load.Close)
	return w
}

// place makes a place for a node.
func (w *world) place(name string) *worldNode {
	w.t.Helper()
	port, err := child.FreePort()
	w.must(err)
	return &worldNode{
		name: name, dir: w.t.TempDir(), addr: fmt.Sprint("127.0.0.1:", port), redis: w.link(w.redis.Addr()),
		peers: make(map[*worldNode]*faults.Link),
	}
}

func (w *world) link(to string) *faults.Link {
	w.t.Helper()
	link, err := faults.NewLink(to)
	w.must(err)
	w.t.Cleanup(link.Close)
	return link
}

// connect makes the links over which a node reaches the others.
func (w *world) connect(n *worldNode) {
	w.t.Helper()
	over := make(map[string]string)
	for _, other := range w.places {
		if other != n {
			n.peers[other] = w.link(other.addr)
			over[other.addr] = n.peers[other].Addr()
		}
	}
	text, err := json.Marshal(over)
	w.must(err)
	n.env = []string{testDial + "=" + string(text)}
}

// start starts a node at its place, with more variables, and gives it to the balancer.
func (w *world) start(n *worldNode, more ...string) {
	w.t.Helper()
	env := append([]string{"NOWSERVING_ADMIN_PASSWORD=" + adminPassword}, n.env...)
	env = append(env, more...)
	began := time.Now()
	n.process = startNodeWith(w.t, env, n.dir,
		"--cluster-provider", "redis", "--cluster-addr", n.addr, "--redis-url", "redis://"+n.redis.Addr(), "--database-url", w.dbURL, "--amqp-url", w.broker.URL(), "--ops-addr", "127.0.0.1:0",
		"--token-keys", testRing, "--data-keys", testRing)
	eventually(w.t, n.name+" is ready", func() bool { return ready(w.t, n.url) == "200 ready" })
	w.balancer.Put(n.name, n.url)
	w.t.Logf("%s started within %s", n.name, time.Since(began).Round(time.Millisecond))
}

// journals reads all of them anew, from the store itself.
func (w *world) journals(ctx context.Context, queues []string) (map[string][]faults.Event, error) {
	j, err := persistence.OpenRedisJournal(ctx, w.redis.URL(), quiet, persistence.RedisOptions{})
	if err != nil {
		return nil, err
	}
	defer j.Close()
	all := make(map[string][]faults.Event)
	for _, id := range queues {
		if all[id], err = faults.ReadJournal(ctx, source(j), id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func source(j *persistence.RedisJournal) faults.Source {
	return func(ctx context.Context, queue string, after uint64) ([]faults.Entry, error) {
		entries, err := j.Read(ctx, queue, after, 512)
		out := make([]faults.Entry, len(entries))
		for i, e := range entries {
			out[i] = faults.Entry{First: e.First, Last: e.Last, Data: e.Data}
		}
		return out, err
	}
}
