package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"nowserving/persistence"
	"nowserving/persistence/redistest"
	"nowserving/persistence/seal"
)

// Three check-ins a minute for one address are three, and ten logins of one account
// that may fail are ten, however many nodes there are.
func TestAddressesAndLoginsAreCountedOverAllNodes(t *testing.T) {
	t.Parallel()
	nodes, _ := startMembers(t, 2, "--checkin-rate", "3")
	c := &caller{}
	admin(t, nodes[0].url).must(t, nodes[0].url, http.MethodPost, "/queues", `{"id":"a","public":true}`)
	for i, want := range []int{http.StatusCreated, http.StatusCreated, http.StatusCreated, http.StatusTooManyRequests, http.StatusTooManyRequests} {
		a, err := c.call(nodes[i%2].url, http.MethodPost, "/public/queues/a/tickets", "", "")
		if err != nil || a.status != want {
			t.Fatalf("check-in %d: %v %d %s", i, err, a.status, a.body)
		}
	}
	try := func(p *process, password string) int {
		t.Helper()
		a, err := c.call(p.url, http.MethodPost, "/auth/login", `{"email":"`+defaultAdmin+`","password":"`+password+`"}`, "")
		if err != nil {
			t.Fatal(err)
		}
		return a.status
	}
	for i := range 10 {
		if status := try(nodes[i%2], "wrong"); status != http.StatusUnauthorized {
			t.Fatalf("try %d: %d", i, status)
		}
	}
	for _, p := range nodes {
		if status := try(p, adminPassword); status != http.StatusTooManyRequests {
			t.Errorf("%s: %d", p.url, status)
		}
	}
}

// Redis knows of an address only what a key makes of it.
func TestAddressesAreCountedByKeyedHashes(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t)
	log := slog.New(slog.DiscardHandler)
	j, err := persistence.OpenRedisJournal(t.Context(), url, log, persistence.RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	ring, err := seal.ParseRing(testRing)
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{journal: j, dataKeys: ring}
	if wait, err := n.checkIns()(t.Context(), "192.0.2.1", 1, time.Minute); wait != 0 || err != nil {
		t.Fatal(wait, err)
	}
	content := redistest.Content(t, url)
	if bytes.Contains(content, []byte("192.0.2.1")) || !bytes.Contains(content, []byte(":pace:")) {
		t.Errorf("%q", content)
	}
}
