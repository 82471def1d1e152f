package main

import (
	"net/http"
	"strings"
	"testing"

	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

// The token ring of several nodes is rotated while they run: nobody is logged out
// before the old key goes, and then whoever has its tokens is.
func TestTokenRingOfSeveralNodesRotates(t *testing.T) {
	t.Parallel()
	server, redis := mariadbtest.StartWith(t, mariadbtest.Options{}), redistest.Start(t)
	database := server.Database(t)
	var nodes []*process
	var files []ringFile
	for range 2 {
		f := newRingFile(t, "k1")
		files = append(files, f)
		nodes = append(nodes, startNode(t, t.TempDir(), "--cluster-provider", "redis", "--redis-url", redis, "--database-url", database,
			"--token-keys-file", f.path, "--data-keys", testRing))
	}
	for _, p := range nodes {
		eventually(t, "the node is ready", func() bool { return ready(t, p.url) == "200 ready" })
	}
	sees := func(c *caller, want int) {
		t.Helper()
		for i, p := range nodes {
			if a, err := c.call(p.url, http.MethodGet, "/me", "", ""); err != nil || a.status != want {
				t.Errorf("node %d: %d, %v, want %d", i, a.status, err, want)
			}
		}
	}
	says := func(p *process, what string) {
		t.Helper()
		eventually(t, what, func() bool { return strings.Contains(p.log(), what) })
	}
	first := func(key string) { // on every node
		t.Helper()
		for _, p := range nodes {
			says(p, `"the key ring has another first key","ring":"token","key":"`+key+`"`)
		}
	}
	before := admin(t, nodes[0].url)
	sees(before, http.StatusOK)
	files[0].write("k2", "k1") // too early: the other one does not have it
	says(nodes[0], "not every node that runs has its first key k2")
	early := admin(t, nodes[0].url)
	sees(early, http.StatusOK) // for it is signed with the old key
	files[1].write("k1", "k2")
	says(nodes[0], `"the key ring has another first key","ring":"token","key":"k2"`)
	files[1].write("k2", "k1")
	first("k2")
	after := admin(t, nodes[1].url)
	for _, c := range []*caller{before, early, after} {
		sees(c, http.StatusOK)
	}
	if !strings.Contains(after.must(t, nodes[0].url, http.MethodGet, "/keys", "").body, `{"id":"k1","ring":"token","state":"needed"`) {
		t.Error("the old key is not said to be needed")
	}
	for i, p := range nodes {
		files[i].write("k2")
		says(p, `"ring":"token","keys":"k2"}`)
	}
	sees(before, http.StatusUnauthorized)
	sees(early, http.StatusUnauthorized)
	sees(after, http.StatusOK)
}
