package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"nowserving/tracing"
)

// links are this node's connections to the other members, one for each life of
// each. A request goes out on the link to its grain's node, and, where only
// that link is broken, by way of a third member.
type links struct {
	node *Node

	mu      sync.RWMutex
	members map[string]*link // by address
	closed  bool
	running sync.WaitGroup
}

func newLinks(n *Node) *links { return &links{node: n, members: make(map[string]*link)} }

// follow makes links to who has come and ends those to who has gone; gone tells
// whether one of those was a host.
func (ls *links) follow(v *View) (gone bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return false
	}
	for addr, l := range ls.members {
		if !v.has(l.to) {
			gone = gone || l.to.has(HostRole)
			delete(ls.members, addr)
			l.cancel()
		}
	}
	for _, m := range v.Members {
		if m.Addr == ls.node.members.addr {
			continue
		}
		if ls.members[m.Addr] == nil {
			l := newLink(ls.node, m)
			ls.members[m.Addr] = l
			ls.running.Go(l.run)
		}
	}
	return gone
}

func (ls *links) to(m Member) *link {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	if l := ls.members[m.Addr]; l != nil && l.to.same(m) {
		return l
	}
	return nil
}

// ask sends a request to the node on which its grain lives.
func (ls *links) ask(ctx context.Context, v *View, owner Member, key grainKey, message any) (any, error) {
	l, pass := ls.to(owner), false
	if l == nil || !l.isUp() {
		if l, pass = ls.third(owner), true; l == nil {
			return nil, errNotHere
		}
	}
	content, err := pack(message.(proto.Message))
	if err != nil {
		ls.node.log.Error("a request cannot be sent to another node", "identity", key.identity, "error", err)
		return nil, fmt.Errorf("%w: %w", ErrUndelivered, err)
	}
	ctx, ended := ls.node.traceAsk(ctx, l.to, key, pass)
	answer, err := l.ask(ctx, &outgoing{view: v.Number, key: key, content: content, pass: pass, trace: tracing.Text(ctx)})
	ended(err)
	return answer, err
}

// third is a member that may reach another one that this node cannot.
func (ls *links) third(than Member) *link {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	for _, l := range ls.members {
		if l.to.Addr != than.Addr && l.isUp() {
			return l
		}
	}
	return nil
}

// release asks a node to let go of a grain. One that cannot be reached is not waited for.
func (ls *links) release(ctx context.Context, v *View, had Member, key grainKey) {
	if l := ls.to(had); l != nil && l.isUp() {
		_, _ = l.ask(ctx, &outgoing{view: v.Number, key: key})
	}
}

// tell puts news on the way to all members.
func (ls *links) tell(news any) {
	content, err := pack(news.(proto.Message))
	if err != nil {
		ls.node.log.Error("news cannot be sent to other nodes", "error", err)
		return
	}
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	for _, l := range ls.members {
		if l.isUp() {
			l.out.put(&outgoing{content: content, news: true}, maxNews)
		}
	}
}

func (ls *links) reached() (count int) {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	for _, l := range ls.members {
		if l.isUp() {
			count++
		}
	}
	return count
}

// close ends all links.
func (ls *links) close() {
	ls.mu.Lock()
	ls.closed = true
	for _, l := range ls.members {
		l.cancel()
	}
	ls.mu.Unlock()
	ls.running.Wait()
}

// within is how much of a context's time is left, at least a millisecond.
func within(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return requestBudget
	}
	return max(time.Until(deadline), time.Millisecond)
}
