package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/gateway/rabbit"
)

// meter is a consumer of all events.
type meter struct {
	got <-chan amqp.Delivery

	mu      sync.Mutex
	last    map[string]uint64
	lags    []time.Duration
	repeats int
	wrong   string
	wanted  int
	done    chan struct{}
}

func listen(ctx context.Context, conn *rabbit.Conn, alone bool) (*meter, error) {
	s, err := conn.Session(ctx)
	if err != nil || alone {
		return nil, err
	}
	ch, err := s.Channel()
	if err != nil {
		return nil, err
	}
	// A queue that keeps what it has, as a consumer that must miss nothing has it.
	args := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
	if _, err := ch.QueueDeclare("bench", true, false, false, false, args); err != nil {
		return nil, err
	}
	if err := ch.QueueBind("bench", "#", rabbit.Events, false, nil); err != nil {
		return nil, err
	}
	if err := ch.Qos(5_000, 0, false); err != nil {
		return nil, err
	}
	got, err := ch.Consume("bench", "", false, false, false, false, nil)
	return &meter{got: got, last: map[string]uint64{}, done: make(chan struct{})}, err
}

func (m *meter) run(ctx context.Context) {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case d, open := <-m.got:
			if !open {
				return
			}
			m.take(&d)
			if n%500 == 0 || len(m.got) == 0 {
				_ = d.Ack(true)
			}
		}
	}
}

func (m *meter) take(d *amqp.Delivery) {
	now := time.Now()
	var e struct {
		Time time.Time
		Data struct {
			Queue   string
			Version uint64
		}
	}
	err := json.Unmarshal(d.Body, &e)
	m.mu.Lock()
	defer m.mu.Unlock()
	q, v := e.Data.Queue, e.Data.Version
	switch {
	case err != nil:
		m.wrong = err.Error()
	case v <= m.last[q]:
		m.repeats++
	case v > m.last[q]+1:
		m.wrong = fmt.Sprintf("%s/%d came after version %d", q, v, m.last[q])
	default:
		m.last[q] = v
		if m.lags = append(m.lags, now.Sub(e.Time)); len(m.lags) == m.wanted {
			close(m.done)
		}
	}
}

// reached is closed when so many events have come.
func (m *meter) reached(events int) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wanted = events; len(m.lags) >= events {
		close(m.done)
	}
	return m.done
}

func (m *meter) result() ([]time.Duration, string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, lag := range m.lags {
		m.lags[i] = lag.Round(time.Millisecond)
	}
	return sorted(m.lags), m.wrong
}
