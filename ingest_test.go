package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
	"nowserving/persistence/redistest"
)

// sender publishes requests to some queues in turn until it is told to end. What
// RabbitMQ may not have, it publishes again, in order, with the same message id.
type sender struct {
	t      testing.TB
	conn   *rabbit.Conn
	queues []string
	pace   time.Duration // between twenty and the next
	marks  chan int      // how many RabbitMQ has
	ended  chan struct{}
	end    context.CancelFunc
	sent   int // valid once ended
}

func startSender(t testing.TB, url string, queues []string) *sender {
	t.Helper()
	return startSlowSender(t, url, queues, time.Microsecond)
}

func startSlowSender(t testing.TB, url string, queues []string, pace time.Duration) *sender {
	t.Helper()
	conn, err := rabbit.New(rabbit.Options{URL: url, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &sender{t: t, conn: conn, queues: queues, pace: pace, marks: make(chan int), ended: make(chan struct{})}
	stop, end := context.WithCancel(ctx)
	s.end = end
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = conn.Run(ctx)
	}()
	go s.run(ctx, stop)
	t.Cleanup(func() {
		cancel()
		<-ran
		<-s.ended
	})
	return s
}

// isPoison tells which requests can never succeed.
func isPoison(i int) bool { return i%53 == 7 }

func (s *sender) message(i int) rabbit.Message {
	priority := 0
	if isPoison(i) {
		priority = 99
	}
	return rabbit.Message{Exchange: rabbit.Requests, Key: "test", Mandatory: true, Publishing: amqp.Publishing{
		MessageId: fmt.Sprint("request-", i),
		Body: fmt.Appendf(nil, `{"queue":%q,"service":"%d","priority":%d,"customer":{"name":"Ada"}}`,
			s.queues[i%len(s.queues)], i, priority),
	}}
}

func (s *sender) run(ctx, stop context.Context) {
	defer close(s.ended)
	tick := time.NewTicker(s.pace)
	defer tick.Stop()
	for stop.Err() == nil {
		session, err := s.conn.Session(ctx)
		if err != nil {
			return
		}
		p, err := session.NewPublisher(100)
		if err != nil {
			continue
		}
		for stop.Err() == nil {
			batch := make([]rabbit.Message, 20)
			for i := range batch {
				batch[i] = s.message(s.sent + i)
			}
			n, err := p.Publish(ctx, batch...)
			s.sent += n
			select {
			case s.marks <- s.sent:
			default:
			}
			if err != nil {
				break
			}
			<-tick.C
		}
		p.Close()
	}
}

// after waits until RabbitMQ has so many more requests.
func (s *sender) after(n int) {
	s.t.Helper()
	first := -1
	for sent := range s.marks {
		if first < 0 {
			first = sent
		}
		if sent-first >= n {
			return
		}
	}
}

// prove ends the sender and holds the queues against what it sent.
func (s *sender) prove(p *process, c *caller) {
	s.t.Helper()
	s.end()
	<-s.ended
	good := 0
	for i := range s.sent {
		if !isPoison(i) {
			good++
		}
	}
	eventually(s.t, "all requests are in their queues", func() bool {
		total := 0.0
		for _, id := range s.queues {
			total += c.must(s.t, p.url, "GET", "/queues/"+id, "").fields(s.t)["waiting"].(float64)
		}
		return total >= float64(good)
	})
	for n, id := range s.queues {
		request := n
		for i, ticket := range allWaiting(s.t, p, c, id) {
			for isPoison(request) {
				request += len(s.queues)
			}
			if ticket.Service != fmt.Sprint(request) || ticket.Number[1:] != fmt.Sprintf("%03d", i+1) {
				s.t.Fatalf("%s: ticket %d is request %s, number %s; want request %d", id, i, ticket.Service, ticket.Number, request)
			}
			request += len(s.queues)
		}
	}
	s.proveBurials()
	s.t.Logf("%d requests", s.sent)
}

// proveBurials waits until each poison is among the dead letters, and fails
// where anything else is.
func (s *sender) proveBurials() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	session, err := s.conn.Session(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	ch, err := session.Channel()
	if err != nil {
		s.t.Fatal(err)
	}
	letters, err := ch.Consume(rabbit.Dead, "", true, false, false, false, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	missing := make(map[string]bool)
	for i := range s.sent {
		if isPoison(i) {
			missing[fmt.Sprint("request-", i)] = true
		}
	}
	for len(missing) > 0 {
		select {
		case letter := <-letters:
			delete(missing, letter.MessageId)
			var i int
			if _, err := fmt.Sscanf(letter.MessageId, "request-%d", &i); err != nil || !isPoison(i) || letter.Headers[rabbit.HeaderError] != "invalid" {
				s.t.Fatalf("a dead letter: %s %v", letter.MessageId, letter.Headers)
			}
		case <-ctx.Done():
			s.t.Fatalf("%d requests are neither tickets nor dead letters", len(missing))
		}
	}
}

type waitingTicket struct{ ID, Number, Service, Source string }

func allWaiting(t testing.TB, p *process, c *caller, id string) (all []waitingTicket) {
	t.Helper()
	for after := ""; ; {
		var page struct {
			Items []waitingTicket
			Next  *string
		}
		a := c.must(t, p.url, "GET", "/queues/"+id+"/tickets?state=waiting&limit=1000"+after, "")
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Items...)
		if page.Next == nil {
			return all
		}
		after = "&after=" + *page.Next
	}
}

func makeQueues(t testing.TB, p *process, c *caller, n int) (ids []string) {
	t.Helper()
	for i := range n {
		id := fmt.Sprint("line-", i)
		c.must(t, p.url, "POST", "/queues", fmt.Sprintf(`{"id":%q}`, id))
		ids = append(ids, id)
	}
	return ids
}

// Requests are neither lost nor doubled nor taken out of order when the node,
// RabbitMQ and Redis are killed in the middle of them.
func TestIngestionThroughKills(t *testing.T) {
	t.Parallel()
	broker, store := rabbittest.StartPrivate(t), redistest.StartWith(t, redistest.Options{})
	dir := t.TempDir()
	args := []string{"--redis-url", store.URL(), "--amqp-url", broker.URL()}
	p := startNode(t, dir, args...)
	c := admin(t, p.url)
	s := startSender(t, broker.URL(), makeQueues(t, p, c, 5))
	const each = 300
	for range 2 {
		s.after(each)
		p.kill()
		p = startNode(t, dir, args...)
		s.after(each)
		if err := broker.Settle(); err != nil {
			t.Fatal(err)
		}
		broker.Kill()
		if err := broker.Restart(); err != nil {
			t.Fatal(err)
		}
		s.after(each)
		store.Kill()
		s.after(each) // they wait
		if err := store.Restart(); err != nil {
			t.Fatal(err)
		}
		s.after(each)
		if err := broker.Bounce(); err != nil {
			t.Fatal(err)
		}
		s.after(each)
		if code, _ := p.stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		p = startNode(t, dir, args...)
	}
	s.after(each)
	s.prove(p, admin(t, p.url))
	if log := p.log(); strings.Contains(log, "Ada") || strings.Contains(log, "guest:guest") {
		t.Errorf("the log tells what it must not:\n%s", log)
	}
}

// Of two nodes that ingest one does at a time. When it is killed or leaves, the
// other one goes on, in order.
func TestIngestionGoesOnAtAnotherNode(t *testing.T) {
	t.Parallel()
	url, store := rabbittest.Start(t), redistest.Start(t)
	key := "k1:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	args := []string{"--redis-url", store, "--amqp-url", url, "--data-keys", key, "--token-keys", key}
	dirs := [2]string{t.TempDir(), t.TempDir()} // they know nothing of each other yet but the journal
	var nodes [2]*process
	for i, dir := range dirs {
		nodes[i] = startNode(t, dir, args...)
		eventually(t, "the node is ready", func() bool { return ready(t, nodes[i].url) == "200 ready" })
	}
	s := startSender(t, url, makeQueues(t, nodes[0], admin(t, nodes[0].url), 3))
	for i := range 4 {
		s.after(400)
		gone := i % 2
		if i < 2 {
			nodes[gone].kill()
		} else if code, _ := nodes[gone].stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		s.after(400)
		nodes[gone] = startNode(t, dirs[gone], args...)
		eventually(t, "the node is ready", func() bool { return ready(t, nodes[gone].url) == "200 ready" })
	}
	s.after(400)
	s.prove(nodes[0], admin(t, nodes[0].url))
}

func downIs(t testing.TB, url string) string {
	t.Helper()
	a := get(t, url+"/readyz")
	return fmt.Sprint(a.status, " ", a.str(t, "status"), " ", a.fields(t)["down"])
}

func TestReadinessNamesRabbitMQ(t *testing.T) {
	t.Parallel()
	broker := rabbittest.StartPrivate(t)
	broker.Kill()
	p := startNode(t, t.TempDir(), "--amqp-url", broker.URL(), "--ops-addr", "127.0.0.1:0")
	eventually(t, "it waits for RabbitMQ", func() bool { return downIs(t, p.url) == "503 starting [rabbitmq]" })
	if err := broker.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is ready", func() bool { return downIs(t, p.url) == "200 ready []" })
	conn, err := amqp.Dial(broker.URL())
	if err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{rabbit.Requests, rabbit.Dead} {
		if q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil); err != nil || q.Consumers != map[string]int{rabbit.Requests: 1}[name] {
			t.Errorf("queue %s: %d consumers, %v", name, q.Consumers, err)
		}
	}
	if err := ch.ExchangeDeclarePassive(rabbit.Events, "topic", true, false, false, false, nil); err != nil {
		t.Error(err)
	}
	_ = conn.Close()
	broker.Kill()
	eventually(t, "it says what is down", func() bool { return downIs(t, p.url) == "200 ready [rabbitmq]" })
	c := admin(t, p.url)
	makeQueues(t, p, c, 1)
	c.must(t, p.url, "POST", "/queues/line-0/tickets", "{}")
	if err := broker.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is whole again", func() bool { return downIs(t, p.url) == "200 ready []" })
	metrics := get(t, p.logged("operators are served", "url")+"/metrics").body
	for _, want := range []string{`nowserving_ingest_requests_total{result="accepted"} 0`, "nowserving_ingest_ready 0", "nowserving_ingest_underway 0"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no metric %s", want)
		}
	}
	if n := strings.Count(p.log(), "RabbitMQ is not connected"); n != 4 { // two connections, two outages
		t.Errorf("%d lines about outages:\n%s", n, p.log())
	}
}

// A RabbitMQ that does not answer does not keep a node from leaving.
func TestSilentRabbitMQDoesNotKeepTheNode(t *testing.T) {
	t.Parallel()
	broker := rabbittest.StartPrivate(t)
	p := startNode(t, t.TempDir(), "--amqp-url", broker.URL())
	eventually(t, "it is ready", func() bool { return downIs(t, p.url) == "200 ready []" })
	if err := broker.Pause(); err != nil {
		t.Fatal(err)
	}
	if code, took := p.stop(); code != 0 || took > 15*time.Second {
		t.Errorf("exit code %d after %s", code, took)
	}
}

// A node without the role leaves requests alone.
func TestIngestionIsARole(t *testing.T) {
	t.Parallel()
	url := rabbittest.Start(t)
	p := startNode(t, t.TempDir(), "--amqp-url", url, "--roles", "gateway,actors")
	eventually(t, "it is ready", func() bool { return downIs(t, p.url) == "200 ready []" })
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclarePassive(rabbit.Requests, true, false, false, false, nil)
	if err != nil || q.Consumers != 0 {
		t.Errorf("%d consumers, %v", q.Consumers, err)
	}
}

func TestAMQPURLIsNotRepeated(t *testing.T) {
	t.Parallel()
	o := runProgram(t, "", nil, "--amqp-url", "http://me:s3cret@host/")
	if o.code != exitUsage || strings.Contains(o.stderr, "s3cret") || !strings.Contains(o.stderr, "--amqp-url") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	if _, err := readConfig([]string{"--amqp-url", "amqp:// x"}, func(string) string { return "" }); !errors.Is(err, errUsage) {
		t.Errorf("%v", err)
	}
}
