package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"nowserving/actors/queue"
)

// overview tells of many queues at a glance. It is asked for every few seconds,
// so it wakes no queue: the directory follows them within a second.
func (g *Gateway) overview(c *fiber.Ctx, who *Principal) error {
	if p := who.may(ReadStatistics, ""); p != nil {
		return p
	}
	rows, more, p := g.pageOfQueues(c.UserContext(), who, restQuery(c))
	if p != nil {
		return p
	}
	configs := make([]rowConfig, len(rows))
	for i := range rows {
		_ = json.Unmarshal(rows[i].Config, &configs[i]) // what is not there is shown as left out
	}
	today, p := g.today(c, rows, configs)
	if p != nil {
		return p
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		return appendQueuePage(dst, rows, more, func(dst []byte, i int) []byte {
			return appendOverview(dst, &rows[i], &configs[i], &today[i])
		})
	})
}

// today gives what happened on each queue's own day.
func (g *Gateway) today(c *fiber.Ctx, rows []QueueRow, configs []rowConfig) ([]Statistics, *problem) {
	now := queue.Time(g.options.Now().UnixMilli())
	spans := make([]Span, len(rows))
	for i := range rows {
		from, to := queue.CalendarOf(configs[i].Timezone).Day(now)
		spans[i] = Span{
			Queue: rows[i].ID, From: time.UnixMilli(int64(from)), To: time.UnixMilli(int64(to)), Target: int64(configs[i].TargetWaitSeconds),
		}
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	today, err := g.directory.StatisticsOf(ctx, spans)
	if err != nil {
		g.log.WarnContext(c.UserContext(), "statistics cannot be read", "error", err)
		return nil, unavailable("The statistics cannot be read just now.")
	}
	return today, nil
}

func appendOverview(dst []byte, row *QueueRow, config *rowConfig, today *Statistics) []byte {
	dst = appendString(append(dst, `{"id":`...), row.ID)
	dst = appendString(append(dst, `,"name":`...), row.Name)
	dst = appendString(append(dst, `,"status":`...), row.Status)
	dst = appendCount(append(dst, `,"target_wait_seconds":`...), config.TargetWaitSeconds)
	since := int64(0)
	if !row.Line.WaitingSince.IsZero() {
		since = row.Line.WaitingSince.UnixMilli()
	}
	dst = appendTime(append(dst, `,"waiting_since":`...), since)
	for _, n := range [...]struct {
		name  string
		count int64
	}{
		{"waiting", row.Waiting}, {"called", row.Line.Called}, {"serving", row.Line.Serving}, {"held", row.Line.Held},
		{"attendants", row.Line.Attendants}, {"served_today", today.Served},
	} {
		dst = append(dst, `,"`+n.name+`":`...)
		dst = strconv.AppendInt(dst, n.count, 10)
	}
	return append(appendShare(append(dst, `,"within_target_today":`...), today, config.TargetWaitSeconds > 0), '}')
}
