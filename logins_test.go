package main

import (
	"net/http"
	"testing"
)

// Ten logins may fail for one address, however many nodes there are.
func TestFailedLoginsCountOverAllNodes(t *testing.T) {
	t.Parallel()
	nodes, _ := startMembers(t, 2)
	c := &caller{}
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
