package persistence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// errForgets: this Redis would lose what it is given.
var errForgets = errors.New("this Redis forgets")

// checkRedisConfig refuses a Redis that forgets: a fence whose keys can be
// evicted, or are gone after a restart, is no fence.
func checkRedisConfig(ctx context.Context, rdb *redis.Client, log *slog.Logger) error {
	values := map[string]string{}
	for _, name := range []string{"maxmemory-policy", "appendonly", "appendfsync"} {
		found, err := rdb.ConfigGet(ctx, name).Result()
		var refused redis.Error
		if errors.As(err, &refused) { // hosted ones often hide CONFIG
			log.Warn("cannot read Redis's configuration: make sure of maxmemory-policy noeviction, appendonly yes, appendfsync always",
				"error", err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		values[name] = found[name]
	}
	if policy := values["maxmemory-policy"]; policy != "noeviction" {
		return fmt.Errorf("%w: maxmemory-policy is %s: the journal needs noeviction, or Redis would drop queues when its memory is full", errForgets, policy)
	}
	if values["appendonly"] != "yes" {
		return fmt.Errorf("%w: appendonly is %s: the journal needs appendonly yes, or a restart of Redis would lose queues", errForgets, values["appendonly"])
	}
	switch fsync := values["appendfsync"]; fsync {
	case "always":
	case "everysec":
		log.Warn("Redis has appendfsync everysec: a crash of its machine can lose the last second of accepted commands; appendfsync always loses none")
	default:
		log.Warn("Redis leaves syncing to its operating system: a crash of its machine can lose accepted commands; appendfsync always loses none",
			"appendfsync", fsync)
	}
	return nil
}

// renewFile has a Redis write its append-only file anew that has not done so since
// it was started. Redis 7.0 cuts off what a crash or a full disk has left of its
// last command, but where that was in the middle of a transaction it leaves the
// commands before it: the next start but one carries them out, although nobody was
// told that they had happened, and what was acknowledged in their place since is
// gone. A file written anew is what is in memory, and has none of that.
func renewFile(ctx context.Context, rdb *redis.Client, log *slog.Logger) {
	info, err := rdb.InfoMap(ctx, "persistence").Result()
	if err != nil {
		return // it is asked again with the next connection
	}
	file := info["Persistence"]
	if file["aof_enabled"] != "1" || file["aof_rewrites"] != "0" && file["aof_last_bgrewrite_status"] == "ok" ||
		file["aof_rewrite_in_progress"] == "1" || file["aof_rewrite_scheduled"] == "1" {
		return
	}
	if err := rdb.BgRewriteAOF(ctx).Err(); err != nil { // somebody else was quicker, or it is hosted and forbids it
		log.Info("Redis does not write its append-only file anew after its start", "error", err)
	}
}

// recheckWithin bounds one look at the settings of a Redis that has come back.
const recheckWithin = 10 * time.Second

// doubts are those of whether the Redis that has come back is as it was: one
// that was started by hand may forget. It says so, and goes on: queues that
// stand still would be no better for it.
type doubts struct {
	signal chan struct{}
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

func startDoubts(rdb *redis.Client, log *slog.Logger) *doubts {
	ctx, cancel := context.WithCancel(context.Background())
	d := &doubts{signal: make(chan struct{}, 1), cancel: cancel}
	d.ended.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.signal:
			}
			within, done := context.WithTimeout(ctx, recheckWithin)
			err := checkRedisConfig(within, rdb, slog.New(slog.DiscardHandler))
			if errors.Is(err, errForgets) {
				log.Error("Redis has come back with other settings", "error", err)
			}
			renewFile(within, rdb, log)
			done()
		}
	})
	return d
}

// arise never blocks.
func (d *doubts) arise() {
	select {
	case d.signal <- struct{}{}:
	default:
	}
}

// end may be called on none.
func (d *doubts) end() {
	if d != nil {
		d.cancel()
		d.ended.Wait()
	}
}
