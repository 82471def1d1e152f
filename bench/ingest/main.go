// Command ingest measures how many requests a second a node drains from
// RabbitMQ into durable tickets, against a drain as one would write it by hand:
// 64 goroutines, each with a Lua script on a sorted set, then an acknowledgement.
// Both run in turn on the same private servers: Redis with appendfsync always,
// RabbitMQ with quorum queues. What is measured is a backlog: all requests are
// there before the first one is taken.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/bench/load"
	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
)

type config struct {
	binary   string
	requests int
	queues   int
	rounds   int
	body     string
}

func main() {
	var c config
	flag.StringVar(&c.binary, "binary", "", "the node's program: go build -o it first")
	flag.IntVar(&c.requests, "requests", 200_000, "requests of one measurement")
	flag.IntVar(&c.queues, "queues", 64, "queues they are for")
	flag.IntVar(&c.rounds, "rounds", 2, "measurements of each, in turn")
	flag.StringVar(&c.body, "body", `"service":"passport","priority":0,"customer":{"name":"Ada Example","phone":"+441632960000"},"payload":{"order":4711,"items":["a","b"]}`,
		"members of a request beside its queue")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "ingest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c config) error {
	if c.binary == "" {
		return errors.New("-binary is needed")
	}
	redis, err := load.StartRedis(ctx, "", "always")
	if err != nil {
		return err
	}
	defer redis.Close()
	broker, err := rabbittest.StartServer()
	if err != nil {
		return err
	}
	defer broker.Stop()
	n, err := newNode(ctx, c, redis.Addr, broker.URL())
	if err != nil {
		return err
	}
	defer n.close()
	conn, err := amqp.Dial(broker.URL())
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := rabbit.DeclareTopology(ch); err != nil {
		return err
	}
	if err := declareNaive(ch); err != nil {
		return err
	}
	for round := range c.rounds {
		if err := publish(ctx, conn, c, naiveQueue, "", round); err != nil {
			return err
		}
		rate, err := drainNaively(ctx, conn, redis.Addr, c.requests)
		if err != nil {
			return err
		}
		fmt.Printf("round %d: by hand    %8.0f requests/s\n", round+1, rate)
		if err := publish(ctx, conn, c, "", rabbit.Requests, round); err != nil {
			return err
		}
		if rate, err = n.drain(ctx, c.requests); err != nil {
			return err
		}
		fmt.Printf("round %d: nowserving %8.0f requests/s\n", round+1, rate)
	}
	return nil
}

// publish puts the requests of one measurement into RabbitMQ, straight into a
// queue or through an exchange, and waits until it has them all.
func publish(ctx context.Context, conn *amqp.Connection, c config, queue, exchange string, round int) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	const underway = 2_000
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, underway))
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	began := time.Now()
	for i := range c.requests + underway {
		if i >= underway {
			select {
			case confirm, open := <-confirms:
				if !open || !confirm.Ack {
					return errors.New("RabbitMQ does not take the requests")
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if i >= c.requests {
			continue
		}
		err := ch.Publish(exchange, queue, false, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, ContentType: "application/json", MessageId: fmt.Sprintf("bench-%d-%d", round, i),
			Body: fmt.Appendf(nil, `{"queue":"bench-%d",%s}`, i%c.queues, c.body),
		})
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "ingest: published %d in %.1f s\n", c.requests, time.Since(began).Seconds())
	return nil
}
