package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"nowserving/actors/queue"
	"nowserving/bench/load"
	"nowserving/persistence/directory"
)

// source is where the answers are: a node, or the directory below it.
type source interface {
	// list gives a page of history, and where the next one goes on.
	list(ctx context.Context, f directory.HistoryFilter, after string) (next string, err error)
	count(ctx context.Context, l *line, bucket queue.Bucket, from, to queue.Time) error
}

// asker asks one question after the other, as supervisors would at once.
type asker struct {
	*past
	source
	random *rand.Rand
	next   int
}

type question struct {
	name string
	ask  func(*asker, context.Context) error
}

// ofQueues begins the names of what only a user of several queues asks: a node's admin has all.
const ofQueues = "history: ten queues"

// page is how many rows a page of /history has if not told otherwise.
const page = 100

var questions = []question{
	{"history: all", listed(func(a *asker, f *directory.HistoryFilter) {})},
	{"history: all, a day", listed(func(a *asker, f *directory.HistoryFilter) { a.days(f, 1) })},
	{"history: queue", listed(func(a *asker, f *directory.HistoryFilter) { a.queue(f) })},
	{"history: queue, a week", listed(func(a *asker, f *directory.HistoryFilter) { a.queue(f); a.days(f, 7) })},
	{"history: attendant", listed(func(a *asker, f *directory.HistoryFilter) { a.attendant(f); a.days(f, 30) })},
	{"history: outcome", listed(func(a *asker, f *directory.HistoryFilter) { a.outcome(f); a.days(f, 30) })},
	{"history: queue, outcome", listed(func(a *asker, f *directory.HistoryFilter) { a.queue(f); a.outcome(f) })},
	{"history: queue, attendant", listed(func(a *asker, f *directory.HistoryFilter) { a.queue(f); a.attendant(f); a.days(f, 90) })},
	{"history: queue, attendant, outcome", listed(func(a *asker, f *directory.HistoryFilter) { a.queue(f); a.attendant(f); a.outcome(f) })},
	{ofQueues, listed(func(a *asker, f *directory.HistoryFilter) { a.tenQueues(f); a.days(f, 30) })},
	{ofQueues + ", outcome", listed(func(a *asker, f *directory.HistoryFilter) { a.tenQueues(f); a.outcome(f) })},
	{"history: queue, two pages", (*asker).twoPages},
	{"statistics: hours of a day", counted(queue.ByHour, 1)},
	{"statistics: days of a month", counted(queue.ByDay, 30)},
	{"statistics: weeks of a year", counted(queue.ByWeek, 365)},
	{"statistics: hours of 41 days", counted(queue.ByHour, 41)},
	{"statistics: days of a year", counted(queue.ByDay, 365)},
}

func (p *past) ask(ctx context.Context, from source, c config) (*load.Result, error) {
	asked := questions
	if c.url != "" {
		asked = slices.DeleteFunc(slices.Clone(asked), func(q question) bool { return strings.HasPrefix(q.name, ofQueues) })
	}
	for _, q := range asked { // a question that fails is no figure
		if err := q.ask(&asker{past: p, source: from, random: rand.New(rand.NewPCG(1, 1))}, ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", q.name, err)
		}
	}
	pace := load.Pace{Callers: c.callers, Rate: c.rate, Warmup: c.warmup, Duration: c.duration}
	return load.Run(ctx, pace, func(i int) load.Step {
		a := &asker{past: p, source: from, random: rand.New(rand.NewPCG(2, uint64(i))), next: i * len(asked) / c.callers}
		return func() (string, error) {
			q := asked[a.next%len(asked)]
			a.next++
			return q.name, q.ask(a, ctx)
		}
	}), nil
}

func listed(filter func(*asker, *directory.HistoryFilter)) func(*asker, context.Context) error {
	return func(a *asker, ctx context.Context) error {
		var f directory.HistoryFilter
		filter(a, &f)
		_, err := a.list(ctx, f, "")
		return err
	}
}

// twoPages reads on from the middle of a queue's history.
func (a *asker) twoPages(ctx context.Context) error {
	var f directory.HistoryFilter
	a.queue(&f)
	f.To = queue.Time(a.moment(0).UnixMilli())
	next, err := a.list(ctx, f, "")
	if err == nil && next != "" {
		_, err = a.list(ctx, f, next)
	}
	return err
}

// moment is somewhere in the year, with room for some days behind it.
func (a *asker) moment(days int) time.Time {
	room := ends.AddDate(0, 0, -days).Sub(begins)
	return begins.Add(time.Duration(a.random.Int64N(int64(room) + 1)))
}

func (a *asker) days(f *directory.HistoryFilter, n int) {
	from := a.moment(n)
	f.From, f.To = queue.Time(from.UnixMilli()), queue.Time(from.AddDate(0, 0, n).UnixMilli())
}

// line is the busiest queue in every third question.
func (a *asker) line() *line {
	if a.random.IntN(3) == 0 {
		return &a.queues[0]
	}
	return &a.queues[a.random.IntN(len(a.queues))]
}

func (a *asker) queue(f *directory.HistoryFilter) { f.Queues = []string{a.line().id} }

func (a *asker) tenQueues(f *directory.HistoryFilter) {
	for range 10 {
		f.Queues = append(f.Queues, a.line().id)
	}
}

func (a *asker) attendant(f *directory.HistoryFilter) {
	f.Attendant = attendant(a.random.IntN(attendants))
}

func (a *asker) outcome(f *directory.HistoryFilter) {
	f.Outcome = append([]string{"completed", "no_show", "removed"}, outcomes...)[a.random.IntN(3+len(outcomes))]
}

// counted asks for whole days of the queue's clock, but every fourth time from some moment on.
func counted(bucket queue.Bucket, days int) func(*asker, context.Context) error {
	return func(a *asker, ctx context.Context) error {
		l := a.line()
		calendar := queue.CalendarOf(l.timezone)
		from := queue.Time(a.moment(days).UnixMilli())
		if a.random.IntN(4) > 0 {
			from, _ = calendar.Day(from)
		}
		return a.count(ctx, l, bucket, from, from+queue.Time(days)*queue.Day)
	}
}
