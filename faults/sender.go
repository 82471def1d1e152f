package faults

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	requestsExchange = "nowserving.requests"
	deadQueue        = "nowserving.dead"
	sendBatch        = 5
)

// sender publishes requests in order, with confirms: what RabbitMQ did not
// confirm is published again, with the same message id. Some are published
// twice on purpose, and some can never succeed.
type sender struct {
	*Load
	name   string
	queues []string
	conn   *amqp.Connection
	ch     *amqp.Channel
	count  int
}

func (s *sender) next() Request {
	s.count++
	id := fmt.Sprintf("%s-%d", s.name, s.count)
	return Request{Queue: s.queues[s.count%len(s.queues)], ID: id, Mark: id, Poison: s.count%53 == 7 || s.dirty.Load() && s.count%3 == 0}
}

// run publishes until stop, and then only what is not confirmed yet.
func (s *sender) run(stop context.Context) {
	tick := time.NewTicker(sendBatch * s.o.Pace)
	defer tick.Stop()
	defer s.disconnect()
	for stop.Err() == nil {
		batch := make([]Request, sendBatch)
		for i := range batch {
			batch[i] = s.next()
		}
		s.o.History.addRequests(batch...)
		for began := time.Now(); s.publish(batch) != nil; time.Sleep(retryAfter) {
			s.disconnect()
			if time.Since(began) > giveUpAfter {
				s.figures.unexpected("RabbitMQ took no requests for %s", giveUpAfter)
				return
			}
		}
		<-tick.C
	}
}

func (s *sender) disconnect() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// publish answers once RabbitMQ has all of a batch.
func (s *sender) publish(batch []Request) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), attemptWithin)
	defer cancel()
	if s.conn == nil {
		if s.conn, err = amqp.Dial(s.o.AMQP); err != nil {
			s.conn = nil
			return err
		}
		if s.ch, err = s.conn.Channel(); err != nil {
			return err
		}
		if err = s.ch.Confirm(false); err != nil {
			return err
		}
	}
	var confirms []*amqp.DeferredConfirmation
	for i, r := range batch {
		times := 1
		if i == 0 && s.count%2 == 0 || s.dirty.Load() {
			times = 2
		}
		for range times {
			c, err := s.ch.PublishWithDeferredConfirmWithContext(ctx, requestsExchange, "load", false, false, message(r))
			if err != nil {
				return err
			}
			confirms = append(confirms, c)
		}
	}
	for _, c := range confirms {
		if ok, err := c.WaitContext(ctx); err != nil || !ok {
			return fmt.Errorf("not confirmed: %w", err)
		}
	}
	return nil
}

func message(r Request) amqp.Publishing {
	priority := 0
	if r.Poison {
		priority = 99
	}
	return amqp.Publishing{
		MessageId: r.ID, DeliveryMode: amqp.Persistent, ContentType: "application/json",
		Body: fmt.Appendf(nil, `{"queue":%q,"service":%q,"priority":%d,"customer":{"name":"Ada Marsh"}}`, r.Queue, r.Mark, priority),
	}
}

// DrainDead takes what is among the dead letters into the history.
func (h *History) DrainDead(url string) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	for {
		letter, there, err := ch.Get(deadQueue, true)
		if err != nil || !there {
			return err
		}
		h.mu.Lock()
		h.Dead = append(h.Dead, letter.MessageId)
		h.mu.Unlock()
	}
}
