package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"nowserving/actors/queue"
	"nowserving/gateway"
	"nowserving/messages"
	"nowserving/persistence"
	"nowserving/persistence/directory"
)

// A node may be started before its stores, by a machine that comes up with all
// of them, or while one is out of order: then it waits, alive and not ready.
// What waiting does not mend ends the start: a refused login above all, for
// which a node that waits would look like one whose store is only late.

// How often a store that is away is tried.
const (
	tryFirst = 100 * time.Millisecond
	tryLast  = 2 * time.Second
)

// handOver bounds how long the early answers to the last requests may take.
const handOver = 500 * time.Millisecond

// openStores opens journal and directory beside each other, so that /readyz
// names all that is missing.
func (n *Node) openStores(ctx context.Context) error {
	w := &waiting{node: n, missing: []string{"journal", "database"}}
	n.health.lacks(w.missing...)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var both sync.WaitGroup
	var errs [2]error
	for i, open := range []func() error{
		func() error { return w.await(ctx, "journal", n.openJournal) },
		func() error { return w.await(ctx, "database", n.openDirectory) },
	} {
		both.Go(func() {
			if errs[i] = open(); errs[i] != nil {
				cancel() // what the other one would wait for is of no use any more
			}
		})
	}
	both.Wait()
	if n.journal != nil {
		n.closing(func(context.Context) error { return n.journal.Close() })
	}
	if n.directory != nil {
		n.closing(func(context.Context) error { return n.directory.Close() })
	}
	if i := slices.IndexFunc(errs[:], func(err error) bool { return err != nil && !errors.Is(err, context.Canceled) }); i >= 0 {
		return errs[i]
	}
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	n.openWebhooks()
	n.follow("history", historySink{
		n.directory, func(ctx context.Context, r *messages.Read) *messages.View { return n.queues.Read(ctx, r) }, n.webhooks.deliverer.Wake,
	})
	return nil
}

func (n *Node) openJournal(ctx context.Context) error {
	if n.config.RedisURL == "" {
		j, err := persistence.OpenSQLiteJournal(ctx, n.config.DataDir, n.log)
		if err == nil {
			n.journal = j
		}
		return err
	}
	redis.SetLogger(redisLog{n.log})
	j, err := persistence.OpenRedisJournal(ctx, n.config.RedisURL, n.log, persistence.RedisOptions{Prefix: n.config.ClusterName})
	if err == nil {
		n.journal = j
	}
	return err
}

func (n *Node) openDirectory(ctx context.Context) (err error) {
	n.directory, err = directory.Open(ctx, directory.Options{Dir: n.config.DataDir, DatabaseURL: n.config.DatabaseURL, Keys: n.dataKeys, Now: n.config.Now})
	return err
}

// ensureAdmin waits, too, for a database that has gone again.
func (n *Node) ensureAdmin(ctx context.Context) error {
	return (&waiting{node: n}).await(ctx, "database", n.makeAdmin)
}

// learnAccess has the node know whose access has ended before it serves anybody.
func (n *Node) learnAccess(ctx context.Context) error {
	return (&waiting{node: n}).await(ctx, "database", n.gateway.LearnAccess)
}

// waiting is what a start waits for.
type waiting struct {
	node    *Node
	mu      sync.Mutex
	missing []string
}

// await tries until it works, or fails in a way that waiting does not mend. It
// logs once that the node waits, and once that it need not any longer.
func (w *waiting) await(ctx context.Context, what string, try func(context.Context) error) error {
	log, said := w.node.log, false
	for pause := tryFirst; ; pause = min(2*pause, tryLast) {
		err := try(ctx)
		switch {
		case err == nil:
			if said {
				log.Info("the node has what it waited for", "what", what)
			}
			w.found(what)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.Is(err, queue.ErrUnavailable) && !errors.Is(err, directory.ErrUnavailable):
			return err
		case !said:
			said = true
			log.Warn("the node waits for what it cannot start without", "what", what, "url", w.node.URL(), "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func (w *waiting) found(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.missing = slices.DeleteFunc(slices.Clone(w.missing), func(m string) bool { return m == what })
	w.node.health.lacks(w.missing...)
}

// early answers on the gateway's address until the gateway does, if it ever does:
// whether the node is alive and ready, and nothing else.
type early struct {
	socket *net.TCPListener
	server *http.Server
	once   sync.Once
	ended  chan struct{}
}

// serveEarly serves ln, which may be one of TLS on the socket.
func serveEarly(socket, ln net.Listener, h *health, says string) *early {
	mux := http.NewServeMux()
	h.probes(mux)
	mux.Handle("/", gateway.Unavailable(says))
	e := &early{
		socket: socket.(*net.TCPListener),
		server: &http.Server{Handler: gateway.Guarded(mux), ReadHeaderTimeout: 5 * time.Second},
		ended:  make(chan struct{}),
	}
	e.server.SetKeepAlivesEnabled(false) // whoever comes again comes to the gateway
	go func() {
		defer close(e.ended)
		_ = e.server.Serve(lent{ln, e.socket})
	}()
	return e
}

// stop ends it and leaves the address open for the next one.
func (e *early) stop() {
	e.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), handOver)
		defer cancel()
		if e.server.Shutdown(ctx) != nil {
			_ = e.server.Close() // somebody who sends nothing
		}
		<-e.ended
		_ = e.socket.SetDeadline(time.Time{})
	})
}

// lent is a listener that goes on after its Close, which only ends an Accept.
type lent struct {
	net.Listener
	socket *net.TCPListener
}

func (l lent) Close() error { return l.socket.SetDeadline(time.Now()) }
