package faults

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// How a balancer looks at its nodes.
const (
	lookEvery  = 100 * time.Millisecond
	lookWithin = 500 * time.Millisecond
)

// Nodes is where clients go: as a balancer in front of them would, to nodes
// that were ready when they were last looked at.
type Nodes struct {
	client  http.Client
	running sync.WaitGroup

	mu    sync.Mutex
	nodes map[string]*nodeState // by name
}

type nodeState struct {
	url   string
	ready bool
	stop  context.CancelFunc
}

// NewNodes makes a balancer without nodes.
func NewNodes() *Nodes {
	return &Nodes{client: http.Client{Timeout: lookWithin}, nodes: make(map[string]*nodeState)}
}

// Put adds a node, or says where a node of that name is now.
func (n *Nodes) Put(name, url string) {
	ctx, stop := context.WithCancel(context.Background())
	s := &nodeState{url: url, stop: stop}
	n.mu.Lock()
	if was := n.nodes[name]; was != nil {
		was.stop()
	}
	n.nodes[name] = s
	n.mu.Unlock()
	n.look(ctx, s)
	n.running.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				n.look(ctx, s)
			}
		}
	})
}

// Drop takes a node out.
func (n *Nodes) Drop(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if was := n.nodes[name]; was != nil {
		was.stop()
		delete(n.nodes, name)
	}
}

// Close takes all nodes out.
func (n *Nodes) Close() {
	n.mu.Lock()
	for _, s := range n.nodes {
		s.stop()
	}
	clear(n.nodes)
	n.mu.Unlock()
	n.running.Wait()
	n.client.CloseIdleConnections()
}

func (n *Nodes) look(ctx context.Context, s *nodeState) {
	ready := false
	if r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", http.NoBody); err == nil {
		if response, err := n.client.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			ready = response.StatusCode == http.StatusOK
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.ready = ready
}

// failed takes a node out of service until it is next looked at: it refused a
// connection.
func (n *Nodes) failed(url string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.nodes {
		if s.url == url {
			s.ready = false
		}
	}
}

// pick gives a node that is ready, or any where none is, or "" where there are
// none at all.
func (n *Nodes) pick(random *rand.Rand) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ready, all []string
	for _, s := range n.nodes {
		all = append(all, s.url)
		if s.ready {
			ready = append(ready, s.url)
		}
	}
	if len(ready) == 0 {
		ready = all
	}
	if len(ready) == 0 {
		return ""
	}
	return ready[random.IntN(len(ready))]
}

// Ready counts the nodes that are.
func (n *Nodes) Ready() (ready int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.nodes {
		if s.ready {
			ready++
		}
	}
	return ready
}
