package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
)

// LoadOptions are a load's.
type LoadOptions struct {
	Nodes   *Nodes
	History *History
	// Email and Password of the user that all clients are; it has to be an admin.
	Email, Password string
	// AMQP is where requests are published; without it there are none.
	AMQP string
	// Seed of all dice.
	Seed uint64
	// Pace is how long each client rests after each operation.
	Pace time.Duration
	// How many there are of each.
	Queues, RESTClients, SocketClients, Followers int
}

// requestQueues of a load are those that messages name; they have no capacity,
// for what a full queue does not take ends among the dead letters.
const requestQueues = 6

// roundQueues of a load are those whose operations are checked to be linearizable.
const (
	roundQueues   = 2
	roundCapacity = 5
)

// haunters ask a node at once that may be no member any more.
const haunters = 16

// Load is many clients at once: commands over REST and WebSocket, requests over
// RabbitMQ, followers, and rounds for the check of linearizability. It runs
// between Start and Stop, again and again; its followers do so all the time.
type Load struct {
	o       LoadOptions
	auth    *auth
	figures figures
	reader  *rest

	queues    []string // that clients act on
	followed  []string // those and the rounds'
	clients   []*client
	rounds    []*roundTable
	followers []*follower
	sender    *sender

	probes             int
	forgetful, dirty   atomic.Bool
	running, following sync.WaitGroup
	stop, end          context.CancelFunc
}

// NewLoad makes the queues and lets the followers begin.
func NewLoad(o LoadOptions) (*Load, error) {
	l := &Load{o: o, auth: newAuth(o.Email, o.Password)}
	l.figures.failures = make(map[string]int)
	l.reader = newREST(l.auth)
	maker := l.newClient("maker", 0, newREST(l.auth))
	if err := l.auth.renew(o.Nodes.pick(maker.random)); err != nil {
		return nil, err
	}
	for i := range o.Queues {
		config := ""
		if i >= requestQueues && i%5 == 0 {
			config = `,"capacity":12`
		}
		l.queues = append(l.queues, maker.create(fmt.Sprintf("queue-%02d", i), config))
	}
	l.followed = append(l.followed, l.queues...)
	for i := range roundQueues {
		id := maker.create(fmt.Sprintf("round-%d", i), fmt.Sprintf(`,"capacity":%d`, roundCapacity))
		l.followed = append(l.followed, id)
		l.rounds = append(l.rounds, l.newRoundTable(id, i))
	}
	maker.via.close()
	for i := range o.RESTClients {
		l.clients = append(l.clients, l.newClient(fmt.Sprint("rest-", i), uint64(100+i), newREST(l.auth)))
	}
	for i := range o.SocketClients {
		l.clients = append(l.clients, l.newClient(fmt.Sprint("socket-", i), uint64(200+i), &socket{auth: l.auth}))
	}
	if o.AMQP != "" {
		l.sender = &sender{Load: l, name: "amqp", queues: l.queues[:requestQueues]}
	}
	ctx, end := context.WithCancel(context.Background())
	l.end = end
	for i := range o.Followers {
		f := l.newFollower(fmt.Sprint("follower-", i), uint64(300+i))
		l.followers = append(l.followers, f)
		l.following.Go(func() { f.run(ctx) })
	}
	return l, nil
}

// create makes a queue; o.Mark bears the body.
func (c *client) create(id, config string) string {
	o := &Op{Client: c.name, Queue: id, Command: "create", Key: "create-" + id, Mark: fmt.Sprintf(`{"id":%q,"max_active":1000%s}`, id, config)}
	c.do(o)
	o.Mark = ""
	return id
}

// Queues are all of the load's, those of the rounds too.
func (l *Load) Queues() []string { return l.followed }

// Start lets the clients go on.
func (l *Load) Start() {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	for _, c := range l.clients {
		l.running.Go(func() {
			defer c.via.close()
			for ctx.Err() == nil {
				c.act()
				rest := time.NewTimer(l.o.Pace)
				select {
				case <-rest.C:
				case <-ctx.Done():
				}
			}
		})
	}
	for _, t := range l.rounds {
		l.running.Go(func() { t.run(ctx) })
	}
	if l.sender != nil {
		l.running.Go(func() { l.sender.run(ctx) })
	}
}

// Stop waits until each client has its last answer.
func (l *Load) Stop() {
	l.stop()
	l.running.Wait()
	l.reader.close()
}

// Figures gives what was seen since it was last called.
func (l *Load) Figures() Figures { return l.figures.take() }

// Close ends the followers.
func (l *Load) Close() {
	l.end()
	l.following.Wait()
}

// CaughtUp waits until all followers have come to these versions.
func (l *Load) CaughtUp(ctx context.Context, versions map[string]uint64) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, f := range l.followers {
		for queue, version := range versions {
			for !f.has(queue, version) {
				select {
				case <-ctx.Done():
					return fmt.Errorf("%s has not come to version %d of %s: %w", f.name, version, queue, ctx.Err())
				case <-tick.C:
				}
			}
		}
	}
	return nil
}

// After waits until so many more operations and reads have been answered.
func (l *Load) After(ctx context.Context, n int) error {
	return l.figures.after(ctx, n)
}

// Probe asks every queue at once, through any node, and gives how long each
// took to take a command.
func (l *Load) Probe() map[string]time.Duration {
	l.probes++
	var mu sync.Mutex
	took := make(map[string]time.Duration)
	began, via := l.o.History.Now(), newREST(l.auth)
	defer via.close()
	var all sync.WaitGroup
	for i, queue := range l.queues {
		all.Go(func() {
			c := l.newClient(fmt.Sprintf("probe-%d-%d", l.probes, i), uint64(1+i), via)
			o := c.op(queue, "enqueue")
			o.Key = o.Mark
			for c.do(o); o.Outcome == Refused; { // a full line answers too, but is no write
				o = c.op(queue, "call_next")
				o.Key = o.Mark
				c.do(o)
			}
			mu.Lock()
			defer mu.Unlock()
			took[queue] = o.Answered - began
		})
	}
	all.Wait()
	return took
}

// Haunt asks one node directly, whether it is ready or not, until stop is
// called: what it answers must be as true as what others do.
func (l *Load) Haunt(url string) (stop func()) {
	l.probes++
	only, via := NewNodes(), newREST(l.auth)
	only.Put("haunted", url)
	apart := &figures{failures: make(map[string]int)} // that it fails is as it should be
	ctx, end := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range haunters {
		c := l.newClient(fmt.Sprintf("haunt-%d-%d", l.probes, i), uint64(i), via)
		c.nodes, c.figures = only, apart
		all.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				if queue := l.queues[n%len(l.queues)]; n%4 == 0 {
					o := c.op(queue, "call_next")
					o.Key = "" // it is asked once
					c.do(o)
				} else {
					c.read(queue, 10)
				}
				time.Sleep(retryAfter)
			}
		})
	}
	return func() {
		end()
		all.Wait()
		only.Close()
		via.close()
		for _, surprise := range apart.take().Surprises {
			l.figures.unexpected("%s", surprise)
		}
	}
}

// Transfers enqueues tickets and sends them to other queues, many at once and
// without a key, so that no client sends one again; the answer waits until all
// are through.
func (l *Load) Transfers(n int) (wait func()) {
	l.probes++
	via := newREST(l.auth)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			c := l.newClient(fmt.Sprintf("transfer-%d-%d", l.probes, i), uint64(i), via)
			o := c.op(l.queues[i%len(l.queues)], "enqueue")
			if c.do(o); o.Outcome == Accepted {
				c.tickets[o.Queue] = append(c.tickets[o.Queue], o.Told.ID)
				c.transfer(o.Queue, false)
			}
		})
	}
	return func() {
		all.Wait()
		via.close()
	}
}

// Dirty has every request be published twice, and every third be poison.
func (l *Load) Dirty(on bool) { l.dirty.Store(on) }

// Forgetful has the clients take it that the store has lost tickets.
func (l *Load) Forgetful() { l.forgetful.Store(true) }

// Slow has a follower stop reading until the answer is called.
func (l *Load) Slow(i int) (goOn func()) {
	f, slow := l.followers[i], make(chan struct{})
	f.mu.Lock()
	f.slow = slow
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		f.slow = nil
		f.mu.Unlock()
		close(slow)
	}
}

// closed counts how a session ended.
func (f *figures) closed(err error) {
	var c *websocket.CloseError
	if errors.As(err, &c) {
		f.failed(fmt.Sprint("closed ", c.Code))
		return
	}
	f.failed("closed")
}
