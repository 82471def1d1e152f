// Package rabbit is the connection to RabbitMQ: one that is made again whenever
// it is lost, the topology that is declared on it, messages that are published
// with confirms, and service requests that are consumed.
package rabbit

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// RabbitMQ gives a client up that it has not heard of for two heartbeats at
	// least, and a client says something every 7 s at least. So where RabbitMQ was
	// heard of within silence, it has not given up a client that was paused since.
	// A consumer asks it something every lagEvery, and so hears of it often enough.
	heartbeat    = 8 * time.Second
	silence      = 7 * time.Second
	dialTimeout  = 10 * time.Second // with the handshake
	closeTimeout = time.Second
	minBackoff   = 100 * time.Millisecond
	maxBackoff   = 2 * time.Second
	// A connection that lived as long as this was a good one: after it, dialling
	// begins with the shortest backoff again.
	goodLife = 5 * time.Second
)

// ErrURL is what is wrong with a URL that cannot be used. It does not repeat it,
// for a password may be in it.
var ErrURL = errors.New("it is not an amqp:// or amqps:// URL")

// CheckURL tells whether a URL can be used; the error is ErrURL.
func CheckURL(url string) error {
	if _, err := amqp.ParseURI(url); err != nil {
		return ErrURL
	}
	return nil
}

// Options of a Conn.
type Options struct {
	URL string
	// Name is how RabbitMQ lists the connection: "nowserving ingest".
	Name string
	Log  *slog.Logger
	// Declare is done on each new connection before anybody may use it;
	// DeclareTopology if nil.
	Declare func(*amqp.Channel) error
	// Guarded: the connection is given up after a silence in which RabbitMQ may
	// have given what it delivered to somebody else.
	Guarded bool
	// Changed is told whenever the connection comes up or goes down, if not
	// nil. It must not block.
	Changed func(up bool)
}

// Conn is a connection to RabbitMQ that is dialled again for as long as it runs.
// RabbitMQ stops reading a connection that publishes while it is short of
// memory or disk: who consumes and publishes does it on two.
type Conn struct {
	options Options

	mu      sync.Mutex
	session *Session      // nil while it is down
	changed chan struct{} // closed when session changes
}

// New makes a connection that is dialled by Run. The error is ErrURL.
func New(o Options) (*Conn, error) {
	if err := CheckURL(o.URL); err != nil {
		return nil, err
	}
	if o.Declare == nil {
		o.Declare = DeclareTopology
	}
	return &Conn{options: o, changed: make(chan struct{})}, nil
}

// Run keeps the connection up until ctx is over, and then closes it. It logs
// one line when the connection is lost or cannot be made, and one when it is
// there again. It gives nil.
func (c *Conn) Run(ctx context.Context) error {
	log, backoff, outage := c.options.Log, minBackoff, false
	for {
		began := time.Now()
		s, err := c.dial(ctx)
		if err == nil {
			outage = false
			log.Info("RabbitMQ is connected", "connection", c.options.Name)
			c.set(s)
			select {
			case <-s.done:
			case <-ctx.Done():
			}
			c.set(nil)
			s.close()
			err = s.lost
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // what is lost at the end is no failure
		}
		if !outage {
			outage = true
			log.Warn("RabbitMQ is not connected; it is tried until it is", "connection", c.options.Name, "error", err)
		}
		if time.Since(began) > goodLife {
			backoff = minBackoff
		}
		timer := time.NewTimer(backoff/2 + rand.N(backoff)) //nolint:gosec // jitter is no secret
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (c *Conn) set(s *Session) {
	c.mu.Lock()
	c.session = s
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	if c.options.Changed != nil {
		c.options.Changed(s != nil)
	}
}

// Up tells whether the connection is there and the topology declared.
func (c *Conn) Up() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session != nil
}

// Session waits until the connection is up. The error is that of ctx.
func (c *Conn) Session(ctx context.Context) (*Session, error) {
	for {
		c.mu.Lock()
		s, changed := c.session, c.changed
		c.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Conn) dial(ctx context.Context) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var stop func() bool
	heard := newHearing()
	config := amqp.Config{
		Heartbeat:  heartbeat,
		Properties: amqp.NewConnectionProperties(),
		Dial: func(network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err == nil {
				stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return &heardConn{conn, heard}, err
		},
	}
	config.Properties.SetClientConnectionName(c.options.Name)
	conn, err := amqp.DialConfig(c.options.URL, config)
	if err != nil {
		return nil, err
	}
	s := &Session{conn: conn, heard: heard, done: make(chan struct{}), open: make(chan struct{})}
	close(s.open)
	go s.watch(conn.NotifyClose(make(chan *amqp.Error, 1)))
	go s.watchBlocked(conn.NotifyBlocked(make(chan amqp.Blocking, 1)), c.options.Log)
	if err = s.declare(c.options.Declare); err == nil && !stop() {
		err = ctx.Err() // it was cut
	}
	if err != nil {
		s.close()
		return nil, err
	}
	if c.options.Guarded {
		heard.begin()
	}
	return s, nil
}

// Session is one connection from when it is up until it is lost.
type Session struct {
	conn  *amqp.Connection
	heard *hearing
	done  chan struct{}
	lost  error // set when done is closed

	mu   sync.Mutex
	open chan struct{} // closed while RabbitMQ takes what is published
}

// Done is closed when the connection is lost or closed.
func (s *Session) Done() <-chan struct{} { return s.done }

// Channel opens a channel; its end is for who opened it to notice.
func (s *Session) Channel() (*amqp.Channel, error) { return s.conn.Channel() }

// closeChannel closes a channel after all that was sent on it, or the connection
// where RabbitMQ does not answer.
func (s *Session) closeChannel(ch *amqp.Channel) error {
	closed := make(chan error, 1)
	go func() { closed <- ch.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeTimeout):
		s.Drop()
		return <-closed
	}
}

// Drop ends the connection, so that it is made again and everything declared
// that should be there.
func (s *Session) Drop() { _ = s.conn.CloseDeadline(time.Now().Add(closeTimeout)) }

func (s *Session) declare(declare func(*amqp.Channel) error) error {
	ch, err := s.conn.Channel()
	if err != nil {
		return err
	}
	if err := declare(ch); err != nil {
		return err
	}
	return ch.Close()
}

func (s *Session) watch(closed <-chan *amqp.Error) {
	s.lost = amqp.ErrClosed
	if err := <-closed; err != nil {
		s.lost = err
	}
	close(s.done)
}

// watchBlocked keeps from publishing while RabbitMQ says that it is short of
// memory or disk. It reads nothing then, so what is sent would only be waited
// for, and sent again.
func (s *Session) watchBlocked(changes <-chan amqp.Blocking, log *slog.Logger) {
	for b := range changes {
		s.mu.Lock()
		was := isClosed(s.open)
		switch {
		case b.Active && was:
			s.open = make(chan struct{})
			log.Warn("RabbitMQ takes nothing for now", "reason", b.Reason)
		case !b.Active && !was:
			close(s.open)
			log.Info("RabbitMQ takes messages again")
		}
		s.mu.Unlock()
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// takes is closed as long as RabbitMQ takes what is published.
func (s *Session) takes() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// close ends the connection and waits for whoever watches it.
func (s *Session) close() {
	_ = s.conn.CloseDeadline(time.Now().Add(closeTimeout)) // it may be lost already
	<-s.done
}
