package webhook

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/persistence/directory"
)

// counting notes how many deliveries are asked for at once.
type counting struct {
	*env
	most atomic.Int64
}

func (c *counting) Deliveries(ctx context.Context, id string, limit int) (Endpoint, []Delivery, error) {
	if id == "w" {
		for most := c.most.Load(); most < int64(limit) && !c.most.CompareAndSwap(most, int64(limit)); most = c.most.Load() {
		}
	}
	return c.env.Deliveries(ctx, id, limit)
}

// One that takes nothing is asked for one thing at a time until it takes something,
// also where nothing was due for it in between.
func TestFailingReceiverIsAskedForLittle(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := &counting{env: e}
	e.outbox = c
	var healthy atomic.Bool
	r := receive(t, func(http.ResponseWriter, int) int {
		if healthy.Load() {
			return http.StatusOK
		}
		return http.StatusBadGateway
	})
	e.hook("w", r.URL)
	e.happen(atOnce)
	e.work()
	tried := func(n int) {
		t.Helper()
		e.eventually(strconv.Itoa(n)+" are tried", func() bool {
			_, due, err := e.dir.DueDeliveries(t.Context(), "w", 1000)
			_, ids := r.requests()
			return err == nil && len(due) == 0 && ids == n
		})
	}
	for batch := range 3 {
		if batch > 0 {
			e.happen(atOnce)
		}
		tried(atOnce * (batch + 1))
		if most := c.most.Swap(0); batch > 0 && most > 2 { // the one that is under way, and another one
			t.Errorf("batch %d: it was asked for %d things at once", batch, most)
		}
	}
	healthy.Store(true)
	e.happen(100)
	tried(3*atOnce + 100)
	if most := c.most.Load(); most < atOnce {
		t.Errorf("it takes all and was asked for %d things at once", most)
	}
}

// A rest ends with the address that it was for, and where an admin begins anew.
func TestChangedWebhookIsAskedAgain(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(e *env, other string){
		"address": func(e *env, other string) {
			_, err := e.dir.UpdateWebhook(context.Background(), "w", directory.WebhookPatch{URL: &other})
			e.check(err)
		},
		"disabled for a moment": func(e *env, _ string) {
			for _, on := range []bool{false, true} {
				_, err := e.dir.UpdateWebhook(context.Background(), "w", directory.WebhookPatch{Enabled: &on})
				e.check(err)
			}
		},
		"replay": func(e *env, _ string) {
			n, err := e.dir.ReplayDeliveries(context.Background(), "w", nil)
			if e.check(err); n != 1 {
				e.t.Fatal(n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t)
			var healthy atomic.Bool
			r, other := receive(t, func(w http.ResponseWriter, _ int) int {
				if healthy.Load() {
					return http.StatusOK
				}
				w.Header().Set("Retry-After", "3600")
				return http.StatusTooManyRequests
			}), receive(t, ok)
			e.hook("w", r.URL)
			e.happen(1)
			e.work()
			e.eventually("it has refused", func() bool { return e.state("w").Failure == "http_429" })
			dead := directory.DeliveryOutcome{ID: r.headers()[0].Get("webhook-id"), At: e.now(), Reason: "http_429"}
			e.check(e.dir.SettleDeliveries(t.Context(), "w", []directory.DeliveryOutcome{dead}, false))
			e.happen(1)
			e.skew.Add(int64(time.Minute))
			if all, _ := r.requests(); all != 1 {
				t.Errorf("%d requests", all)
			}
			healthy.Store(true)
			change(e, other.URL)
			e.eventually("what waits is delivered", func() bool { return e.state("w").Waiting == 0 })
		})
	}
}

// What the address of before answers late says nothing of the new one.
func TestLateAnswerOfTheAddressOfBefore(t *testing.T) {
	t.Parallel()
	e := start(t)
	arrived, free := make(chan struct{}), make(chan struct{})
	r, other := receive(t, func(w http.ResponseWriter, _ int) int {
		close(arrived)
		<-free
		w.Header().Set("Retry-After", "3600")
		return http.StatusServiceUnavailable
	}), receive(t, ok)
	answer := sync.OnceFunc(func() { close(free) })
	t.Cleanup(answer) // before the receiver's end
	e.hook("w", r.URL)
	e.happen(1)
	e.work()
	<-arrived
	e.skew.Add(int64(time.Minute))
	_, err := e.dir.UpdateWebhook(t.Context(), "w", directory.WebhookPatch{URL: &other.URL})
	e.check(err)
	e.happen(1)
	e.eventually("the next one is delivered", func() bool { all, _ := other.requests(); return all == 1 })
	answer()
	e.eventually("the first one has failed", func() bool { return e.state("w").Failure == "http_503" })
	e.happen(1)
	e.eventually("another one is delivered", func() bool { all, _ := other.requests(); return all == 2 })
}

// What is remembered of webhooks is no more than there are.
func TestForgetsWebhooksThatAreGone(t *testing.T) {
	t.Parallel()
	d := NewDeliverer(nil, nil, nil, time.Now)
	for _, id := range []string{"a", "b"} {
		d.faring(Receiver{Webhook: id, State: 1}).failures = atOnce
	}
	d.keep([]Receiver{{Webhook: "b"}})
	if len(d.standings) != 1 || d.faring(Receiver{Webhook: "b", State: 1}).failures != atOnce || d.faring(Receiver{Webhook: "b", State: 2}).failures != 0 {
		t.Errorf("%v", d.standings)
	}
}
