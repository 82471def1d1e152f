package rabbit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/actors"
	"nowserving/gateway"
	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
	"nowserving/messages"
	"nowserving/persistence/directory"
)

// published is the directory as the sink wants it.
type published struct{ d *directory.Directory }

func newPublished(t testing.TB) published {
	d, err := directory.Open(t.Context(), directory.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return published{d}
}

func (p published) Checkpoints(ctx context.Context, queues []string) ([]uint64, error) {
	return p.d.Checkpoints(ctx, "events", queues)
}

func (p published) Move(ctx context.Context, parts []actors.Part) error {
	moves := make([]directory.CheckpointMove, len(parts))
	for i, part := range parts {
		moves[i] = directory.CheckpointMove{Queue: part.Queue, After: part.After, Upto: part.Upto}
	}
	err := p.d.MoveCheckpoints(ctx, "events", moves)
	if errors.Is(err, directory.ErrMoved) {
		return actors.ErrMoved
	}
	return err
}

const marker = "Ada Lovelace 555-0100"

// part makes the events after one version, up to another.
func part(queueID string, after, upto uint64) actors.Part {
	p := actors.Part{Queue: queueID, After: after, Upto: upto}
	for v := after + 1; v <= upto; v++ {
		p.Events = append(p.Events, &messages.Event{
			Version: v, Epoch: "e1", At: 1_700_000_000_000 + int64(v), By: "ann",
			Kind: messages.EventKind_EVENT_KIND_TICKET_CALLED,
			Ticket: &messages.Ticket{
				Id: []byte("0123456789abcdef"), Number: "A001", State: messages.TicketState_TICKET_STATE_CALLED,
				Source: messages.Source_SOURCE_REST, Customer: []byte(marker), Payload: []byte(marker),
			},
		})
	}
	return p
}

// bind binds a queue to all events.
func bind(t testing.TB, s *rabbit.Session, queueID, kind string) *amqp.Channel {
	t.Helper()
	ch, err := s.Channel()
	if err != nil {
		t.Fatal(err)
	}
	// A consumer that comes back must not be given later ones before those that
	// it had not acknowledged.
	args := amqp.Table{amqp.QueueTypeArg: kind, "x-single-active-consumer": true}
	if _, err := ch.QueueDeclare(queueID, true, false, false, false, args); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(queueID, "#", rabbit.Events, false, nil); err != nil {
		t.Fatal(err)
	}
	return ch
}

// listen gives every event that comes from now on.
func listen(t testing.TB, s *rabbit.Session) <-chan amqp.Delivery {
	t.Helper()
	got, err := bind(t, s, "all", "classic").Consume("all", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func receive(t testing.TB, from <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case d := <-from:
		return d
	case <-time.After(patience):
		t.Fatal("no message")
		return amqp.Delivery{}
	}
}

func TestEventIsACloudEvent(t *testing.T) {
	t.Parallel()
	c := connect(t, rabbittest.Start(t))
	got := listen(t, session(t, c))
	sink := rabbit.NewEventSink(c, newPublished(t), gateway.CloudEvent)
	p := part("post", 0, 3)
	p.Events[1] = &messages.Event{Version: 2, Epoch: "e1", At: 1_700_000_000_002, Kind: messages.EventKind_EVENT_KIND_QUEUE_DELETED}
	if err := sink.Take(t.Context(), []actors.Part{p}); err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint64{1, 3} { // what is said as "gone" is no event
		d := receive(t, got)
		if d.ContentType != "application/cloudevents+json; charset=utf-8" || d.DeliveryMode != amqp.Persistent ||
			d.Exchange != "nowserving.events" || d.RoutingKey != "post.ticket.called" {
			t.Fatalf("message %+v", d)
		}
		var e struct {
			ID, Source, Type, Time, Subject, SpecVersion, DataContentType string
			Data                                                          struct {
				Queue, Event string
				Version      uint64
				Data         map[string]any
			}
		}
		if err := json.Unmarshal(d.Body, &e); err != nil {
			t.Fatal(err)
		}
		if e.ID != fmt.Sprintf("post/%d", version) || e.Source != "/nowserving/queues/post/epochs/e1" || e.Type != "nowserving.ticket.called" ||
			e.SpecVersion != "1.0" || e.Time != fmt.Sprintf("2023-11-14T22:13:20.00%dZ", version) || e.DataContentType != "application/json" ||
			e.Subject != "30313233-3435-3637-3839-616263646566" {
			t.Fatalf("%+v", e)
		}
		if e.Data.Version != version || e.Data.Queue != "post" || e.Data.Event != "ticket.called" || e.Data.Data["number"] != "A001" ||
			e.Data.Data["customer"] != nil || e.Data.Data["payload"] != nil || strings.Contains(string(d.Body), marker) {
			t.Fatalf("%s", d.Body)
		}
	}
	if at, err := sink.Checkpoints(t.Context(), []string{"post"}); err != nil || at[0] != 3 {
		t.Fatal(at, err)
	}
}

// What would only be a repeat is not published.
func TestEventsThatOthersPublishedAreNotPublishedAgain(t *testing.T) {
	t.Parallel()
	c := connect(t, rabbittest.Start(t))
	got := listen(t, session(t, c))
	at := newPublished(t)
	one, two := rabbit.NewEventSink(c, at, gateway.CloudEvent), rabbit.NewEventSink(c, at, gateway.CloudEvent)
	if err := one.Take(t.Context(), []actors.Part{part("a", 0, 2)}); err != nil {
		t.Fatal(err)
	}
	if err := two.Take(t.Context(), []actors.Part{part("b", 0, 1), part("a", 0, 2)}); !errors.Is(err, actors.ErrMoved) {
		t.Fatal(err)
	}
	if err := two.Take(t.Context(), []actors.Part{part("b", 0, 1), part("a", 2, 3)}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a/1", "a/2", "b/1", "a/3"} {
		if d := receive(t, got); d.MessageId != id {
			t.Fatalf("%s came instead of %s", d.MessageId, id)
		}
	}
	// Without the checkpoints' store nothing is published either.
	_ = at.d.Close()
	if err := two.Take(t.Context(), []actors.Part{part("a", 3, 4)}); !errors.Is(err, directory.ErrUnavailable) {
		t.Fatal(err)
	}
	select {
	case d := <-got:
		t.Fatalf("%s came", d.MessageId)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestEventSinkWithoutRabbitMQIsAway(t *testing.T) {
	t.Parallel()
	c := connect(t, "amqp://127.0.0.1:1/")
	sink := rabbit.NewEventSink(c, newPublished(t), gateway.CloudEvent)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := sink.Take(ctx, []actors.Part{part("a", 0, 1)}); !errors.Is(err, actors.ErrAway) {
		t.Fatal(err)
	}
	if at, err := sink.Checkpoints(t.Context(), []string{"a"}); err != nil || at[0] != 0 {
		t.Fatal(at, err)
	}
}

// Through stops and kills of RabbitMQ every event of every queue arrives, the
// first times in order; what comes again is a repeat.
func TestEventsArriveInOrderThroughKillsOfRabbitMQ(t *testing.T) {
	t.Parallel()
	const queues, each, step = 10, 3_200, 200
	server := rabbittest.StartPrivate(t)
	c := connect(t, server.URL())
	var consumers sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	for _, kind := range []string{"classic", "quorum"} {
		bind(t, session(t, c), kind, kind)
		consumers.Go(func() { expectInOrder(ctx, t, c, kind, queues, each) })
	}
	sink := rabbit.NewEventSink(c, newPublished(t), gateway.CloudEvent)
	var outages sync.WaitGroup
	tries := 0
	for after := uint64(0); after < each; {
		switch after {
		case each / 4:
			outages.Go(func() {
				if err := server.Bounce(); err != nil {
					t.Error(err)
				}
			})
		case each / 2, each * 3 / 4:
			outages.Wait()
			outages.Go(func() {
				server.Kill()
				if err := server.Restart(); err != nil {
					t.Error(err)
				}
			})
		}
		parts := make([]actors.Part, queues)
		for i := range parts {
			parts[i] = part(fmt.Sprintf("q%d", i), after, after+step)
		}
		for {
			tries++
			err := sink.Take(ctx, parts)
			if err == nil {
				break
			}
			if !errors.Is(err, actors.ErrAway) {
				t.Fatal(err)
			}
		}
		after += step
	}
	outages.Wait()
	consumers.Wait()
	t.Logf("%d rounds, %d tries", each/step, tries)
}

// expectInOrder consumes until it has had every version of every queue.
func expectInOrder(ctx context.Context, t *testing.T, c *rabbit.Conn, from string, queues, each int) {
	last := make(map[string]int)
	repeats, missing := 0, queues*each
	for missing > 0 {
		s, err := c.Session(ctx)
		if err != nil {
			t.Errorf("%s: %d events have not come: %v", from, missing, err)
			return
		}
		ch, err := s.Channel()
		if err != nil {
			continue
		}
		_ = ch.Qos(500, 0, false)
		got, err := ch.Consume(from, "", false, false, false, false, nil)
		if err != nil {
			continue
		}
		for d := range got {
			id, version, _ := strings.Cut(d.MessageId, "/")
			switch v, _ := strconv.Atoi(version); {
			case v > last[id]+1:
				t.Errorf("%s: %s came after version %d", from, d.MessageId, last[id])
				return
			case v <= last[id]:
				repeats++
			default:
				last[id] = v
				missing--
			}
			_ = d.Ack(false)
			if missing == 0 {
				_ = ch.Close()
				break
			}
		}
	}
	t.Logf("%s: %d repeats", from, repeats)
}
