package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"nowserving/gateway/filter"
)

const (
	// rulesEvery is how often a node looks for rules that others have changed.
	rulesEvery = time.Second
	rulesPage  = 200
)

// ErrStale is what a RuleStore fails with where the rules have changed since
// the revision that the writer knew.
var ErrStale = errors.New("gateway: the rules have changed")

// errRulesUnknown: no rules have been read since the start.
var errRulesUnknown = errors.New("gateway: the rules of queues are not known yet")

// RuleRow is the rules of one queue as they are kept.
type RuleRow struct {
	Queue string
	// Revision counts the changes of all rules; 0 where there were never any.
	Revision     uint64
	QueueVersion uint64 // when they were set
	Rules        json.RawMessage
	UpdatedAt    time.Time
	UpdatedBy    string // user id
}

// RuleStore keeps the rules of queues.
type RuleStore interface {
	// Rules fails with ErrNotFound where a queue never had any.
	Rules(ctx context.Context, queue string) (RuleRow, error)
	// PutRules replaces a queue's rules. It fails with ErrStale where expected is
	// not nil and another revision than theirs, unless they are the same already.
	PutRules(ctx context.Context, r RuleRow, expected *uint64) (RuleRow, error)
	// RulesAfter gives what has changed after a revision, in the order of revisions.
	RulesAfter(ctx context.Context, revision uint64, limit int) ([]RuleRow, error)
}

// Rulebook knows the rules of all queues and follows their changes. As a
// RequestFilter it asks nobody: while the store is away, what it knows holds.
type Rulebook struct {
	store RuleStore
	log   *slog.Logger

	mu     sync.Mutex
	read   bool // all that there was has been read once
	queues map[string]*rulesEntry
}

// rulesEntry is the rules of one queue, compiled when they are first needed.
type rulesEntry struct {
	revision uint64
	text     json.RawMessage
	once     sync.Once
	set      *filter.Set // nil where they cannot be compiled
}

// NewRulebook makes a rulebook that Run fills.
func NewRulebook(store RuleStore, log *slog.Logger) *Rulebook {
	return &Rulebook{store: store, log: log, queues: make(map[string]*rulesEntry)}
}

// Run follows the rules until ctx is over. It gives nil.
func (b *Rulebook) Run(ctx context.Context) error {
	tick := time.NewTicker(rulesEvery)
	defer tick.Stop()
	known, failing := uint64(0), false
	for {
		err := b.follow(ctx, &known)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			b.log.Warn("rules of queues cannot be read; those that are known hold", "error", err)
		case err == nil && failing:
			b.log.Info("rules of queues can be read again")
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// follow reads what has changed since a revision, and moves it on.
func (b *Rulebook) follow(ctx context.Context, known *uint64) error {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	for {
		rows, err := b.store.RulesAfter(ctx, *known, rulesPage)
		if err != nil {
			return err
		}
		for _, row := range rows {
			b.learn(row)
			*known = row.Revision
		}
		if len(rows) < rulesPage {
			b.mu.Lock()
			b.read = true
			b.mu.Unlock()
			return nil
		}
	}
}

// learn takes rules in, unless newer ones are known.
func (b *Rulebook) learn(row RuleRow) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.queues[row.Queue]; e == nil || e.revision < row.Revision {
		b.queues[row.Queue] = &rulesEntry{revision: row.Revision, text: row.Rules}
	}
}

// Route decides by the rules of the queue that a request names. It fails only
// before the rules have been read for the first time.
func (b *Rulebook) Route(_ context.Context, r *ServiceRequest) (Route, error) {
	b.mu.Lock()
	e, read := b.queues[r.Queue], b.read
	b.mu.Unlock()
	switch {
	case !read:
		return Route{}, errRulesUnknown
	case e == nil:
		return Route{Queue: r.Queue}, nil
	}
	e.once.Do(func() {
		var err error
		if e.set, err = compileStored(e.text); err != nil {
			b.log.Error("rules of a queue cannot be used; its requests are refused", "queue", r.Queue, "error", err)
		}
	})
	if e.set == nil { // it will not be otherwise next time
		return Route{Refused: true, Rule: "the rules of the queue cannot be used by this version"}, nil
	}
	if e.set.Len() == 0 {
		return Route{Queue: r.Queue}, nil
	}
	if m, p := ruleMessage(r); p == nil {
		return routeOf(e.set.Decide(m)), nil
	}
	// It is malformed: whoever makes the command of it says so.
	return Route{Queue: r.Queue}, nil
}

func routeOf(d filter.Decision) Route {
	return Route{Refused: d.Refused, Rule: ruleSaid(d), Queue: d.Queue, Priority: d.Priority}
}

// ruleSaid names the rule that decided, and why it failed if it did.
func ruleSaid(d filter.Decision) string {
	if d.Failed == "" {
		return d.Rule
	}
	return fmt.Sprintf("%s (%s)", d.Rule, d.Failed)
}

// ruleMessage is a request as rules see it; a problem where it is malformed.
func ruleMessage(r *ServiceRequest) (*filter.Message, *problem) {
	f := &faults{}
	o := f.parse(r.Body)
	m := &filter.Message{
		Request: filter.Request{Queue: r.Queue}, Headers: r.Headers, RoutingKey: r.RoutingKey,
		MessageID: r.MessageID, Type: r.Type, Source: r.Source,
	}
	o.raw("queue")
	if s := o.text("service", 0, maxBody, true); s != nil {
		m.Request.Service = s
	}
	if n, given := o.integer("priority", 0, filter.MaxPriority); given {
		m.Request.Priority = &n
	}
	if customer, _ := o.customer("customer"); customer != nil {
		m.Request.Customer = &filter.Customer{}
		if err := json.Unmarshal(customer, m.Request.Customer); err != nil {
			o.bad("customer", "must be an object")
		}
	}
	m.Request.Payload, _ = o.payload("payload")
	o.close()
	return m, f.problem()
}

// storedRule is a rule as it is kept and shown.
type storedRule struct {
	Name     string          `json:"name"`
	When     string          `json:"when"`
	Action   filter.Action   `json:"action"`
	Queue    *string         `json:"queue"`
	Priority json.RawMessage `json:"priority"` // null, a number or an expression
}

func (s storedRule) rule() filter.Rule {
	r := filter.Rule{Name: s.Name, When: s.When, Action: s.Action}
	if s.Queue != nil {
		r.Queue = *s.Queue
	}
	if !isNull(s.Priority) {
		r.Priority = string(s.Priority)
		if len(s.Priority) > 0 && s.Priority[0] == '"' {
			r.Priority, _ = unquote(s.Priority)
		}
	}
	return r
}

// compileStored readies rules that were checked when they were saved.
func compileStored(text json.RawMessage) (*filter.Set, error) {
	var stored []storedRule
	if err := json.Unmarshal(text, &stored); err != nil {
		return nil, err
	}
	set, found := filter.Compile(rulesOf(stored))
	if len(found) > 0 {
		return nil, fmt.Errorf("rule %d, %s: %s", found[0].Rule+1, found[0].Field, found[0].Message)
	}
	return set, nil
}

// encodeRules writes expressions as they are, without escapes for HTML.
func encodeRules(stored []storedRule) (json.RawMessage, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(stored); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(text.Bytes()), nil
}

func rulesOf(stored []storedRule) []filter.Rule {
	list := make([]filter.Rule, len(stored))
	for i, s := range stored {
		list[i] = s.rule()
	}
	return list
}
