package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	fastws "github.com/fasthttp/websocket"
)

func TestLiveSubscribe(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	e.enqueue("a")
	p := e.join(Attendant)
	snapshot := p.subscribe("a")
	data := snapshot.sub("data")
	if snapshot.str("type") != "snapshot" || snapshot.num("version") != 2 || data.num("waiting_total") != 1 {
		t.Fatalf("%v", snapshot)
	}
	epoch := snapshot.str("epoch")
	e.enqueue("a")
	if f := p.want("event"); f.num("version") != 3 || f.str("event") != "ticket.enqueued" || f.sub("data").num("position") != 2 {
		t.Errorf("%v", f)
	}
	p.ask(`{"type":"unsubscribe","id":"u","queue":"a"}`)
	e.enqueue("a")
	e.enqueue("a")

	// Back to where the client was: what it missed comes as events.
	if f := p.subscribe("a", "since", 3, "epoch", epoch); f.str("type") != "resumed" || f.num("version") != 3 {
		t.Errorf("%v", f)
	}
	for v := 4; v <= 5; v++ {
		if f := p.want("event"); f.num("version") != v {
			t.Errorf("%v, want version %d", f, v)
		}
	}
	if f := p.subscribe("a", "since", 5, "epoch", epoch); f.str("type") != "resumed" {
		t.Errorf("from the very end: %v", f)
	}
	for name, more := range map[string][]any{
		"ahead": {"since", 6, "epoch", epoch}, "another epoch": {"since", 5, "epoch", "x"}, "no epoch": {"since", 5}, "no version": {"epoch", epoch},
		"null": {"since", nil, "epoch", nil},
	} {
		if f := p.subscribe("a", more...); f.str("type") != "snapshot" || f.num("version") != 5 {
			t.Errorf("%s: %v", name, f)
		}
	}
}

// A journal that cannot be read for a moment makes nobody start over.
func TestLiveResumeIsRefusedRatherThanStartedOver(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	e.enqueue("a")
	other := e.join(Attendant)
	epoch := other.subscribe("a").str("epoch")
	e.enqueue("a")
	other.want("event") // the feed has version 3 and nothing before
	p := e.join(Attendant)
	e.unreadable.Store(true)
	if f := p.subscribe("a", "since", 1, "epoch", epoch); f.str("type") != "reply" || f.sub("error").str("code") != "unavailable" {
		t.Errorf("%v", f)
	}
	e.unreadable.Store(false)
	if f := p.subscribe("a", "since", 1, "epoch", epoch); f.str("type") != "resumed" {
		t.Errorf("%v", f)
	}
}

func TestLiveDeletedAndMadeAnew(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	p := e.join(Admin)
	old := p.subscribe("a")
	e.ok(call{method: "DELETE", path: "/queues/a"})
	p.want("gone")
	e.queue("a")
	f := p.subscribe("a", "since", old.num("version"), "epoch", old.str("epoch"))
	if f.str("type") != "snapshot" || f.str("epoch") == old.str("epoch") || f.num("version") <= old.num("version") {
		t.Errorf("%v, then %v", old, f)
	}
	e.enqueue("a")
	if next := p.want("event"); next.num("version") != f.num("version")+1 {
		t.Errorf("%v after %v", next, f)
	}
}

func TestLiveLongLineComesInParts(t *testing.T) {
	const tickets = 2_500
	e := startLive(t)
	e.queue("a")
	e.fill("a", tickets)
	p := e.join(Admin)
	f := p.subscribe("a")
	waiting := f.sub("data")["waiting"].([]any)
	version := f.num("version")
	if len(waiting) != 1000 || f.sub("data").num("waiting_total") != tickets || version != tickets+1 {
		t.Fatalf("%d of %d at version %d", len(waiting), f.sub("data").num("waiting_total"), version)
	}
	e.enqueue("a") // must not come between the parts
	for len(waiting) < tickets {
		part := p.want("snapshot_part")
		if part.num("version") != version {
			t.Fatalf("a part of version %d", part.num("version"))
		}
		waiting = append(waiting, part["waiting"].([]any)...)
	}
	for i, ticket := range waiting {
		if frame(ticket.(map[string]any)).num("position") != i+1 {
			t.Fatalf("ticket %d: %v", i, ticket)
		}
	}
	if f := p.want("event"); f.num("version") != version+1 {
		t.Errorf("%v", f)
	}
}

// Screens that all begin at once with a long line that moves all the while do not
// keep each other from it.
func TestLiveManyBeginWithALongLine(t *testing.T) {
	const tickets, screens = 1_300, 20
	e := startLive(t)
	e.queue("a")
	e.fill("a", tickets)
	peers := make([]*peer, screens)
	for i := range peers {
		peers[i] = e.join(Admin)
	}
	var all sync.WaitGroup
	for _, p := range peers {
		all.Go(func() {
			f := p.subscribe("a")
			if f.str("type") != "snapshot" {
				t.Errorf("%v", f)
				return
			}
			for shown := 1000; shown < f.sub("data").num("waiting_total"); {
				part := p.want("snapshot_part")
				if part.num("version") != f.num("version") {
					t.Errorf("a part of version %d to a snapshot of %d", part.num("version"), f.num("version"))
					return
				}
				shown += len(part["waiting"].([]any))
			}
		})
	}
	for range 50 {
		e.enqueue("a")
	}
	all.Wait()
}

// Every version once, in order, without a gap, however often a client comes back.
func TestLiveNoGaps(t *testing.T) {
	const sessions, events, writers = 20, 600, 4
	e := startLive(t)
	e.queue("a")
	last := 1 + events*writers
	var all sync.WaitGroup
	for i := range sessions {
		all.Go(func() { e.followTo(t, rand.New(rand.NewPCG(1, uint64(i))), last) })
	}
	for range writers {
		all.Go(func() {
			for range events {
				e.enqueue("a")
			}
		})
	}
	all.Wait()
}

// followTo follows queue a up to a version, and cuts its connection now and then.
func (e *liveEnv) followTo(t *testing.T, random *rand.Rand, last int) {
	version, epoch := 0, ""
	for version < last {
		conn, _, err := fastws.DefaultDialer.Dial("ws://"+e.addr+"/api/v1/ws", http.Header{"Authorization": {"Bearer " + e.token(Viewer)}})
		if err != nil {
			t.Error(err)
			return
		}
		p := &peer{t, conn}
		if _, err := p.read(); err != nil {
			t.Error(err)
			return
		}
		more := ""
		if epoch != "" {
			more = fmt.Sprintf(`,"since":%d,"epoch":%q`, version, epoch)
		}
		_ = conn.WriteMessage(fastws.TextMessage, []byte(`{"type":"subscribe","id":"1","queue":"a"`+more+`}`))
		for left := 50 + random.IntN(400); left > 0 && version < last; left-- {
			f, err := p.read()
			if err != nil {
				t.Error(err)
				return
			}
			switch got := f.num("version"); {
			case f.str("type") == "snapshot" && epoch == "":
				version, epoch = got, f.str("epoch")
			case f.str("type") == "snapshot_part" && got == version:
			case f.str("type") == "resumed" && got == version:
			case f.str("type") == "event" && got == version+1:
				version = got
			default:
				t.Errorf("%s of version %d after %d", f.str("type"), got, version)
				return
			}
		}
		_ = conn.Close()
	}
}

func TestLiveCommands(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	e.queue("b")
	p := e.join(Supervisor)
	enqueued := p.command("a", "enqueue", map[string]any{"service": "Visas", "priority": 3, "customer": map[string]any{"name": "Bo"}, "payload": []int{1}})
	ticket := enqueued.sub("data")
	if enqueued.num("version") != 2 || ticket.str("source") != "websocket" || ticket.sub("customer").str("name") != "Bo" {
		t.Errorf("%v", enqueued)
	}
	id := map[string]any{"ticket": ticket.str("id")}
	with := func(more ...any) map[string]any {
		args := map[string]any{"ticket": ticket.str("id")}
		for i := 0; i < len(more); i += 2 {
			args[more[i].(string)] = more[i+1]
		}
		return args
	}
	for _, step := range []struct {
		name, state string
		args        map[string]any
	}{
		{"move", "waiting", with("position", 1)}, {"update", "waiting", with("priority", 5)}, {"call", "called", with("desk", "4")},
		{"recall", "called", id}, {"start", "serving", id}, {"hold", "held", id}, {"requeue", "waiting", with("position", 1)},
		{"call_next", "called", nil}, {"no_show", "no_show", id}, {"requeue", "waiting", id}, {"call_next", "called", map[string]any{"desk": "4"}},
		{"complete", "completed", with("outcome", "issued")}, {"requeue", "waiting", id}, {"remove", "removed", with("reason", "left")},
	} {
		if f := p.command("a", step.name, step.args); f.sub("data").str("state") != step.state {
			t.Errorf("%s: %v", step.name, f)
		}
	}
	nobody := p.command("a", "call_next", nil)
	if nobody["data"] != nil || nobody.num("version") != 16 {
		t.Errorf("nobody waits: %v", nobody)
	}
	for _, step := range [][2]string{{"pause", "paused"}, {"close", "closed"}, {"open", "open"}} { // open is the last
		if f := p.command("b", step[0], nil); f.sub("data").str("status") != step[1] {
			t.Errorf("%s: %v", step[0], f)
		}
	}
	first := p.command("a", "enqueue", nil).sub("data")
	moved := p.command("a", "transfer", map[string]any{"ticket": first.str("id"), "queue": "b"})
	arrived := moved.sub("data")
	if moved.num("version") != 18 || arrived.str("queue") != "b" || arrived.str("transferred_from") != first.str("id") || arrived.num("position") != 1 {
		t.Errorf("%v", moved)
	}
	refused := p.ask(map[string]any{"type": "command", "id": "x", "queue": "a", "command": "start", "args": map[string]any{"ticket": first.str("id")}})
	if refused.code() != "ticket_finished" || refused.str("id") != "x" || refused.sub("error").num("status") != 409 {
		t.Errorf("%v", refused)
	}
	keyed := `{"type":"command","id":"k","queue":"a","command":"enqueue","idempotency_key":"k1"}`
	if a, b := p.ask(keyed), p.ask(keyed); a.sub("data").str("id") != b.sub("data").str("id") || a.num("version") != b.num("version") {
		t.Errorf("a replay: %v, then %v", a, b)
	}
	if f := p.ask(strings.Replace(keyed, `"command":"enqueue"`, `"command":"call_next"`, 1)); f.code() != "idempotency_key_reused" {
		t.Errorf("%v", f)
	}
}

func TestLiveViewerSeesNoCustomer(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	e.enqueue("a")
	viewer, attendant := e.join(Viewer), e.join(Attendant)
	seen := func(f frame) string { return fmt.Sprint(f["customer"], f["payload"]) }
	first := func(f frame) frame { return f.sub("data")["waiting"].([]any)[0].(map[string]any) }
	if got := seen(first(viewer.subscribe("a"))); got != "<nil> <nil>" {
		t.Errorf("a viewer's snapshot: %s", got)
	}
	if got := seen(first(attendant.subscribe("a"))); !strings.Contains(got, "Ada Marsh") {
		t.Errorf("an attendant's snapshot: %s", got)
	}
	e.enqueue("a")
	if got := seen(viewer.want("event").sub("data")); got != "<nil> <nil>" {
		t.Errorf("a viewer's event: %s", got)
	}
	if got := seen(attendant.want("event").sub("data")); !strings.Contains(got, "Ada Marsh") {
		t.Errorf("an attendant's event: %s", got)
	}
	if f := viewer.ask(`{"type":"command","id":"1","queue":"a","command":"enqueue"}`); f.code() != "forbidden" {
		t.Errorf("%v", f)
	}
	if strings.Contains(e.log.String(), "Ada") {
		t.Error("the log names a customer")
	}
}
