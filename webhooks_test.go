package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

// Events reach a receiver, signed and without the customer, also those that a
// node was about to deliver when it was killed.
func TestWebhookThroughAKill(t *testing.T) {
	t.Parallel()
	var (
		mu      sync.Mutex
		secret  string
		ids     = map[string]int{} // requests
		events  = map[string]bool{}
		stopped = make(chan struct{})
	)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		mu.Lock()
		verifier, _ := standardwebhooks.NewWebhook(secret)
		var e struct {
			Data struct {
				Version uint64
				Event   string
			}
		}
		if err := verifier.Verify(body, q.Header); err != nil || json.Unmarshal(body, &e) != nil || bytes.Contains(body, []byte(customerMarker)) {
			t.Errorf("%v: %s", err, body)
		}
		ids[q.Header.Get("webhook-id")]++
		events[fmt.Sprintf("%d %s", e.Data.Version, e.Data.Event)] = true
		mu.Unlock()
		<-stopped
	}))
	t.Cleanup(receiver.Close)
	dir, allowed := t.TempDir(), []string{"--webhook-private-networks", "127.0.0.0/8"}
	node := startNode(t, dir, allowed...)
	who := admin(t, node.url)
	refused, err := who.call(node.url, "POST", "/webhooks", `{"url":"http://10.1.2.3/"}`, "")
	if err != nil || refused.status != 422 {
		t.Errorf("%v: %d %s", err, refused.status, refused.body)
	}
	mu.Lock()
	made := who.must(t, node.url, "POST", "/webhooks", `{"url":"`+receiver.URL+`/hooks"}`)
	secret = made.str(t, "secret")
	mu.Unlock()
	who.must(t, node.url, "POST", "/queues", `{"id":"post"}`)
	who.must(t, node.url, "POST", "/queues/post/tickets", fmt.Sprintf(`{"customer":{"name":%q},"payload":%[1]q}`, customerMarker))
	seen := func(n int) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return len(events) == n }
	}
	eventually(t, "the receiver was asked", seen(2))
	node.kill()
	close(stopped)
	node = startNodeWith(t, []string{testClock + "=2m"}, dir, allowed...) // the killed one's lease is over then
	who = admin(t, node.url)
	eventually(t, "all is delivered", func() bool {
		return strings.Contains(who.must(t, node.url, "GET", "/webhooks/"+made.str(t, "id"), "").body, `"waiting":0`)
	})
	who.must(t, node.url, "POST", "/queues/post/call-next", `{}`)
	eventually(t, "the next event comes", seen(3))
	mu.Lock()
	defer mu.Unlock()
	if !events["1 queue.configured"] || !events["2 ticket.enqueued"] || !events["3 ticket.called"] || len(ids) != 3 {
		t.Errorf("%v, %v", events, ids)
	}
	if log := node.log(); strings.Contains(log, receiver.URL) || strings.Contains(log, "whsec_") {
		t.Errorf("the log tells too much: %s", log)
	}
}

// Of two nodes one delivers.
func TestOneNodeDelivers(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	t.Cleanup(receiver.Close)
	ring, err := seal.ParseRing("k1:" + base64.StdEncoding.EncodeToString(make([]byte, seal.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	var nodes []*Node
	for range 2 {
		d, err := directory.Open(ctx, directory.Options{Dir: dir, Keys: ring})
		if err != nil {
			t.Fatal(err)
		}
		n := &Node{directory: d, log: slog.New(slog.DiscardHandler), config: Config{Now: time.Now}, metrics: newMeter()}
		if err := putWebhookNetworks(&n.config, "127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		n.openWebhooks()
		nodes = append(nodes, n)
	}
	d := nodes[0].directory
	_, err = d.CreateWebhook(ctx, directory.Webhook{ID: "w", URL: receiver.URL, Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Queues: []string{"*"}, Events: []string{"*"}, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	const events = 500
	err = d.TakeHistory(ctx, []directory.HistoryPart{{Queue: "a", Upto: events, Events: events, Event: func(i int) directory.WebhookEvent {
		return directory.WebhookEvent{Version: uint64(i) + 1, Type: "ticket.called", Body: func() []byte { return []byte("{}") }}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		running.Go(func() { _ = n.webhooks.Run(ctx) })
	}
	eventually(t, "all is delivered", func() bool {
		w, err := d.Webhook(ctx, "w")
		return err == nil && w.Waiting == 0
	})
	cancel()
	running.Wait()
	for _, n := range nodes {
		_ = n.directory.Close()
	}
	if n, counted := requests.Load(), nodes[0].webhooks.attempts[attemptDelivered].Load()+nodes[1].webhooks.attempts[attemptDelivered].Load(); n != events || counted != events {
		t.Errorf("%d requests, of which %d are counted, for %d events", n, counted, events)
	}
}
