package gateway

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// maxBuckets is the most buckets of one answer: hours of 41 days, days of two
// years, weeks of nineteen.
const maxBuckets = 1_000

// Statistics are of some time in one queue. Arrivals are counted when they were
// enqueued, all else when it finished.
type Statistics struct {
	Arrivals, Served, NoShows, Removed int64
	Wait, Handle                       Durations
	Within                             int64 // of the waits, how many were within target
}

// Span is some time in one queue, from one moment to before another. A wait is
// within target where it took no more than so many whole seconds.
type Span struct {
	Queue    string
	From, To time.Time
	Target   int64
}

// Durations sums up durations in seconds; where Count is 0 the rest means nothing.
type Durations struct{ Count, Mean, P50, P90, P99 int64 }

// statistics answers from the directory, which follows the queues; the queue
// itself says whether it is there, which clock it goes by and what its target is.
func (g *Gateway) statistics(c *fiber.Ctx, who *Principal) error {
	id := c.Params("queue")
	if p := who.may(ReadQueue, id); p != nil {
		return p
	}
	asked, refusal := statisticsRangeOf(c)
	if p := who.may(ReadStatistics, id); p != nil {
		refusal = p
	}
	view := g.queues.Read(c.UserContext(), &messages.Read{Queue: id})
	switch {
	case view.Problem.GetCode() == string(queue.QueueNotFound):
		return problemOf(view.Problem)
	case refusal != nil:
		return refusal
	case view.Problem != nil:
		return problemOf(view.Problem)
	}
	edges, p := asked.edges(queue.CalendarOf(view.Config.GetTimezone()), g.options.Now())
	if p != nil {
		return p
	}
	target := view.Config.GetTargetWaitSeconds()
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	parts, total, err := g.directory.Statistics(ctx, id, edges, int64(target))
	if err != nil {
		g.log.WarnContext(c.UserContext(), "statistics cannot be read", "queue", id, "error", err)
		return unavailable("The statistics cannot be read just now.")
	}
	setVersion(c, view.Version)
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		return appendAllStatistics(dst, edges, parts, &total, target > 0)
	})
}

// statisticsRange is what was asked for; nil is what was left out.
type statisticsRange struct {
	from, to *queue.Time
	bucket   queue.Bucket
}

// yearsEnd leaves room for the end of a day that still has a year of four digits.
var yearsEnd = queue.Time(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())

func statisticsRangeOf(c *fiber.Ctx) (statisticsRange, *problem) {
	var wrong faults
	r := statisticsRange{bucket: queue.ByHour}
	if from, given := timeOf(c, "from", &wrong); given {
		r.from = (*queue.Time)(&from)
		if *r.from >= yearsEnd {
			wrong.add("from", "must be before the year 9999")
		}
	}
	if to, given := timeOf(c, "to", &wrong); given {
		r.to = (*queue.Time)(&to)
	}
	if r.from != nil && r.to != nil && *r.from >= *r.to {
		wrong.add("to", "must be later than from")
	}
	if text, given := queryOf(c, "bucket", &wrong); given {
		var known bool
		if r.bucket, known = queue.ParseBucket(text); !known {
			wrong.add("bucket", "must be hour, day or week")
		}
	}
	return r, wrong.problem()
}

// edges cuts the time that was asked for into buckets. It begins with the day
// on which it ends, and ends with today, or with the day on which it begins
// where that is later; where nothing is said it is today.
func (r statisticsRange) edges(calendar queue.Calendar, now time.Time) ([]time.Time, *problem) {
	var from, to queue.Time
	switch {
	case r.to != nil:
		to = *r.to
	case r.from != nil:
		_, to = calendar.Day(max(*r.from, queue.Time(now.UnixMilli())))
	default:
		_, to = calendar.Day(queue.Time(now.UnixMilli()))
	}
	if r.from != nil {
		from = *r.from
	} else {
		from, _ = calendar.Day(to - 1)
	}
	cuts, ok := calendar.Edges(r.bucket, from, to, maxBuckets)
	if !ok {
		return nil, invalid(queue.FieldError{Field: "bucket", Message: "must be longer, or the time shorter: these are more than 1,000 buckets"})
	}
	edges := make([]time.Time, len(cuts))
	for i, cut := range cuts {
		edges[i] = time.UnixMilli(int64(cut)).UTC()
	}
	return edges, nil
}

func appendAllStatistics(dst []byte, edges []time.Time, parts []Statistics, total *Statistics, target bool) []byte {
	dst = append(dst, `{"from":`...)
	dst = appendMoment(dst, edges[0])
	dst = append(dst, `,"to":`...)
	dst = appendMoment(dst, edges[len(edges)-1])
	dst = append(dst, `,"buckets":[`...)
	for i := range parts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendStatistics(dst, edges[i], &parts[i], target)
	}
	dst = append(dst, `],"total":`...)
	return append(appendStatistics(dst, edges[0], total, target), '}')
}

// appendStatistics writes one bucket.
func appendStatistics(dst []byte, from time.Time, s *Statistics, target bool) []byte {
	dst = append(dst, `{"from":`...)
	dst = appendMoment(dst, from)
	for _, n := range [...]struct {
		name  string
		count int64
	}{{"arrivals", s.Arrivals}, {"served", s.Served}, {"no_shows", s.NoShows}, {"removed", s.Removed}} {
		dst = append(dst, `,"`+n.name+`":`...)
		dst = strconv.AppendInt(dst, n.count, 10)
	}
	dst = append(dst, `,"wait":`...)
	dst = appendDurations(dst, &s.Wait)
	dst = append(dst, `,"handle":`...)
	dst = appendDurations(dst, &s.Handle)
	return append(appendShare(append(dst, `,"within_target":`...), s, target), '}')
}

// appendShare writes how many of the waits were within target; null where there
// is none, or nobody has waited.
func appendShare(dst []byte, s *Statistics, target bool) []byte {
	if !target || s.Wait.Count == 0 {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, float64(s.Within)/float64(s.Wait.Count), 'f', -1, 64)
}

func appendDurations(dst []byte, d *Durations) []byte {
	if d.Count == 0 {
		return append(dst, `{"mean":null,"p50":null,"p90":null,"p99":null}`...)
	}
	for i, n := range [...]struct {
		name    string
		seconds int64
	}{{"mean", d.Mean}, {"p50", d.P50}, {"p90", d.P90}, {"p99", d.P99}} {
		dst = append(dst, `{,,,`[i])
		dst = append(dst, `"`+n.name+`":`...)
		dst = strconv.AppendInt(dst, n.seconds, 10)
	}
	return append(dst, '}')
}

// appendMoment is appendTime for what can be the beginning of 1970.
func appendMoment(dst []byte, at time.Time) []byte {
	dst = append(dst, '"')
	dst = at.AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	return append(dst, '"')
}
