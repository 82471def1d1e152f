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
