package rabbit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/actors"
	"nowserving/messages"
)

// The headers of dead letters.
const (
	// HeaderError is the problem's code.
	HeaderError = "x-nowserving-error"
	// HeaderDetail says what was wrong, without what the request held.
	HeaderDetail = "x-nowserving-detail"
	// HeaderQueue is the queue that the request named.
	HeaderQueue = "x-nowserving-queue"
	// HeaderFirstDeath is when the message was first dead-lettered, RFC 3339 in
	// UTC: one that is sent again and dies again keeps it.
	HeaderFirstDeath = "x-nowserving-first-death"
)

const (
	deadUnderway = 1_000
	// A message's headers go into one frame of at most 128 KiB. Where those that
	// it came with leave no room, they are left out.
	maxHeaders = 64 << 10
	maxDetail  = 1_024
)

// DeadLetters publishes to nowserving.dead.
type DeadLetters struct{ publisher standingPublisher }

// NewDeadLetters publishes on a connection, which should not be the one that
// the requests are consumed on.
func NewDeadLetters(conn *Conn) *DeadLetters {
	return &DeadLetters{standingPublisher{conn: conn, underway: deadUnderway}}
}

// Bury publishes dead letters in order and waits for RabbitMQ to have them. It
// gives how many, from the first on, it certainly has; others it may have.
func (d *DeadLetters) Bury(ctx context.Context, letters []actors.DeadLetter) (int, error) {
	if !d.publisher.conn.Up() {
		return 0, ErrNotPublished
	}
	s, p, err := d.publisher.current(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotPublished, err)
	}
	dead := make([]Message, len(letters))
	for i, l := range letters {
		dead[i] = deadMessage(l)
	}
	n, err := p.Publish(ctx, dead...)
	switch {
	case errors.Is(err, ErrUnroutable):
		s.Drop() // the queue is gone; a new connection declares it
	case errors.Is(err, ErrMaybePublished):
		// A confirmation that never comes would keep back all that come after it.
		go p.Close()
	}
	return n, err
}

// deadMessage is the message as it came, with why it died. It leaves out what
// is only for the broker that it came through: who published it, which RabbitMQ
// would hold against this connection's user, and when it expires.
func deadMessage(l actors.DeadLetter) Message {
	m := Message{Exchange: Dead, Key: l.Delivery.RoutingKey, Mandatory: true}
	m.Publishing = amqp.Publishing{Body: l.Delivery.Body, MessageId: l.Delivery.MessageID, ContentType: l.Delivery.ContentType}
	if d, ok := l.Delivery.Raw.(*amqp.Delivery); ok {
		m.Publishing.ContentEncoding, m.Publishing.CorrelationId, m.Publishing.ReplyTo = d.ContentEncoding, d.CorrelationId, d.ReplyTo
		m.Publishing.Timestamp, m.Publishing.Type, m.Publishing.AppId = d.Timestamp, d.Type, d.AppId
	}
	h := amqp.Table{}
	if len(fmt.Sprint(l.Delivery.Headers)) <= maxHeaders {
		maps.Copy(h, l.Delivery.Headers)
	}
	h[HeaderError], h[HeaderDetail] = l.Problem.Code, detail(l.Problem)
	delete(h, HeaderQueue)
	if l.Queue != "" {
		h[HeaderQueue] = l.Queue
	}
	if _, died := h[HeaderFirstDeath].(string); !died {
		h[HeaderFirstDeath] = l.At.UTC().Format(time.RFC3339)
	}
	m.Publishing.Headers = h
	return m
}

// detail says what was wrong with which field. A field's name that is not of
// the contract's form is the sender's own text and left out.
func detail(p *messages.Problem) string {
	parts := []string{p.Detail}
	for _, f := range p.Fields {
		name := f.Field
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != "" || len(name) > 64 {
			name = "a field"
		}
		parts = append(parts, name+" "+f.Message+".")
	}
	text := strings.Join(parts, " ")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "")
	}
	return text
}
