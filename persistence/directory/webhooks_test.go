package directory

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var webhookTests = map[string]func(*testing.T, opener){
	"webhooks": testWebhooks, "webhook secrets": testWebhookSecrets, "outbox": testOutbox, "outbox once": testOutboxOnce,
	"outbox bound": testOutboxBound, "outbox settled": testOutboxSettled, "outbox replay": testOutboxReplay, "outbox swept": testOutboxSwept,
	"outbox slack": testOutboxSlack, "outbox counts what is kept": testOutboxCountsWhatIsKept, "lapsed secrets": testLapsedSecrets,
}

func hook(id string) Webhook {
	return Webhook{ID: id, URL: "https://example.org/hooks/hunter2", Secret: "whsec_hunter2", Queues: []string{"*"}, Events: []string{"*"}, Enabled: true}
}

func addHook(t *testing.T, d *Directory, w Webhook) {
	t.Helper()
	_, err := d.CreateWebhook(t.Context(), w)
	check(t, err)
}

// happen takes so many events of a queue into the history.
func happen(t *testing.T, d *Directory, id string, events int, kind string) {
	t.Helper()
	at, err := d.HistoryCheckpoints(t.Context(), []string{id})
	check(t, err)
	check(t, d.TakeHistory(t.Context(), []HistoryPart{happened(id, at[0], events, kind)}))
}

func happened(id string, after uint64, events int, kind string) HistoryPart {
	return HistoryPart{Queue: id, After: after, Upto: after + uint64(events), Events: events, Event: func(i int) WebhookEvent {
		v := after + uint64(i) + 1
		return WebhookEvent{Epoch: "e1", Version: v, Type: kind, Body: func() []byte { return fmt.Appendf(nil, `{"type":%q,"data":{"version":%d}}`, kind, v) }}
	}}
}

// due gives what is due for a webhook, as its queue and version.
func due(t *testing.T, d *Directory, id string) (list []string) {
	t.Helper()
	_, found, err := d.DueDeliveries(t.Context(), id, 1000)
	check(t, err)
	for _, one := range found {
		list = append(list, fmt.Sprintf("%s/%d", one.Queue, one.Version))
	}
	return list
}

func dead(t *testing.T, d *Directory, id string) []Delivery {
	t.Helper()
	found, err := d.DeadDeliveries(t.Context(), id, nil, 1000)
	check(t, err)
	return found
}

func testWebhooks(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	made, err := d.CreateWebhook(ctx, hook("w1"))
	check(t, err)
	if got, err := d.Webhook(ctx, "w1"); err != nil || !reflect.DeepEqual(got, made) || got.URL != hook("").URL || got.Secret != "whsec_hunter2" || !got.CreatedAt.Equal(at) {
		t.Fatalf("%+v, %v", got, err)
	}
	if text := dump(t, d); strings.Contains(text, "hunter2") || !strings.Contains(text, "w1") {
		t.Error("the address or the secret can be read in the database")
	}
	url, off := "https://example.org/other", false
	_, err = d.UpdateWebhook(ctx, "w1", WebhookPatch{URL: &url, Queues: &[]string{"a"}, Enabled: &off}, AuditEntry{ID: [16]byte{1}, At: at, Action: "webhook.changed"})
	check(t, err)
	got, err := d.Webhook(ctx, "w1")
	if check(t, err); got.URL != url || got.Secret != "whsec_hunter2" || got.Enabled || !slices.Equal(got.Queues, []string{"a"}) || !slices.Equal(got.Events, []string{"*"}) {
		t.Errorf("%+v", got)
	}
	for i := 2; i <= maxWebhooks; i++ {
		addHook(t, d, hook(fmt.Sprintf("w%d", i)))
	}
	_, err = d.CreateWebhook(ctx, hook("x"))
	want(t, err, ErrTooMany)
	list, err := d.ListWebhooks(ctx, "w48", 2)
	if check(t, err); len(list) != 2 || list[0].ID != "w49" || list[1].ID != "w5" {
		t.Errorf("%+v", list)
	}
	happen(t, d, "a", 1, "ticket.called")
	check(t, d.DeleteWebhook(ctx, "w2"))
	want(t, d.DeleteWebhook(ctx, "w2"), ErrNotFound)
	_, err = d.Webhook(ctx, "w2")
	want(t, err, ErrNotFound)
	_, _, err = d.DueDeliveries(ctx, "w2", 1)
	want(t, err, ErrNotFound)
	addHook(t, d, hook("w2"))
	if left := due(t, d, "w2"); len(left) > 0 {
		t.Errorf("a webhook that was deleted has left %v", left)
	}
	_, _, err = d.DueDeliveries(ctx, "w1", 1) // it is disabled
	want(t, err, ErrNotFound)
}

// Two secrets sign for as long as was said, and not longer.
func testWebhookSecrets(t *testing.T, open opener) {
	var skew atomic.Int64
	d, ctx := open(t, func() time.Time { return at.Add(time.Duration(skew.Load())) }), t.Context()
	addHook(t, d, hook("w"))
	secrets := func(wanted ...string) {
		t.Helper()
		w, err := d.Webhook(ctx, "w")
		if check(t, err); !slices.Equal([]string{w.Secret, w.OldSecret}, wanted) || w.OldUntil.IsZero() != (w.OldSecret == "") {
			t.Fatalf("%+v, want %v", w, wanted)
		}
	}
	rotate := func(secret string) {
		t.Helper()
		_, err := d.RotateWebhook(ctx, "w", secret, d.now().Add(time.Hour))
		check(t, err)
	}
	want(t, d.DropOldSecret(ctx, "w"), ErrNotFound)
	rotate("s2")
	secrets("s2", "whsec_hunter2")
	rotate("s3")
	secrets("s3", "s2")
	check(t, d.DropOldSecret(ctx, "w"))
	secrets("s3", "")
	rotate("s4")
	check(t, d.SweepWebhooks(ctx))
	secrets("s4", "s3")
	skew.Store(int64(time.Hour))
	secrets("s4", "")
	want(t, d.DropOldSecret(ctx, "w"), ErrNotFound)
	check(t, d.SweepWebhooks(ctx))
	skew.Store(0)
	secrets("s4", "") // it is not kept either
}

// Webhooks get what they want from their creation on, while they are enabled.
func testOutbox(t *testing.T, open opener) {
	d := open(t, clock)
	happen(t, d, "a", 2, "ticket.called")
	some := hook("some")
	some.Queues, some.Events = []string{"b", "c"}, []string{"ticket.called", "ticket.moved"}
	addHook(t, d, hook("all"))
	addHook(t, d, some)
	happen(t, d, "a", 2, "ticket.called")
	happen(t, d, "b", 1, "ticket.called")
	happen(t, d, "b", 1, "ticket.held")
	happen(t, d, "b", 1, "") // nobody outside is told
	off := false
	_, err := d.UpdateWebhook(t.Context(), "some", WebhookPatch{Enabled: &off})
	check(t, err)
	happen(t, d, "c", 1, "ticket.moved")
	on := true
	_, err = d.UpdateWebhook(t.Context(), "some", WebhookPatch{Enabled: &on})
	check(t, err)
	happen(t, d, "c", 1, "ticket.moved")
	all, few := due(t, d, "all"), due(t, d, "some")
	slices.Sort(all)
	slices.Sort(few)
	if !slices.Equal(all, []string{"a/3", "a/4", "b/1", "b/2", "c/1", "c/2"}) || !slices.Equal(few, []string{"b/1", "c/2"}) {
		t.Errorf("all: %v, some: %v", all, few)
	}
	w, found, err := d.DueDeliveries(t.Context(), "some", 1)
	if check(t, err); w.URL != some.URL || w.Secret != some.Secret || len(found) != 1 || !strings.HasPrefix(found[0].ID, "msg_") ||
		string(found[0].Body) != fmt.Sprintf(`{"type":%q,"data":{"version":%d}}`, found[0].Event, found[0].Version) || !found[0].Since.Equal(at) {
		t.Errorf("%+v %+v", w, found)
	}
	late, never := hook("late"), hook("never")
	never.Enabled = false
	addHook(t, d, late)
	addHook(t, d, never)
	expected := []EnabledWebhook{{"all", millis(at), true}, {"late", millis(at), false}, {"some", millis(at), true}}
	if list, err := d.EnabledWebhooks(t.Context()); err != nil || !slices.Equal(list, expected) {
		t.Errorf("enabled are %v, %v", list, err)
	}
}

// An event comes in with the history and never without it, and once, even where
// the checkpoint was put back.
func testOutboxOnce(t *testing.T, open opener) {
	d, ctx := open(t, clock), t.Context()
	addHook(t, d, hook("w"))
	happen(t, d, "a", 3, "ticket.called")
	for _, parts := range [][]HistoryPart{
		{happened("a", 2, 1, "ticket.called")},
		{happened("b", 0, 1, "ticket.called"), happened("a", 2, 2, "ticket.called")},
	} {
		want(t, d.TakeHistory(ctx, parts), ErrMoved)
	}
	if got := due(t, d, "w"); !slices.Equal(got, []string{"a/1", "a/2", "a/3"}) {
		t.Fatal(got)
	}
	_, err := d.dialect.db.Exec("UPDATE checkpoints SET version = 1")
	check(t, err)
	happen(t, d, "a", 3, "ticket.called")
	if got := due(t, d, "w"); !slices.Equal(got, []string{"a/1", "a/2", "a/3", "a/4"}) {
		t.Error(got)
	}
}

// What comes beyond the bound dies at once; of the dead the oldest go, and are counted.
func testOutboxBound(t *testing.T, open opener) {
	now := at
	d, ctx := open(t, func() time.Time { return now }), t.Context()
	d.deliveries = 250
	addHook(t, d, hook("w"))
	state := func(waiting, dying, dropped int64) {
		t.Helper()
		w, err := d.Webhook(ctx, "w")
		if check(t, err); w.Waiting != waiting || w.Dead != dying || w.Dropped != dropped {
			t.Fatalf("%d wait, %d are dead, %d dropped; want %d, %d, %d", w.Waiting, w.Dead, w.Dropped, waiting, dying, dropped)
		}
	}
	happen(t, d, "a", 240, "ticket.called")
	state(240, 0, 0)
	happen(t, d, "a", 20, "ticket.called")
	state(250, 10, 0)
	if list := dead(t, d, "w"); list[0].Reason != ReasonBacklogFull || list[0].Attempts != 0 || !list[0].DiedAt.Equal(at) {
		t.Errorf("%+v", list[0])
	}
	now = now.Add(time.Second)
	happen(t, d, "a", 245, "ticket.called")
	state(250, 250, 5)
	var versions []int
	for _, one := range dead(t, d, "w") {
		versions = append(versions, int(one.Version))
	}
	slices.Sort(versions)
	if versions[0] != 256 || versions[249] != 505 {
		t.Errorf("the dead are %d to %d", versions[0], versions[249])
	}
	if n := d.BacklogFull(); n != 255 {
		t.Errorf("%d are counted", n)
	}
	_, err := d.ReplayDeliveries(ctx, "w", nil)
	want(t, err, ErrTooMany)
	state(250, 250, 5)
}

func testOutboxSettled(t *testing.T, open opener) {
	now := at
	d, ctx := open(t, func() time.Time { return now }), t.Context()
	addHook(t, d, hook("w"))
	happen(t, d, "a", 4, "ticket.called")
	_, list, err := d.DueDeliveries(ctx, "w", 10)
	check(t, err)
	now = now.Add(time.Second)
	check(t, d.SettleDeliveries(ctx, "w", []DeliveryOutcome{
		{ID: list[0].ID, At: now}, {ID: list[1].ID, At: now, Reason: "http_500", Next: now.Add(time.Minute)}, {ID: list[2].ID, At: now, Reason: "timeout"},
	}, false))
	if got := due(t, d, "w"); !slices.Equal(got, []string{"a/4"}) {
		t.Errorf("due are %v", got)
	}
	if list := dead(t, d, "w"); len(list) != 1 || list[0].Version != 3 || list[0].Reason != "timeout" || list[0].Attempts != 1 || !list[0].DiedAt.Equal(now) {
		t.Errorf("dead are %+v", list)
	}
	w, err := d.Webhook(ctx, "w")
	if check(t, err); w.Waiting != 2 || w.Dead != 1 || !w.SuccessAt.Equal(now) || !w.FailureAt.Equal(now) || w.Failure != "timeout" || !w.Enabled {
		t.Errorf("%+v", w)
	}
	now = now.Add(time.Minute)
	_, list, err = d.DueDeliveries(ctx, "w", 10)
	if check(t, err); len(list) != 2 || list[1].Version != 2 || list[1].Attempts != 1 || list[1].Reason != "http_500" || !list[1].Since.Equal(at) {
		t.Errorf("due are %+v", list)
	}
	check(t, d.SettleDeliveries(ctx, "w", []DeliveryOutcome{{ID: list[0].ID, At: now, Reason: "http_410"}}, true, AuditEntry{ID: [16]byte{7}, At: now, Action: "webhook.gone", Target: "w"}))
	w, err = d.Webhook(ctx, "w")
	if check(t, err); w.Enabled || !w.Gone || w.Waiting != 1 {
		t.Errorf("%+v", w)
	}
	if entries, _, err := d.ListAudit(ctx, AuditFilter{Target: "w"}, nil, 10); err != nil || len(entries) != 1 {
		t.Errorf("the audit log has %+v, %v", entries, err)
	}
	on := true
	w, err = d.UpdateWebhook(ctx, "w", WebhookPatch{Enabled: &on})
	if check(t, err); !w.Enabled || w.Gone {
		t.Errorf("%+v", w)
	}
}

func testOutboxReplay(t *testing.T, open opener) {
	now := at
	d, ctx := open(t, func() time.Time { return now }), t.Context()
	addHook(t, d, hook("w"))
	happen(t, d, "a", 5, "ticket.called")
	_, list, err := d.DueDeliveries(ctx, "w", 10)
	check(t, err)
	for _, one := range list {
		now = now.Add(time.Millisecond)
		check(t, d.SettleDeliveries(ctx, "w", []DeliveryOutcome{{ID: one.ID, At: now, Reason: "http_500"}}, false))
	}
	all := dead(t, d, "w")
	page, err := d.DeadDeliveries(ctx, "w", &DeliveryPlace{all[1].DiedAt, all[1].ID}, 2)
	if check(t, err); len(all) != 5 || len(page) != 2 || all[0].Version != 5 || page[0].ID != all[2].ID || page[1].ID != all[3].ID {
		t.Errorf("%+v, then %+v", all, page)
	}
	now = now.Add(time.Hour)
	for id, expected := range map[string]int{all[0].ID: 1, "msg_nothing": 0} {
		if n, err := d.ReplayDeliveries(ctx, "w", []string{id}); err != nil || n != expected {
			t.Errorf("%d were replayed, %v", n, err)
		}
	}
	_, list, err = d.DueDeliveries(ctx, "w", 10)
	if check(t, err); len(list) != 1 || list[0].ID != all[0].ID || list[0].Attempts != 0 || !list[0].Since.Equal(now) {
		t.Errorf("%+v", list)
	}
	d.deliveries = 4 // room for three more
	if n, err := d.ReplayDeliveries(ctx, "w", nil); err != nil || n != 3 {
		t.Errorf("%d were replayed, %v", n, err)
	}
	if left := dead(t, d, "w"); len(left) != 1 || left[0].Version != 4 { // the oldest went first
		t.Errorf("%+v", left)
	}
	if w, err := d.Webhook(ctx, "w"); err != nil || !w.UpdatedAt.Equal(now) { // whoever delivers sees it by that
		t.Errorf("%+v, %v", w, err)
	}
}

func testOutboxSwept(t *testing.T, open opener) {
	now := at
	d, ctx := open(t, func() time.Time { return now }), t.Context()
	addHook(t, d, hook("w"))
	happen(t, d, "a", 3, "ticket.called")
	_, list, err := d.DueDeliveries(ctx, "w", 10)
	check(t, err)
	die := func(one Delivery) {
		check(t, d.SettleDeliveries(ctx, "w", []DeliveryOutcome{{ID: one.ID, At: now, Reason: "http_500"}}, false))
	}
	die(list[0])
	now = now.Add(time.Hour)
	die(list[1])
	_, err = d.dialect.db.Exec("INSERT INTO webhook_deliveries SELECT 'deleted', id, queue, version, event, body, attempts, since_ms, next_ms, dead_ms, reason FROM webhook_deliveries")
	check(t, err)
	now = now.Add(deadDeliveriesStay - time.Minute)
	check(t, d.SweepWebhooks(ctx))
	if left := dead(t, d, "w"); len(left) != 1 || left[0].ID != list[1].ID || len(due(t, d, "w")) != 1 || len(dead(t, d, "deleted")) != 0 {
		t.Errorf("%+v are left", left)
	}
}

// Webhooks come along when the ring is rotated, and what no key opens says so.
func TestWebhooksFollowTheRing(t *testing.T) {
	t.Parallel()
	o := Options{Dir: t.TempDir()}
	addHook(t, with(t, o, "k1"), hook("w"))
	d := with(t, o, "k2", "k1")
	if keys, err := d.WebhookRingKeys(t.Context()); err != nil || keys["k1"] != 1 || keys["k2"] != 0 {
		t.Fatal(keys, err)
	}
	if changed, lost, err := d.ResealWebhooks(t.Context()); changed != 1 || lost != 0 || err != nil {
		t.Fatal(changed, lost, err)
	}
	if keys, err := d.WebhookRingKeys(t.Context()); err != nil || keys["k1"] != 0 || keys["k2"] != 1 {
		t.Fatal(keys, err)
	}
	if w, err := with(t, o, "k2").Webhook(t.Context(), "w"); err != nil || w.URL != hook("").URL || w.Secret != hook("").Secret {
		t.Fatalf("%+v, %v", w, err)
	}
	d = with(t, o, "k3")
	if w, err := d.Webhook(t.Context(), "w"); err != nil || w.URL+w.Secret != "" {
		t.Fatalf("%+v, %v", w, err)
	}
	if changed, lost, err := d.ResealWebhooks(t.Context()); changed != 0 || lost != 1 || err != nil {
		t.Fatal(changed, lost, err)
	}
	happen(t, d, "a", 1, "ticket.called") // it holds nothing up
	url, off := "https://example.org", false
	want(t, second(d.UpdateWebhook(t.Context(), "w", WebhookPatch{URL: &url})), ErrSealed)
	want(t, second(d.RotateWebhook(t.Context(), "w", "s2", at.Add(time.Hour))), ErrSealed)
	want(t, d.DropOldSecret(t.Context(), "w"), ErrNotFound)
	if w, err := d.UpdateWebhook(t.Context(), "w", WebhookPatch{Enabled: &off}); err != nil || w.Enabled {
		t.Fatalf("%+v, %v", w, err)
	}
	if w, err := with(t, o, "k2").Webhook(t.Context(), "w"); err != nil || w.URL != hook("").URL || w.Enabled { // its key was found again
		t.Fatalf("%+v, %v", w, err)
	}
	check(t, d.DeleteWebhook(t.Context(), "w"))
}
