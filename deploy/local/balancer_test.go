package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// balanced is the load balancer before nodes that do what a test says.
type balanced struct {
	t     *testing.T
	url   string
	nodes []*fakeNode
}

type fakeNode struct {
	server *http.Server
	asked  atomic.Int64
	cuts   atomic.Bool // it takes requests and ends the connection
}

func (n *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.asked.Add(1)
	_, _ = io.Copy(io.Discard, r.Body)
	if n.cuts.Load() {
		panic(http.ErrAbortHandler)
	}
}

func startBalanced(t *testing.T) *balanced {
	t.Helper()
	t.Parallel()
	c, err := readCompose("../../docker-compose.yml", func(string) string { return "set" })
	if err != nil {
		t.Fatal(err)
	}
	b := &balanced{t: t}
	addresses := addressesOf([]string{"lb", "node-1", "node-2", "node-3"})
	for i := range 3 {
		listener, err := net.Listen("tcp", addresses[fmt.Sprint("node-", i+1)]+":8080")
		if err != nil {
			t.Fatal(err)
		}
		n := &fakeNode{}
		n.server = &http.Server{Handler: n}
		// On a connection that is kept a request may meet its end, and nobody can
		// know then whether the node had it.
		n.server.SetKeepAlivesEnabled(false)
		go n.server.Serve(listener)
		t.Cleanup(func() { n.server.Close() })
		b.nodes = append(b.nodes, n)
	}
	lb := c.Services["lb"]
	said := &said{}
	s := &service{composeService: lb, log: &together{to: said}, place: &place{
		name: "lb", addr: addresses["lb"], dir: filepath.Join(t.TempDir(), "lb"), addresses: addresses, paths: make(map[string]string),
	}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.begin(ctx, c, ""); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	t.Cleanup(func() { s.stop() })
	b.url = "http://" + s.place.addr + ":8080"
	b.asked() // forgets the health check
	return b
}

// asked tells how many requests each node had since the last time.
func (b *balanced) asked() (each []int64, all int64) {
	for _, n := range b.nodes {
		asked := n.asked.Swap(0)
		each, all = append(each, asked), all+asked
	}
	return each, all
}

// send gives the status and, of a problem, its code.
func (b *balanced) send(method string) string {
	b.t.Helper()
	body := io.Reader(strings.NewReader(`{}`))
	if method == "GET" || method == "DELETE" {
		body = nil
	}
	request, err := http.NewRequest(method, b.url+"/api/v1/queues/q/tickets/t", body)
	if err != nil {
		b.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return "200"
	}
	var problem struct{ Code string }
	if err := json.NewDecoder(response.Body).Decode(&problem); err != nil || response.Header.Get("Retry-After") == "" ||
		response.Header.Get("Content-Type") != "application/problem+json" {
		b.t.Errorf("%s: %v %v", method, response.Header, err)
	}
	return fmt.Sprint(response.StatusCode, " ", problem.Code)
}

var methods = []string{"DELETE", "POST", "PATCH", "PUT", "GET"}

func TestRequestsGoToAllNodes(t *testing.T) {
	b := startBalanced(t)
	for i := range 30 {
		if got := b.send(methods[i%len(methods)]); got != "200" {
			t.Error(got)
		}
	}
	for _, asked := range first(b.asked()) {
		if asked != 10 {
			t.Errorf("of 30 requests a node had %d", asked)
		}
	}
}

func first(each []int64, _ int64) []int64 { return each }

// A node that refuses connections costs nobody anything.
func TestRefusedRequestsGoElsewhere(t *testing.T) {
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			b := startBalanced(t)
			b.nodes[1].server.Close()
			for range 12 {
				if got := b.send(method); got != "200" {
					t.Error(got)
				}
			}
			if each, all := b.asked(); all != 12 || each[1] != 0 {
				t.Errorf("12 requests came as %v", each)
			}
		})
	}
}

// A node that had a request may have done it: only what changes nothing is asked
// of another one.
func TestNothingIsDoneTwice(t *testing.T) {
	for method, times := range map[string]int64{"POST": 1, "PATCH": 1, "DELETE": 1, "GET": 3} {
		t.Run(method, func(t *testing.T) {
			b := startBalanced(t)
			for _, n := range b.nodes {
				n.cuts.Store(true)
			}
			want := "503 outcome_unknown"
			if method == "GET" { // which does nothing
				want = "503 unavailable"
			}
			if got := b.send(method); got != want {
				t.Error(got)
			}
			if each, all := b.asked(); all != times {
				t.Errorf("it was sent as %v", each)
			}
		})
	}
}

// Where no node could be reached it is certain that nothing happened.
func TestNoNodeIsThere(t *testing.T) {
	b := startBalanced(t)
	for _, n := range b.nodes {
		n.server.Close()
	}
	for _, method := range methods {
		for range 3 {
			if got := b.send(method); got != "503 unavailable" {
				t.Errorf("%s: %s", method, got)
			}
		}
	}
}
