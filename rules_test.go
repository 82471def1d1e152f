package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
	"nowserving/persistence/directory"
)

// outside is a program that publishes service requests.
type outside struct {
	t    testing.TB
	conn *rabbit.Conn
}

func newOutside(t testing.TB, url string) *outside {
	t.Helper()
	conn, err := rabbit.New(rabbit.Options{URL: url, Name: "outside", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = conn.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return &outside{t, conn}
}

func (o *outside) publish(id, body string, headers amqp.Table) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := o.conn.Session(ctx)
	if err != nil {
		o.t.Fatal(err)
	}
	p, err := s.NewPublisher(1)
	if err != nil {
		o.t.Fatal(err)
	}
	defer p.Close()
	m := rabbit.Message{Exchange: rabbit.Requests, Key: "requests.north", Mandatory: true, Publishing: amqp.Publishing{
		MessageId: id, ContentType: "application/json", Headers: headers, Body: []byte(body),
	}}
	if _, err := p.Publish(ctx, m); err != nil {
		o.t.Fatal(err)
	}
}

// line gives the waiting tickets of a queue: service and priority.
func (c *caller) line(t testing.TB, url, queue string) string {
	t.Helper()
	var list struct {
		Items []struct {
			Service  string
			Priority int
			Source   string
		}
	}
	if err := json.Unmarshal([]byte(c.must(t, url, "GET", "/queues/"+queue+"/tickets", "").body), &list); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, i := range list.Items {
		all = append(all, fmt.Sprint(i.Service, "/", i.Priority, "/", i.Source))
	}
	return strings.Join(all, " ")
}

type letters struct {
	Items []struct{ ID, Queue, Code, Detail, At string }
}

func (c *caller) letters(t testing.TB, url string) letters {
	t.Helper()
	var l letters
	if err := json.Unmarshal([]byte(c.must(t, url, "GET", "/dead-letters", "").body), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// A rule refuses, one routes elsewhere with a priority, one cannot be evaluated.
// What was refused is listed, tried on other rules, sent again when these are
// saved, and becomes a ticket once.
func TestRulesFromEndToEnd(t *testing.T) {
	t.Parallel()
	broker := rabbittest.Start(t)
	p := startNode(t, t.TempDir(), "--amqp-url", broker)
	c, sender := admin(t, p.url), newOutside(t, broker)
	c.must(t, p.url, "POST", "/queues", `{"id":"hall"}`)
	c.must(t, p.url, "POST", "/queues", `{"id":"vips"}`)
	c.must(t, p.url, "PUT", "/queues/hall/rules", `{"items":[
		{"name":"No tests","when":"headers.?test.orValue(false) == true","action":"refuse"},
		{"name":"VIP","when":"has(request.payload.vip) && request.payload.vip","action":"take","queue":"vips","priority":"request.priority + 5"},
		{"name":"Adults","when":"request.payload.age < 18","action":"refuse"}]}`)
	// What is set holds on this node at once.
	sender.publish("m1", `{"queue":"hall","service":"one","payload":{"age":40}}`, nil)
	sender.publish("m2", `{"queue":"hall","service":"two","priority":2,"payload":{"vip":true}}`, nil)
	sender.publish("m3", `{"queue":"hall","service":"three","payload":{"age":40}}`, amqp.Table{"test": true})
	sender.publish("m4", `{"queue":"hall","service":"four"}`, nil)
	sender.publish("m5", `{"queue":"vips","service":"five","payload":{"age":4}}`, nil) // other queues have no rules
	eventually(t, "all five have been decided on", func() bool {
		return len(c.letters(t, p.url).Items) == 2 && c.line(t, p.url, "hall") != "" && strings.Contains(c.line(t, p.url, "vips"), "five")
	})
	if hall, vips := c.line(t, p.url, "hall"), c.line(t, p.url, "vips"); hall != "one/0/amqp" || vips != "two/7/amqp five/0/amqp" {
		t.Fatalf("hall: %s; vips: %s", hall, vips)
	}
	dead := c.letters(t, p.url).Items
	if dead[0].Code != "filtered" || dead[0].Queue != "hall" || !strings.HasSuffix(dead[0].Detail, ": No tests") ||
		dead[1].Code != "filtered" || !strings.Contains(dead[1].Detail, ": Adults (it asks for something that the message does not have") {
		t.Fatalf("%+v", dead)
	}

	// Sent again under the same rules it dies again, under its old id.
	c.must(t, p.url, "POST", "/dead-letters/"+dead[1].ID+"/resend", "")
	eventually(t, "it died again", func() bool { return len(c.letters(t, p.url).Items) == 2 })
	if again := c.letters(t, p.url).Items; again[1].ID != dead[1].ID || again[1].At != dead[1].At {
		t.Fatalf("%+v, before %+v", again[1], dead[1])
	}

	better := `"items":[{"name":"Adults","when":"request.payload.?age.orValue(99) < 18","action":"refuse"},{"name":"Rest","when":"true","action":"take","priority":1}]`
	tried := c.must(t, p.url, "POST", "/queues/hall/rules/test", `{`+better+`,"dead_letters":true}`)
	if strings.Count(tried.body, `"outcome":"taken","queue":"hall","priority":1`) != 2 {
		t.Fatalf("%s", tried.body)
	}
	c.must(t, p.url, "PUT", "/queues/hall/rules", `{`+better+`}`)
	resent := c.must(t, p.url, "POST", "/dead-letters/resend", fmt.Sprintf(`{"ids":[%q,%q]}`, dead[0].ID, dead[1].ID))
	if !strings.HasSuffix(resent.body, `"missing":[]}`) {
		t.Fatalf("%s", resent.body)
	}
	const after = "three/1/amqp four/1/amqp one/0/amqp"
	eventually(t, "both became tickets", func() bool { return c.line(t, p.url, "hall") == after })
	if left := c.letters(t, p.url).Items; len(left) != 0 {
		t.Fatalf("%+v", left)
	}
	sender.publish("m3", `{"queue":"hall","service":"three","payload":{"age":40}}`, amqp.Table{"test": true})
	sender.publish("m6", `{"queue":"hall","service":"six"}`, nil)
	eventually(t, "the last one came", func() bool { return c.line(t, p.url, "hall") != after })
	if hall := c.line(t, p.url, "hall"); hall != "three/1/amqp four/1/amqp six/1/amqp one/0/amqp" {
		t.Fatalf("a duplicate made a ticket: %s", hall)
	}
	if log := p.log(); strings.Contains(log, "orValue") || strings.Contains(log, "three") {
		t.Errorf("the log tells of rules or requests:\n%s", log)
	}
}

// A change through one node holds on another within two seconds.
func TestRulesReachOtherNodes(t *testing.T) {
	t.Parallel()
	broker, dir := rabbittest.Start(t), t.TempDir()
	p := startNode(t, dir, "--amqp-url", broker)
	c, sender := admin(t, p.url), newOutside(t, broker)
	c.must(t, p.url, "POST", "/queues", `{"id":"hall"}`)
	d := openedDirectory(t, dir)
	if _, err := d.PutRules(t.Context(), ruleList("hall", `[{"name":"no","when":"true","action":"refuse","queue":null,"priority":null}]`), nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i := 0; len(c.letters(t, p.url).Items) == 0; i++ {
		sender.publish(fmt.Sprint("m", i), `{"queue":"hall"}`, nil)
		if time.Since(began) > patience {
			t.Fatal("the change is never noticed")
		}
	}
	if took := time.Since(began); took > 5*time.Second { // two, and what a busy machine takes
		t.Errorf("noticed after %s", took)
	}
}

// openedDirectory is what another node would have of the same database.
func openedDirectory(t testing.TB, dir string) *directory.Directory {
	t.Helper()
	d, err := directory.Open(t.Context(), directory.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func ruleList(queue, rules string) directory.RuleList {
	return directory.RuleList{Queue: queue, QueueVersion: 1, Rules: []byte(rules)}
}
