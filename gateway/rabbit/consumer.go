package rabbit

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/actors"
)

const (
	// Prefetch bounds the requests that are not acknowledged. Those of a queue
	// that takes none for now are among them: where they are as many, the others
	// wait as well, until it takes some or, full for long, has them buried. With
	// bodies as large as they may be these are 2 GB, with 400 bytes each 35 MB.
	//
	// It must be the same on all nodes, and never be made smaller: what a consumer
	// did not acknowledge is given to the next one first, but a quorum queue puts
	// what comes back a second time behind what came back before and has not been
	// taken yet. The next one must take all of it at once.
	Prefetch = 30_000
	// handOver is how many deliveries go to the ingestion at once, at most.
	handOver = 256
	// drainWithin bounds what a node that leaves waits for.
	drainWithin = 5 * time.Second
	lagEvery    = 3 * time.Second
)

// errNotConsumed: RabbitMQ ended the consumer, and not the connection.
var errNotConsumed = errors.New("rabbit: the queue is not consumed any more")

// Consumer hands the requests of nowserving.requests to the ingestion.
type Consumer struct {
	conn      *Conn
	ingestion *actors.Ingestion
	log       *slog.Logger
	ready     atomic.Int64
}

// NewConsumer makes a consumer that Run runs.
func NewConsumer(conn *Conn, ingestion *actors.Ingestion, log *slog.Logger) *Consumer {
	return &Consumer{conn: conn, ingestion: ingestion, log: log}
}

// Ready is how many requests waited in RabbitMQ when it was last looked at, a
// few seconds ago.
func (c *Consumer) Ready() int { return int(c.ready.Load()) }

// Run consumes until ctx is over. Then it takes nothing more, lets what is
// under way be finished and acknowledged, and gives the rest back in order. It
// gives nil.
func (c *Consumer) Run(ctx context.Context) error {
	for failures := 0; ; {
		s, err := c.conn.Session(ctx)
		if err != nil {
			return nil //nolint:nilerr // that is the end that was asked for
		}
		err = c.consume(ctx, s)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // what is not acknowledged comes again
		}
		select {
		case <-s.Done():
			failures = 0
		case <-time.After(closeTimeout << min(failures, 5)): // a channel is told before its connection is
			c.log.Warn("requests are not consumed", "error", err)
			failures++
			s.Drop() // the queue may be gone: a new connection declares it
		}
	}
}

// source is what acknowledges on the channel that the deliveries came on.
type source struct {
	channel *amqp.Channel
	session *Session
}

func (s source) Ack(tag uint64, multiple bool) error { return s.channel.Ack(tag, multiple) }

func (s source) Fresh() bool { return s.session.heard.fresh() }

// consume takes what comes on a channel of its own, until that or ctx is over.
func (c *Consumer) consume(ctx context.Context, s *Session) error {
	ch, err := s.Channel()
	if err != nil {
		return err
	}
	if err := ch.Qos(Prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(Requests, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	from := &source{ch, s}
	c.ingestion.Open(from)
	defer c.ingestion.Lost(from)
	lag, stop := context.WithCancel(ctx)
	defer stop()
	go c.watchLag(lag, s)
	for {
		select {
		case d, open := <-deliveries:
			if !open {
				return errNotConsumed
			}
			c.ingestion.Deliver(from, gather(d, deliveries))
		case <-ctx.Done():
			// The consumer is not cancelled first: RabbitMQ would give later
			// requests to the next one before it has those back that are here.
			wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
			defer cancel()
			c.ingestion.Close(wait)
			return s.closeChannel(ch)
		}
	}
}

// gather takes what else is there already.
func gather(first amqp.Delivery, more <-chan amqp.Delivery) []*actors.Delivery {
	all := []*actors.Delivery{deliveryOf(&first)}
	for len(all) < handOver {
		select {
		case d, open := <-more:
			if !open {
				return all
			}
			all = append(all, deliveryOf(&d))
		default:
			return all
		}
	}
	return all
}

func deliveryOf(d *amqp.Delivery) *actors.Delivery {
	return &actors.Delivery{
		Tag: d.DeliveryTag, MessageID: d.MessageId, ContentType: d.ContentType, RoutingKey: d.RoutingKey,
		Headers: d.Headers, Body: d.Body, Again: d.Redelivered, Raw: d,
	}
}

// watchLag looks at the length of the queue every few seconds.
func (c *Consumer) watchLag(ctx context.Context, s *Session) {
	ch, err := s.Channel()
	if err != nil {
		return
	}
	defer func() { _ = ch.Close() }() // it may be lost already
	tick := time.NewTicker(lagEvery)
	defer tick.Stop()
	for {
		q, err := ch.QueueDeclarePassive(Requests, true, false, false, false, nil)
		if err != nil {
			return
		}
		c.ready.Store(int64(q.Messages))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
