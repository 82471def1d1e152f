package persistence

import (
	"context"
	_ "embed"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/pace.lua
	paceLua    string
	paceScript = redis.NewScript(paceLua)
)

// Pace takes one more act of somebody, over all nodes of the cluster, unless so
// many were taken within the window: then it says how long none is. By is what
// they are known by; it stands in Redis as it is, for the window.
func (j *RedisJournal) Pace(ctx context.Context, by string, limit int, window time.Duration) (time.Duration, error) {
	wait, err := paceScript.Run(ctx, j.writer, []string{j.keys.pace(by)}, limit, window.Milliseconds()).Int64()
	if err != nil {
		return 0, unavailable(err)
	}
	return time.Duration(wait) * time.Millisecond, nil
}
