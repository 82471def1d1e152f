package gateway

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"nowserving/actors/queue"
	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
)

// damage ends a queue's journal with an entry that cannot be read.
func (d *intakeEnv) damage(id string) {
	d.t.Helper()
	var owner queue.OwnerID
	var op queue.OpID
	_, _ = rand.Read(owner[:])
	_, _ = rand.Read(op[:])
	head, err := d.journal.Claim(d.t.Context(), id, owner)
	if err != nil {
		d.t.Fatal(err)
	}
	answered := make(chan error, 1)
	entry := queue.Entry{First: head.Version + 1, Last: head.Version + 1, Op: op, Data: []byte("not an entry")}
	d.journal.Append(id, owner, head.Op, entry, func(err error) { answered <- err })
	if err := <-answered; err != nil {
		d.t.Fatal(err)
	}
}

// quiet fails where a dead letter comes in a second, in which what waits is
// tried several times.
func (d *intakeEnv) quiet() {
	d.t.Helper()
	select {
	case letter := <-d.dead:
		d.t.Fatalf("a dead letter: %s %v", letter.MessageId, letter.Headers)
	case <-time.After(time.Second):
	}
}

// More requests than were ever taken ahead wait for one queue, and others go on.
func TestIngestStuckQueueHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	d.queue("a", `,"capacity":1`)
	d.queue("b")
	const stuck = 12_000
	for i := range stuck {
		d.request(fmt.Sprint("a", i), "a", fmt.Sprintf(`,"service":"a%d"`, i))
	}
	for i := range 5 {
		d.request(fmt.Sprint("b", i), "b", fmt.Sprintf(`,"service":"b%d"`, i))
	}
	if got := d.services("b", 5); got != "b0 b1 b2 b3 b4" {
		t.Fatal(got)
	}
	d.eventually("only those that are stuck wait", func() bool { return d.ingestion.Underway() == stuck-1 })
	d.noneBuried()
	if age := d.ingestion.Oldest(); age <= 0 || age > patience {
		t.Errorf("the oldest has been here for %s", age)
	}
	d.ok(call{method: "PATCH", path: "/queues/a", body: `{"capacity":null}`})
	d.settled()
	for i, ticket := range d.waiting("a") {
		if ticket["service"] != fmt.Sprint("a", i) {
			t.Fatalf("ticket %d is %v", i, ticket["service"])
		}
	}
}

// The requests of a damaged queue wait, until there are so many that nothing
// else has room: then the oldest are buried, in order, and others go on.
func TestIngestDamagedQueueHoldsUpNoOtherForEver(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	d.end()
	d.room = 1_000
	d.run()
	d.queue("a")
	d.queue("b")
	d.damage("a")
	d.request("a0", "a")
	d.eventually("it waits", func() bool { return d.ingestion.Underway() == 1 })
	for i := range 5 {
		d.skew.Add(int64(2 * time.Minute))
		d.request(fmt.Sprint("b", i), "b", `,"service":"b"`)
		d.services("b", i+1)
	}
	d.quiet()
	for i := range d.room {
		d.request(fmt.Sprint("a", i+1), "a")
	}
	d.eventually("they wait", func() bool { return d.ingestion.Underway() > d.room })
	d.skew.Add(int64(2 * time.Minute))
	for i := range 100 {
		letter := d.buried()
		if letter.MessageId != fmt.Sprint("a", i) || letter.Headers[rabbit.HeaderError] != "unavailable" {
			t.Fatalf("dead letter %d: %s %v", i, letter.MessageId, letter.Headers)
		}
	}
	d.request("last", "b", `,"service":"last"`)
	d.services("b", 6)
	// No more of them than need be.
	d.eventually("the others wait", func() bool { return d.ingestion.Underway() < d.room*9/10 })
	if left := d.ingestion.Underway(); left < d.room/2 {
		t.Errorf("%d of %d are left", left, d.room)
	}
}

// What another node had before is not buried at once for a reason that may pass:
// that node may be about to bring it to its queue.
func TestIngestDoesNotBuryAtOnceWhatOthersHad(t *testing.T) {
	t.Parallel()
	d := startDrain(t)
	d.queue("a", `,"capacity":1`)
	for i := range 4 {
		d.request(fmt.Sprint("a", i), "a", fmt.Sprintf(`,"service":"a%d"`, i))
	}
	d.eventually("three wait", func() bool { return d.ingestion.Underway() == 3 })
	d.end()
	d.ok(call{method: "PATCH", path: "/queues/a", body: `{"capacity":null}`})
	d.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"closed"}`})
	d.run()
	d.request("a4", "a", `,"service":"a4"`)
	d.request("b0", "nowhere")
	if letter := d.buried(); letter.MessageId != "b0" { // nobody had it
		t.Fatalf("%s %v", letter.MessageId, letter.Headers)
	}
	d.quiet()
	d.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"open"}`})
	if got := d.services("a", 5); got != "a0 a1 a2 a3 a4" {
		t.Fatal(got)
	}
	// It is buried in the end.
	d.request("a5", "a", `,"service":"a5"`)
	d.settled()
	d.noneBuried()
	d.ok(call{method: "PATCH", path: "/queues/a", body: `{"capacity":1}`})
	d.request("a6", "a", `,"service":"a6"`)
	d.eventually("it waits", func() bool { return d.ingestion.Underway() == 1 })
	d.end()
	d.ok(call{method: "PATCH", path: "/queues/a", body: `{"capacity":null}`})
	d.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"closed"}`})
	d.run()
	for until := time.Now().Add(2 * patience); ; {
		select {
		case letter := <-d.dead:
			if letter.MessageId != "a6" || letter.Headers[rabbit.HeaderError] != "queue_closed" {
				t.Fatalf("%s %v", letter.MessageId, letter.Headers)
			}
			return
		case <-time.After(time.Until(until)):
			t.Fatal("it is not buried")
		}
	}
}

// A node without its connection begins nothing any more: another one may have
// its requests.
func TestIngestForgetsWhatItLost(t *testing.T) {
	t.Parallel()
	broker := rabbittest.StartPrivate(t)
	d := startDrainOf(t, broker.URL())
	d.queue("a", `,"capacity":1`)
	for i := range 4 {
		d.request(fmt.Sprint("a", i), "a", fmt.Sprintf(`,"service":"a%d"`, i))
	}
	d.eventually("three wait", func() bool { return d.ingestion.Underway() == 3 })
	if err := broker.Settle(); err != nil {
		t.Fatal(err)
	}
	broker.Kill()
	d.eventually("they are forgotten", func() bool { return d.ingestion.Underway() == 0 })
	d.ok(call{method: "PATCH", path: "/queues/a", body: `{"capacity":null}`})
	if got := d.services("a", 1); got != "a0" {
		t.Fatal(got)
	}
	if err := broker.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := d.services("a", 4); got != "a0 a1 a2 a3" {
		t.Fatal(got)
	}
}
