package main

import (
	"testing"
	"time"

	"nowserving/persistence/redistest"
)

const (
	crashes     = 3
	crashesEach = 800 // operations accepted from one to the next
)

// crash kills the node in the middle of load again and again.
func crash(t *testing.T, args ...string) {
	dir := t.TempDir()
	p := startNode(t, dir, args...)
	l := startLoad(t, p)
	for range crashes {
		l.after(crashesEach)
		p.kill()
		p = startNode(t, dir, args...)
		l.nodes(p)
	}
	l.after(crashesEach)
	l.prove()
}

func TestKilledNodeKeepsEverythingEmbedded(t *testing.T) {
	t.Parallel()
	crash(t)
}

func TestKilledNodeKeepsEverythingOnRedis(t *testing.T) {
	t.Parallel()
	crash(t, "--redis-url", redistest.Start(t))
}

func TestKilledRedisKeepsEverything(t *testing.T) {
	t.Parallel()
	server := redistest.StartWith(t, redistest.Options{})
	p := startNode(t, t.TempDir(), "--redis-url", server.URL())
	l := startLoad(t, p)
	for range crashes {
		l.after(crashesEach)
		server.Kill()
		began := time.Now()
		eventually(t, "the node says that it cannot reach its journal", func() bool { return ready(t, p.url) == "503 unavailable" })
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("that its journal is gone was noticed after %s", took)
		}
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the node is ready again", func() bool { return ready(t, p.url) == "200 ready" })
	}
	l.after(crashesEach)
	l.prove()
}

// Two nodes that do not know of each other, on one Redis, are a mistake of the
// operator's. Every queue is active on both; the fence keeps the truth whole.
func TestTwoNodesOnOneRedisLoseNothing(t *testing.T) {
	t.Parallel()
	dir, args := t.TempDir(), []string{"--redis-url", redistest.Start(t)}
	first := startNode(t, dir, args...)
	l := startLoad(t, first)
	second := startNode(t, dir, args...)
	l.nodes(first, second)
	l.after(crashesEach)
	second.kill()
	l.nodes(first)
	l.prove()
}
