package rabbit

import (
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The names of the outside contract.
const (
	// Requests is the exchange that takes service requests, and the queue that
	// holds them.
	Requests = "nowserving.requests"
	// Dead is the exchange and the queue of requests that cannot succeed.
	Dead = "nowserving.dead"
	// Events is the exchange to which the events of queues go.
	Events = "nowserving.events"
)

const (
	deadLetterLife = 14 * 24 * time.Hour
	// RabbitMQ 4 drops what was delivered twenty times unless it is told
	// another number. A node that crashes again and again must lose nothing.
	deliveryLimit = 1_000_000_000
)

// DeclareTopology makes the contract's exchanges and queues where they are not
// there yet. It fails where one is there with other properties.
func DeclareTopology(ch *amqp.Channel) error {
	for _, name := range []string{Requests, Dead, Events} {
		if err := ch.ExchangeDeclare(name, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
			return fmt.Errorf("declare exchange %s: %w", name, err)
		}
	}
	for name, args := range map[string]amqp.Table{
		Requests: {"x-single-active-consumer": true},
		Dead:     {amqp.QueueMessageTTLArg: deadLetterLife.Milliseconds()},
	} {
		args[amqp.QueueTypeArg] = amqp.QueueTypeQuorum
		args["x-delivery-limit"] = int64(deliveryLimit)
		if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
			return fmt.Errorf("declare queue %s: %w", name, err)
		}
		if err := ch.QueueBind(name, "#", name, false, nil); err != nil {
			return fmt.Errorf("bind queue %s: %w", name, err)
		}
	}
	return nil
}
