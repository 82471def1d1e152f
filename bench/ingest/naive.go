package main

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
)

const (
	naiveQueue      = "bench.naive"
	naiveGoroutines = 64
)

// KEYS: the line, its sequence, its tickets. ARGV: id, priority, ticket.
var enqueueScript = redis.NewScript(`
local n = redis.call('INCR', KEYS[2])
redis.call('ZADD', KEYS[1], n - ARGV[2] * 1099511627776, ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
return n`)

func declareNaive(ch *amqp.Channel) error {
	_, err := ch.QueueDeclare(naiveQueue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	return err
}

// drainNaively gives requests a second.
func drainNaively(ctx context.Context, conn *amqp.Connection, addr string, requests int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: addr, PoolSize: naiveGoroutines})
	defer client.Close()
	ch, err := conn.Channel()
	if err != nil {
		return 0, err
	}
	defer ch.Close()
	if err := ch.Qos(4*naiveGoroutines, 0, false); err != nil {
		return 0, err
	}
	deliveries, err := ch.Consume(naiveQueue, "", false, false, false, false, nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	var left atomic.Int64
	left.Store(int64(requests))
	failed := make(chan error, naiveGoroutines)
	var all sync.WaitGroup
	for range naiveGoroutines {
		all.Go(func() {
			for {
				select {
				case d := <-deliveries:
					err := enqueueNaively(ctx, client, &d)
					if left.Load() <= 0 {
						return // of one that RabbitMQ delivered twice
					}
					if err != nil {
						failed <- err
						cancel()
						return
					}
					if left.Add(-1) == 0 {
						cancel()
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return 0, err
	default:
		return float64(requests) / time.Since(began).Seconds(), nil
	}
}

func enqueueNaively(ctx context.Context, client *redis.Client, d *amqp.Delivery) error {
	var request struct {
		Queue    string `json:"queue"`
		Priority int    `json:"priority"`
	}
	if err := json.Unmarshal(d.Body, &request); err != nil {
		return err
	}
	key := "naive:{" + request.Queue + "}:"
	err := enqueueScript.Run(ctx, client, []string{key + "line", key + "seq", key + "tickets"}, d.MessageId, request.Priority, d.Body).Err()
	if err != nil {
		return err
	}
	return d.Ack(false)
}
