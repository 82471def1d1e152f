package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/actors"
	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
)

func TestMain(m *testing.M) { os.Exit(rabbittest.Run(m)) }

// intakeEnv is an env that drains a virtual host of a real RabbitMQ.
type intakeEnv struct {
	*env
	url       string
	conn      *amqp.Connection // the test's own
	channel   *amqp.Channel
	dead      <-chan amqp.Delivery
	ingestion *actors.Ingestion
	end       func() // what a node does when it leaves
	counts    sync.Map
	published int
	room      int
}

func startDrain(t *testing.T, options ...func(*Options)) *intakeEnv {
	t.Helper()
	return startDrainOf(t, rabbittest.Start(t), options...)
}

func startDrainOf(t *testing.T, url string, options ...func(*Options)) *intakeEnv {
	t.Helper()
	d := &intakeEnv{env: start(t, options...), url: url, room: rabbit.Prefetch}
	d.run()
	var err error
	if d.conn, err = amqp.Dial(d.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.conn.Close() })
	if d.channel, err = d.conn.Channel(); err != nil {
		t.Fatal(err)
	}
	if d.dead, err = d.channel.Consume(rabbit.Dead, "", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	return d
}

// run does what a node's root does, until end.
func (d *intakeEnv) run() {
	d.t.Helper()
	log := slog.New(slog.DiscardHandler)
	var conns [2]*rabbit.Conn
	up, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i, name := range []string{"ingest", "publish"} {
		c, err := rabbit.New(rabbit.Options{URL: d.url, Name: name, Guarded: i == 0, Log: log})
		if err != nil {
			d.t.Fatal(err)
		}
		running.Go(func() { _ = c.Run(up) })
		conns[i] = c
	}
	d.ingestion = actors.StartIngestion(actors.IngestionDeps{
		System: sharedNode(d.t).System(), Queues: d.queues, Open: d.gateway.OpenDelivery,
		Bury: rabbit.NewDeadLetters(conns[1]).Bury, Room: d.room, Now: d.now, Log: log,
		Settled: func(result, _ string, _ time.Duration) {
			before, _ := d.counts.LoadOrStore(result, 0)
			d.counts.Store(result, before.(int)+1)
		},
	})
	consuming, leave := context.WithCancel(context.Background())
	consumed := make(chan struct{})
	consumer := rabbit.NewConsumer(conns[0], d.ingestion, log)
	go func() {
		defer close(consumed)
		_ = consumer.Run(consuming)
	}()
	d.end = sync.OnceFunc(func() {
		leave()
		<-consumed
		d.ingestion.Stop()
		stop()
		running.Wait()
	})
	d.t.Cleanup(d.end)
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	for _, c := range conns {
		if _, err := c.Session(ctx); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *intakeEnv) publish(m amqp.Publishing) {
	d.t.Helper()
	m.DeliveryMode = amqp.Persistent
	d.published++
	if err := d.channel.Publish(rabbit.Requests, "some.key", true, false, m); err != nil {
		d.t.Fatal(err)
	}
}

// request publishes a plain one; more are members of its body.
func (d *intakeEnv) request(id, queue string, more ...string) {
	d.t.Helper()
	d.publish(amqp.Publishing{MessageId: id, Body: []byte(fmt.Sprintf(`{"queue":%q%s}`, queue, strings.Join(more, "")))})
}

// eventually asks again and again until the answer is yes.
func (e *env) eventually(what string, ask func() bool) {
	e.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if ask() {
			return
		}
	}
	e.t.Fatalf("it did not come to be: %s", what)
}

// waiting gives the tickets that wait in a queue, in order.
func (d *intakeEnv) waiting(queue string) (all []map[string]any) {
	d.t.Helper()
	for _, item := range d.ok(call{method: "GET", path: "/queues/" + queue + "/tickets?state=waiting&limit=1000"}).json["items"].([]any) {
		all = append(all, item.(map[string]any))
	}
	return all
}

// services waits until a queue holds so many tickets, and gives their services.
func (d *intakeEnv) services(queue string, n int) string {
	d.t.Helper()
	d.eventually(fmt.Sprint(n, " tickets in ", queue), func() bool { return len(d.waiting(queue)) >= n })
	names := make([]string, 0, n)
	for _, ticket := range d.waiting(queue) {
		names = append(names, fmt.Sprint(ticket["service"]))
	}
	return strings.Join(names, " ")
}

// settled waits until something became of every request, and RabbitMQ knows.
func (d *intakeEnv) settled() {
	d.t.Helper()
	d.eventually("every request is acknowledged", func() bool {
		q, err := d.channel.QueueDeclarePassive(rabbit.Requests, true, false, false, false, nil)
		if err != nil {
			d.t.Fatal(err)
		}
		known := d.count(actors.ResultAccepted) + d.count(actors.ResultDuplicate) + d.count(actors.ResultDead)
		return known >= d.published && q.Messages == 0 && d.ingestion.Underway() == 0
	})
}

// buried waits for the next dead letter.
func (d *intakeEnv) buried() amqp.Delivery {
	d.t.Helper()
	select {
	case letter := <-d.dead:
		return letter
	case <-time.After(patience):
		d.t.Fatal("no dead letter")
		return amqp.Delivery{}
	}
}

// noneBuried fails where there is a dead letter already.
func (d *intakeEnv) noneBuried() {
	d.t.Helper()
	select {
	case letter := <-d.dead:
		d.t.Fatalf("a dead letter: %v %s", letter.Headers, letter.Body)
	default:
	}
}

func (d *intakeEnv) count(result string) int {
	n, _ := d.counts.LoadOrStore(result, 0)
	return n.(int)
}

func asJSON(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
