package rabbit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Bounds of one look into nowserving.dead. What lies behind them is seen when
// what is before it has been sent again or deleted, or has expired.
const (
	browseMost   = 1_000
	browseBytes  = 16 << 20
	browseWithin = 5 * time.Second
	// idleWithin ends a look at which nothing more comes: letters that were
	// counted may have expired, or another node looks at them.
	idleWithin  = 500 * time.Millisecond
	emptyWithin = 100 * time.Millisecond // of a queue that says that it is empty
	settleEvery = 2 * time.Millisecond
	// reachWithin is how long a look waits for a connection that is down.
	reachWithin = time.Second
)

// ErrDown: RabbitMQ cannot be reached, and certainly nothing has happened.
var ErrDown = errors.New("rabbit: RabbitMQ cannot be reached")

// DeadLetter is a request that could not succeed, as it lies in nowserving.dead.
type DeadLetter struct {
	// ID stays the same for as long as the letter lies there, and when it comes
	// to lie there again. Letters that are the same in everything have the same.
	ID string
	// Queue is the one that the request named; empty where it named none.
	Queue, Code, Detail string
	// At is when it was first dead-lettered, in seconds; zero where the letter
	// does not say.
	At                                 time.Time
	MessageID, RoutingKey, ContentType string
	Headers                            map[string]any
	Body                               []byte
}

// DeadQueue looks into nowserving.dead and takes letters out of it. It looks at
// one time only: what is being looked at is hidden from others.
type DeadQueue struct {
	conn *Conn
	one  chan struct{}
}

// NewDeadQueue looks through a connection.
func NewDeadQueue(conn *Conn) *DeadQueue { return &DeadQueue{conn: conn, one: make(chan struct{}, 1)} }

// Browse gives the oldest letters, as many as the bounds allow, and how many lie
// there in all. Nothing is changed by it. The error is an ErrDown.
func (q *DeadQueue) Browse(ctx context.Context) ([]DeadLetter, int, error) {
	var letters []DeadLetter
	total, err := q.look(ctx, func(l *looking) error {
		for {
			d, err := l.next()
			if d == nil || err != nil {
				return err
			}
			letters = append(letters, letterOf(d))
		}
	})
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrDown, err)
	}
	return letters, total, nil
}

// Resend publishes letters as requests again, as they first came, and then takes
// them out. It gives the ids of those that it did it for: where there are
// several letters of one id, one of them. Letters that are not allowed are as if
// they were not there. The error is an ErrDown, or an ErrMaybePublished where
// requests may have been published whose letters are still there.
func (q *DeadQueue) Resend(ctx context.Context, ids []string, allowed func(*DeadLetter) bool) ([]string, error) {
	return q.take(ctx, ids, allowed, func(ctx context.Context, s *Session, dead []*amqp.Delivery) (int, error) {
		p, err := s.NewPublisher(len(dead))
		if err != nil {
			return 0, err
		}
		defer p.Close()
		requests := make([]Message, len(dead))
		for i, d := range dead {
			requests[i] = again(d)
		}
		return p.Publish(ctx, requests...)
	})
}

// Delete takes letters out. It gives the ids of those that it did it for, as
// Resend does. The error is an ErrDown, or an ErrMaybePublished where some may
// be gone.
func (q *DeadQueue) Delete(ctx context.Context, ids []string, allowed func(*DeadLetter) bool) ([]string, error) {
	return q.take(ctx, ids, allowed, func(_ context.Context, _ *Session, dead []*amqp.Delivery) (int, error) {
		return len(dead), nil
	})
}

// take does something with letters and acknowledges as many of them as that
// succeeded for.
func (q *DeadQueue) take(ctx context.Context, ids []string, allowed func(*DeadLetter) bool, do func(context.Context, *Session, []*amqp.Delivery) (int, error)) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, browseWithin)
	defer cancel()
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	var done []string
	tried := 0
	_, err := q.look(ctx, func(l *looking) error {
		var found []*amqp.Delivery
		var names []string
		for len(wanted) > 0 {
			d, err := l.next()
			if err != nil {
				return err
			}
			if d == nil {
				break
			}
			if letter := letterOf(d); wanted[letter.ID] && allowed(&letter) {
				delete(wanted, letter.ID)
				found, names = append(found, d), append(names, letter.ID)
			}
		}
		if len(found) == 0 {
			return nil
		}
		tried = len(found)
		n, err := do(ctx, l.session, found)
		for i, d := range found[:n] {
			if failed := l.ack(d); failed != nil {
				return errors.Join(failed, err)
			}
			done = append(done, names[i])
		}
		return err
	})
	switch {
	case err == nil:
		return done, nil
	case tried > 1 || tried == 1 && !errors.Is(err, ErrNotPublished):
		return done, fmt.Errorf("%w: %w", ErrMaybePublished, err)
	}
	return done, fmt.Errorf("%w: %w", ErrDown, err)
}

// look has letters delivered on a channel of its own, one after another, in
// order, and closes it, which puts all that were not acknowledged back to where
// they were. (It consumes: what was got one by one comes back in disorder.)
// It gives how many letters there were.
func (q *DeadQueue) look(ctx context.Context, visit func(*looking) error) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, browseWithin)
	defer cancel()
	select {
	case q.one <- struct{}{}:
		defer func() { <-q.one }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	s, err := q.session(ctx)
	if err != nil {
		return 0, err
	}
	// A queue that has no leader just now answers nothing for a minute.
	stop := context.AfterFunc(ctx, s.Drop)
	defer stop()
	ch, err := s.Channel()
	if err != nil {
		return 0, err
	}
	dead, err := ch.QueueDeclarePassive(Dead, true, false, false, false, nil)
	if err != nil {
		return 0, errors.Join(err, closed(ch))
	}
	if err := ch.Qos(browseMost, 0, false); err != nil {
		return 0, errors.Join(err, closed(ch))
	}
	deliveries, err := ch.Consume(Dead, "", false, false, false, false, nil)
	if err != nil {
		return 0, errors.Join(err, closed(ch))
	}
	l := &looking{
		ctx: ctx, session: s, deliveries: deliveries, idle: idleWithin,
		left: min(dead.Messages, browseMost), bytes: browseBytes,
	}
	if dead.Messages == 0 {
		// So says a queue without a leader too. One that takes a consumer has one.
		l.left, l.idle = browseMost, emptyWithin
	}
	err = visit(l)
	// The answer to the close comes after all acknowledgements have been taken.
	if err = errors.Join(err, closed(ch)); err == nil {
		l.settle(max(dead.Messages, l.seen) - l.acked)
	}
	return max(dead.Messages, l.seen), err
}

// looking is one look at the letters.
type looking struct {
	ctx         context.Context
	session     *Session
	deliveries  <-chan amqp.Delivery
	idle        time.Duration
	left, bytes int
	seen, acked int
}

// next gives nil at the end and at the bounds.
func (l *looking) next() (*amqp.Delivery, error) {
	if l.left == 0 || l.bytes <= 0 {
		return nil, nil
	}
	idle := time.NewTimer(l.idle)
	defer idle.Stop()
	select {
	case d, open := <-l.deliveries:
		if !open {
			return nil, amqp.ErrClosed
		}
		l.seen, l.left, l.bytes = l.seen+1, l.left-1, l.bytes-len(d.Body)
		return &d, nil
	case <-idle.C:
		l.left = 0
		return nil, nil
	case <-l.ctx.Done():
		return nil, l.ctx.Err()
	}
}

func (l *looking) ack(d *amqp.Delivery) error {
	l.acked++
	return d.Ack(false)
}

// settle waits, for a moment, until RabbitMQ has put the letters back: it
// answers the close before, and whoever looked now would find none.
func (l *looking) settle(want int) {
	ctx, cancel := context.WithTimeout(l.ctx, idleWithin)
	defer cancel()
	ch, err := l.session.Channel()
	if err != nil {
		return
	}
	defer func() { _ = ch.Close() }() // with the connection, at the latest
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		dead, err := ch.QueueDeclarePassive(Dead, true, false, false, false, nil)
		if err != nil || dead.Messages >= want {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (q *DeadQueue) session(ctx context.Context) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	return q.conn.Session(ctx)
}

// closed closes a channel; that it was closed before is an error.
func closed(ch *amqp.Channel) error {
	if ch.IsClosed() {
		return amqp.ErrClosed
	}
	return ch.Close()
}

func letterOf(d *amqp.Delivery) DeadLetter {
	l := DeadLetter{
		Queue: header(d, HeaderQueue), Code: header(d, HeaderError), Detail: header(d, HeaderDetail),
		MessageID: d.MessageId, RoutingKey: d.RoutingKey, ContentType: d.ContentType,
		Headers: original(d.Headers), Body: d.Body,
	}
	first := header(d, HeaderFirstDeath)
	if at, err := time.Parse(time.RFC3339, first); err == nil {
		l.At = at.UTC()
	}
	hash := sha256.New()
	for _, part := range [][]byte{[]byte(d.MessageId), []byte(d.RoutingKey), []byte(first), d.Body} {
		_, _ = hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		_, _ = hash.Write(part)
	}
	l.ID = hex.EncodeToString(hash.Sum(nil)[:16])
	return l
}

func header(d *amqp.Delivery, name string) string {
	text, _ := d.Headers[name].(string)
	return strings.ToValidUTF8(text, "\ufffd")
}

// original are the headers that a request came with.
func original(headers amqp.Table) amqp.Table {
	kept := maps.Clone(headers)
	maps.DeleteFunc(kept, func(name string, _ any) bool {
		return strings.HasPrefix(name, "x-nowserving-") || name == "x-death" || name == "x-delivery-count" ||
			strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
	})
	return kept
}

// again is the request that a dead letter was. It keeps when it first died, by
// which it is known if it dies again.
func again(d *amqp.Delivery) Message {
	headers := original(d.Headers)
	if first, there := d.Headers[HeaderFirstDeath]; there {
		headers[HeaderFirstDeath] = first
	}
	return Message{Exchange: Requests, Key: d.RoutingKey, Mandatory: true, Publishing: amqp.Publishing{
		Headers: headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding,
		CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, MessageId: d.MessageId,
		Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId, Body: d.Body,
	}}
}
