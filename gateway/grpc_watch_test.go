package gateway

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	v1 "nowserving/messages/nowserving/v1"
)

// back is the request with which a watcher comes back to where it was.
func (w *watcher) back(queue string) *v1.WatchRequest {
	return &v1.WatchRequest{Queue: queue, Since: &w.version, Epoch: w.epoch}
}

// A stream begins with a snapshot, or where the client was, and ends with the queue.
func TestGRPCWatch(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	e.queue("a", `,"name":"Post","capacity":7`)
	waits, active, held := e.ticket("a", `{"customer":{"name":"Ada"}}`), e.ticket("a", `{"payload":[1]}`), e.ticket("a")
	e.ok(call{method: "POST", path: "/queues/a/tickets/" + active + "/call", body: `{"desk":"1"}`})
	e.ok(call{method: "POST", path: "/queues/a/tickets/" + held + "/hold"})
	w := e.watch("admin", &v1.WatchRequest{Queue: "a"})
	s, parts := w.snapshot()
	sameAsREST(t, s.Queue, e.ok(call{method: "GET", path: "/queues/a"}))
	if len(parts) != 1 || len(s.First.Waiting) != 1 || len(s.First.Active) != 1 || len(s.First.Held) != 1 {
		t.Fatalf("%v", s)
	}
	for id, shown := range map[string]*v1.Ticket{waits: s.First.Waiting[0], active: s.First.Active[0], held: s.First.Held[0]} {
		sameAsREST(t, shown, e.ok(call{method: "GET", path: "/queues/a/tickets/" + id}))
	}
	poor := e.watch("viewer", &v1.WatchRequest{Queue: "a"})
	if s, _ := poor.snapshot(); s.First.Waiting[0].Customer != nil || s.First.Active[0].Payload != "" {
		t.Errorf("a viewer is shown %v", s)
	}
	text := e.join(Admin) // the same events in another form
	text.subscribe("a")

	next := e.ticket("a", `{"customer":{"name":"Eve"},"payload":{"x":1}}`)
	event := w.event()
	sameAsREST(t, event.GetTicket(), e.ok(call{method: "GET", path: "/queues/a/tickets/" + next}))
	if event.Kind != v1.EventKind_EVENT_KIND_TICKET_ENQUEUED || event.By == "" || !event.At.AsTime().Equal(event.GetTicket().EnqueuedAt.AsTime()) {
		t.Errorf("%v", event)
	}
	if shown := poor.event().GetTicket(); shown.Id != next || shown.Customer != nil || shown.Payload != "" {
		t.Errorf("a viewer is shown %v", shown)
	}
	if f := text.want("event"); f.sub("data").str("id") != next || f.num("version") != int(event.Version) {
		t.Errorf("%v", f)
	}
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"status":"paused"}`})
	if event := w.event(); event.Kind != v1.EventKind_EVENT_KIND_QUEUE_PAUSED || event.GetQueue().Status != v1.Status_STATUS_PAUSED || event.GetQueue().Capacity != 7 {
		t.Errorf("%v", event)
	}
	again := e.watch("admin", poor.back("a"))
	again.resumed()
	again.event()
	ahead := w.version + 1
	for name, in := range map[string]*v1.WatchRequest{
		"ahead": {Queue: "a", Since: &ahead, Epoch: w.epoch}, "another epoch": {Queue: "a", Since: &w.version, Epoch: "x"},
		"no epoch": {Queue: "a", Since: &w.version}, "no version": {Queue: "a", Epoch: w.epoch},
	} {
		began := e.watch("admin", in)
		if began.snapshot(); began.version != w.version || began.epoch != w.epoch {
			t.Errorf("%s: %d of %s", name, began.version, began.epoch)
		}
	}
	wantRefusal(t, e.watch("admin", &v1.WatchRequest{Queue: "none"}).ended(), codes.NotFound, "queue_not_found")
	wantRefusal(t, e.watch("admin", &v1.WatchRequest{}).ended(), codes.NotFound, "queue_not_found")
	wantRefusal(t, e.watch("admin", &v1.WatchRequest{Queue: "a", Epoch: strings.Repeat("x", maxEpoch+1)}).ended(), codes.InvalidArgument, "invalid")

	e.queue("b")
	w = e.watch("admin", &v1.WatchRequest{Queue: "b"})
	w.snapshot()
	e.ok(call{method: "DELETE", path: "/queues/b"})
	if m := w.next(); m.GetGone() == nil {
		t.Errorf("%v", m)
	}
	if _, err := w.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("ended with %v", err)
	}
	e.queue("b")
	back := e.watch("admin", w.back("b"))
	if back.snapshot(); back.epoch == w.epoch || back.version <= w.version {
		t.Errorf("%d of %s behind %d of %s", back.version, back.epoch, w.version, w.epoch)
	}
	e.awaits("nobody is left behind", func() bool { // who has been told to end, ends
		e.server.watches.mu.Lock()
		defer e.server.watches.mu.Unlock()
		return len(e.server.watches.all) == 5+3 // those above that still follow
	})
}

// A long line, and one of large tickets, comes in parts, before any event.
func TestGRPCWatchOfALongLine(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	e.queue("a")
	e.queue("b")
	const many, large = 2_500, 60
	e.fill("a", many)
	payload := []byte(`"` + strings.Repeat("x", maxPayload-2) + `"`)
	for range large {
		e.enqueueLong("b", payload)
	}
	for queue, tickets := range map[string]int{"a": many, "b": large} {
		w := e.watch("admin", &v1.WatchRequest{Queue: queue})
		s, err := w.Recv()
		if err != nil {
			t.Fatal(err)
		}
		e.enqueue(queue)
		at := 0
		count := func(part *v1.SnapshotPart) {
			for _, ticket := range part.Waiting {
				if at++; int(ticket.Position) != at {
					t.Fatalf("ticket %d is at %d", at, ticket.Position)
				}
			}
		}
		count(s.GetSnapshot().First)
		parts := 1
		for more := s.GetSnapshot().First.More; more; parts++ {
			part := w.next().GetSnapshotPart()
			count(part)
			more = part.More
		}
		if at != tickets || int(s.GetSnapshot().Queue.Waiting) != tickets || parts < 3 {
			t.Errorf("%d tickets of %d in %d parts", at, s.GetSnapshot().Queue.Waiting, parts)
		}
		w.epoch, w.version = s.GetSnapshot().Epoch, s.GetSnapshot().Queue.Version
		w.event()
	}
}

// Every version comes once and in order, to those who come back all the time too.
func TestGRPCWatchHasNoGaps(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	e.queue("a")
	const events, cuts = 600, 10
	w := e.watch("admin", &v1.WatchRequest{Queue: "a"})
	w.snapshot()
	restless := e.watch("admin", w.back("a"))
	restless.resumed()
	var all sync.WaitGroup
	all.Go(func() { e.fill("a", events) })
	for n := range events {
		w.event()
		if restless.event(); n%(events/cuts) == 0 {
			back := restless.back("a")
			ctx, cut := context.WithCancel(e.as("admin"))
			stream := must[grpc.ServerStreamingClient[v1.WatchResponse]](t)(e.Watch(ctx, back))
			_ = stream // one that is cut right away
			cut()
			restless = e.watch("admin", back)
			restless.resumed()
		}
	}
	all.Wait()
}

// Who does not read is ended, and comes back to where it was.
func TestGRPCWatchOfASlowReader(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	e.queue("a")
	e.QueuesClient = v1.NewQueuesClient(e.connectGRPC(grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(1<<20)))
	w := e.watch("admin", &v1.WatchRequest{Queue: "a"})
	w.snapshot()
	payload := []byte(`"` + strings.Repeat("x", maxPayload-2) + `"`)
	const events = 60 // of 16 kB: more than the buffers hold
	for range events {
		e.enqueueLong("a", payload)
	}
	e.awaits("the watch is given up", func() bool {
		e.server.watches.mu.Lock()
		defer e.server.watches.mu.Unlock()
		return len(e.server.watches.all) == 0
	})
	for {
		m, err := w.Recv()
		if err != nil {
			wantRefusal(t, err, codes.ResourceExhausted, "too_slow")
			break
		}
		if w.version++; m.GetEvent().GetVersion() != w.version {
			t.Fatalf("%d instead of %d", m.GetEvent().GetVersion(), w.version)
		}
	}
	if w.version > events {
		t.Fatal("all came")
	}
	w = e.watch("admin", w.back("a"))
	for w.resumed(); w.version <= events; {
		w.event()
	}
}

// A watch ends in time with the access, however that ends, and with the token.
func TestGRPCWatchEndsWithAccess(t *testing.T) { // alone, for it looks at the time
	e := startCalls(t)
	e.queue("a")
	stays := e.watch("admin", &v1.WatchRequest{Queue: "a"})
	stays.snapshot()
	for name, end := range waysToEnd(e.dir) {
		who := name + "@example.org"
		u := e.addUser(who, Attendant, "a")
		w := e.watch(who, &v1.WatchRequest{Queue: "a"})
		w.snapshot()
		began := time.Now()
		if err := end(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, w.ended(), codes.Unauthenticated, "unauthenticated")
		if took := time.Since(began); took > within {
			t.Errorf("%s: it ended after %v", name, took)
		}
		_, err := e.GetQueue(e.as(who), &v1.GetQueueRequest{Queue: "a"})
		wantRefusal(t, err, codes.Unauthenticated, "unauthenticated")
		wantRefusal(t, e.watch(who, &v1.WatchRequest{Queue: "a"}).ended(), codes.Unauthenticated, "unauthenticated")
	}
	const life = 3 * time.Second
	u := e.addUser("ann@example.org", Attendant, "a")
	began := time.Now()
	e.tokens.Store("ann@example.org", e.tokenFor(u, life))
	w := e.watch("ann@example.org", &v1.WatchRequest{Queue: "a"})
	w.snapshot()
	wantRefusal(t, w.ended(), codes.Unauthenticated, "token_expired")
	if took := time.Since(began); took > life+within { // tokens end at whole seconds
		t.Errorf("it ended after %v", took)
	}

	// An API key is as good as a token, until it is deleted.
	program := e.addUser("program@example.org", Integration, "a")
	key := e.ok(call{method: "POST", path: "/users/" + program.ID + "/keys", body: `{}`})
	e.tokens.Store("program@example.org", key.str("key"))
	if got, err := e.Enqueue(e.as("program@example.org"), &v1.EnqueueRequest{Queue: "a"}); err != nil || got.Ticket.Source != v1.Source_SOURCE_GRPC {
		t.Errorf("%v, %v", got, err)
	}
	w = e.watch("program@example.org", &v1.WatchRequest{Queue: "a"})
	w.snapshot()
	began = time.Now()
	e.ok(call{method: "DELETE", path: "/users/" + program.ID + "/keys/" + key.str("id")})
	wantRefusal(t, w.ended(), codes.Unauthenticated, "unauthenticated")
	if took := time.Since(began); took > within {
		t.Errorf("it ended after %v", took)
	}
	stays.event()
}

// Whatever else voids a token is found when it is looked at again.
func TestGRPCWatchLooksAtItsToken(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	e.queue("a")
	e.server.watches.confirm = 10 * time.Millisecond
	w := e.watch("viewer", &v1.WatchRequest{Queue: "a"})
	w.snapshot()
	e.skew.Store(int64(accessLife))
	wantRefusal(t, w.ended(), codes.Unauthenticated, "token_expired")
}

// A client that does not read has its watch ended in time as well.
func TestGRPCWatchEndsWithAccessWhileNobodyReads(t *testing.T) {
	e := startCalls(t)
	e.queue("a")
	payload := []byte(`"` + strings.Repeat("x", maxPayload-2) + `"`)
	for range 300 {
		e.enqueueLong("a", payload)
	}
	u := e.addUser("ann@example.org", Attendant, "a")
	e.QueuesClient = v1.NewQueuesClient(e.connectGRPC(grpc.WithInitialWindowSize(64 << 10)))
	w := e.watch("ann@example.org", &v1.WatchRequest{Queue: "a"})
	w.next() // and no more
	began := time.Now()
	if err := e.dir.DropUserSessions(t.Context(), u.ID); err != nil {
		t.Fatal(err)
	}
	e.awaits("the watch has ended", func() bool {
		e.server.watches.mu.Lock()
		defer e.server.watches.mu.Unlock()
		return len(e.server.watches.all) == 0
	})
	if took := time.Since(began); took > within {
		t.Errorf("it ended after %v", took)
	}
	rest := 0
	for {
		if _, err := w.Recv(); err != nil {
			wantRefusal(t, err, codes.Unauthenticated, "unauthenticated")
			break
		}
		rest++
	}
	if most := 8; rest > most { // 64 kB on each side, and a message more
		t.Errorf("%d parts more were to be had", rest)
	}
}

// A node that leaves sends its watches away, and answers calls to the end.
func TestGRPCDrain(t *testing.T) {
	t.Parallel()
	slow := &tardy{let: make(chan struct{})}
	e := startCalls(t, func(o *Options) { slow.QueueService, o.Queues = o.Queues, slow })
	e.queue("a")
	w := e.watch("admin", &v1.WatchRequest{Queue: "a"})
	w.snapshot()
	e.gateway.StandAside(t.Context(), true)
	if r := wantRefusal(t, w.ended(), codes.Unavailable, "unavailable"); !r.retry {
		t.Errorf("%+v", r)
	}
	wantRefusal(t, e.watch("admin", w.back("a")).ended(), codes.Unavailable, "unavailable")
	e.gateway.StandAside(t.Context(), false)
	w = e.watch("admin", w.back("a"))
	w.resumed()
	e.gateway.Drain(t.Context(), 0)
	if r := wantRefusal(t, w.ended(), codes.Unavailable, "unavailable"); !r.retry {
		t.Errorf("%+v", r)
	}
	wantRefusal(t, e.watch("admin", w.back("a")).ended(), codes.Unavailable, "unavailable")

	slow.on.Store(true)
	answered := make(chan error, 1)
	go func() {
		_, err := e.Enqueue(e.as("admin"), &v1.EnqueueRequest{Queue: "a"})
		answered <- err
	}()
	e.awaits("the command is under way", func() bool { return e.waiting("a") == 1 })
	down := make(chan struct{})
	go func() {
		defer close(down)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		e.server.Shutdown(ctx)
	}()
	e.awaits("nobody comes in any more", func() bool {
		_, err := v1.NewQueuesClient(e.connectGRPC()).GetQueue(e.as("admin"), &v1.GetQueueRequest{Queue: "a"})
		return refusalOf(err).status == codes.Unavailable
	})
	close(slow.let)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	select {
	case <-down:
	case <-time.After(patience):
		t.Error("the server does not end")
	}
}
