package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
)

// signal sends a signal that the process does not end with.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// underway is how many requests a node has and has not acknowledged.
func (p *process) underway() (n int) {
	p.t.Helper()
	for line := range strings.Lines(get(p.t, p.logged("operators are served", "url")+"/metrics").body) {
		_, _ = fmt.Sscanf(line, "nowserving_ingest_underway %d", &n)
	}
	return n
}

func waitingIn(t testing.TB, p *process, c *caller, id string) int {
	t.Helper()
	a, err := c.call(p.url, "GET", "/queues/"+id, "", "")
	if err != nil || a.status != 200 {
		return -1
	}
	return int(a.fields(t)["waiting"].(float64))
}

// A node that is paused loses its requests to another one, and when it goes on
// it brings none of them to its queue in the wrong place, or a second time.
func TestIngestionThroughPauses(t *testing.T) {
	t.Parallel()
	url := rabbittest.Start(t)
	nodes, _ := startMembers(t, 2, "--amqp-url", url)
	c := admin(t, nodes[0].url)
	s := startSlowSender(t, url, makeQueues(t, nodes[0], c, 5), 100*time.Millisecond)
	for i := range 3 {
		s.after(400)
		paused, other := nodes[i%2], nodes[(i+1)%2]
		paused.signal(syscall.SIGSTOP)
		s.after(400)
		eventually(t, "the other node serves", func() bool { return waitingIn(t, other, c, "line-0") >= 0 })
		before := waitingIn(t, other, c, "line-0")
		eventually(t, "the other node ingests", func() bool { return waitingIn(t, other, c, "line-0") > before+20 })
		paused.signal(syscall.SIGCONT)
		s.after(400)
		eventually(t, "the node is back", func() bool { return ready(t, paused.url) == "200 ready" })
	}
	s.prove(nodes[0], c)
}

// What one node has buried, another one that had it before and was paused does
// not make tickets of.
func TestPausedNodeBringsNothingThatWasBuried(t *testing.T) {
	t.Parallel()
	url := rabbittest.Start(t)
	nodes, _ := startMembers(t, 2, "--amqp-url", url, "--ops-addr", "127.0.0.1:0")
	c := admin(t, nodes[0].url)
	c.must(t, nodes[0].url, "POST", "/queues", `{"id":"a","capacity":1}`)
	conn, err := rabbit.New(rabbit.Options{URL: url, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = conn.Run(t.Context()) }()
	session, err := conn.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := session.NewPublisher(100)
	if err != nil {
		t.Fatal(err)
	}
	const n = 50
	var messages []rabbit.Message
	for i := range n {
		messages = append(messages, rabbit.Message{Exchange: rabbit.Requests, Key: "test", Mandatory: true, Publishing: amqp.Publishing{
			MessageId: fmt.Sprint(i), Body: fmt.Appendf(nil, `{"queue":"a","service":"%d"}`, i),
		}})
	}
	if _, err := p.Publish(t.Context(), messages...); err != nil {
		t.Fatal(err)
	}
	active := 0
	eventually(t, "a node has them", func() bool {
		active = slices.IndexFunc(nodes, func(p *process) bool { return p.underway() == n-1 })
		return active >= 0
	})
	paused, other := nodes[active], nodes[1-active]
	paused.signal(syscall.SIGSTOP)
	eventually(t, "the other node serves", func() bool { return waitingIn(t, other, c, "a") == 1 })
	c.must(t, other.url, "PATCH", "/queues/a", `{"capacity":null}`)
	c.must(t, other.url, "PATCH", "/queues/a", `{"status":"closed"}`)
	ch, err := session.Channel()
	if err != nil {
		t.Fatal(err)
	}
	letters, err := ch.Consume(rabbit.Dead, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	taken := waitingIn(t, other, c, "a") // one, and more that came in before the queue was closed
	for i := range n - taken {
		select {
		case letter := <-letters:
			if letter.MessageId != fmt.Sprint(taken+i) || letter.Headers[rabbit.HeaderError] != "queue_closed" {
				t.Fatalf("dead letter %d: %s %v", i, letter.MessageId, letter.Headers)
			}
		case <-time.After(patience):
			t.Fatalf("%d dead letters", i)
		}
	}
	c.must(t, other.url, "PATCH", "/queues/a", `{"status":"open"}`)
	paused.signal(syscall.SIGCONT)
	eventually(t, "the node is back", func() bool { return ready(t, paused.url) == "200 ready" })
	// Both nodes have lost what they had, and a request that comes now is the last.
	messages[0].Publishing.MessageId, messages[0].Publishing.Body = "last", []byte(`{"queue":"a","service":"last"}`)
	if _, err := p.Publish(t.Context(), messages[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is done", func() bool { return nodes[0].underway()+nodes[1].underway() == 0 })
	eventually(t, "the last one is there", func() bool { return waitingIn(t, other, c, "a") > taken })
	if all := allWaiting(t, other, c, "a"); len(all) != 1+taken || all[taken].Service != "last" {
		t.Errorf("%d tickets: %v", len(all), all)
	}
}
