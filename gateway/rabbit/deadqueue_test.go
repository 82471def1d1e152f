package rabbit_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
)

func letter(id, queue, body string) rabbit.Message {
	return rabbit.Message{Exchange: rabbit.Dead, Key: "from." + queue, Mandatory: true, Publishing: amqp.Publishing{
		MessageId: id, Body: []byte(body), ContentType: "application/json", Timestamp: time.Unix(1_700_000_000, 0),
		Headers: amqp.Table{
			"x-tenant": "north", rabbit.HeaderQueue: queue, rabbit.HeaderError: "filtered", rabbit.HeaderDetail: "why",
			rabbit.HeaderFirstDeath: "2026-11-22T10:00:00Z", "x-death": []any{amqp.Table{"count": int64(1)}},
		},
	}}
}

func bury(t *testing.T, s *rabbit.Session, letters ...rabbit.Message) {
	t.Helper()
	if n, err := publisher(t, s, 100).Publish(t.Context(), letters...); n != len(letters) || err != nil {
		t.Fatal(n, err)
	}
}

func browse(t *testing.T, q *rabbit.DeadQueue) []rabbit.DeadLetter {
	t.Helper()
	letters, total, err := q.Browse(t.Context())
	if err != nil || total < len(letters) {
		t.Fatal(total, err)
	}
	return letters
}

func names(letters []rabbit.DeadLetter) string {
	var all []string
	for _, l := range letters {
		all = append(all, l.MessageID)
	}
	return strings.Join(all, " ")
}

func anyLetter(*rabbit.DeadLetter) bool { return true }

// Looking changes nothing: neither the order nor what lies there.
func TestBrowseChangesNothing(t *testing.T) {
	t.Parallel()
	c := connect(t, rabbittest.Start(t))
	s, q := session(t, c), rabbit.NewDeadQueue(c)
	if letters := browse(t, q); len(letters) != 0 {
		t.Fatal(letters)
	}
	var letters []rabbit.Message
	for i := range 30 {
		letters = append(letters, letter(fmt.Sprint("m", i), "a", fmt.Sprint(i)))
	}
	bury(t, s, letters...)
	first := browse(t, q)
	if len(first) != 30 {
		t.Fatalf("%d letters", len(first))
	}
	l := first[7]
	if l.MessageID != "m7" || l.Queue != "a" || l.Code != "filtered" || l.Detail != "why" || string(l.Body) != "7" || l.RoutingKey != "from.a" ||
		l.At.Format(time.RFC3339) != "2026-11-22T10:00:00Z" || l.Headers["x-tenant"] != "north" || len(l.Headers) != 1 {
		t.Fatalf("%+v", l)
	}
	var looking sync.WaitGroup
	for range 4 { // each sees all of them
		looking.Go(func() {
			again, total, err := q.Browse(t.Context())
			if err != nil || total != 30 || names(again) != names(first) || again[7].ID != l.ID {
				t.Errorf("%d of %d, %v: %s", len(again), total, err, names(again))
			}
		})
	}
	looking.Wait()
}

func TestBrowseIsBounded(t *testing.T) {
	t.Parallel()
	c := connect(t, rabbittest.Start(t))
	s, q := session(t, c), rabbit.NewDeadQueue(c)
	var letters []rabbit.Message
	for i := range 1_100 {
		letters = append(letters, letter(fmt.Sprint(i), "a", "1"))
	}
	bury(t, s, letters...)
	began := time.Now()
	if all, total, err := q.Browse(t.Context()); len(all) != 1_000 || total != 1_100 || err != nil {
		t.Fatalf("%d of %d, %v", len(all), total, err)
	}
	t.Logf("1,000 letters took %s", time.Since(began))
}

// A letter that is sent again is a request as it first came, and lies there no more.
func TestResend(t *testing.T) {
	t.Parallel()
	c := connect(t, rabbittest.Start(t))
	s, q := session(t, c), rabbit.NewDeadQueue(c)
	bury(t, s, letter("m1", "a", "1"), letter("m2", "b", "2"), letter("m3", "a", "3"), letter("m1", "a", "1"), letter("", "", "{"))
	letters := browse(t, q)
	ids := []string{letters[2].ID, letters[0].ID, letters[1].ID, "nothing"}
	done, err := q.Resend(t.Context(), ids, func(l *rabbit.DeadLetter) bool { return l.Queue == "a" })
	if err != nil || !slices.Equal(done, []string{letters[0].ID, letters[2].ID}) {
		t.Fatal(done, err)
	}
	if left := names(browse(t, q)); left != "m2 m1 " {
		t.Fatalf("left: %q", left)
	}
	requests, err := channel(t, s).Consume(rabbit.Requests, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"m1", "m3"} {
		d := <-requests
		if d.MessageId != want || string(d.Body) != want[1:] || d.RoutingKey != "from.a" || d.DeliveryMode != amqp.Persistent ||
			d.ContentType != "application/json" || d.Timestamp.Unix() != 1_700_000_000 {
			t.Fatalf("%+v", d)
		}
		if len(d.Headers) != 2 || d.Headers["x-tenant"] != "north" || d.Headers[rabbit.HeaderFirstDeath] != "2026-11-22T10:00:00Z" {
			t.Fatalf("%+v", d.Headers)
		}
	}
	select {
	case d := <-requests:
		t.Fatalf("sent too: %s", d.MessageId)
	default:
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	c := connect(t, rabbittest.Start(t))
	s, q := session(t, c), rabbit.NewDeadQueue(c)
	bury(t, s, letter("m1", "a", "1"), letter("m2", "b", "2"))
	letters := browse(t, q)
	if done, err := q.Delete(t.Context(), []string{letters[1].ID}, anyLetter); len(done) != 1 || err != nil {
		t.Fatal(done, err)
	}
	if done, err := q.Delete(t.Context(), []string{letters[1].ID}, anyLetter); len(done) != 0 || err != nil {
		t.Fatal(done, err)
	}
	if left := names(browse(t, q)); left != "m1" || ready(t, s, rabbit.Requests) != 0 {
		t.Fatal(left)
	}
}

// Where RabbitMQ is away that is said soon, and nothing is lost by it.
func TestDeadQueueIsAway(t *testing.T) {
	t.Parallel()
	server := rabbittest.StartPrivate(t)
	c := connect(t, server.URL())
	q := rabbit.NewDeadQueue(c)
	s := session(t, c)
	if err := server.Settle(); err != nil {
		t.Fatal(err)
	}
	bury(t, s, letter("m1", "a", "1"))
	id := browse(t, q)[0].ID
	server.Kill()
	<-s.Done()
	if _, _, err := q.Browse(t.Context()); !errors.Is(err, rabbit.ErrDown) {
		t.Fatal(err)
	}
	if done, err := q.Resend(t.Context(), []string{id}, anyLetter); len(done) != 0 || !errors.Is(err, rabbit.ErrDown) {
		t.Fatal(done, err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	session(t, c)
	// A quorum queue has to find its leader first, and what was not confirmed is
	// tried again.
	for deadline := time.Now().Add(2 * patience); ; {
		done, err := q.Resend(t.Context(), []string{id}, anyLetter)
		if err == nil && len(done) == 1 {
			break
		}
		if err == nil || time.Now().After(deadline) {
			t.Fatal(done, err)
		}
	}
	if left := browse(t, q); len(left) != 0 {
		t.Fatal(names(left))
	}
	requests, err := channel(t, session(t, c)).Consume(rabbit.Requests, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := <-requests; d.MessageId != "m1" {
		t.Fatal(d.MessageId)
	}
}
