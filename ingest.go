package main

import (
	"context"
	"time"

	"nowserving/actors"
	"nowserving/gateway/rabbit"
)

// ingestionEnds is longer than the ingestion waits for what is under way.
const ingestionEnds = 7 * time.Second

// rabbitParts is what a node has to do with RabbitMQ.
type rabbitParts struct {
	// publish is for what the node publishes. RabbitMQ stops reading such a
	// connection while it is short of memory or disk.
	publish *rabbit.Conn
	// Of a node that ingests; else nil.
	consume   *rabbit.Conn
	consumer  *rabbit.Consumer
	ingestion *actors.Ingestion
}

// startRabbit makes what serve runs of the ingestion; see openRabbit for the rest.
func (n *Node) startRabbit(context.Context) (err error) {
	r := n.rabbit
	if r == nil || !n.config.has(roleIngest) {
		return nil
	}
	r.consume, err = rabbit.New(rabbit.Options{URL: n.config.AMQPURL, Name: "nowserving ingest", Guarded: true, Log: n.log})
	if err != nil {
		return usage("--amqp-url: %w", err)
	}
	r.ingestion = actors.StartIngestion(actors.IngestionDeps{
		System: n.member.System(), Queues: n.queues, Open: n.gateway.OpenDelivery,
		Bury: rabbit.NewDeadLetters(r.publish).Bury, Room: rabbit.Prefetch,
		Settled: n.metrics.settled(), Now: n.config.Now, Log: n.log,
	})
	r.consumer = rabbit.NewConsumer(r.consume, r.ingestion, n.log)
	gauge(n.metrics, "nowserving_ingest_underway", "Requests from RabbitMQ that are not acknowledged.", r.ingestion.Underway)
	gauge(n.metrics, "nowserving_ingest_ready", "Requests that waited in RabbitMQ when it was last looked at.", r.consumer.Ready)
	gauge(n.metrics, "nowserving_ingest_oldest_seconds", "For how long the oldest request from RabbitMQ has been here unacknowledged.",
		func() float64 { return r.ingestion.Oldest().Seconds() })
	n.closing(func(context.Context) error {
		r.ingestion.Stop()
		return nil
	})
	return nil
}

// parts are what /readyz looks at.
func (r *rabbitParts) parts() []part {
	if r == nil {
		return nil
	}
	return []part{{name: "rabbitmq", up: func() bool { return r.publish.Up() && (r.consume == nil || r.consume.Up()) }}}
}

// serve runs the connections until the end, and what consumes until the node
// begins to stop.
func (r *rabbitParts) serve(n *Node, run func(string, func(context.Context) error)) {
	if r == nil {
		return
	}
	run("rabbitmq", r.publish.Run)
	if r.consumer == nil {
		return
	}
	run("rabbitmq", r.consume.Run)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	run("ingestion", func(context.Context) error {
		defer close(done)
		return r.consumer.Run(ctx)
	})
	n.closing(func(context.Context) error {
		cancel()
		select {
		case <-done:
		case <-time.After(ingestionEnds): // RabbitMQ does not answer; closing the connection ends it
		}
		return nil
	})
}
