package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nowserving/faults"
	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

// startMembers starts nodes of one cluster and waits until they are ready.
func startMembers(t testing.TB, count int, args ...string) (nodes []*process, start func() *process) {
	t.Helper()
	database, redis := mariadbtest.StartWith(t, mariadbtest.Options{}), redistest.Start(t)
	url, dir := database.Database(t), t.TempDir()
	var started int
	start = func() *process {
		started++
		return startNode(t, filepath.Join(dir, fmt.Sprint(started)), append(args, "--cluster-provider", "redis", "--redis-url", redis,
			"--database-url", url, "--token-keys", testRing, "--data-keys", testRing)...)
	}
	for range count {
		nodes = append(nodes, start())
	}
	for _, p := range nodes {
		eventually(t, "the node is ready", func() bool { return ready(t, p.url) == "200 ready" })
	}
	return nodes, start
}

// Nodes come, go in an orderly way, and are killed under load; nothing that a
// client was told is lost or doubled.
func TestClusterThroughChanges(t *testing.T) {
	t.Parallel()
	nodes, start := startMembers(t, 2)
	l := startLoad(t, nodes[0])
	l.nodes(nodes...)
	l.after(crashesEach)
	third := start()
	l.nodes(nodes[0], nodes[1], third)
	l.after(crashesEach)
	l.nodes(nodes[1], third)
	nodes[0].stop()
	l.after(crashesEach)
	nodes[1].kill()
	l.nodes(third)
	l.after(crashesEach)
	l.prove()
}

// What happens on one node is seen at once by those who look at another.
func TestEventsReachTheSessionsOfEveryNode(t *testing.T) {
	t.Parallel()
	nodes, _ := startMembers(t, 3)
	who := admin(t, nodes[0].url)
	who.must(t, nodes[0].url, http.MethodPost, "/queues", `{"id":"desk"}`)
	var sockets []*socket
	for _, p := range nodes {
		s := who.dial(t, p.url)
		s.send(`{"type":"subscribe","id":"1","queue":"desk"}`)
		s.next("snapshot")
		sockets = append(sockets, s)
	}
	version := uint64(1)
	enqueue := func(on int) time.Duration {
		began := time.Now()
		who.must(t, nodes[on%3].url, http.MethodPost, "/queues/desk/tickets", `{}`)
		version++
		for _, s := range sockets {
			if f := s.next("event"); f.Version != version {
				t.Fatalf("version %d, want %d", f.Version, version)
			}
		}
		return time.Since(began)
	}
	// Without word from the other nodes it takes up to a second. They have
	// connections to each other some time after they are ready.
	for on := range 3 {
		eventually(t, "nodes hear from each other", func() bool { return enqueue(on) < 100*time.Millisecond })
	}
	const rounds = 20
	var slowest time.Duration
	for i := range rounds {
		slowest = max(slowest, enqueue(i))
	}
	t.Logf("the slowest of %d events had reached everybody after %s", rounds, slowest)
	if slowest > 900*time.Millisecond {
		t.Errorf("an event reached everybody only after %s", slowest)
	}
}

// A node that is cut off from Redis sends its sessions to those that are not, and
// takes none until it is back. Where Redis is away from all, they stay.
func TestSessionsLeaveANodeThatIsCutOff(t *testing.T) {
	t.Parallel()
	database, server := mariadbtest.StartWith(t, mariadbtest.Options{}), redistest.StartWith(t, redistest.Options{})
	link, err := faults.NewLink(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	url := database.Database(t)
	var nodes []*process
	for _, redis := range []string{"redis://" + server.Addr(), "redis://" + link.Addr()} {
		nodes = append(nodes, startNode(t, t.TempDir(), "--cluster-provider", "redis", "--redis-url", redis,
			"--database-url", url, "--token-keys", testRing, "--data-keys", testRing))
	}
	reach := func() bool {
		for _, p := range nodes {
			if ready(t, p.url) != "200 ready" || p.logged("another node can be reached", "addr") == "" {
				return false
			}
		}
		return true
	}
	eventually(t, "the nodes are ready and know each other", reach)
	who := admin(t, nodes[0].url)
	stays, goes := who.dial(t, nodes[0].url), who.dial(t, nodes[1].url)
	link.Set(faults.Cut)
	goes.closedWith(1012)
	if status := who.refused(t, nodes[1].url); status != http.StatusServiceUnavailable {
		t.Fatalf("a session is answered with %d by a node that is cut off", status)
	}
	link.Set(faults.Mode{})
	eventually(t, "the node is back", func() bool { return nodes[1].logged("sessions are held here again", "msg") != "" })
	back := who.dial(t, nodes[1].url)
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no node is a member", func() bool { return nodes[0].lives() == 0 && nodes[1].lives() == 0 })
	<-time.After(2 * asideAfter)
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*socket{stays, back} {
		s.send(`{"type":"ping"}`)
		s.next("pong")
	}
}

// lives is 1 where the node is a member, as far as it has said, else 0.
func (p *process) lives() int {
	log := p.log()
	return strings.Count(log, `"joined the cluster"`) - strings.Count(log, `"the node is not a member of the cluster any more; it joins again"`)
}
