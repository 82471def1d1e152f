package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
	"nowserving/persistence/redistest"
)

// customerMarker is in every customer and payload, and must be in no message.
const customerMarker = "Ada-Lovelace-5550100"

// audience consumes all events from a queue of its own, through restarts of
// RabbitMQ, and holds the first time of each against the one before.
type audience struct {
	t    testing.TB
	conn *rabbit.Conn

	mu      sync.Mutex
	last    map[string]uint64
	epochs  map[string]string
	repeats int
	wrong   string
	lag     time.Duration // the longest between an event and its arrival, since it was looked at
}

const audienceQueue = "audience"

func newAudience(t testing.TB, url string) *audience {
	t.Helper()
	conn, err := rabbit.New(rabbit.Options{URL: url, Name: t.Name(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a := &audience{t: t, conn: conn, last: map[string]uint64{}, epochs: map[string]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	running.Go(func() { _ = conn.Run(ctx) })
	waiting, stop := context.WithTimeout(ctx, patience)
	defer stop()
	s, err := conn.Session(waiting)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := s.Channel()
	if err != nil {
		t.Fatal(err)
	}
	// RabbitMQ 3.10 can lose the log of a quorum queue that is killed right after
	// it was declared; nothing it then gets is ever confirmed.
	if _, err := ch.QueueDeclare(audienceQueue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(audienceQueue, "#", rabbit.Events, false, nil); err != nil {
		t.Fatal(err)
	}
	_ = ch.Close()
	running.Go(func() {
		for ctx.Err() == nil {
			a.consume(ctx)
		}
	})
	return a
}

// consume consumes for as long as one connection lasts.
func (a *audience) consume(ctx context.Context) {
	s, err := a.conn.Session(ctx)
	if err != nil {
		return
	}
	ch, err := s.Channel()
	if err != nil {
		return
	}
	defer ch.Close()
	_ = ch.Qos(2_000, 0, false)
	got, err := ch.Consume(audienceQueue, "", false, false, false, false, nil)
	if gone := (*amqp.Error)(nil); errors.As(err, &gone) && gone.Code == amqp.NotFound {
		a.mu.Lock()
		a.wrong = "RabbitMQ lost the audience's queue"
		a.mu.Unlock()
		<-ctx.Done()
		return
	}
	if err != nil {
		return
	}
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case d, open := <-got:
			if !open {
				return
			}
			a.hear(&d)
			if n%100 == 0 || len(got) == 0 {
				_ = d.Ack(true)
			}
		}
	}
}

func (a *audience) hear(d *amqp.Delivery) {
	var e struct {
		ID, Source, Type string
		Time             time.Time
		Data             struct {
			Queue, Event string
			Version      uint64
		}
	}
	err := json.Unmarshal(d.Body, &e)
	a.mu.Lock()
	defer a.mu.Unlock()
	q := e.Data.Queue
	switch {
	case a.wrong != "":
	case err != nil || d.RoutingKey != q+"."+e.Data.Event || e.ID != fmt.Sprintf("%s/%d", q, e.Data.Version) || e.Type != "nowserving."+e.Data.Event:
		a.wrong = fmt.Sprintf("%v: %s", err, d.Body)
	case bytes.Contains(d.Body, []byte(customerMarker)):
		a.wrong = "a customer is in " + e.ID
	case e.Data.Version > a.last[q]+1:
		a.wrong = fmt.Sprintf("%s came after version %d", e.ID, a.last[q])
	case e.Data.Version <= a.last[q]:
		a.repeats++
	default:
		a.last[q] = e.Data.Version
		a.lag = max(a.lag, time.Since(e.Time))
		if a.epochs[q] == "" {
			a.epochs[q] = e.Source
		}
		if e.Source != a.epochs[q] || !strings.HasPrefix(e.Source, "/nowserving/queues/"+q+"/epochs/") {
			a.wrong = fmt.Sprintf("%s has source %s", e.ID, e.Source)
		}
	}
}

// heard gives the newest version of a queue that came, and fails the test where
// something was wrong.
func (a *audience) heard(queue string) uint64 {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wrong != "" {
		a.t.Fatal(a.wrong)
	}
	return a.last[queue]
}

// Every event of every queue reaches RabbitMQ in order and without customer
// data, through kills of RabbitMQ and of the node in mid-stream; while RabbitMQ
// is away commands go on.
func TestEveryEventIsPublishedThroughKills(t *testing.T) {
	t.Parallel()
	redis, server := redistest.StartWith(t, redistest.Options{}), rabbittest.StartPrivate(t)
	dir := t.TempDir()
	start := func() *process { return startNode(t, dir, "--redis-url", redis.URL(), "--amqp-url", server.URL()) }
	node := start()
	heard := newAudience(t, server.URL())
	who := admin(t, node.url)
	queues := []string{"post", "bank", "cafe", "dock"}
	for _, q := range queues {
		who.must(t, node.url, "POST", "/queues", fmt.Sprintf(`{"id":%q}`, q))
	}
	var url atomic.Pointer[string]
	url.Store(&node.url)
	stop := make(chan struct{})
	var done atomic.Int64
	var workers sync.WaitGroup
	for _, q := range queues {
		for range 4 {
			workers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					path, body := "/queues/"+q+"/tickets", fmt.Sprintf(`{"customer":{"name":%q},"payload":{"note":%[1]q}}`, customerMarker)
					if i%3 == 2 {
						path, body = "/queues/"+q+"/call-next", `{}`
					}
					// Whatever the kills leave unanswered is not asked again: only
					// what stands in the journal counts here.
					if a, err := who.call(*url.Load(), "POST", path, body, ""); err == nil && a.status < 300 {
						done.Add(1)
					}
				}
			})
		}
	}
	more := func(what string) { // commands go on
		t.Helper()
		before := done.Load()
		eventually(t, "commands go on "+what, func() bool { return done.Load() > before+100 })
	}
	more("at first")
	// One that never was ready would be starting still.
	eventually(t, "the node is ready", func() bool { return ready(t, node.url) == "200 ready" })
	// What was declared a moment ago may not outlive a kill: this is not about that.
	if err := server.Settle(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	eventually(t, "/readyz names rabbitmq", func() bool {
		a := get(t, node.url+"/readyz")
		return a.status == 200 && strings.Contains(a.body, `"rabbitmq"`)
	})
	more("without RabbitMQ")
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	more("with RabbitMQ again")
	for range 2 {
		before := heard.heard("post")
		eventually(t, "events come", func() bool { return heard.heard("post") > before+20 })
		node.kill()
		node = start()
		url.Store(&node.url)
		more("after the node was killed")
	}
	if err := server.Bounce(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	node.kill()
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	node = start()
	url.Store(&node.url)
	more("after both were killed")
	close(stop)
	workers.Wait()
	for _, q := range queues {
		version := who.must(t, node.url, "GET", "/queues/"+q, "").version()
		eventually(t, "all events of "+q, func() bool { return heard.heard(q) >= version })
		if at := heard.heard(q); at != version {
			t.Errorf("%s is at version %d, and event %d came", q, version, at)
		}
	}
	t.Logf("%d commands, %d repeats", done.Load(), heard.repeats)
}
