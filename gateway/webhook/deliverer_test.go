package webhook

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func TestEachEventIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	e := start(t)
	one, two := receive(t, ok), receive(t, ok)
	e.hook("one", one.URL)
	e.hook("two", two.URL)
	e.happen(100)
	e.work()
	e.happen(100)
	e.eventually("all is delivered", func() bool { return e.state("one").Waiting+e.state("two").Waiting == 0 })
	for _, r := range []*receiver{one, two} {
		if all, ids := r.requests(); all != 200 || ids != 200 {
			t.Errorf("%d requests for %d events", all, ids)
		}
		at, err := strconv.ParseInt(r.headers()[0].Get("webhook-timestamp"), 10, 64)
		if age := time.Since(time.Unix(at, 0)); err != nil || age < -time.Second || age > patience {
			t.Errorf("the timestamp is %s old, %v", age, err)
		}
	}
	if w := e.state("one"); w.SuccessAt.IsZero() || !w.FailureAt.IsZero() {
		t.Errorf("%+v", w)
	}
}

// What fails is tried again under its id, later and later, and given up within about a day.
func TestRetries(t *testing.T) {
	t.Parallel()
	e := start(t)
	var healthy atomic.Bool
	r := receive(t, func(_ http.ResponseWriter, number int) int {
		if healthy.Load() {
			return http.StatusNoContent
		}
		return http.StatusInternalServerError
	})
	e.hook("w", r.URL)
	e.happen(1)
	e.work()
	attempts := func(n int) {
		t.Helper()
		e.eventually(strconv.Itoa(n)+" attempts are made and kept", func() bool {
			all, _ := r.requests()
			_, list, err := e.dir.DueDeliveries(t.Context(), "w", 1)
			return all >= n && err == nil && len(list) == 0
		})
		if all, ids := r.requests(); all != n || ids != 1 {
			t.Fatalf("%d requests for %d events, want %d", all, ids, n)
		}
	}
	attempts(1)
	began := e.now()
	for i := range waits {
		e.skew.Add(int64(waits[i]))
		attempts(i + 2)
		if i == 4 { // what comes in between is tried beside it
			if w := e.state("w"); w.Waiting != 1 || w.Failure != "http_500" || w.Dead != 0 {
				t.Fatalf("%+v", w)
			}
		}
	}
	if lasted := e.now().Sub(began); lasted < 20*time.Hour || lasted > 25*time.Hour {
		t.Errorf("it was tried for %s", lasted)
	}
	dead, err := e.dir.DeadDeliveries(t.Context(), "w", nil, 10)
	if err != nil || len(dead) != 1 || dead[0].Attempts != 11 || dead[0].Reason != "http_500" || e.state("w").Waiting != 0 {
		t.Fatalf("%+v, %v", dead, err)
	}
	healthy.Store(true)
	if n, err := e.dir.ReplayDeliveries(t.Context(), "w", nil); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	e.eventually("what was replayed is delivered", func() bool { return e.state("w").Waiting == 0 })
	if all, ids := r.requests(); all != 12 || ids != 1 || e.state("w").Dead != 0 {
		t.Errorf("%d requests for %d events", all, ids)
	}
}

func TestWaits(t *testing.T) {
	t.Parallel()
	now := time.Now()
	d := NewDeliverer(nil, nil, nil, func() time.Time { return now })
	for attempts, wait := range waits {
		seen := map[time.Duration]bool{}
		for range 100 {
			o := d.outcome(Delivery{Attempts: attempts, Since: now}, Result{Status: 500, Reason: "http_500"})
			after := o.Next.Sub(now)
			if after > wait || after < wait-wait/5-time.Nanosecond {
				t.Fatalf("after %d attempts it waits for %s, want up to %s", attempts, after, wait)
			}
			seen[after] = true
		}
		if len(seen) < 50 {
			t.Errorf("after %d attempts there are %d waits", attempts, len(seen))
		}
	}
	failed := Result{Status: 503, Reason: "http_503", RetryAfter: time.Hour}
	if o := d.outcome(Delivery{Since: now}, failed); o.Next.Sub(now) != time.Hour {
		t.Errorf("asked for an hour, it waits for %s", o.Next.Sub(now))
	}
	for name, one := range map[string]Delivery{
		"too often": {Attempts: len(waits), Since: now}, "too old": {Attempts: 3, Since: now.Add(-giveUp)},
	} {
		if o := d.outcome(one, failed); !o.Next.IsZero() {
			t.Errorf("%s: it is tried again", name)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, wait := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "30": 30 * time.Second, "Sun, 22 Nov 2026 12:02:00 GMT": 2 * time.Minute,
		"Sun, 22 Nov 2026 11:00:00 GMT": 0, "999999": time.Hour, "99999999999999999999": 0, "Mon, 22 Nov 2027 11:00:00 GMT": time.Hour,
	} {
		if got := retryAfter(text, now); got != wait {
			t.Errorf("%q: %s, want %s", text, got, wait)
		}
	}
}

// A receiver that asks to be left alone is, with all that is for it.
func TestReceiverThatIsLeftAlone(t *testing.T) {
	t.Parallel()
	e := start(t)
	r := receive(t, func(w http.ResponseWriter, _ int) int {
		w.Header().Set("Retry-After", "3600")
		return http.StatusTooManyRequests
	})
	other := receive(t, ok)
	e.hook("w", r.URL)
	e.happen(1)
	e.work()
	e.eventually("it has refused", func() bool { return e.state("w").Failure == "http_429" })
	e.hook("other", other.URL)
	e.happen(20)
	e.eventually("another one has them", func() bool { _, ids := other.requests(); return ids == 20 })
	if all, _ := r.requests(); all != 1 {
		t.Errorf("it was asked %d times", all)
	}
}

// forgetful keeps no outcomes for a while.
type forgetful struct {
	*env
	fails atomic.Int64
}

func (f *forgetful) Settle(ctx context.Context, id string, outcomes []Outcome, gone bool) error {
	if f.fails.Add(-1) >= 0 {
		return errors.New("the database is away")
	}
	return f.env.Settle(ctx, id, outcomes, gone)
}

// What was delivered and cannot be written down at once is not delivered again.
func TestOutcomesThatAreKeptLate(t *testing.T) {
	t.Parallel()
	e := start(t)
	late := &forgetful{env: e}
	late.fails.Store(5)
	e.outbox = late
	r := receive(t, ok)
	e.hook("w", r.URL)
	e.happen(30)
	e.work()
	e.eventually("all is delivered", func() bool { return e.state("w").Waiting == 0 })
	if all, ids := r.requests(); all != 30 || ids != 30 {
		t.Errorf("%d requests for %d events", all, ids)
	}
}

// While a secret is replaced both sign, so that either verifies.
func TestBothSecretsSign(t *testing.T) {
	t.Parallel()
	e := start(t)
	r := receive(t, ok) // verifies with the secret of before
	e.hook("w", r.URL)
	const fresh = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	_, err := e.dir.RotateWebhook(t.Context(), "w", fresh, e.now().Add(time.Hour))
	e.check(err)
	e.work()
	e.happen(1)
	e.eventually("it came", func() bool { all, _ := r.requests(); return all == 1 })
	h := r.headers()[0]
	verifier, err := standardwebhooks.NewWebhook(fresh)
	e.check(err)
	if err := verifier.Verify([]byte(r.bodies[h.Get("webhook-id")]), h); err != nil || len(signatures(h)) != 2 {
		t.Errorf("%v: %v", h, err)
	}
	_, err = e.dir.RotateWebhook(t.Context(), "w", secret, e.now().Add(time.Hour))
	e.check(err)
	e.check(e.dir.DropOldSecret(t.Context(), "w"))
	e.happen(1)
	e.eventually("the next one came", func() bool { all, _ := r.requests(); return all == 2 })
	if h := r.headers()[1]; len(signatures(h)) != 1 {
		t.Errorf("%v", h)
	}
}

// A node that is lost in the middle leaves its deliveries to the next one.
func TestNextNodeGoesOn(t *testing.T) {
	t.Parallel()
	e := start(t)
	arrived, free := make(chan struct{}, 100), make(chan struct{})
	r := receive(t, func(_ http.ResponseWriter, number int) int {
		if number == 1 {
			arrived <- struct{}{}
			<-free // for as long as the first node lives
		}
		return http.StatusOK
	})
	e.hook("w", r.URL)
	e.happen(5)
	stop := e.work()
	for range 5 {
		<-arrived
	}
	stop()
	close(free)
	if w := e.state("w"); w.Waiting != 5 || !w.FailureAt.IsZero() {
		t.Fatalf("%+v", w)
	}
	e.work()
	e.eventually("the next one has delivered", func() bool { return e.state("w").Waiting == 0 })
	if all, ids := r.requests(); all != 10 || ids != 5 {
		t.Errorf("%d requests for %d events", all, ids)
	}
}

// Attempts that are under way when a node leaves come to their end.
func TestAttemptsEndBeforeTheNodeDoes(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.finish = patience
	arrived, free := make(chan struct{}), make(chan struct{})
	r := receive(t, func(http.ResponseWriter, int) int {
		arrived <- struct{}{}
		<-free
		return http.StatusOK
	})
	e.hook("w", r.URL)
	e.happen(1)
	stop := e.work()
	<-arrived
	e.leave()
	close(free)
	stop()
	if w := e.state("w"); w.Waiting != 0 || w.SuccessAt.IsZero() {
		t.Errorf("%+v", w)
	}
}

// One receiver that never answers holds nobody up.
func TestSlowReceiverHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	e := start(t)
	free := make(chan struct{})
	slow, quick := receive(t, func(http.ResponseWriter, int) int { <-free; return http.StatusOK }), receive(t, ok)
	t.Cleanup(func() { close(free) }) // before the receiver's end
	e.hook("slow", slow.URL)
	e.hook("quick", quick.URL)
	began := time.Now()
	e.work()
	for n := 50; n <= 200; n += 50 {
		e.happen(50)
		e.eventually("the quick one has all", func() bool { return e.state("quick").Waiting == 0 })
	}
	all, _ := slow.requests()
	waiting := e.state("slow").Waiting
	if time.Since(began) >= within { // the sender has given some up
		return
	}
	if all > atOnce {
		t.Errorf("%d requests at once", all)
	}
	if waiting != 200 {
		t.Errorf("%d wait", waiting)
	}
}

func TestReceiverThatIsGone(t *testing.T) {
	t.Parallel()
	e := start(t)
	r := receive(t, func(http.ResponseWriter, int) int { return http.StatusGone })
	e.hook("w", r.URL)
	e.happen(1)
	e.work()
	e.eventually("it is disabled", func() bool { return e.state("w").Gone })
	e.happen(3)
	if w := e.state("w"); w.Enabled || w.Dead != 1 || w.Waiting != 0 {
		t.Errorf("%+v", w)
	}
}
