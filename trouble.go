package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"nowserving/actors"
)

// What a node knows of its journal's losses, and what it tells of its trouble.

// knownWithin keeps a database that hangs from holding up queues that are
// loaded, which do without its answer.
const knownWithin = time.Second

// known is the highest version of a queue that is known outside its journal: by
// the list of queues, by those who were given its events, whose checkpoints are
// in the database and move within some milliseconds, and by this node, which
// may have followed the queue while another one had it.
func (n *Node) known(ctx context.Context, id string) (uint64, error) {
	highest := n.feeds.Known(id)
	for _, f := range n.followers {
		highest = max(highest, f.Known(id))
	}
	ctx, cancel := context.WithTimeout(ctx, knownWithin)
	defer cancel()
	versions, err := n.directory.KnownVersions(ctx, []string{id})
	if err != nil {
		return highest, err
	}
	highest = max(highest, versions[id])
	for _, s := range n.sinks {
		at, err := s.Checkpoints(ctx, []string{id})
		if err != nil {
			return highest, err
		}
		highest = max(highest, at[0])
	}
	return highest, nil
}

// countTrouble gives what the grains count in, and has it told.
func (n *Node) countTrouble() *actors.Trouble {
	t := new(actors.Trouble)
	count := func(name, help, kind string, value func() uint64) prometheus.Collector {
		o := prometheus.CounterOpts{Name: name, Help: help}
		if kind != "" {
			o.ConstLabels = prometheus.Labels{"kind": kind}
		}
		return prometheus.NewCounterFunc(o, func() float64 { return float64(value()) })
	}
	const failures = "nowserving_append_failures_total"
	const help = "Appends and checks of ownership that failed: fenced (claimed elsewhere), gap (events are missing), " +
		"unavailable (nothing was written), unknown (that is not known)."
	n.metrics.MustRegister(
		count("nowserving_epochs_begun_total", "New epochs of queues whose store had lost events.", "", t.Epochs.Load),
		count(failures, help, "fenced", t.Fenced.Load),
		count(failures, help, "gap", t.Gaps.Load),
		count(failures, help, "unavailable", t.Unavailable.Load),
		count(failures, help, "unknown", t.Unknown.Load),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "nowserving_damaged_queues", Help: "Queues that are not served because their journal cannot be read.",
		}, func() float64 { return float64(t.Damaged.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "nowserving_journal_up", Help: "1 where the journal could be reached and took writes when it was last looked at.",
		}, n.health.journalUp),
	)
	return t
}
