package rabbit

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

// eventsUnderway bounds the events that RabbitMQ has not confirmed.
const eventsUnderway = 2_048

// cloudEventsJSON is the media type of CloudEvents in structured mode.
const cloudEventsJSON = "application/cloudevents+json; charset=utf-8"

// EventCheckpoints keeps how far the events of queues were published.
type EventCheckpoints interface {
	// Checkpoints gives the versions, 0 for a queue of which nothing was.
	Checkpoints(ctx context.Context, queues []string) ([]uint64, error)
	// Move moves the checkpoints of all parts, or none with actors.ErrMoved.
	Move(ctx context.Context, parts []actors.Part) error
}

// EventSink publishes every event of every queue to nowserving.events: an
// actors.Sink.
//
// A checkpoint moves when RabbitMQ has confirmed all before it, so each event is
// published at least once, and the first times stand in order: after a failure
// it begins again behind the checkpoint, with events that may have been there.
type EventSink struct {
	publisher   standingPublisher
	checkpoints EventCheckpoints
	render      func(queueID string, e *messages.Event) []byte
}

// NewEventSink publishes on a connection what render makes of each event.
func NewEventSink(conn *Conn, checkpoints EventCheckpoints, render func(string, *messages.Event) []byte) *EventSink {
	return &EventSink{
		publisher: standingPublisher{conn: conn, underway: eventsUnderway}, checkpoints: checkpoints, render: render,
	}
}

// Checkpoints gives how far the events of queues were published.
func (s *EventSink) Checkpoints(ctx context.Context, queues []string) ([]uint64, error) {
	return s.checkpoints.Checkpoints(ctx, queues)
}

// Take publishes the parts in order, waits until RabbitMQ has them, and moves
// the checkpoints. The error is an actors.ErrAway, actors.ErrMoved, or that of
// the checkpoints' store.
func (s *EventSink) Take(ctx context.Context, parts []actors.Part) error {
	if err := s.expect(ctx, parts); err != nil {
		return err
	}
	if events := s.messages(parts); len(events) > 0 {
		_, p, err := s.publisher.current(ctx)
		if err == nil {
			_, err = p.Publish(ctx, events...)
			if err != nil {
				go p.Close() // what is under way on it would stand in the way of the next try
			}
		}
		if err != nil {
			return fmt.Errorf("%w: %w", actors.ErrAway, err)
		}
	}
	return s.checkpoints.Move(ctx, parts)
}

// expect looks where the checkpoints are before anything is published: where
// their store is down, or somebody else was quicker, it would all be repeats.
func (s *EventSink) expect(ctx context.Context, parts []actors.Part) error {
	ids := make([]string, len(parts))
	for i, p := range parts {
		ids[i] = p.Queue
	}
	at, err := s.checkpoints.Checkpoints(ctx, ids)
	if err != nil {
		return err
	}
	for i, p := range parts {
		if at[i] != p.After {
			return actors.ErrMoved
		}
	}
	return nil
}

// messages makes the messages. The end of a queue is no event outside.
func (s *EventSink) messages(parts []actors.Part) (events []Message) {
	for _, p := range parts {
		for _, e := range p.Events {
			if queue.Kind(e.Kind) == queue.QueueDeleted {
				continue
			}
			events = append(events, Message{
				Exchange: Events, Key: p.Queue + "." + queue.Kind(e.Kind).String(),
				Publishing: amqp.Publishing{
					ContentType: cloudEventsJSON, AppId: "nowserving", Timestamp: time.UnixMilli(e.At),
					MessageId: fmt.Sprintf("%s/%d", p.Queue, e.Version), Body: s.render(p.Queue, e),
				},
			})
		}
	}
	return events
}
