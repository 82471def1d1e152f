package rabbit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
)

func publisher(t *testing.T, s *rabbit.Session, underway int) *rabbit.Publisher {
	t.Helper()
	p, err := s.NewPublisher(underway)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func message(id string, mandatory bool) rabbit.Message {
	return rabbit.Message{
		Exchange: rabbit.Requests, Key: "test", Mandatory: mandatory,
		Publishing: amqp.Publishing{MessageId: id, Body: []byte(id)},
	}
}

func TestPublisherKeepsOrderWithManyUnderWay(t *testing.T) {
	t.Parallel()
	s := session(t, connect(t, rabbittest.Start(t)))
	p := publisher(t, s, 50)
	messages := make([]rabbit.Message, 1_000)
	for i := range messages {
		messages[i] = message(fmt.Sprint(i), true)
	}
	if n, err := p.Publish(t.Context(), messages...); n != len(messages) || err != nil {
		t.Fatal(n, err)
	}
	got, err := channel(t, s).Consume(rabbit.Requests, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		select {
		case d := <-got:
			if d.MessageId != fmt.Sprint(i) || d.DeliveryMode != amqp.Persistent {
				t.Fatalf("message %d is %s, mode %d", i, d.MessageId, d.DeliveryMode)
			}
		case <-time.After(patience):
			t.Fatalf("no message %d", i)
		}
	}
}

func TestPublisherSaysWhatNoQueueTakes(t *testing.T) {
	t.Parallel()
	s := session(t, connect(t, rabbittest.Start(t)))
	p := publisher(t, s, 100)
	lost := message("lost", true)
	lost.Exchange = rabbit.Events // nobody is bound to it
	ignored := lost
	ignored.Mandatory = false
	var receipts []*rabbit.Receipt
	for range 30 {
		for _, m := range []rabbit.Message{message("taken", true), lost, ignored} {
			r, err := p.Send(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			receipts = append(receipts, r)
		}
	}
	for i, r := range receipts {
		err := r.Wait(t.Context())
		if want := i%3 == 1; errors.Is(err, rabbit.ErrUnroutable) != want || errors.Is(err, rabbit.ErrNotPublished) != want {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

// What was sent to an exchange that is not there has the channel closed under
// it: the fate of all that is under way is unknown, what comes after it fails.
func TestPublisherEndsWithTheFirstFailure(t *testing.T) {
	t.Parallel()
	s := session(t, connect(t, rabbittest.Start(t)))
	p := publisher(t, s, 10)
	wrong := message("wrong", false)
	wrong.Exchange = "nowhere"
	r, err := p.Send(t.Context(), wrong)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(t.Context()); !errors.Is(err, rabbit.ErrMaybePublished) {
		t.Fatal(err)
	}
	<-p.Ended()
	if _, err := p.Send(t.Context(), message("later", true)); !errors.Is(err, rabbit.ErrNotPublished) {
		t.Fatal(err)
	}
	if n, err := publisher(t, s, 10).Publish(t.Context(), message("again", true)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

func TestPublisherObeysItsContextAndItsBound(t *testing.T) {
	t.Parallel()
	s := session(t, connect(t, rabbittest.Start(t)))
	p := publisher(t, s, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // either the place is free or the context is over
		r, err := p.Send(ctx, message("one", true))
		if err != nil {
			if !errors.Is(err, rabbit.ErrNotPublished) || !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			return
		}
		_ = r.Wait(t.Context())
	}
	t.Fatal("a context that is over was never looked at")
}

// Every message that a killed server confirmed is there when it is back, and
// the receipts of all others say that they may be.
func TestPublisherKnowsWhatAKilledServerHas(t *testing.T) {
	t.Parallel()
	server := rabbittest.StartPrivate(t)
	c := connect(t, server.URL())
	first := session(t, c)
	// A classic one: RabbitMQ 3.10 can lose a quorum queue that was declared just
	// before it is killed, with all that it confirmed.
	const kept = "kept"
	if _, err := channel(t, first).QueueDeclare(kept, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := channel(t, first).QueueBind(kept, "#", rabbit.Events, false, nil); err != nil {
		t.Fatal(err)
	}
	p := publisher(t, first, 200)
	confirmed, maybe := make(map[string]bool), make(map[string]bool)
	receipts := make(map[string]*rabbit.Receipt)
	killed := make(chan struct{})
	for i := 0; ; i++ {
		id := fmt.Sprint(i)
		m := message(id, true)
		m.Exchange = rabbit.Events
		r, err := p.Send(t.Context(), m)
		if errors.Is(err, rabbit.ErrMaybePublished) {
			maybe[id] = true
		}
		if err != nil {
			break
		}
		if receipts[id] = r; i == 2_000 {
			go func() {
				defer close(killed)
				server.Kill()
			}()
		}
	}
	<-killed
	for id, r := range receipts {
		switch err := r.Wait(t.Context()); {
		case err == nil:
			confirmed[id] = true
		case errors.Is(err, rabbit.ErrMaybePublished):
			maybe[id] = true
		default:
			t.Fatalf("message %s: %v", id, err)
		}
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	s := session(t, c)
	got, err := channel(t, s).Consume(kept, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(time.Minute); len(confirmed) > 0; {
		select {
		case d := <-got:
			if !confirmed[d.MessageId] && !maybe[d.MessageId] {
				t.Fatalf("message %s was not sent, or came twice", d.MessageId)
			}
			delete(confirmed, d.MessageId)
			delete(maybe, d.MessageId)
		case <-deadline:
			t.Fatalf("%d confirmed messages are lost", len(confirmed))
		}
	}
}

// While RabbitMQ is short of memory it takes nothing, and is not sent the same
// again and again.
func TestPublisherWaitsWhileRabbitMQTakesNothing(t *testing.T) {
	t.Parallel()
	server := rabbittest.StartPrivate(t)
	s := session(t, connect(t, server.URL()))
	p := publisher(t, s, 10)
	limit := func(fraction string) {
		t.Helper()
		if _, err := server.Eval("vm_memory_monitor:set_vm_memory_high_watermark(" + fraction + ")"); err != nil {
			t.Fatal(err)
		}
	}
	limit("0.00001")
	var held []*rabbit.Receipt
	for deadline := time.Now().Add(patience); ; { // RabbitMQ says so once it is published to
		if time.Now().After(deadline) {
			t.Fatal("it goes on publishing")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		r, err := p.Send(ctx, message(fmt.Sprint(len(held)), true))
		if err == nil {
			held = append(held, r)
			_ = r.Wait(ctx)
		}
		cancel()
		if err != nil {
			if !errors.Is(err, rabbit.ErrNotPublished) {
				t.Fatal(err)
			}
			break
		}
	}
	limit("0.4")
	for _, r := range held {
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := p.Publish(t.Context(), message("last", true)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n := ready(t, s, rabbit.Requests); n != len(held)+1 {
		t.Errorf("%d messages, %d were sent", n, len(held)+1)
	}
}
