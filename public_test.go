package main

import (
	"net/http"
	"testing"
)

// A ticket's token is good after a restart: no node remembers it. The rate is
// the flag's, which each node counts for itself.
func TestTicketLinksOutliveANode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startNode(t, dir, "--checkin-rate", "2")
	admin(t, p.url).must(t, p.url, http.MethodPost, "/queues", `{"id":"a","public":true}`)
	somebody := &caller{Client: http.Client{Timeout: patience}}
	token := somebody.must(t, p.url, http.MethodPost, "/public/queues/a/tickets", "").str(t, "token")
	somebody.must(t, p.url, http.MethodPost, "/public/queues/a/tickets", "")
	a, err := somebody.call(p.url, http.MethodPost, "/public/queues/a/tickets", "", "")
	if err != nil || a.status != http.StatusTooManyRequests {
		t.Errorf("%v %d %s", err, a.status, a.body)
	}
	p.kill()
	p = startNode(t, dir)
	if a := somebody.must(t, p.url, http.MethodGet, "/public/tickets/"+token, ""); a.str(t, "number") != "A001" {
		t.Errorf("%s", a.body)
	}
}
