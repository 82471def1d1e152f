package main

import (
	"context"
	"errors"

	"nowserving/actors"
	"nowserving/gateway"
	"nowserving/gateway/rabbit"
	"nowserving/persistence/directory"
)

// eventsSink is the name of the follower that publishes events, and of its
// checkpoints.
const eventsSink = "events"

// openRabbit makes the connection that the node publishes on, and has every
// event published. It comes before the queues start, see follow.
func (n *Node) openRabbit(context.Context) error {
	if n.config.AMQPURL == "" {
		return nil
	}
	publish, err := rabbit.New(rabbit.Options{URL: n.config.AMQPURL, Name: "nowserving publish", Log: n.log})
	if err != nil {
		return usage("--amqp-url: %w", err)
	}
	n.rabbit = &rabbitParts{publish: publish}
	n.follow(eventsSink, rabbit.NewEventSink(publish, eventCheckpoints{n.directory}, gateway.CloudEvent))
	return nil
}

// eventCheckpoints is the directory as the events' sink wants it.
type eventCheckpoints struct{ d *directory.Directory }

func (a eventCheckpoints) Checkpoints(ctx context.Context, queues []string) ([]uint64, error) {
	return a.d.Checkpoints(ctx, eventsSink, queues)
}

func (a eventCheckpoints) Move(ctx context.Context, parts []actors.Part) error {
	moves := make([]directory.CheckpointMove, len(parts))
	for i, p := range parts {
		moves[i] = directory.CheckpointMove{Queue: p.Queue, After: p.After, Upto: p.Upto}
	}
	err := a.d.MoveCheckpoints(ctx, eventsSink, moves)
	if errors.Is(err, directory.ErrMoved) {
		return actors.ErrMoved
	}
	return err
}
