package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/actors"
	"nowserving/gateway/rabbit"
)

func TestIngestMakesTickets(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	d.queue("a")
	d.request("m1", "a", `,"service":"passport","priority":3,"customer":{"name":"Ada"},"payload":{"x":1}`)
	if got := d.services("a", 1); got != "passport" {
		t.Fatal(got)
	}
	ticket := d.waiting("a")[0]
	if ticket["source"] != "amqp" || ticket["number"] != "A001" || ticket["priority"] != 3.0 ||
		asJSON(ticket["customer"]) != `{"email":null,"name":"Ada","phone":null,"ref":null}` || asJSON(ticket["payload"]) != `{"x":1}` {
		t.Fatalf("the ticket: %s", asJSON(ticket))
	}
	d.settled()
	d.noneBuried()
}

// Numbers follow the order of publishing, in each of several queues.
func TestIngestKeepsOrder(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	queues := []string{"a", "b", "c"}
	for _, id := range queues {
		d.queue(id)
	}
	const each = 900
	for i := range each * len(queues) {
		d.request(fmt.Sprint("m", i), queues[i%len(queues)], fmt.Sprintf(`,"service":"%04d"`, i))
	}
	d.settled()
	for n, id := range queues {
		tickets := d.waiting(id)
		if len(tickets) != each {
			t.Fatalf("%d tickets in %s", len(tickets), id)
		}
		for i, ticket := range tickets {
			if want := fmt.Sprintf("%04d", i*len(queues)+n); ticket["service"] != want || !strings.HasSuffix(ticket["number"].(string), fmt.Sprintf("%03d", i+1)) {
				t.Fatalf("ticket %d of %s is %v, number %v", i, id, ticket["service"], ticket["number"])
			}
		}
	}
	if d.count(actors.ResultAccepted) != each*len(queues) {
		t.Fatalf("counted %d", d.count(actors.ResultAccepted))
	}
}

func TestIngestTakesCloudEvents(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	d.queue("a")
	const data = `{"queue":"a","service":"%s"}`
	structured := `{"specversion":"1.0","id":"%s","source":"/shop","type":"request","subject":"s","myextension":7,`
	for _, m := range []amqp.Publishing{
		{ContentType: "application/cloudevents+json; charset=UTF-8", Body: fmt.Appendf(nil, structured+`"data":`+data+`}`, "e1", "structured")},
		{ContentType: "application/cloudevents+json", Body: fmt.Appendf(nil, structured+`"data_base64":"%s"}`, "e2", "eyJxdWV1ZSI6ImEiLCJzZXJ2aWNlIjoiYmFzZTY0In0=")},
		{ContentType: "application/json", Headers: amqp.Table{"cloudEvents:specversion": "1.0", "cloudEvents:id": "e3", "cloudEvents:source": "/shop", "cloudEvents:type": "request"}, Body: fmt.Appendf(nil, data, "colon")},
		{ContentType: "application/json", Headers: amqp.Table{"cloudEvents_specversion": "1.0", "cloudEvents_id": "e4", "cloudEvents_source": "/shop", "cloudEvents_type": "request"}, Body: fmt.Appendf(nil, data, "underscore")},
		// A duplicate by the event's id, in the other mode.
		{ContentType: "application/cloudevents+json", Body: fmt.Appendf(nil, structured+`"data":`+data+`}`, "e3", "colon")},
		// The same id of another source is another event's; a long one is as good.
		{ContentType: "application/cloudevents+json", Body: fmt.Appendf(nil, `{"specversion":"1.0","id":"e3","source":"/other","type":"t","data":`+data+`}`, "another")},
		{ContentType: "application/cloudevents+json", Body: fmt.Appendf(nil, structured+`"data":`+data+`}`, strings.Repeat("ü", 400), "long")},
		// The message id goes before the event's.
		{MessageId: "m1", ContentType: "application/cloudevents+json", Body: fmt.Appendf(nil, structured+`"data":`+data+`}`, "e1", "other")},
		// Neither: each delivery for itself.
		{ContentType: "application/cloudevents+json", Body: fmt.Appendf(nil, `{"specversion":"1.0","source":"/s","type":"t","data":`+data+`}`, "self")},
		{Body: fmt.Appendf(nil, data, "self")},
		{Body: fmt.Appendf(nil, data, "self")},
	} {
		d.publish(m)
	}
	d.settled()
	d.noneBuried()
	if got := d.services("a", 10); got != "structured base64 colon underscore another long other self self self" {
		t.Fatal(got)
	}
}

func TestIngestKnowsDuplicates(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	d.queue("a")
	d.queue("b")
	for range 3 {
		d.request("m1", "a", `,"service":"one","customer":{"name":"Ada"}`)
	}
	d.publish(amqp.Publishing{MessageId: "m1", Body: []byte(` {"service":"one", "customer":{"name":"Ada"}, "queue":"a"}`)})
	d.request("m1", "b", `,"service":"one"`) // a key is of a queue
	d.settled()
	d.noneBuried()
	d.request("m1", "a", `,"service":"one","customer":{"name":"Bob"}`)
	if code := d.buried().Headers[rabbit.HeaderError]; code != "idempotency_key_reused" {
		t.Fatalf("the same key with another body: %v", code)
	}
	// Another user's key is another key.
	d.ok(call{method: "POST", path: "/queues/a/tickets", key: "m1", body: `{"service":"two"}`})
	d.settled()
	if got := d.services("a", 2) + ", " + d.services("b", 1); got != "one two, one" {
		t.Fatal(got)
	}
	if d.count(actors.ResultAccepted) != 2 || d.count(actors.ResultDuplicate) != 3 || d.count(actors.ResultDead) != 1 {
		t.Fatalf("counted %d, %d and %d", d.count(actors.ResultAccepted), d.count(actors.ResultDuplicate), d.count(actors.ResultDead))
	}
}

func TestIngestBuriesWhatCannotSucceed(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	d.queue("a")
	d.queue("shut")
	d.ok(call{method: "PATCH", path: "/queues/shut", body: `{"status":"closed"}`})
	event := amqp.Table{"cloudEvents:specversion": "1.0", "cloudEvents:id": "e", "cloudEvents:source": "/s", "cloudEvents:type": "t"}
	for i, c := range []struct {
		code, detail string
		m            amqp.Publishing
	}{
		{"invalid", "not valid JSON", amqp.Publishing{Body: []byte(`{"queue":"a"`)}},
		{"invalid", "UTF-8", amqp.Publishing{Body: []byte("{\"queue\":\"a\",\"service\":\"\xff\"}")}},
		{"invalid", "queue is required", amqp.Publishing{}},
		{"invalid", "queue is required", amqp.Publishing{Body: []byte(`{"service":"x"}`)}},
		{"invalid", "queue must be a string", amqp.Publishing{Body: []byte(`{"queue":7}`)}},
		{"invalid", "A JSON object", amqp.Publishing{Body: []byte(`[]`)}},
		{"invalid", "colour is not known", amqp.Publishing{Body: []byte(`{"queue":"a","colour":"red"}`)}},
		{"invalid", "a field is not known", amqp.Publishing{Body: []byte(`{"queue":"a","customer":{"Ada Example":1}}`)}},
		{"invalid", "priority must be 0 to 9", amqp.Publishing{Body: []byte(`{"queue":"a","priority":10}`)}},
		{"invalid", "message-id must be", amqp.Publishing{Body: []byte(`{"queue":"a"}`), MessageId: strings.Repeat("k", 129)}},
		{"too_large", "payload", amqp.Publishing{Body: []byte(`{"queue":"a","payload":"` + strings.Repeat("x", maxPayload) + `"}`)}},
		{"too_large", "body", amqp.Publishing{Body: []byte(`{"queue":"a","payload":"` + strings.Repeat("x", maxBody) + `"}`)}},
		{"queue_not_found", "", amqp.Publishing{Body: []byte(`{"queue":"nowhere"}`)}},
		{"queue_not_found", "", amqp.Publishing{Body: []byte(`{"queue":"No Queue's Name"}`)}},
		{"queue_closed", "", amqp.Publishing{Body: []byte(`{"queue":"shut"}`)}},
		{"invalid", "specversion", amqp.Publishing{ContentType: cloudEventsJSON, Body: []byte(`{"specversion":"0.3","id":"1","type":"t","source":"/s","data":{"queue":"a"}}`)}},
		{"invalid", "queue is required", amqp.Publishing{ContentType: cloudEventsJSON, Body: []byte(`{"specversion":"1.0","id":"1","type":"t","source":"/s"}`)}},
		{"invalid", "type must be given", amqp.Publishing{Headers: amqp.Table{"cloudEvents_specversion": "1.0", "cloudEvents_source": "/s"}, Body: []byte(`{"queue":"a"}`)}},
		{"invalid", "single ones", amqp.Publishing{ContentType: "application/cloudevents-batch+json", Body: []byte(`[]`)}},
		{"queue_not_found", "", amqp.Publishing{Headers: event, ContentType: "application/json", Body: []byte(`{"queue":"nowhere"}`)}},
	} {
		c.m.AppId = "shop"
		if c.m.MessageId == "" {
			c.m.MessageId = fmt.Sprint("m", i)
		}
		d.publish(c.m)
		letter := d.buried()
		code, detail := letter.Headers[rabbit.HeaderError], fmt.Sprint(letter.Headers[rabbit.HeaderDetail])
		if code != c.code || !strings.Contains(detail, c.detail) || strings.Contains(detail, "Ada") {
			t.Errorf("%s: %v: %s", c.m.Body[:min(60, len(c.m.Body))], code, detail)
		}
		if string(letter.Body) != string(c.m.Body) || letter.MessageId != c.m.MessageId || letter.ContentType != c.m.ContentType ||
			letter.AppId != "shop" || letter.RoutingKey != "some.key" || letter.DeliveryMode != amqp.Persistent {
			t.Errorf("%s: it is not as it came: %+v", c.m.Body[:min(60, len(c.m.Body))], letter)
		}
		for name, value := range c.m.Headers {
			if letter.Headers[name] != value {
				t.Errorf("header %s is %v", name, letter.Headers[name])
			}
		}
		if died, err := time.Parse(time.RFC3339, fmt.Sprint(letter.Headers[rabbit.HeaderFirstDeath])); err != nil || time.Since(died) > patience {
			t.Errorf("first death: %v", letter.Headers[rabbit.HeaderFirstDeath])
		}
	}
	// It keeps the time of its first death.
	d.publish(amqp.Publishing{Headers: amqp.Table{rabbit.HeaderFirstDeath: "2020-01-01T00:00:00Z", rabbit.HeaderError: "queue_full"}, Body: []byte(`{"queue":"shut"}`)})
	letter := d.buried()
	if letter.Headers[rabbit.HeaderFirstDeath] != "2020-01-01T00:00:00Z" || letter.Headers[rabbit.HeaderError] != "queue_closed" || letter.Headers[rabbit.HeaderQueue] != "shut" {
		t.Errorf("died again: %v", letter.Headers)
	}
	d.settled()
	if n := len(d.waiting("a")); n != 0 {
		t.Errorf("%d tickets", n)
	}
}

// A queue that is full has its requests wait, in order, while others go on.
func TestIngestWaitsForAFullQueue(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	d.queue("a", `,"capacity":2`)
	d.queue("b")
	for i := range 8 {
		d.request(fmt.Sprint("a", i), "a", fmt.Sprintf(`,"service":"a%d"`, i))
		d.request(fmt.Sprint("b", i), "b", fmt.Sprintf(`,"service":"b%d"`, i))
	}
	if got := d.services("b", 8); got != "b0 b1 b2 b3 b4 b5 b6 b7" {
		t.Fatal(got)
	}
	if got := d.services("a", 2); got != "a0 a1" {
		t.Fatal(got)
	}
	d.eventually("others are acknowledged", func() bool { return d.ingestion.Underway() == 6 })
	for i := range 6 {
		d.skew.Add(int64(50 * time.Second)) // room comes before the minute is over
		d.ok(call{method: "POST", path: "/queues/a/call-next", body: fmt.Sprintf(`{"desk":"%d"}`, i)})
		active := d.ok(call{method: "GET", path: "/queues/a/tickets?state=called"}).json["items"].([]any)[0].(map[string]any)
		if active["service"] != fmt.Sprint("a", i) {
			t.Fatalf("called %v", active["service"])
		}
		d.ok(call{method: "POST", path: fmt.Sprintf("/queues/a/tickets/%v/complete", active["id"]), body: `{}`})
		want := fmt.Sprintf("a%d a%d", i+1, i+2)
		d.eventually(want, func() bool { return d.services("a", 1) == want })
	}
	d.settled()
	d.noneBuried()
}

// After a minute a full queue's requests are buried, in order, and it is not
// overshot; what comes when there is room again is taken.
func TestIngestBuriesAfterAMinuteOfFullness(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	d.queue("a", `,"capacity":2`)
	for i := range 5 {
		d.request(fmt.Sprint("m", i), "a", fmt.Sprintf(`,"service":"s%d"`, i))
	}
	d.services("a", 2)
	d.eventually("three wait", func() bool { return d.ingestion.Underway() == 3 })
	for range 59 {
		d.skew.Add(int64(time.Second))
	}
	d.noneBuried()
	// A duplicate of one that was taken is one even now.
	d.request("m0", "a", `,"service":"s0"`)
	d.skew.Add(int64(2 * time.Second))
	for i := 2; i < 5; i++ {
		letter := d.buried()
		if letter.MessageId != fmt.Sprint("m", i) || letter.Headers[rabbit.HeaderError] != "queue_full" {
			t.Fatalf("dead letter %d: %s %v", i, letter.MessageId, letter.Headers)
		}
	}
	d.request("m5", "a", `,"service":"s5"`) // it is full still
	if letter := d.buried(); letter.MessageId != "m5" || letter.Headers[rabbit.HeaderError] != "queue_full" {
		t.Fatalf("%s %v", letter.MessageId, letter.Headers)
	}
	d.settled()
	d.ok(call{method: "PATCH", path: "/queues/a", body: `{"capacity":4}`})
	d.request("m6", "a", `,"service":"s6"`)
	if got := d.services("a", 3); got != "s0 s1 s6" {
		t.Fatal(got)
	}
	// Its minute begins anew.
	d.request("m7", "a", `,"service":"s7"`)
	d.request("m8", "a", `,"service":"s8"`)
	if got := d.services("a", 4); got != "s0 s1 s6 s7" {
		t.Fatal(got)
	}
	d.eventually("one waits", func() bool { return d.ingestion.Underway() == 1 })
	d.noneBuried()
	if d.count(actors.ResultDuplicate) != 1 {
		t.Errorf("%d duplicates", d.count(actors.ResultDuplicate))
	}
}

// rules is a filter for tests.
type rules struct {
	away  atomic.Bool
	asked atomic.Int64
}

func (r *rules) Route(_ context.Context, request *ServiceRequest) (Route, error) {
	r.asked.Add(1)
	seven := 7
	switch {
	case r.away.Load():
		return Route{}, errors.New("away")
	case request.Type == "spam" || request.RoutingKey != "some.key":
		return Route{Refused: true, Rule: "no-spam"}, nil
	case strings.Contains(string(request.Body), "vip"):
		return Route{Queue: "b", Priority: &seven}, nil
	}
	return Route{Queue: request.Queue}, nil
}

func TestIngestAsksTheRules(t *testing.T) {
	t.Parallel()
	r := &rules{}
	d := startDrain(t, func(o *Options) { o.Filter = r })
	d.queue("a")
	d.queue("b")
	d.request("m1", "a", `,"service":"one"`)
	d.request("m2", "a", `,"service":"vip"`)
	d.publish(amqp.Publishing{
		MessageId: "m3", Body: []byte(`{"queue":"a"}`),
		Headers: amqp.Table{"cloudEvents:specversion": "1.0", "cloudEvents:source": "/s", "cloudEvents:type": "spam"},
	})
	if letter := d.buried(); letter.Headers[rabbit.HeaderError] != "filtered" || !strings.Contains(letter.Headers[rabbit.HeaderDetail].(string), "no-spam") {
		t.Fatalf("%v", letter.Headers)
	}
	d.settled()
	if got := d.services("a", 1) + " " + d.services("b", 1); got != "one vip" || d.waiting("b")[0]["priority"] != 7.0 {
		t.Fatal(got)
	}
	// Where they cannot be asked, requests wait, and their order is kept.
	r.away.Store(true)
	asked := r.asked.Load()
	for i := range 5 {
		d.request(fmt.Sprint("w", i), "a", fmt.Sprintf(`,"service":"w%d"`, i))
	}
	d.eventually("the rules were asked again and again", func() bool { return r.asked.Load() > asked+3 })
	r.away.Store(false)
	if got := d.services("a", 6); got != "one w0 w1 w2 w3 w4" {
		t.Fatal(got)
	}
}

// What a node has under way when it leaves it finishes; the rest it gives back,
// and another one goes on in order.
func TestIngestDrainsWhenItEnds(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	d.queue("a", `,"capacity":900`)
	const n = 900
	for i := range n {
		d.request(fmt.Sprint("m", i), "a", fmt.Sprintf(`,"service":"%03d"`, i))
		if i%300 == 299 {
			d.end()
			d.run()
		}
	}
	d.settled()
	d.noneBuried()
	tickets := d.waiting("a")
	if len(tickets) != n {
		t.Fatalf("%d tickets", len(tickets))
	}
	for i, ticket := range tickets {
		if ticket["service"] != fmt.Sprintf("%03d", i) {
			t.Fatalf("ticket %d is %v", i, ticket["service"])
		}
	}
	if got := d.count(actors.ResultAccepted); got != n {
		t.Errorf("%d accepted, %d duplicates", got, d.count(actors.ResultDuplicate))
	}
}

// What somebody deletes under a node is declared again.
func TestIngestDeclaresAgainWhatIsGone(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	d.queue("a")
	for _, name := range []string{rabbit.Requests, rabbit.Dead} {
		if _, err := d.channel.QueueDelete(name, false, false, false); err != nil {
			t.Fatal(err)
		}
	}
	d.eventually("the queue is drained again", func() bool {
		d.request("m1", "a", `,"service":"one"`)
		return len(d.waiting("a")) == 1
	})
	d.request("m2", "none") // there may be no queue to bury it in yet
	d.eventually("there is one for dead letters again", func() bool {
		ch, err := d.conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if d.dead, err = ch.Consume(rabbit.Dead, "", true, false, false, false, nil); err != nil {
			return false // and the channel is closed
		}
		d.channel = ch
		return true
	})
	if letter := d.buried(); letter.MessageId != "m2" || letter.Headers[rabbit.HeaderError] != "queue_not_found" {
		t.Fatalf("%s %v", letter.MessageId, letter.Headers)
	}
}
