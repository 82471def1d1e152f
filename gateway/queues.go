package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"time"

	"github.com/gofiber/fiber/v2"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// REST about queues.

func (g *Gateway) getQueue(c *fiber.Ctx, who *Principal) error {
	id := c.Params("queue")
	view, p := g.readQueue(c.UserContext(), who, ReadQueue, &messages.Read{Queue: id})
	if p != nil {
		return p
	}
	setVersion(c, view.Version)
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		return appendQueue(dst, id, view.Config, view.Status, view.Version, view.Waiting, view.Active)
	})
}

// listQueues answers from the directory, which follows the queues.
func (g *Gateway) listQueues(c *fiber.Ctx, who *Principal) error {
	rows, more, p := g.pageOfQueues(c.UserContext(), who, restQuery(c))
	if p != nil {
		return p
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		return appendQueuePage(dst, rows, more, func(dst []byte, i int) []byte { return appendQueueRow(dst, &rows[i]) })
	})
}

// queuePage is the page of a list of queues that was asked for.
type queuePage struct {
	after string
	limit int
}

func queuePageOf(q query) (asked queuePage, p *problem) {
	var wrong faults
	asked.limit = q.limit(&wrong)
	if text, given := q("after", &wrong); given {
		var ok bool
		if asked.after, ok = parseQueueCursor(text); !ok {
			wrong.add("after", "must be the next of the page before")
		}
	}
	return asked, wrong.problem()
}

// appendQueuePage writes a page of a list of queues, each row as item does.
func appendQueuePage(dst []byte, rows []QueueRow, more bool, item func([]byte, int) []byte) []byte {
	dst = append(dst, `{"items":[`...)
	for i := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = item(dst, i)
	}
	dst = append(dst, `],"next":`...)
	if !more {
		return append(dst, "null}"...)
	}
	return append(appendString(dst, queueCursor(rows[len(rows)-1].ID)), '}')
}

// pageOfQueues gives a page of what the user may see, and whether another one follows.
func (g *Gateway) pageOfQueues(ctx context.Context, who *Principal, q query) ([]QueueRow, bool, *problem) {
	asked, p := queuePageOf(q)
	if p != nil {
		return nil, false, p
	}
	rows, more, err := g.visibleQueues(ctx, who, asked.after, asked.limit)
	if err != nil {
		g.log.WarnContext(ctx, "the queues cannot be listed", "error", err)
		return nil, false, unavailable("The list of queues cannot be read just now.")
	}
	return rows, more, nil
}

// visibleQueues gives a page and whether another one follows.
func (g *Gateway) visibleQueues(ctx context.Context, who *Principal, after string, limit int) ([]QueueRow, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	var ids []string // nil: all
	if !who.seesAll() {
		ids = append([]string{}, who.Queues...)
	}
	rows, err := g.directory.ListQueues(ctx, ids, after, limit)
	if err != nil || len(rows) < limit {
		return rows, false, err
	}
	next, err := g.directory.ListQueues(ctx, ids, rows[len(rows)-1].ID, 1)
	return rows, len(next) > 0, err
}

// queueCommand serves a command whose answer is the queue, or nothing where it
// is gone.
func (g *Gateway) queueCommand(name string) func(*fiber.Ctx, *Principal) error {
	return func(c *fiber.Ctx, who *Principal) error {
		b, p := g.restCommand(c, name, who)
		if p != nil {
			return p
		}
		a, p := g.doQueueCommand(c.UserContext(), who, g.clientAddr(c), b)
		if p != nil {
			return p
		}
		return g.answerQueue(c, http.StatusOK, b.message.Queue, a)
	}
}

func (g *Gateway) answerQueue(c *fiber.Ctx, status int, id string, a *messages.Answer) error {
	setReplayed(c, a)
	if a.Event.Kind == messages.EventKind_EVENT_KIND_QUEUE_DELETED {
		return c.SendStatus(http.StatusNoContent)
	}
	setVersion(c, a.Version)
	return g.sendJSON(c, status, func(dst []byte) []byte {
		return g.appendEventData(dst, id, a.Event, true)
	})
}

func (g *Gateway) createQueue(c *fiber.Ctx, who *Principal) error {
	b, p := g.restCommand(c, "create", who)
	if p != nil {
		return p
	}
	a, p := g.doQueueCommand(c.UserContext(), who, g.clientAddr(c), b)
	if p != nil {
		return p
	}
	c.Set(fiber.HeaderLocation, "/api/v1/queues/"+b.message.Queue)
	return g.answerQueue(c, http.StatusCreated, b.message.Queue, a)
}

// doQueueCommand carries out a command about the queue itself. The default prefix
// of a new one depends on all other queues, so the directory keeps it for this one
// before the queue is asked. What follows the queue's answer is done, whether or
// not somebody still waits for it.
func (g *Gateway) doQueueCommand(ctx context.Context, who *Principal, from netip.Addr, b *build) (*messages.Answer, *problem) {
	id, reserved := b.message.Queue, b.extra == prefixLeftOut
	if reserved {
		prefix, err := g.reservePrefix(ctx, id)
		if err != nil {
			g.log.WarnContext(ctx, "a prefix cannot be reserved", "queue", id, "error", err)
			return nil, unavailable("A prefix for the queue cannot be found just now. Nothing was made.")
		}
		b.message.GetCreate().Config.Prefix = prefix
	}
	a := b.do(ctx)
	ctx = context.WithoutCancel(ctx)
	g.auditQueue(ctx, who, from, b.name, b.message, a)
	switch {
	case a.Problem != nil && reserved:
		g.releasePrefix(ctx, id, queue.Code(a.Problem.Code))
	case a.Problem == nil && !a.Replayed:
		g.record(ctx, id, a.Event)
	}
	return a, problemOf(a.Problem)
}

func (g *Gateway) reservePrefix(ctx context.Context, id string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	return g.directory.ReservePrefix(ctx, id)
}

// releasePrefix gives the prefix up only where there is certainly no queue that
// it could be of. What is not released lapses.
func (g *Gateway) releasePrefix(ctx context.Context, id string, code queue.Code) {
	if code != queue.Invalid && code != queue.Unavailable {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	if err := g.directory.ReleasePrefix(ctx, id); err != nil {
		g.log.InfoContext(ctx, "a reserved prefix was not released; it lapses", "queue", id, "error", err)
	}
}

// record puts an event of a queue into the directory at once. That the list
// follows is not this function's promise: whoever follows the journal writes
// the same.
func (g *Gateway) record(ctx context.Context, id string, e *messages.Event) {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	row := QueueRow{
		ID: id, Name: e.Config.GetName(), Prefix: e.Config.GetPrefix(), Status: queue.Status(e.Status).String(),
		Version: e.Version, Epoch: e.Epoch, Config: EncodeConfig(e.Config),
		Waiting: int64(e.Waiting), Active: int64(e.Active), UpdatedAt: time.UnixMilli(e.At),
		Deleted: e.Kind == messages.EventKind_EVENT_KIND_QUEUE_DELETED,
	}
	if err := g.directory.PutQueue(ctx, row); err != nil {
		g.log.InfoContext(ctx, "the directory does not know of a queue's change yet", "queue", id, "version", e.Version, "error", err)
	}
}

// EncodeConfig is the Config of a QueueRow: the object of the configuration's
// fields as clients see them.
func EncodeConfig(config *messages.Config) json.RawMessage {
	return append(appendConfig([]byte{'{'}, config), '}')
}

// rowConfig is a configuration as it stands in the directory.
type rowConfig struct {
	Name              string   `json:"name"`
	Prefix            string   `json:"prefix"`
	Capacity          uint32   `json:"capacity"`
	Public            bool     `json:"public"`
	TargetWaitSeconds uint32   `json:"target_wait_seconds"`
	MaxActive         uint32   `json:"max_active"`
	Timezone          string   `json:"timezone"`
	Services          []string `json:"services"`
	RetentionDays     uint32   `json:"retention_days"`
}

func appendQueueRow(dst []byte, row *QueueRow) []byte {
	config, status := row.shown()
	return appendQueue(dst, row.ID, config, status, row.Version, uint32(row.Waiting), uint32(row.Active))
}

// shown is a queue as the directory knows it. What the row does not say of the
// configuration is as if it had been left out.
func (row *QueueRow) shown() (*messages.Config, messages.Status) {
	var stored rowConfig
	_ = json.Unmarshal(row.Config, &stored)
	shown := queue.Config{Name: stored.Name, MaxActive: stored.MaxActive, Timezone: stored.Timezone}.Defaults(queue.ID(row.ID))
	status, known := queue.ParseStatus(row.Status)
	if !known {
		status = queue.Open
	}
	return &messages.Config{
		Name: shown.Name, Prefix: row.Prefix, Capacity: stored.Capacity, Public: stored.Public,
		TargetWaitSeconds: stored.TargetWaitSeconds, MaxActive: shown.MaxActive, Timezone: shown.Timezone,
		Services: stored.Services, RetentionDays: stored.RetentionDays,
	}, messages.Status(status)
}
