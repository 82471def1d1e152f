package main

import (
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/gateway"
)

// What operators are shown. No other package knows Prometheus: they count in plain
// numbers that are read when somebody asks, or call a hook. A scrape asks no
// queue and no store. No label names a person.

// Bounds of a scrape.
const (
	scrapeWithin = 5 * time.Second
	scrapes      = 4 // at once
)

// Bounds of buckets. A command is answered within ten seconds.
var (
	commandTimes = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	appendTimes  = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
	batchSizes   = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000}
)

// meter holds what is measured of this node alone, not of whatever a library
// registered.
type meter struct {
	*prometheus.Registry
	commands *commandMeter
}

func newMeter() *meter {
	m := &meter{Registry: prometheus.NewRegistry()}
	m.commands = newCommandMeter(m)
	m.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	gauge(m, "nowserving_build_info", "1; which program this is.", func() int { return 1 }, "version", version, "goversion", runtime.Version())
	return m
}

func (m *meter) handler() http.Handler {
	return promhttp.HandlerFor(m, promhttp.HandlerOpts{
		Registry: m, MaxRequestsInFlight: scrapes, Timeout: scrapeWithin, ErrorHandling: promhttp.ContinueOnError,
	})
}

type number interface {
	~int | ~int32 | ~int64 | ~uint64 | ~float64
}

// gauge shows a value as it is when somebody asks. labels are names and their
// values in turn.
func gauge[N number](m *meter, name, help string, value func() N, labels ...string) {
	o := prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labelled(labels)}
	m.MustRegister(prometheus.NewGaugeFunc(o, func() float64 { return float64(value()) }))
}

// counter is gauge for what only grows.
func counter(m *meter, name, help string, value func() uint64, labels ...string) {
	o := prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labelled(labels)}
	m.MustRegister(prometheus.NewCounterFunc(o, func() float64 { return float64(value()) }))
}

func labelled(pairs []string) prometheus.Labels {
	labels := make(prometheus.Labels)
	for pair := range slices.Chunk(pairs, 2) {
		labels[pair[0]] = pair[1]
	}
	return labels
}

func (m *meter) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	m.MustRegister(h)
	return h
}

func (m *meter) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.MustRegister(c)
	return c
}

// accepted stands for the code of what was not refused.
const accepted = "ok"

// commandMeter counts commands. There are as many series as combinations that occur.
type commandMeter struct {
	names []string
	count *prometheus.CounterVec
	took  *prometheus.HistogramVec
	// cells are what most commands need, by command and way, so that no label is
	// looked up for them.
	cells [][queue.FromPublic + 1]commandCell
}

type commandCell struct {
	once     sync.Once
	accepted prometheus.Counter
	took     prometheus.Observer
}

func newCommandMeter(m *meter) *commandMeter {
	c := &commandMeter{names: gateway.CommandNames()}
	c.cells = make([][queue.FromPublic + 1]commandCell, len(c.names))
	c.count = m.counters("nowserving_commands_total", "Commands answered, by what, the way they came and the code of the answer.", "command", "way", "code")
	c.took = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "nowserving_command_duration_seconds", Help: "How long commands took from when they were read to their answer.", Buckets: commandTimes,
	}, []string{"command", "way"})
	m.MustRegister(c.took)
	return c
}

func (c *commandMeter) observe(number int, way queue.Source, code string, took time.Duration) {
	cell, name := &c.cells[number][way], c.names[number]
	cell.once.Do(func() {
		cell.accepted, cell.took = c.count.WithLabelValues(name, way.String(), accepted), c.took.WithLabelValues(name, way.String())
		for _, code := range []queue.Code{queue.OutcomeUnknown, queue.Unavailable} { // alerts need their first one to be an increase
			c.count.WithLabelValues(name, way.String(), string(code))
		}
	})
	cell.took.Observe(took.Seconds())
	if code == "" {
		cell.accepted.Inc()
		return
	}
	c.count.WithLabelValues(name, way.String(), code).Inc()
}

// hooks are for the gateway.
func (m *meter) hooks() gateway.Hooks {
	logins := m.counters("nowserving_logins_total", "Logins by password that were tried, by the code of the answer.", "code")
	logins.WithLabelValues(accepted)
	return gateway.Hooks{
		Command: m.commands.observe,
		Login: func(code string) {
			if code == "" {
				code = accepted
			}
			logins.WithLabelValues(code).Inc()
		},
	}
}

// appended is for the queues.
func (m *meter) appended() func(int, time.Duration) {
	took := m.histogram("nowserving_append_duration_seconds", "How long the journal took for an append.", appendTimes)
	events := m.histogram("nowserving_append_events", "Events in one append.", batchSizes)
	return func(n int, d time.Duration) {
		took.Observe(d.Seconds())
		events.Observe(float64(n))
	}
}

// settled is for the ingestion. A request from RabbitMQ counts as a command once.
func (m *meter) settled() func(result, code string, took time.Duration) {
	requests := m.counters("nowserving_ingest_requests_total", "Requests from RabbitMQ that were acknowledged, by what became of them.", "result")
	results := map[string]prometheus.Counter{}
	for _, result := range []string{actors.ResultAccepted, actors.ResultDuplicate, actors.ResultDead} {
		results[result] = requests.WithLabelValues(result)
	}
	dead := m.counters("nowserving_dead_letters_total", "Requests from RabbitMQ that went to the dead letters, by why.", "code")
	for _, code := range []queue.Code{
		queue.Invalid, queue.QueueNotFound, queue.QueueClosed, queue.QueueFull, queue.IdempotencyKeyReused, queue.Unavailable, actors.CodeFiltered,
	} {
		dead.WithLabelValues(string(code))
	}
	enqueue := slices.Index(m.commands.names, "enqueue")
	return func(result, code string, d time.Duration) {
		results[result].Inc()
		if code != "" {
			dead.WithLabelValues(code).Inc()
		}
		m.commands.observe(enqueue, queue.FromAMQP, code, d)
	}
}
