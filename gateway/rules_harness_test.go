package gateway

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"nowserving/gateway/rabbit"
	"nowserving/gateway/rabbit/rabbittest"
	"nowserving/persistence/directory"
)

// ruleStore is what main's adapter is.
type ruleStore struct{ d *directory.Directory }

func adaptedRules(r directory.RuleList, err error) (RuleRow, error) {
	if errors.Is(err, directory.ErrStale) {
		return RuleRow{}, ErrStale
	}
	return RuleRow(r), adapted(err)
}

func (a ruleStore) Rules(ctx context.Context, queue string) (RuleRow, error) {
	return adaptedRules(a.d.Rules(ctx, queue))
}

func (a ruleStore) PutRules(ctx context.Context, r RuleRow, expected *uint64) (RuleRow, error) {
	return adaptedRules(a.d.PutRules(ctx, directory.RuleList(r), expected))
}

func (a ruleStore) RulesAfter(ctx context.Context, revision uint64, limit int) ([]RuleRow, error) {
	lists, err := a.d.RulesAfter(ctx, revision, limit)
	var rows []RuleRow
	for _, r := range lists {
		rows = append(rows, RuleRow(r))
	}
	return rows, adapted(err)
}

func directoryRules(queue, rules string) directory.RuleList {
	return directory.RuleList{Queue: queue, QueueVersion: 1, Rules: []byte(rules)}
}

// letterBox is what main's adapter is.
type letterBox struct{ q *rabbit.DeadQueue }

func adaptedLetters(err error) error {
	if errors.Is(err, rabbit.ErrMaybePublished) {
		return ErrMaybeDone
	}
	return err
}

func (a letterBox) Browse(ctx context.Context) ([]DeadLetter, int, error) {
	found, total, err := a.q.Browse(ctx)
	var letters []DeadLetter
	for _, l := range found {
		letters = append(letters, DeadLetter(l))
	}
	return letters, total, adaptedLetters(err)
}

func (a letterBox) Resend(ctx context.Context, ids []string, allowed func(string) bool) ([]string, error) {
	done, err := a.q.Resend(ctx, ids, func(l *rabbit.DeadLetter) bool { return allowed(l.Queue) })
	return done, adaptedLetters(err)
}

func (a letterBox) Delete(ctx context.Context, ids []string, allowed func(string) bool) ([]string, error) {
	done, err := a.q.Delete(ctx, ids, func(l *rabbit.DeadLetter) bool { return allowed(l.Queue) })
	return done, adaptedLetters(err)
}

// withRabbit is a RabbitMQ of the env's own.
type withRabbit struct {
	t    testing.TB
	conn *rabbit.Conn
}

func newRabbit(t testing.TB) *withRabbit {
	t.Helper()
	conn, err := rabbit.New(rabbit.Options{URL: rabbittest.Start(t), Name: t.Name(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = conn.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return &withRabbit{t, conn}
}

func (r *withRabbit) options(o *Options) { o.DeadLetters = letterBox{rabbit.NewDeadQueue(r.conn)} }

func (r *withRabbit) session() *rabbit.Session {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := r.conn.Session(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// bury puts a dead letter there.
func (r *withRabbit) bury(id, queueID, code, body string) {
	r.t.Helper()
	p, err := r.session().NewPublisher(1)
	if err != nil {
		r.t.Fatal(err)
	}
	defer p.Close()
	headers := amqp.Table{rabbit.HeaderError: code, rabbit.HeaderDetail: "why", rabbit.HeaderFirstDeath: "2026-11-22T10:00:00Z"}
	if queueID != "" {
		headers[rabbit.HeaderQueue] = queueID
	}
	m := rabbit.Message{Exchange: rabbit.Dead, Mandatory: true, Publishing: amqp.Publishing{MessageId: id, Headers: headers, Body: []byte(body)}}
	if _, err := p.Publish(context.Background(), m); err != nil {
		r.t.Fatal(err)
	}
}
