package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"google.golang.org/grpc/credentials/insecure"

	v1 "nowserving/messages/nowserving/v1"
	"nowserving/persistence/directory"
)

// Commands are counted by the way they came, and all that is shown is named as
// Prometheus has it.
func TestScrape(t *testing.T) {
	t.Parallel()
	p := startNode(t, t.TempDir(), "--grpc-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0")
	c := admin(t, p.url)
	if a, err := new(caller).call(p.url, "POST", "/auth/login", `{"email":"nobody@example.org","password":"wrong wrong"}`, ""); err != nil || a.status != http.StatusUnauthorized {
		t.Fatal(a, err)
	}
	c.must(t, p.url, "POST", "/queues", `{"id":"a","public":true,"target_wait_seconds":60}`)
	id := c.must(t, p.url, "POST", "/queues/a/tickets", `{"customer":{"name":"Ada Marsh"}}`).str(t, "id")
	if a, err := c.call(p.url, "POST", "/queues/a/tickets/"+id+"/recall", "", ""); err != nil || a.status != http.StatusConflict {
		t.Fatal(a, err)
	}
	if a, err := c.call(p.url, "POST", "/queues/a/tickets", `{"priority":99}`, ""); err != nil || a.status != http.StatusUnprocessableEntity {
		t.Fatal(a, err)
	}
	s := c.dial(t, p.url)
	s.send(`{"type":"command","id":"1","queue":"a","command":"enqueue","args":{}}`)
	s.next("reply")
	conn, ctx := p.grpcClient(c.token, insecure.NewCredentials())
	if _, err := v1.NewQueuesClient(conn).Enqueue(ctx, &v1.EnqueueRequest{Queue: "a"}); err != nil {
		t.Fatal(err)
	}
	c.must(t, p.url, "POST", "/public/queues/a/tickets", "{}")
	eventually(t, "the line is told", func() bool {
		return strings.Contains(get(t, p.ops()+"/metrics").body, "nowserving_queue_waiting_tickets{queue=\"a\"} 4\n")
	})

	text := get(t, p.ops()+"/metrics").body
	for _, want := range []string{
		`nowserving_commands_total{code="ok",command="create",way="rest"} 1`,
		`nowserving_commands_total{code="ok",command="enqueue",way="rest"} 1`,
		`nowserving_commands_total{code="invalid",command="enqueue",way="rest"} 1`,
		`nowserving_commands_total{code="ticket_not_active",command="recall",way="rest"} 1`,
		`nowserving_commands_total{code="ok",command="recall",way="rest"} 0`,
		`nowserving_commands_total{code="ok",command="enqueue",way="websocket"} 1`,
		`nowserving_commands_total{code="ok",command="enqueue",way="grpc"} 1`,
		`nowserving_commands_total{code="ok",command="check_in",way="public"} 1`,
		`nowserving_commands_total{code="outcome_unknown",command="enqueue",way="rest"} 0`,
		`nowserving_command_duration_seconds_count{command="enqueue",way="rest"} 2`,
		`nowserving_append_events_sum 5`,
		`nowserving_sessions{kind="websocket"} 1`,
		`nowserving_frames_sent_total{kind="websocket"} 2`,
		`nowserving_logins_total{code="ok"} 1`,
		`nowserving_logins_total{code="bad_credentials"} 1`,
		`nowserving_active_queues 1`,
		`nowserving_queue_activations_total 1`,
		`nowserving_http_requests_total{code="1xx"} 1`,
		`nowserving_queue_target_wait_seconds{queue="a"} 60`,
		`nowserving_dependency_up{dependency="journal"} 1`,
		`nowserving_lost_events_total 0`,
		`nowserving_unopened_values_total{reason="no_key"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Contains(text, "Ada") || strings.Contains(text, id) || strings.Contains(text, "localhost") {
		t.Error("somebody is named")
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	for _, wrong := range problems {
		if strings.HasPrefix(wrong.Metric, "nowserving_") {
			t.Error(wrong)
		}
	}
	if err != nil || t.Failed() {
		t.Fatalf("%v in\n%s", err, text)
	}
}

// The longest lines have series of their own, and the others one together: those
// only of queues that live here.
func TestLines(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	l := newLines(func(id string) bool { return id != "elsewhere" }, func() time.Time { return now })
	note := func(id string, waiting, seconds int64, deleted bool) {
		l.note(directory.QueueRow{
			ID: id, Waiting: waiting, Deleted: deleted, Config: []byte(`{"name":"N","target_wait_seconds":90}`),
			Line: &directory.QueueLine{WaitingSince: now.Add(-time.Duration(seconds) * time.Second)},
		})
	}
	for i := range linesShown {
		note(fmt.Sprint("q", i), 10, 5, false)
	}
	note("elsewhere", 1_000, 0, false)
	note("gone", 1_000, 0, false)
	note("gone", 0, 0, true)
	note("short", 2, 40, false)
	note("shorter", 1, 50, false)
	note("empty", 0, 1_700_000_000, false) // as one that nobody waits in is described
	r := prometheus.NewRegistry()
	r.MustRegister(l)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			got[f.GetName()+" "+m.Label[0].GetValue()] = m.Gauge.GetValue()
		}
	}
	if len(got) != 3*linesShown+2 {
		t.Errorf("%d series", len(got))
	}
	for name, want := range map[string]float64{
		"waiting_tickets q7": 10, "longest_wait_seconds q7": 5, "target_wait_seconds q7": 90,
		"waiting_tickets (others)": 3, "longest_wait_seconds (others)": 50,
	} {
		if is, found := got["nowserving_queue_"+name]; !found || is != want {
			t.Errorf("%s: %v", name, is)
		}
	}
}
