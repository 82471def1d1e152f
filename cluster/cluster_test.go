package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestEveryNodeReachesEveryGrainAtOnePlace(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(3)
	hosts := make(map[string]int)
	for i := range 300 {
		id := fmt.Sprint(i)
		at, err := ask(nodes[0], id)
		if err != nil {
			t.Fatal(err)
		}
		hosts[at]++
		for _, n := range nodes {
			if got, err := ask(n, id); err != nil || got != at {
				t.Fatalf("grain %s is at %s for one node and at %s (%v) for another", id, at, got, err)
			}
			if n.Hosts("echo", id) != (n.Addr() == at) {
				t.Fatalf("%s is wrong about whether it hosts %s", n.Addr(), id)
			}
		}
	}
	for _, n := range nodes {
		if hosts[n.Addr()] < 60 {
			t.Errorf("%s hosts %d of 300 grains", n.Addr(), hosts[n.Addr()])
		}
	}
	if got := w.active.Load(); got != 300 {
		t.Errorf("%d activations for 300 grains", got)
	}
}

func TestJoinMovesOnlyWhatBelongsToTheNewNode(t *testing.T) {
	w := newWorld(t)
	const grains = 100
	nodes := w.startAll(2)
	stop := w.load(grains, nodes[0], nodes[1])
	w.eventually("all grains are active", func() bool { return w.active.Load() == grains })
	third := w.start()
	nodes = append(nodes, third)
	w.together(nodes...)
	var moved int
	for i := range grains {
		if third.Hosts("echo", fmt.Sprint(i)) {
			moved++
		}
	}
	w.eventually("what belongs to it is there", func() bool { return third.Activations() == moved })
	errs, slowest := stop()
	t.Logf("%d of %d moved; slowest answer %s", moved, grains, slowest)
	if len(errs) > 0 {
		t.Errorf("%d requests failed: %v", len(errs), errs[0])
	}
	if moved < 15 || moved > 60 {
		t.Errorf("%d of %d grains moved to the third node", moved, grains)
	}
	if got := w.active.Load(); got != int64(grains+moved) {
		t.Errorf("%d activations, want %d and %d moved ones", got, grains, moved)
	}
	if got := w.flushed.Load(); got != int64(moved) {
		t.Errorf("%d grains stopped in an orderly way, %d moved", got, moved)
	}
	w.noneTwice()
}

func TestLeavingHandsEverythingOver(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(3)
	const grains = 100
	stop := w.load(grains, nodes...) // the one that leaves goes on passing requests on
	w.eventually("all grains are active", func() bool { return w.active.Load() == grains })
	there := nodes[0].Activations()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nodes[0].Leave(ctx)
	if got := nodes[0].Activations(); got != 0 {
		t.Errorf("%d of %d grains are still there", got, there)
	}
	errs, slowest := stop()
	nodes[0].Shutdown(ctx)
	t.Logf("%d grains moved; slowest answer %s", there, slowest)
	if len(errs) > 0 {
		t.Errorf("%d requests failed: %v", len(errs), errs[0])
	}
	if slowest > time.Second {
		t.Errorf("a request took %s", slowest)
	}
	w.noneTwice()
	w.together(nodes[1:]...)
}

// A grain that is busy is left alone until it has answered.
func TestReleaseWaitsForWhatIsUnderWay(t *testing.T) {
	w := newWorld(t)
	first := w.start()
	w.together(first)
	held := make(map[string]chan error)
	for i := range 20 {
		id, answered := fmt.Sprint(i), make(chan error, 1)
		held[id] = answered
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_, err := first.Request(ctx, "echo", id, wrapperspb.String("hold"))
			answered <- err
		}()
	}
	w.eventually("all grains are active", func() bool { return first.Activations() == 20 })
	w.eventually("what is measured says so", func() bool {
		all, most := first.Load()
		begun, over := first.Lives()
		return all == 20 && most == 1 && begun == 20 && over == 0
	})
	second := w.start()
	w.together(first, second)
	for id := range held {
		if !second.Hosts("echo", id) {
			continue
		}
		// Who asks now waits until the old activation has answered "hold".
		free := make(chan error, 1)
		go func() {
			_, err := ask(second, id)
			free <- err
		}()
		select {
		case <-free:
			t.Fatalf("grain %s was activated while the old one was busy", id)
		case <-time.After(50 * time.Millisecond):
		}
		first.grains.free()
		if err := <-held[id]; err != nil {
			t.Errorf("the request that was under way: %v", err)
		}
		if err := <-free; err != nil {
			t.Errorf("the request that waited: %v", err)
		}
		w.noneTwice()
		w.eventually("nothing is under way that is measured", func() bool {
			all, _ := first.Load()
			_, over := first.Lives()
			return all == 0 && over > 0
		})
		if at, err := ask(first, id); err != nil || at != second.Addr() {
			t.Errorf("%s, %v", at, err)
		}
		if answered, _, _ := first.Sent(); answered == 0 {
			t.Error("no answer of the other node is counted")
		}
		return
	}
	t.Fatal("no grain belongs to the second node")
}

// free has every grain answer what it holds.
func (g *grains) free() {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, all := range []map[grainKey]*activation{g.active, g.stopping} {
		for _, a := range all {
			g.system.Root.Send(a.pid, wrapperspb.String("free"))
		}
	}
}

// kill ends a node as kill -9 does, as far as others can see.
func (w *world) kill(n *Node) {
	n.cancel() // it renews no lease
	n.server.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.alive) // what was active there is no more
}

func TestDeadNodeIsReplacedBeforeItsLeaseEnds(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(3)
	var there string
	for i := 0; there == ""; i++ {
		if id := fmt.Sprint(i); nodes[2].Hosts("echo", id) {
			there = id
		}
	}
	if _, err := ask(nodes[0], there); err != nil {
		t.Fatal(err)
	}
	w.kill(nodes[2])
	began := time.Now()
	at, err := ask(nodes[0], there)
	if err != nil || at == nodes[2].Addr() {
		t.Fatalf("%s, %v", at, err)
	}
	t.Logf("answered again after %s", time.Since(began))
	if took := time.Since(began); took > leaseTime {
		t.Errorf("answered again after %s, no sooner than its lease ended", took)
	}
	w.together(nodes[:2]...)
}

func TestTwoDeadNodesAreReplacedBeforeTheirLeasesEnd(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(3)
	const grains = 30
	for i := range grains {
		if _, err := ask(nodes[0], fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	w.kill(nodes[1])
	w.kill(nodes[2])
	began := time.Now()
	for i := range grains {
		if at, err := ask(nodes[0], fmt.Sprint(i)); err != nil || at != nodes[0].Addr() {
			t.Fatalf("%s, %v", at, err)
		}
	}
	t.Logf("all answer again after %s", time.Since(began))
	if took := time.Since(began); took > leaseTime {
		t.Errorf("all answer again after %s, no sooner than the leases ended", took)
	}
}

// A node whose lease has ended serves nobody, and joins again by itself.
func TestNodeWithoutItsLeaseServesNothing(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(2)
	for i := range 20 {
		if _, err := ask(nodes[0], fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	lives := []string{nodes[0].members.life.Load().name, nodes[1].members.life.Load().name}
	if err := w.redis.Pause(); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		w.eventually("the lease has ended", func() bool { return !n.Joined() })
		w.eventually("nothing is active", func() bool { return n.Activations() == 0 })
		for i := range 3 {
			if _, err := n.Request(t.Context(), "echo", fmt.Sprint(i), wrapperspb.String("hello")); !errors.Is(err, ErrUndelivered) {
				t.Fatalf("a node without its lease answers: %v", err)
			}
		}
	}
	if err := w.redis.Resume(); err != nil {
		t.Fatal(err)
	}
	w.together(nodes...)
	for i, n := range nodes {
		if _, err := ask(n, "1"); err != nil {
			t.Error(err)
		}
		if n.members.life.Load().name == lives[i] {
			t.Error("it goes on with the life that had ended")
		}
	}
}

// What two nodes cannot say to each other goes by way of a third.
func TestBrokenLinkIsGoneRound(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(3)
	l := nodes[0].links.to(Member{Addr: nodes[1].Addr(), Life: nodes[1].members.life.Load().name})
	l.cancel()
	w.eventually("the link is down", func() bool { return !l.isUp() })
	for i := range 30 {
		id := fmt.Sprint(i)
		want, err := ask(nodes[2], id)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if got, err := ask(nodes[0], id); err != nil || got != want {
			t.Fatalf("grain %s at %s: %s, %v", id, want, got, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
	}
}

// A request that may have been delivered is marked before it is sent again, and
// what is marked says so to who asked where nothing helps.
func TestLostRequestIsSentAgainMarked(t *testing.T) {
	w := newWorld(t)
	n := w.start(func(o *Options) { o.Again = func(any) any { return wrapperspb.String("again") } })
	w.together(n)
	answer, err := n.Request(t.Context(), "echo", "1", wrapperspb.String("moved"))
	if err != nil || answer.(*wrapperspb.StringValue).Value != "again" {
		t.Errorf("%v, %v", answer, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.Request(ctx, "echo", "1", wrapperspb.String("hold")); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("a request without an answer: %v", err)
	}
}

func TestNewsReachTheOthers(t *testing.T) {
	w := newWorld(t)
	heard := make(chan string, 8)
	told := func(o *Options) { o.Heard = func(news any) { heard <- news.(*wrapperspb.StringValue).Value } }
	hostOnly := func(o *Options) { o.Roles = []string{HostRole} }
	nodes := []*Node{w.start(), w.start(told), w.start(told, hostOnly)}
	w.together(nodes...)
	nodes[0].Tell(wrapperspb.String("news"))
	for range 2 {
		select {
		case got := <-heard:
			if got != "news" {
				t.Errorf("heard %q", got)
			}
		case <-time.After(patience):
			t.Fatal("nothing was heard")
		}
	}
}

// Nodes of another name, or that believe to speak to an earlier life, are not served.
func TestStrangersAreNotServed(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(2)
	for _, change := range []func(l *link){
		func(l *link) {
			l.node = &Node{options: Options{Name: "other", Dial: nodes[0].options.Dial}, members: nodes[0].members, log: nodes[0].log}
		},
		func(l *link) { l.to.Life = "an earlier one" },
	} {
		l := newLink(nodes[0], Member{Addr: nodes[1].Addr(), Life: nodes[1].members.life.Load().name})
		change(l)
		if err := l.talk(); err == nil || l.isUp() {
			t.Error("it was served")
		}
		l.cancel()
	}
}

// Redis judges leases by its clock. One that is set back, or forward, costs a
// pause: everybody joins again.
func TestClockOfRedisLeaps(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(2)
	dead := Member{Addr: "127.0.0.1:1", Life: "silent", Roles: []string{HostRole}}
	for _, ends := range []time.Duration{time.Hour, -time.Hour} {
		now := time.Now().Add(ends).UnixMilli()
		text := fmt.Sprintf("%s 0 %d %d %s", dead.Life, now+leaseTime.Milliseconds(), now, HostRole)
		l := nodes[0].members.leases
		if err := l.rdb.HSet(t.Context(), l.key, dead.Addr, text).Err(); err != nil {
			t.Fatal(err)
		}
		if v, err := l.view(t.Context()); err != nil || v.has(dead) {
			t.Errorf("a lease of %s from now counts (%v)", ends, err)
		}
	}
}
