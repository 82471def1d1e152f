package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/faults"
)

// A beat may come between giving the lease back and the end of the beats.
func TestNodeThatHasLeftJoinsNoMore(t *testing.T) {
	w := newWorld(t)
	n := w.start()
	w.together(n)
	n.members.left(t.Context())
	n.members.beat(t.Context())
	if n.Joined() {
		t.Error("it is a member again")
	}
}

// Where Redis has lost the last changes, those that come then must not bear the
// numbers of views that somebody knows already.
func TestViewsOfARollbackHaveOtherNumbers(t *testing.T) {
	w := newWorld(t)
	l, err := newLeases(w.redis.URL(), w.name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.close() })
	join := func(m Member) uint64 {
		t.Helper()
		v, err := l.join(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		return v.Number
	}
	join(Member{Addr: "a", Life: "1", Roles: []string{HostRole}})
	before := l.rdb.HGetAll(t.Context(), l.key).Val()
	lost := join(Member{Addr: "b", Life: "1", Roles: []string{HostRole}})
	w.eventually("a millisecond has passed", func() bool { return l.rdb.Time(t.Context()).Val().UnixMilli() > int64(lost) })
	if err := errors.Join(l.rdb.Del(t.Context(), l.key).Err(), l.rdb.HSet(t.Context(), l.key, before).Err()); err != nil {
		t.Fatal(err)
	}
	if again := join(Member{Addr: "b", Life: "2", Roles: []string{HostRole}}); again <= lost {
		t.Errorf("the view after the rollback has number %d, one that was lost %d", again, lost)
	}
}

// The others must know of it, or nothing is handed over.
func TestLeaveWaitsForRedis(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(2)
	for i := range 20 {
		if _, err := ask(nodes[1], fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.redis.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	left := make(chan struct{})
	go func() {
		defer close(left)
		nodes[0].Leave(ctx)
	}()
	select {
	case <-left:
		t.Error("it gave up")
	case <-time.After(leaseCallWithin + 200*time.Millisecond): // a call of it has failed by now
	}
	if err := w.redis.Resume(); err != nil {
		t.Fatal(err)
	}
	<-left
	if got := nodes[0].Activations(); got != 0 {
		t.Errorf("%d grains are still there", got)
	}
}

// A request that has waited for long already waits for the node to join again, too.
func TestRequestOutlastsAMomentWithoutLease(t *testing.T) {
	w := newWorld(t)
	n := w.start(func(o *Options) { o.Roles = []string{"gateway"} })
	w.together(n)
	answered := make(chan error, 1)
	go func() {
		_, err := ask(n, "1")
		answered <- err
	}()
	stay := func(d time.Duration) {
		t.Helper()
		select {
		case err := <-answered:
			t.Fatalf("it did not wait: %v", err)
		case <-time.After(d):
		}
	}
	stay(outWait + maxPause)
	func() {
		n.members.mu.Lock()
		defer n.members.mu.Unlock()
		n.members.lapse(errors.New("a test"))
		stay(2 * maxPause)
	}()
	w.together(n, w.start())
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// What a host has left undone when it was lost is its own to do when it is back
// before anybody else took over.
func TestWhoJoinsIsToldToLookAfterItsGrains(t *testing.T) {
	w := newWorld(t)
	var told atomic.Int64
	n := w.start(func(o *Options) { o.Gone = func() { told.Add(1) } })
	w.together(n)
	w.eventually("it is told", func() bool { return told.Load() == 1 })
	n.members.mu.Lock()
	n.members.lapse(errors.New("a test"))
	n.members.mu.Unlock()
	w.eventually("it is told again", func() bool { return told.Load() == 2 })
}

// Many who want to know more wait for one look at Redis, not each for one of its own.
func TestSlowRedisIsWaitedForOnce(t *testing.T) {
	w := newWorld(t)
	n := w.start()
	w.together(n)
	if err := w.redis.Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { n.members.refresh(t.Context(), n.View().Number+1) })
	}
	all.Wait()
	if took := time.Since(began); took > 4*leaseCallWithin {
		t.Errorf("it took %s", took)
	}
	if err := w.redis.Resume(); err != nil {
		t.Fatal(err)
	}
}

// While one node leaves, its grains are where they were handed over to.
func TestJoinWhileAnotherLeaves(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(3)
	nodes[0].Leave(t.Context())
	const grains = 60
	for i := range grains {
		if _, err := ask(nodes[0], fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	joining := w.start()
	w.eventually("it is a member", func() bool { return joining.Joined() && joining.Reached() == 3 })
	for i := range grains {
		if _, err := ask(joining, fmt.Sprint(i)); err != nil {
			t.Error(err)
		}
	}
	w.noneTwice()
}

// A Redis of which each answer takes its time, within the bound of a call, makes
// joining slow, when there is no connection to it yet, and not impossible.
func TestSlowRedisLetsANodeJoin(t *testing.T) {
	w := newWorld(t)
	link, err := faults.NewLink(w.redis.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	link.Set(faults.Mode{Delay: 6 * leaseCallWithin / 10})
	n := w.start(func(o *Options) { o.RedisURL = "redis://" + link.Addr() })
	w.together(n)
}
