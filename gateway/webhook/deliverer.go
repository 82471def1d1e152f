package webhook

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	atOnce    = 8 // attempts for one webhook
	lookEvery = time.Second
	restAfter = 10 * time.Second // without anything to do the work goes to whoever comes first
	// At the end attempts that are under way have so long, and then their outcomes.
	finishWithin = 2 * time.Second
	settleAtEnd  = 2 * time.Second
	// A receiver at which atOnce attempts failed in a row is asked for one thing a
	// second, until it takes one.
	failingPause = time.Second
	// giveUp is after which time a delivery is attempted no more.
	giveUp = 24 * time.Hour
	// jitter is the part of a wait that is left to chance.
	jitter = 0.2
)

// waits are those between the attempts: 23 h 43 min in all, at most.
var waits = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 8 * time.Hour,
}

// gone is the status of a receiver that wants nothing any more.
const gone = 410

// Delivery is what is to be delivered to a webhook.
type Delivery struct {
	ID       string
	Body     []byte
	Attempts int
	Since    time.Time // when they began
}

// Outcome is what became of an attempt.
type Outcome struct {
	ID     string
	At     time.Time
	Reason string    // empty: it was delivered
	Next   time.Time // when it is tried again; zero: not any more
}

// Receiver is a webhook that is enabled.
type Receiver struct {
	Webhook string
	State   int64 // another one after each change of the webhook, and after a replay
	Due     bool  // something is to be delivered now
}

// standing is how a receiver has fared. It outlives what is under way for it, until
// the webhook is changed.
type standing struct {
	state    int64
	failures int       // in a row
	until    time.Time // when to leave the receiver alone no longer
}

// Outbox is where deliveries wait.
type Outbox interface {
	// Receivers gives all webhooks that are enabled.
	Receivers(ctx context.Context) ([]Receiver, error)
	// Deliveries gives what is to be delivered to one, the longest due first.
	Deliveries(ctx context.Context, webhook string, limit int) (Endpoint, []Delivery, error)
	// Settle keeps what became of some. Gone disables the webhook.
	Settle(ctx context.Context, webhook string, outcomes []Outcome, gone bool) error
}

// Deliverer delivers what is in the outbox, at least once and in no certain
// order. Each receiver has a goroutine of its own while something is due for it.
type Deliverer struct {
	outbox Outbox
	sender *Sender
	log    *slog.Logger
	now    func() time.Time
	signal chan struct{}
	// standings are those of enabled webhooks. While a line is at work, one is the
	// line's, and otherwise Work's.
	standings map[string]*standing
	// failing and finish are failingPause and finishWithin; fields for the tests to change.
	failing, finish time.Duration
}

// NewDeliverer makes one; Work does its work.
func NewDeliverer(outbox Outbox, sender *Sender, log *slog.Logger, now func() time.Time) *Deliverer {
	return &Deliverer{outbox: outbox, sender: sender, log: log, now: now, signal: make(chan struct{}, 1), standings: make(map[string]*standing), failing: failingPause, finish: finishWithin}
}

// Wake has it look at once. It never blocks.
func (d *Deliverer) Wake() {
	select {
	case d.signal <- struct{}{}:
	default:
	}
}

// Wait ends when it is time to look for something to do, or with ctx.
func (d *Deliverer) Wait(ctx context.Context) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-d.signal:
	}
}

// Idle tells whether nothing is to be delivered now, or nobody can tell.
func (d *Deliverer) Idle(ctx context.Context) bool {
	list, err := d.outbox.Receivers(ctx)
	return err != nil || !slices.ContainsFunc(list, func(r Receiver) bool { return r.Due })
}

// Work delivers until ctx is over, or nothing has been due for some seconds. No
// other must be at work meanwhile, or receivers have things twice.
func (d *Deliverer) Work(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	running, ended := map[string]chan int64{}, make(chan string)
	for idleSince := time.Now(); ; {
		list, err := d.outbox.Receivers(ctx) // a database that is away ends the lease, and so ctx
		if err == nil {
			d.keep(list)
		}
		for _, r := range list {
			news := running[r.Webhook]
			if !r.Due || news == nil && time.Now().Before(d.faring(r).until) {
				continue
			}
			if news == nil {
				news = make(chan int64, 1)
				running[r.Webhook] = news
				s := d.standings[r.Webhook]
				all.Go(func() {
					d.deliver(ctx, r.Webhook, s, news)
					select {
					case ended <- r.Webhook:
					case <-ctx.Done():
					}
				})
			}
			select {
			case <-news: // is old
			default:
			}
			news <- r.State // never blocks: nobody else sends
		}
		if len(running) > 0 || d.firstEnd(running) != nil { // a rest would be forgotten with the lease
			idleSince = time.Now()
		}
		if ctx.Err() != nil || time.Since(idleSince) > restAfter {
			return
		}
		d.await(ctx, ended, running)
	}
}

// keep forgets how webhooks fared that are not in the list.
func (d *Deliverer) keep(list []Receiver) {
	for id := range d.standings {
		if !slices.ContainsFunc(list, func(r Receiver) bool { return r.Webhook == id }) {
			delete(d.standings, id)
		}
	}
}

// faring gives how a receiver has fared for which nothing is under way.
func (d *Deliverer) faring(r Receiver) *standing {
	s := d.standings[r.Webhook]
	if s == nil {
		s = &standing{state: r.State}
		d.standings[r.Webhook] = s
	}
	s.hear(r.State)
	return s
}

// hear forgets how the receiver fared when the webhook was another one.
func (s *standing) hear(state int64) {
	if s.state != state {
		*s = standing{state: state}
	}
}

// firstEnd is when the first rest ends of those for which nothing is under way; nil for none.
func (d *Deliverer) firstEnd(running map[string]chan int64) (first *time.Time) {
	now := time.Now()
	for id, s := range d.standings {
		if running[id] == nil && s.until.After(now) && (first == nil || s.until.Before(*first)) {
			first = &s.until
		}
	}
	return first
}

// await waits until there may be more to do.
func (d *Deliverer) await(ctx context.Context, ended <-chan string, running map[string]chan int64) {
	look := time.Now().Add(lookEvery)
	for {
		if end := d.firstEnd(running); end != nil && end.Before(look) {
			look = *end
		}
		select {
		case id := <-ended:
			delete(running, id)
			continue
		case <-ctx.Done():
		case <-time.After(time.Until(look)):
		case <-d.signal:
		}
		return
	}
}

// line is what is under way for one webhook.
type line struct {
	*Deliverer
	*standing
	webhook  string
	held     map[string]bool // ids of deliveries that are attempted, or whose outcome is not kept yet
	done     chan attempt
	outcomes []Outcome
	gone     bool
}

type attempt struct {
	Delivery
	Result
	state int64 // of the webhook, when it began
	cut   bool  // off
}

// deliver goes on until nothing is due for a webhook, or its receiver is to be left
// alone. News are its states.
func (d *Deliverer) deliver(ctx context.Context, webhook string, s *standing, news <-chan int64) {
	l := &line{Deliverer: d, standing: s, webhook: webhook, held: make(map[string]bool), done: make(chan attempt, atOnce)}
	sending, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var attempts sync.WaitGroup
	for ctx.Err() == nil && !l.gone {
		l.begin(ctx, sending, &attempts)
		if len(l.held) == 0 {
			return
		}
		l.await(ctx, news, time.Until(l.until))
		l.settle(ctx)
	}
	defer time.AfterFunc(d.finish, cut).Stop()
	attempts.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleAtEnd)
	defer cancel()
	if l.settle(last); l.gone {
		d.log.Warn("a webhook was disabled, for its receiver wants nothing any more", "webhook", webhook)
	}
}

// await waits until an attempt has ended, there is news, or a pause is over.
func (l *line) await(ctx context.Context, news <-chan int64, pause time.Duration) {
	var over <-chan time.Time
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case a := <-l.done:
		l.take(a)
	case state := <-news:
		l.hear(state)
	case <-over:
	case <-ctx.Done():
	}
}

// begin begins attempts for what is due, as many as may be under way. They last as
// long as sending.
func (l *line) begin(ctx, sending context.Context, attempts *sync.WaitGroup) {
	if time.Now().Before(l.until) {
		return
	}
	most := atOnce
	if l.failures >= atOnce {
		most = 1
	}
	to, due, err := l.outbox.Deliveries(ctx, l.webhook, len(l.held)+most)
	if err != nil { // it is disabled, or the database is away
		return
	}
	for _, one := range due {
		if len(l.held) >= most {
			return
		}
		if !l.held[one.ID] {
			l.held[one.ID] = true
			state := l.state
			attempts.Go(func() {
				l.done <- attempt{one, l.sender.Send(sending, to, one.ID, one.Body), state, sending.Err() != nil}
			})
		}
	}
}

// take notes what became of an attempt, unless it was cut off.
func (l *line) take(a attempt) {
	if a.Reason != "" && a.cut {
		delete(l.held, a.ID)
		return
	}
	l.outcomes = append(l.outcomes, l.outcome(a.Delivery, a.Result))
	if a.state != l.state { // it tells nothing of what the webhook is now
		return
	}
	l.gone = l.gone || a.Status == gone
	if l.failures++; a.Reason == "" {
		l.failures = 0
	}
	if l.failures >= atOnce {
		l.rest(l.failing)
	}
	if a.Status == 429 || a.Status == 503 {
		l.rest(a.RetryAfter)
	}
}

// rest begins nothing for a while.
func (l *line) rest(d time.Duration) {
	if until := time.Now().Add(d); until.After(l.until) {
		l.until = until
	}
}

// settle keeps all outcomes that there are. Those that cannot be kept now are kept
// later, and not attempted again meanwhile.
func (l *line) settle(ctx context.Context) {
	for {
		select {
		case a := <-l.done:
			l.take(a)
			continue
		default:
		}
		break
	}
	if len(l.outcomes) == 0 {
		return
	}
	if err := l.outbox.Settle(ctx, l.webhook, l.outcomes, l.gone); err != nil {
		l.log.Warn("what became of deliveries to a webhook cannot be kept for now", "webhook", l.webhook, "deliveries", len(l.outcomes), "error", err)
		l.rest(l.failing)
		return
	}
	for _, o := range l.outcomes {
		delete(l.held, o.ID)
	}
	l.outcomes = nil
}

func (d *Deliverer) outcome(one Delivery, r Result) Outcome {
	now := d.now()
	o := Outcome{ID: one.ID, At: now, Reason: r.Reason}
	if o.Reason == "" || r.Status == gone || one.Attempts >= len(waits) || now.Sub(one.Since) >= giveUp {
		return o
	}
	wait := waits[one.Attempts]
	wait -= time.Duration(rand.Float64() * jitter * float64(wait)) //nolint:gosec // no secret depends on it
	o.Next = now.Add(max(wait, r.RetryAfter))
	return o
}
