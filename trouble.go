package main

import (
	"context"
	"time"

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
	m := n.metrics
	const failures = "nowserving_append_failures_total"
	const help = "Appends and checks of ownership that failed: fenced (claimed elsewhere), gap (events are missing), " +
		"unavailable (nothing was written), unknown (that is not known)."
	counter(m, failures, help, t.Fenced.Load, "kind", "fenced")
	counter(m, failures, help, t.Gaps.Load, "kind", "gap")
	counter(m, failures, help, t.Unavailable.Load, "kind", "unavailable")
	counter(m, failures, help, t.Unknown.Load, "kind", "unknown")
	counter(m, "nowserving_epochs_begun_total", "New epochs of queues whose store had lost events.", t.Epochs.Load)
	counter(m, "nowserving_lost_events_total", "Acknowledged events that the store was found to have lost.", t.Lost.Load)
	counter(m, "nowserving_load_failures_total", "Times that a queue could not be loaded.", t.Loads.Load)
	counter(m, "nowserving_backlog_refusals_total", "Commands refused because too many events of their queue wait for history or events out.", t.NotFollowed.Load)
	gauge(m, "nowserving_damaged_queues", "Queues that are not served because their journal cannot be read.", t.Damaged.Load)
	return t
}
