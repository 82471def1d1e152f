package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

// patience is for what must come.
const patience = 2 * time.Minute

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// env is an outbox in a real directory, whose clock can be moved.
type env struct {
	t      *testing.T
	dir    *directory.Directory
	skew   atomic.Int64
	sender *Sender
	taken  uint64 // events
	wake   func()
	leave  func() // tells the deliverer to stop
	outbox Outbox // itself, unless a test has one before it
	// Of a deliverer: its pause at a receiver that fails, and what attempts have at its end.
	pause, finish time.Duration
}

func start(t *testing.T) *env {
	t.Helper()
	ring, err := seal.ParseRing("k1:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	e := &env{t: t, wake: func() {}, pause: 10 * time.Millisecond, finish: 10 * time.Millisecond}
	e.outbox = e
	if e.dir, err = directory.Open(t.Context(), directory.Options{Dir: t.TempDir(), Now: e.now, Keys: ring}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.dir.Close() })
	e.sender = NewSender(Options{Private: loopback, Version: "test", Now: e.now})
	return e
}

func (e *env) now() time.Time { return time.Now().Add(time.Duration(e.skew.Load())) }

func (e *env) check(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// hook has a receiver get all events.
func (e *env) hook(id, url string) {
	e.t.Helper()
	_, err := e.dir.CreateWebhook(context.Background(), directory.Webhook{
		ID: id, URL: url, Secret: secret, Queues: []string{"*"}, Events: []string{"*"}, Enabled: true,
	})
	e.check(err)
}

func (e *env) state(id string) directory.Webhook {
	e.t.Helper()
	w, err := e.dir.Webhook(context.Background(), id)
	e.check(err)
	return w
}

// happen has so many events happen.
func (e *env) happen(events int) {
	e.t.Helper()
	after := e.taken
	e.taken += uint64(events)
	e.check(e.dir.TakeHistory(context.Background(), []directory.HistoryPart{{
		Queue: "a", After: after, Upto: e.taken, Events: events, Event: func(i int) directory.WebhookEvent {
			v := after + uint64(i) + 1
			return directory.WebhookEvent{Epoch: "e1", Version: v, Type: "ticket.called", Body: func() []byte { return fmt.Appendf(nil, `{"version":%d}`, v) }}
		},
	}}))
}

// work has a deliverer work until the test's end, or until it is stopped.
func (e *env) work() (stop func()) {
	d := NewDeliverer(e.outbox, e.sender, slog.New(slog.DiscardHandler), e.now)
	d.failing, d.finish, e.wake = e.pause, e.finish, d.Wake
	ctx, cancel := context.WithCancel(context.Background())
	e.leave = cancel
	var working sync.WaitGroup
	working.Go(func() {
		for ctx.Err() == nil {
			d.Work(ctx)
		}
	})
	stop = func() {
		cancel()
		working.Wait()
	}
	e.t.Cleanup(stop)
	return stop
}

// The directory as the deliverer wants it: what main's adapter is.

func (e *env) Receivers(ctx context.Context) (list []Receiver, err error) {
	found, err := e.dir.EnabledWebhooks(ctx)
	for _, one := range found {
		list = append(list, Receiver{Webhook: one.ID, State: one.UpdatedMs, Due: one.Due})
	}
	return list, err
}

func (e *env) Deliveries(ctx context.Context, id string, limit int) (Endpoint, []Delivery, error) {
	w, found, err := e.dir.DueDeliveries(ctx, id, limit)
	to := Endpoint{URL: w.URL, Secrets: []string{w.Secret}}
	if w.OldSecret != "" {
		to.Secrets = append(to.Secrets, w.OldSecret)
	}
	var list []Delivery
	for _, one := range found {
		list = append(list, Delivery{one.ID, one.Body, one.Attempts, one.Since})
	}
	return to, list, err
}

func (e *env) Settle(ctx context.Context, id string, outcomes []Outcome, gone bool) error {
	var kept []directory.DeliveryOutcome
	for _, o := range outcomes {
		kept = append(kept, directory.DeliveryOutcome(o))
	}
	return e.dir.SettleDeliveries(ctx, id, kept, gone)
}

// eventually asks again and again until the answer is yes.
func (e *env) eventually(what string, ask func() bool) {
	e.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if e.wake(); ask() {
			return
		}
	}
	e.t.Fatalf("it did not come to be: %s", what)
}

// receiver is a real one, which holds each request against the convention.
type receiver struct {
	*httptest.Server
	t *testing.T
	// answer gives the status for a request, the first one for an id being number 1.
	answer func(w http.ResponseWriter, number int) int

	mu     sync.Mutex
	got    map[string]int // requests by id
	bodies map[string]string
	order  []http.Header // of the requests
}

func receive(t *testing.T, answer func(w http.ResponseWriter, number int) int) *receiver {
	r := &receiver{t: t, answer: answer, got: map[string]int{}, bodies: map[string]string{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func ok(http.ResponseWriter, int) int { return http.StatusOK }

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	verifier, _ := standardwebhooks.NewWebhook(secret)
	// Whatever the test's clock says; the header is looked at by itself.
	if bad := verifier.VerifyIgnoringTimestamp(body, q.Header); err != nil || bad != nil || q.Method != "POST" || q.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s: %v, %v: %s", q.Method, err, bad, body)
	}
	id := q.Header.Get("webhook-id")
	r.mu.Lock()
	r.got[id]++
	number := r.got[id]
	if before := r.bodies[id]; before != "" && before != string(body) {
		r.t.Errorf("%s has another body: %s, %s", id, before, body)
	}
	r.bodies[id] = string(body)
	r.order = append(r.order, q.Header)
	r.mu.Unlock()
	w.WriteHeader(r.answer(w, number))
}

// requests gives how many there were, and of how many ids.
func (r *receiver) requests() (all, ids int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.order), len(r.got)
}

func (r *receiver) headers() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.order)
}

func signatures(h http.Header) []string { return strings.Fields(h.Get("webhook-signature")) }
