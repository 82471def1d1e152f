package persistence

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts by SHA-1
	_ "embed"
	"encoding/hex"
	"fmt"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/append.lua
	appendLua string
	//go:embed lua/claim.lua
	claimLua string
	//go:embed lua/snapshot.lua
	snapshotLua string

	appendScript   = newRedisScript(appendLua)
	claimScript    = newRedisScript(claimLua)
	snapshotScript = newRedisScript(snapshotLua)
)

// redisScript is a Lua script and the name by which Redis calls it. (go-redis's
// own Script falls back to sending the source, which a pipeline cannot do.)
type redisScript struct{ source, sha string }

func newRedisScript(source string) redisScript {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // as above
	return redisScript{source: source, sha: hex.EncodeToString(sum[:])}
}

// loadScripts makes Redis know all scripts. It forgets them when it restarts.
func loadScripts(ctx context.Context, rdb *redis.Client) error {
	pipe := rdb.Pipeline()
	for _, s := range []redisScript{appendScript, claimScript, snapshotScript} {
		pipe.ScriptLoad(ctx, s.source)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("load scripts: %w", err)
	}
	return nil
}
