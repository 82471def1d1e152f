package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// What publishing fails with. Each is the fate of one message.
var (
	// ErrNotPublished: RabbitMQ certainly does not have the message.
	ErrNotPublished = errors.New("rabbit: the message was not published")
	// ErrUnroutable is an ErrNotPublished: no queue is bound for a message that
	// is mandatory. The publisher goes on.
	ErrUnroutable = fmt.Errorf("%w: no queue takes it", ErrNotPublished)
	// ErrMaybePublished: the connection was lost before RabbitMQ said that it
	// has the message.
	ErrMaybePublished = errors.New("rabbit: the message may have been published")
)

// Message is one message to publish.
type Message struct {
	Exchange, Key string
	// Mandatory: that no queue takes it is an error, ErrUnroutable.
	Mandatory bool
	// Publishing is the message; it is published as a persistent one.
	Publishing amqp.Publishing
}

// Publisher publishes on one channel, in the order in which Send is called,
// with confirms, many under way at once. It ends with the first failure (but
// ErrUnroutable): what is sent after it fails with ErrNotPublished, so that
// whoever wants the order kept makes a new publisher and goes on with the
// oldest message that is not confirmed. RabbitMQ may have later ones then.
type Publisher struct {
	session *Session
	channel *amqp.Channel
	places  chan struct{} // one for each message under way
	ended   chan struct{}
	once    sync.Once

	mu       sync.Mutex
	underway []*Receipt // in order; see settle
	failed   bool
}

// Receipt is for one message that was sent.
type Receipt struct {
	done     chan struct{}
	err      error
	message  *Message // to know it by when it comes back
	returned bool
}

// NewPublisher opens a channel for publishing, with at most so many messages
// under way.
func (s *Session) NewPublisher(underway int) (*Publisher, error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, errors.Join(err, ch.Close())
	}
	p := &Publisher{session: s, channel: ch, places: make(chan struct{}, underway), ended: make(chan struct{})}
	// What does not block the library's reader: there is never more than that.
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, underway))
	returns := ch.NotifyReturn(make(chan amqp.Return, underway))
	go p.settleAll(confirms, returns)
	return p, nil
}

// Send publishes a message and gives the receipt for it. It waits while as
// many are under way as may be, and while RabbitMQ takes nothing. The error is an ErrNotPublished or, where the
// connection failed while it was written, an ErrMaybePublished.
func (p *Publisher) Send(ctx context.Context, m Message) (*Receipt, error) {
	select {
	case <-p.session.takes():
	case <-p.ended:
		return nil, ErrNotPublished
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrNotPublished, ctx.Err())
	}
	select {
	case p.places <- struct{}{}:
	case <-p.ended:
		return nil, ErrNotPublished
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrNotPublished, ctx.Err())
	}
	m.Publishing.DeliveryMode = amqp.Persistent
	r := &Receipt{done: make(chan struct{}), message: &m}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed {
		<-p.places
		return nil, ErrNotPublished
	}
	if err := m.Publishing.Headers.Validate(); err != nil {
		<-p.places
		return nil, fmt.Errorf("%w: %w", ErrNotPublished, err)
	}
	p.underway = append(p.underway, r)
	if err := p.channel.Publish(m.Exchange, m.Key, m.Mandatory, false, m.Publishing); err != nil {
		p.underway = p.underway[:len(p.underway)-1]
		p.failed = true
		<-p.places
		go p.Close()
		if errors.Is(err, amqp.ErrClosed) {
			return nil, ErrNotPublished
		}
		return nil, fmt.Errorf("%w: %w", ErrMaybePublished, err)
	}
	return r, nil
}

// Publish publishes messages in order and waits for them. It gives how many of
// them, from the first on, RabbitMQ certainly has, and why it is not all.
func (p *Publisher) Publish(ctx context.Context, messages ...Message) (int, error) {
	receipts := make([]*Receipt, 0, len(messages))
	var failed error
	for _, m := range messages {
		r, err := p.Send(ctx, m)
		if err != nil {
			failed = err
			break
		}
		receipts = append(receipts, r)
	}
	for n, r := range receipts {
		if err := r.Wait(ctx); err != nil {
			return n, err
		}
	}
	return len(receipts), failed
}

// Wait gives the fate of the message: nil where RabbitMQ has it. Where ctx is
// over before it is known, that is an ErrMaybePublished.
func (r *Receipt) Wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrMaybePublished, ctx.Err())
	}
}

// Settled is closed when Wait no longer waits.
func (r *Receipt) Settled() <-chan struct{} { return r.done }

// Ended is closed when the publisher takes no more.
func (p *Publisher) Ended() <-chan struct{} { return p.ended }

// Close ends the publisher. What is under way has an unknown fate. Where RabbitMQ
// does not answer, as happens while it stops, the connection ends with it.
func (p *Publisher) Close() {
	p.once.Do(func() { close(p.ended) })
	_ = p.session.closeChannel(p.channel) // it may be lost already
}

// settleAll gives each message its fate, until the channel is closed.
func (p *Publisher) settleAll(confirms <-chan amqp.Confirmation, returns <-chan amqp.Return) {
	for c := range confirms {
		// RabbitMQ sends a message back before it confirms it, so what came back
		// stands in the channel by now.
		p.mark(returns)
		p.settle(c.Ack)
	}
	p.once.Do(func() { close(p.ended) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
	for _, r := range p.underway {
		r.err = ErrMaybePublished
		close(r.done)
	}
	p.underway = nil
}

// mark notes which messages came back.
func (p *Publisher) mark(returns <-chan amqp.Return) {
	for {
		select {
		case back, open := <-returns:
			if !open {
				return
			}
			p.markOne(back)
		default:
			return
		}
	}
}

func (p *Publisher) markOne(back amqp.Return) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.underway {
		m := r.message
		if m.Mandatory && !r.returned && m.Exchange == back.Exchange && m.Key == back.RoutingKey && m.Publishing.MessageId == back.MessageId {
			r.returned = true
			return
		}
	}
}

// settle takes the confirmation of the oldest message; the library puts them in order.
func (p *Publisher) settle(ack bool) {
	p.mu.Lock()
	if len(p.underway) == 0 { // of one whose sending failed
		p.mu.Unlock()
		return
	}
	r := p.underway[0]
	p.underway = p.underway[1:]
	switch {
	case !ack:
		r.err = ErrNotPublished
		p.failed = true
	case r.returned:
		r.err = ErrUnroutable
	}
	p.mu.Unlock()
	r.message = nil
	close(r.done)
	<-p.places
	if !ack {
		go p.Close()
	}
}
