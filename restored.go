package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"

	"github.com/google/uuid"

	"nowserving/actors/queue"
	"nowserving/persistence"
	"nowserving/persistence/directory"
)

const (
	// lostByDefault is more events than most queues have in a day.
	lostByDefault = 1_000
	restoredPage  = 500
)

// restoring is for stores that were set back to a backup. Nothing in them tells
// so, and their queues would give out again the versions and the numbers that
// people and screens have: each is to begin a new history, above what was lost.
type restoring struct {
	*program
	config Config
	lost   uint64
}

// restored is that sub-command. No node may run meanwhile.
func (p *program) restored(args []string) error {
	stores := slices.DeleteFunc(slices.Clone(settings), func(s setting) bool {
		return s.name != "data-dir" && s.name != "database-url" && s.name != "redis-url" && s.name != "cluster-name"
	})
	r := restoring{program: p}
	flags, err := parseFlags("restored", args, stores, func(set *flag.FlagSet) { set.Uint64Var(&r.lost, "lost-events", lostByDefault, "") })
	if err == nil {
		err = applySettings(&r.config, stores, flags, p.getenv)
	}
	switch {
	case errors.Is(err, errHelp):
		return p.help()
	case err != nil:
		return err
	case r.lost < 1 || r.lost > queue.EpochGap:
		return usage("--lost-events: not a number from 1 to %d", queue.EpochGap)
	}
	ctx := context.Background()
	journal, err := r.openJournal(ctx)
	if err != nil {
		return err
	}
	known, err := directory.Open(ctx, directory.Options{Dir: r.config.DataDir, DatabaseURL: r.config.DatabaseURL, Now: p.now})
	if err != nil {
		return errors.Join(err, journal.Close())
	}
	return errors.Join(r.run(ctx, journal, known), known.Close(), journal.Close())
}

func (r *restoring) openJournal(ctx context.Context) (journal, error) {
	log := slog.New(slog.DiscardHandler)
	if r.config.RedisURL != "" {
		return persistence.OpenRedisJournal(ctx, r.config.RedisURL, log, persistence.RedisOptions{Prefix: r.config.ClusterName})
	}
	return persistence.OpenSQLiteJournal(ctx, r.config.DataDir, log)
}

func (r *restoring) run(ctx context.Context, j journal, known *directory.Directory) error {
	nodes, err := known.RingNodes(ctx)
	if err != nil {
		return err
	}
	if len(nodes) > 0 {
		return fmt.Errorf("the node %s runs, or did within the last minute: stop all nodes first; nothing was changed", nodes[0].Name)
	}
	count := 0
	for after := ""; ; {
		ids, err := j.Queues(ctx, after, restoredPage)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
		after = ids[len(ids)-1]
		versions, err := j.Versions(ctx, ids)
		if err != nil {
			return err
		}
		lost := make(map[string]uint64, len(ids))
		for i, id := range ids {
			lost[id] = versions[i] + r.lost
		}
		if err := known.RaiseVersions(ctx, lost); err != nil {
			return err
		}
		count += len(ids)
	}
	if count == 0 {
		return errors.New("there is no queue in the journal: is it the right --redis-url and --cluster-name, or --data-dir? Nothing was changed")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	if err := known.AddAudit(ctx, directory.AuditEntry{ID: id, At: r.now(), Action: "stores.restored"}); err != nil {
		return err
	}
	fmt.Fprintf(r.stdout, "Queues that begin a new history when a node starts: %d. Their numbers move on by %d or more.\n", count, max(r.lost, 500))
	return nil
}
