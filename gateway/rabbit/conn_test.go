package rabbit_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func TestMain(m *testing.M) { os.Exit(rabbittest.Run(m)) }

// connect runs a connection for as long as the test runs.
func connect(t *testing.T, url string) *rabbit.Conn {
	t.Helper()
	c, err := rabbit.New(rabbit.Options{URL: url, Name: t.Name(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	return c
}

func run(t *testing.T, c *rabbit.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func session(t *testing.T, c *rabbit.Conn) *rabbit.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := c.Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func channel(t *testing.T, s *rabbit.Session) *amqp.Channel {
	t.Helper()
	ch, err := s.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// ready gives the messages that are ready in a queue.
func ready(t *testing.T, s *rabbit.Session, queue string) int {
	t.Helper()
	q, err := channel(t, s).QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q.Messages
}

// awaitReady waits until so many messages are ready: a quorum queue that was just
// started says none.
func awaitReady(t *testing.T, s *rabbit.Session, queue string, want int) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(patience); ready(t, s, queue) != want; <-tick.C {
		if time.Now().After(until) {
			t.Fatalf("there are not %d messages", want)
		}
	}
}

func TestTopologyIsDeclaredAndSurvivesARestart(t *testing.T) {
	t.Parallel()
	server := rabbittest.StartPrivate(t)
	changes := make(chan bool, 16)
	c, err := rabbit.New(rabbit.Options{
		URL: server.URL(), Name: "test", Log: slog.New(slog.DiscardHandler), Changed: func(up bool) { changes <- up },
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	s := session(t, c)
	p := publisher(t, s, 10)
	if n, err := p.Publish(t.Context(), message("one", true)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := server.Settle(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	<-s.Done()
	if _, err := p.Send(t.Context(), message("two", true)); !errors.Is(err, rabbit.ErrNotPublished) {
		t.Fatalf("sending on a lost connection gives %v", err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	s = session(t, c)
	awaitReady(t, s, rabbit.Requests, 1)
	if err := server.Bounce(); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	s = session(t, c)
	awaitReady(t, s, rabbit.Requests, 1)
	for i, want := range []bool{true, false, true, false, true} {
		if got := <-changes; got != want {
			t.Fatalf("change %d is %v", i, got)
		}
	}
}

// A declaration that RabbitMQ refuses keeps the connection from being up.
func TestTopologyWithOtherPropertiesIsNotUp(t *testing.T) {
	t.Parallel()
	url := rabbittest.Start(t)
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclare(rabbit.Requests, "fanout", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	c, err := rabbit.New(rabbit.Options{URL: url, Name: "test", Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_ = c.Run(ctx)
	if c.Up() || strings.Count(said.String(), "\n") != 1 || !strings.Contains(said.String(), "PRECONDITION_FAILED") {
		t.Fatalf("up %v, said %s", c.Up(), said.String())
	}
}

func TestPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://me:s3cret@host/", "amqp://me:s3cret@ho st/", "amqp://me:s3cret@host:port/", "amqp://me:s3%zzcret@host/"} {
		if err := rabbit.CheckURL(url); !errors.Is(err, rabbit.ErrURL) || strings.Contains(err.Error(), "s3") {
			t.Errorf("%s: %v", url, err)
		}
	}
	good := strings.Replace(rabbittest.Start(t), "guest:guest", "guest:s3cret", 1)
	for _, url := range []string{good, "amqp://me:s3cret@127.0.0.1:1/", "amqps://me:s3cret@127.0.0.1:1/?cacertfile=/nowhere"} {
		said := &lines{written: make(chan struct{}, 1)}
		c, err := rabbit.New(rabbit.Options{URL: url, Name: "test", Log: slog.New(slog.NewTextHandler(said, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		go func() {
			<-said.written // it has tried once
			cancel()
		}()
		_ = c.Run(ctx)
		if c.Up() || said.Len() == 0 || strings.Contains(said.String(), "s3cret") {
			t.Errorf("%s: up %v, said %s", url, c.Up(), said.String())
		}
	}
}

// lines is a log that tells when something was written to it.
type lines struct {
	bytes.Buffer
	written chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	defer func() {
		select {
		case l.written <- struct{}{}:
		default:
		}
	}()
	return l.Buffer.Write(b)
}

// amqps:// speaks TLS, and takes no certificate that it does not know.
func TestTLSIsSpokenAndVerified(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	hello := make(chan string, 16)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			server := tls.Server(conn, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				hello <- h.ServerName
				return nil, errors.New("enough")
			}})
			_ = server.Handshake()
			_ = conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	c := connect(t, "amqps://me:secret@localhost:"+port+"/")
	select {
	case name := <-hello:
		if name != "localhost" || c.Up() {
			t.Fatalf("asked for %q, up %v", name, c.Up())
		}
	case <-time.After(patience):
		t.Fatal("no TLS handshake")
	}
}
