package gateway

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// silent is a queue service whose queues cannot be reached.
type silent struct{ code queue.Code }

func (s silent) Do(context.Context, *messages.Command) *messages.Answer {
	return &messages.Answer{Problem: &messages.Problem{Code: string(s.code)}}
}

func (s silent) Read(context.Context, *messages.Read) *messages.View {
	return &messages.View{Problem: &messages.Problem{Code: string(queue.Unavailable)}}
}

func TestOutages(t *testing.T) {
	t.Parallel()
	for _, code := range []queue.Code{queue.Unavailable, queue.OutcomeUnknown} {
		e := start(t, func(o *Options) { o.Queues = silent{code} })
		for _, c := range []call{
			{method: "POST", path: "/queues/a/tickets"}, {method: "PATCH", path: "/queues/a", body: `{"name":"x"}`},
			{method: "DELETE", path: "/queues/a"}, {method: "POST", path: "/queues", body: `{"id":"a"}`},
		} {
			if r := e.do(c).want(503, string(code)); r.header.Get("Retry-After") != "1" {
				t.Errorf("%s %s: Retry-After %q", c.method, c.path, r.header.Get("Retry-After"))
			}
		}
		e.get("/queues/a").want(503, "unavailable")
		e.get("/queues/a/tickets").want(503, "unavailable")
		// The refusal is certain, whether or not the ticket is there.
		e.do(call{as: "viewer", method: "POST", path: "/queues/a/tickets"}).want(403, "forbidden")
	}
}

// away is a directory that does not answer while it is gone, or never does.
type away struct {
	Directory
	gone *atomic.Bool
}

var errAway = errors.New("away")

func (a away) isGone() bool { return a.gone == nil || a.gone.Load() }

func (a away) UserByID(ctx context.Context, id string) (User, error) {
	if a.isGone() {
		return User{}, errAway
	}
	return a.Directory.UserByID(ctx, id)
}

func (a away) UserByEmail(ctx context.Context, email string) (User, error) {
	if a.isGone() {
		return User{}, errAway
	}
	return a.Directory.UserByEmail(ctx, email)
}

func (a away) AccessChanges(ctx context.Context, after uint64, limit int) ([]AccessChange, uint64, error) {
	if a.isGone() {
		return nil, 0, errAway
	}
	return a.Directory.AccessChanges(ctx, after, limit)
}

func (a away) ListQueues(ctx context.Context, ids []string, after string, limit int) ([]QueueRow, error) {
	if a.isGone() {
		return nil, errAway
	}
	return a.Directory.ListQueues(ctx, ids, after, limit)
}

func (a away) PutQueue(ctx context.Context, row QueueRow) error {
	if a.isGone() {
		return errAway
	}
	return a.Directory.PutQueue(ctx, row)
}

func (a away) ReservePrefix(ctx context.Context, id string) (string, error) {
	if a.isGone() {
		return "", errAway
	}
	return a.Directory.ReservePrefix(ctx, id)
}

func (away) Statistics(context.Context, string, []time.Time, int64) ([]Statistics, Statistics, error) {
	return nil, Statistics{}, errAway
}

func TestQueuesGoOnWithoutTheDirectory(t *testing.T) {
	t.Parallel()
	var gone atomic.Bool
	e := start(t, func(o *Options) { o.Directory = away{o.Directory, &gone} })
	e.queue("a")
	gone.Store(true)
	e.gateway.auth.seen.forget() // as after a start
	e.ok(call{as: "attendant", method: "POST", path: "/queues/a/tickets"})
	e.ok(call{method: "PATCH", path: "/queues/a", body: `{"name":"x"}`})
	e.get("/queues").want(503, "unavailable")
	e.get("/me").want(503, "unavailable")
	e.do(call{method: "POST", path: "/queues", body: `{"id":"n"}`}).want(503, "unavailable")
	e.ok(call{method: "POST", path: "/queues", body: `{"id":"n","prefix":"N"}`})
	e.login("ann@example.org", "x").want(503, "unavailable")
}

// What cannot be opened is null, and the log says where but not what.
func TestSealedElsewhereIsNull(t *testing.T) {
	t.Parallel()
	e := start(t)
	id := [16]byte{1}
	ticket := &messages.Ticket{Id: id[:], State: 1, Source: 1, Payload: e.gateway.sealer.Seal("a", sealedCustomer, id, []byte(`"secret"`))}
	text := string(e.gateway.appendTicket(nil, ticket, "a", 1, true))
	if !strings.Contains(text, `"payload":null`) || !strings.Contains(e.log.String(), "field=payload") || strings.Contains(e.log.String(), "secret") {
		t.Errorf("%s\n%s", text, e.log.String())
	}
}
