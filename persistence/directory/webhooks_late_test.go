package directory

import (
	"testing"
	"time"
)

// The dead are trimmed for many at a time, and by the sweep.
func testOutboxSlack(t *testing.T, open opener) {
	d := open(t, clock)
	d.deliveries = 50
	addHook(t, d, hook("w"))
	dying := func(n, dropped int64) {
		t.Helper()
		w, err := d.Webhook(t.Context(), "w")
		if check(t, err); w.Waiting != 50 || w.Dead != n || w.Dropped != dropped {
			t.Fatalf("%d wait, %d are dead, %d dropped; want %d, %d", w.Waiting, w.Dead, w.Dropped, n, dropped)
		}
	}
	happen(t, d, "a", 100, "ticket.called")
	dying(50, 0)
	happen(t, d, "a", 4, "ticket.called")
	dying(54, 0)
	happen(t, d, "a", 1, "ticket.called")
	dying(50, 5)
	happen(t, d, "a", 4, "ticket.called")
	dying(54, 5)
	check(t, d.SweepWebhooks(t.Context()))
	dying(50, 9)
}

// What a transaction that was not kept had die is not counted.
func testOutboxCountsWhatIsKept(t *testing.T, open opener) {
	d := open(t, clock)
	d.deliveries = 1
	addHook(t, d, hook("w"))
	part := happened("a", 0, 3, "ticket.called")
	part.Event = func(i int) WebhookEvent {
		return WebhookEvent{Epoch: "e1", Version: uint64(i) + 1, Type: "ticket.called", Body: func() []byte { return nil }}
	}
	if err := d.TakeHistory(t.Context(), []HistoryPart{part}); err == nil || d.BacklogFull() != 0 {
		t.Errorf("%d are counted, %v", d.BacklogFull(), err)
	}
	happen(t, d, "a", 3, "ticket.called")
	if n := d.BacklogFull(); n != 2 {
		t.Errorf("%d are counted", n)
	}
}

// A secret that is replaced while those that have lapsed are swept stays, and
// neither that nor another ring is a change of the webhook.
func testLapsedSecrets(t *testing.T, open opener) {
	now, atNow := at, func() {}
	d, ctx := open(t, func() time.Time { atNow(); return now }), t.Context()
	addHook(t, d, hook("w"))
	_, err := d.RotateWebhook(ctx, "w", "s2", at.Add(time.Hour))
	check(t, err)
	now = at.Add(2 * time.Hour)
	atNow = func() { // the sweep asks whether it has lapsed
		atNow = func() {}
		_, err := d.RotateWebhook(ctx, "w", "s3", now.Add(time.Hour))
		check(t, err)
	}
	check(t, d.SweepWebhooks(ctx))
	w, err := d.Webhook(ctx, "w")
	if check(t, err); w.Secret != "s3" || w.OldSecret != "s2" || !w.OldUntil.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v", w)
	}
	changed := now
	now = now.Add(2 * time.Hour)
	check(t, d.SweepWebhooks(ctx))
	_, _, err = d.ResealWebhooks(ctx)
	check(t, err)
	if w, err = d.Webhook(ctx, "w"); err != nil || !w.UpdatedAt.Equal(changed) || w.Secret != "s3" {
		t.Errorf("%+v, %v", w, err)
	}
}
