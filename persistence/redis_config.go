package persistence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

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
		return fmt.Errorf("maxmemory-policy is %s: the journal needs noeviction, or Redis would drop queues when its memory is full", policy)
	}
	if values["appendonly"] != "yes" {
		return fmt.Errorf("appendonly is %s: the journal needs appendonly yes, or a restart of Redis would lose queues", values["appendonly"])
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
