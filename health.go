package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"nowserving/gateway"
)

// How often the stores are looked at, and how long one look may take: together
// a store that is gone is noticed within a second.
const (
	lookEvery  = 250 * time.Millisecond
	lookWithin = 700 * time.Millisecond
)

// What /readyz says.
const (
	statusStarting    = "starting"
	statusReady       = "ready"
	statusUnavailable = "unavailable"
	statusDraining    = "draining"
)

// pinger is a store that can be asked whether it is there.
type pinger interface {
	Ping(ctx context.Context) error
}

// part is something else that a node needs, and knows to be up or down by itself.
type part struct {
	name string
	up   func() bool
	must bool // the node is no use without it
}

// health knows what /readyz answers.
type health struct {
	mu    sync.Mutex
	ready bool // once all was there, the directory alone does not undo it
	state gateway.Readiness
}

func newHealth() *health { return &health{state: gateway.Readiness{Status: statusStarting}} }

func (h *health) readiness() gateway.Readiness {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// lacks tells what the node waits for while it starts.
func (h *health) lacks(names ...string) {
	h.set(gateway.Readiness{Status: statusStarting, Down: names})
}

// drain is final.
func (h *health) drain() { h.set(gateway.Readiness{Status: statusDraining}) }

func (h *health) set(r gateway.Readiness) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state.Status != statusDraining {
		h.state = r
	}
}

// watch looks at the stores until ctx is over.
func (h *health) watch(ctx context.Context, log *slog.Logger, journal, directory pinger, parts ...part) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var was error
	for {
		is := h.look(ctx, journal, directory, parts)
		switch {
		case ctx.Err() != nil:
		case is != nil && was == nil:
			log.Warn("the journal cannot be used; queues answer 503 until it can", "error", is)
			was = is
		case is == nil && was != nil:
			log.Info("the journal can be used again")
			was = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look gives what is wrong with the journal.
func (h *health) look(ctx context.Context, journal, directory pinger, parts []part) (err error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	var down [2]string
	var both sync.WaitGroup
	both.Go(func() {
		if err = journal.Ping(ctx); err != nil {
			down[0] = "journal"
		}
	})
	both.Go(func() {
		if directory.Ping(ctx) != nil {
			down[1] = "database"
		}
	})
	both.Wait()
	useless, others := down[0] != "", down[:]
	for _, p := range parts {
		if !p.up() {
			useless = useless || p.must
			others = append(others, p.name)
		}
	}
	h.found(useless, others)
	return err
}

// found takes the names of what is down, the empty ones of what is not, and
// whether the node is of no use without.
func (h *health) found(useless bool, names []string) {
	r := gateway.Readiness{Status: statusReady}
	for _, name := range names {
		if name != "" {
			r.Down = append(r.Down, name)
		}
	}
	switch {
	case useless && h.ready:
		r.Status = statusUnavailable
	case len(r.Down) > 0 && !h.ready:
		r.Status = statusStarting
	default:
		h.ready = true
	}
	h.set(r)
}

// probes are what an orchestrator asks.
func (h *health) probes(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r, status := h.readiness(), http.StatusOK
		if r.Down == nil {
			r.Down = []string{}
		}
		if r.Status != statusReady {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "1")
		}
		answer(w, status, r)
	})
}

// serveOps serves what only operators should see, until the function that it
// gives is called.
func serveOps(ln net.Listener, h *health, metrics http.Handler) func(context.Context) error {
	mux := http.NewServeMux()
	h.probes(mux)
	mux.Handle("GET /metrics", metrics)
	// Not the command line, where there may be secrets.
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = server.Serve(ln) // ends with Close
	}()
	return func(context.Context) error {
		err := server.Close()
		<-stopped
		return err
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // who has gone needs no answer
}
