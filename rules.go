package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"nowserving/gateway"
	"nowserving/gateway/rabbit"
	"nowserving/persistence/directory"
)

// ruleStore is the directory as the gateway's rulebook wants it.
type ruleStore struct{ d *directory.Directory }

func adaptedRules(r directory.RuleList, err error) (gateway.RuleRow, error) {
	if errors.Is(err, directory.ErrStale) {
		return gateway.RuleRow{}, gateway.ErrStale
	}
	return gateway.RuleRow(r), adapted(err)
}

func (a ruleStore) Rules(ctx context.Context, queue string) (gateway.RuleRow, error) {
	return adaptedRules(a.d.Rules(ctx, queue))
}

func (a ruleStore) PutRules(ctx context.Context, r gateway.RuleRow, expected *uint64) (gateway.RuleRow, error) {
	return adaptedRules(a.d.PutRules(ctx, directory.RuleList(r), expected))
}

func (a ruleStore) RulesAfter(ctx context.Context, revision uint64, limit int) ([]gateway.RuleRow, error) {
	lists, err := a.d.RulesAfter(ctx, revision, limit)
	rows := make([]gateway.RuleRow, len(lists))
	for i, r := range lists {
		rows[i] = gateway.RuleRow(r)
	}
	return rows, adapted(err)
}

// deadLetters is nowserving.dead as the gateway wants it.
type deadLetters struct{ q *rabbit.DeadQueue }

func adaptedLetters(err error) error {
	if errors.Is(err, rabbit.ErrMaybePublished) {
		return fmt.Errorf("%w: %w", gateway.ErrMaybeDone, err)
	}
	return err
}

func ofQueue(allowed func(string) bool) func(*rabbit.DeadLetter) bool {
	return func(l *rabbit.DeadLetter) bool { return allowed(l.Queue) }
}

func (a deadLetters) Browse(ctx context.Context) ([]gateway.DeadLetter, int, error) {
	found, total, err := a.q.Browse(ctx)
	letters := make([]gateway.DeadLetter, len(found))
	for i, l := range found {
		letters[i] = gateway.DeadLetter(l)
	}
	return letters, total, adaptedLetters(err)
}

func (a deadLetters) Resend(ctx context.Context, ids []string, allowed func(string) bool) ([]string, error) {
	done, err := a.q.Resend(ctx, ids, ofQueue(allowed))
	return done, adaptedLetters(err)
}

func (a deadLetters) Delete(ctx context.Context, ids []string, allowed func(string) bool) ([]string, error) {
	done, err := a.q.Delete(ctx, ids, ofQueue(allowed))
	return done, adaptedLetters(err)
}

// filtering is what a node needs for rules and dead letters.
type filtering struct {
	rules *gateway.Rulebook
	// Nil without RabbitMQ. Looking at dead letters has a connection of its own:
	// one that hangs is cut. It logs nothing: outages are the other connections'
	// to tell, and who looks is told.
	dead *rabbit.Conn
}

// openFiltering makes what serve runs, and gives it to the gateway.
func (n *Node) openFiltering(o *gateway.Options) (err error) {
	n.filtering.rules = gateway.NewRulebook(ruleStore{n.directory}, n.log)
	o.Rules, o.Filter = n.filtering.rules, n.filtering.rules
	if n.config.AMQPURL == "" {
		return nil
	}
	n.filtering.dead, err = rabbit.New(rabbit.Options{URL: n.config.AMQPURL, Name: "nowserving dead letters", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return usage("--amqp-url: %w", err)
	}
	o.DeadLetters = deadLetters{rabbit.NewDeadQueue(n.filtering.dead)}
	return nil
}

// serve runs until the end. Without RabbitMQ there is nothing that rules are for.
func (f *filtering) serve(run func(string, func(context.Context) error)) {
	if f.dead == nil {
		return
	}
	run("rules", f.rules.Run)
	run("dead letters", f.dead.Run)
}
