package faults

import (
	"net"
	"sync"
	"time"
)

// Mode is what a link does to what goes over it.
type Mode struct {
	// CutTo and CutFrom: nothing passes to or from the target. What was sent
	// arrives once the cut has ended, as TCP has it.
	CutTo, CutFrom bool
	// Swallow: what the target answers is lost. Connections that lost
	// something are closed when this ends.
	Swallow bool
	// Delay is how much later everything arrives that the target sends, and
	// DelayTo what is sent to it.
	Delay, DelayTo time.Duration
}

// Cut is nothing passing either way.
var Cut = Mode{CutTo: true, CutFrom: true}

// Link is a TCP address that stands for another one and can fail.
type Link struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu      sync.Mutex
	mode    Mode
	changed chan struct{} // closed when the mode is another one
	pairs   map[*pair]struct{}
	closed  bool
}

// pair is one connection through a link.
type pair struct {
	client, server net.Conn
	spoiled        bool // lost something; of the link's mutex
}

// NewLink opens a link to an address, on a free port of 127.0.0.1.
func NewLink(target string) (*Link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &Link{listener: l, target: target, changed: make(chan struct{}), pairs: make(map[*pair]struct{})}
	k.running.Go(k.accept)
	return k, nil
}

// Addr is where the target is reached through the link.
func (k *Link) Addr() string { return k.listener.Addr().String() }

// Set changes what the link does; the zero Mode lets everything pass.
func (k *Link) Set(m Mode) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mode = m
	close(k.changed)
	k.changed = make(chan struct{})
	for p := range k.pairs {
		if p.spoiled && !m.Swallow {
			p.close()
		}
	}
}

// Break closes all connections; new ones are taken.
func (k *Link) Break() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for p := range k.pairs {
		p.close()
	}
}

// Close ends the link.
func (k *Link) Close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.listener.Close()
	k.Break()
	k.Set(Mode{})
	k.running.Wait()
}

func (p *pair) close() {
	p.client.Close()
	p.server.Close()
}

func (k *Link) accept() {
	for {
		client, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.running.Go(func() { k.carry(client) })
	}
}

func (k *Link) carry(client net.Conn) {
	server, err := net.Dial("tcp", k.target)
	if err != nil {
		client.Close()
		return
	}
	p := &pair{client: client, server: server}
	k.mu.Lock()
	k.pairs[p] = struct{}{}
	if k.closed {
		p.close()
	}
	k.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { k.pump(p, client, server, true) })
	both.Go(func() { k.pump(p, server, client, false) })
	both.Wait()
	p.close()
	k.mu.Lock()
	delete(k.pairs, p)
	k.mu.Unlock()
}

// chunk is what arrives at a time, not earlier.
type chunk struct {
	due  time.Time
	data []byte
}

// pump carries one direction until it ends.
func (k *Link) pump(p *pair, from, to net.Conn, toTarget bool) {
	chunks := make(chan chunk, 64)
	go func() {
		defer close(chunks)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			if n > 0 {
				chunks <- chunk{time.Now().Add(k.delay(toTarget)), b[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for c := range chunks {
		time.Sleep(time.Until(c.due))
		if !k.pass(p, toTarget) {
			continue
		}
		if _, err := to.Write(c.data); err != nil {
			break
		}
	}
	k.pass(p, toTarget) // a farewell is cut off too
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
	from.Close() // ends the reader, whose last chunks nobody takes
	for range chunks {
	}
}

func (k *Link) delay(toTarget bool) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if toTarget {
		return k.mode.DelayTo
	}
	return k.mode.Delay
}

// pass waits until the direction is open, and tells whether what waits may pass.
func (k *Link) pass(p *pair, toTarget bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		m := k.mode
		if (toTarget && !m.CutTo || !toTarget && !m.CutFrom) || k.closed {
			if !toTarget && m.Swallow {
				p.spoiled = true
				return false
			}
			return true
		}
		changed := k.changed
		k.mu.Unlock()
		<-changed
		k.mu.Lock()
	}
}
