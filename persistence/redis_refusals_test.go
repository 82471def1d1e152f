package persistence

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"nowserving/actors/queue"
	"nowserving/persistence/redistest"
)

// A Redis that is there and does not do what it is asked to.

// refusal is a way in which Redis refuses writes, and its end.
type refusal struct {
	opts          redistest.Options
	refuse, allow func(t *testing.T, url string)
	// reads: it answers checks of ownership and reads all the same.
	reads bool
}

func commands(all ...[]any) func(t *testing.T, url string) {
	return func(t *testing.T, url string) {
		for _, args := range all {
			redisCommand(t, url, args...)
		}
	}
}

var redisRefusals = map[string]refusal{
	"OOM": {
		refuse: commands([]any{"config", "set", "maxmemory", "1"}), allow: commands([]any{"config", "set", "maxmemory", "0"}),
		reads: true,
	},
	"READONLY": {
		refuse: commands([]any{"replicaof", "127.0.0.1", "1"}), allow: commands([]any{"replicaof", "no", "one"}),
	},
	"NOREPLICAS": {
		refuse: commands([]any{"config", "set", "min-replicas-to-write", "1"}),
		allow:  commands([]any{"config", "set", "min-replicas-to-write", "0"}),
	},
	"MISCONF": {
		opts:   redistest.Options{Args: []string{"--enable-protected-configs", "yes"}},
		refuse: failToSave,
		allow:  commands([]any{"config", "set", "save", ""}),
	},
	"BUSY": {
		opts:   redistest.Options{Args: []string{"--busy-reply-threshold", "1"}},
		refuse: keepBusy,
		allow:  endBusy,
	},
}

func TestRedisRefusalsAreCertain(t *testing.T) {
	t.Parallel()
	for name, c := range redisRefusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := redistest.StartWith(t, c.opts).URL()
			j := openRedis(t, url, RedisOptions{})
			l := claim(t, j, "q")
			a := l.append(1, "a")
			c.refuse(t, url)
			err := l.try(l.entry(1, nil))
			wantError(t, err, queue.ErrUnavailable)
			if !strings.Contains(err.Error(), name) {
				t.Fatal(err)
			}
			_, err = j.Claim(t.Context(), "q", random16())
			wantError(t, err, queue.ErrUnavailable)
			wantError(t, j.SaveSnapshot(t.Context(), "q", l.owner, queue.Snapshot{Version: 1}, 1), queue.ErrUnavailable)
			wantError(t, j.Ping(t.Context()), queue.ErrUnavailable)
			_, reading := j.Read(t.Context(), "q", 0, 1)
			_, asking := j.Versions(t.Context(), []string{"q"})
			for _, err := range []error{owns(j, "q", l.owner), reading, asking} {
				if c.reads && err != nil {
					t.Error(err)
				} else if !c.reads {
					wantError(t, err, queue.ErrUnavailable)
				}
			}
			c.allow(t, url)
			b := l.append(1, "b")
			wantEntries(t, j, "q", 0, 10, a, b)
			if err := j.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// failToSave takes from Redis the folder that it saves in.
func failToSave(t *testing.T, url string) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	commands([]any{"config", "set", "save", "3600 1"}, []any{"config", "set", "dir", dir})(t, url)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	settleFile(t, url) // of both, one goes on at a time
	redisCommand(t, url, "bgsave")
	retry(t, func() error {
		if strings.Contains(redisAnswer(t, url, "info", "persistence"), "rdb_last_bgsave_status:err") {
			return nil
		}
		return errNotYet
	}, errNotYet)
}

// keepBusy has somebody run a script that does not end.
func keepBusy(t *testing.T, url string) {
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	opts.ReadTimeout = -1
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { _ = rdb.Close() })
	go rdb.Eval(context.Background(), "while true do end", nil)
	awaitBusy(t, rdb, true)
}

func endBusy(t *testing.T, url string) {
	redisCommand(t, url, "script", "kill")
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	awaitBusy(t, rdb, false)
}

func awaitBusy(t *testing.T, rdb *redis.Client, want bool) {
	retry(t, func() error {
		if err := rdb.Ping(context.Background()).Err(); redis.HasErrorPrefix(err, "BUSY") != want {
			return errNotYet
		}
		return nil
	}, errNotYet)
}

// A Redis that has become a replica may be another one at the same address a
// moment later: the connection is made anew to find it.
func TestRedisConnectionLeavesAReplica(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t)
	j := openRedis(t, url, RedisOptions{Pipes: 1})
	l := claim(t, j, "q")
	mine := func() string {
		for line := range strings.Lines(redisAnswer(t, url, "client", "list")) {
			if strings.Contains(line, "cmd=evalsha") || strings.Contains(line, "cmd=setrange") {
				id, _, _ := strings.Cut(line, " ")
				return id
			}
		}
		return ""
	}
	l.append(1, "a")
	before := mine()
	redisCommand(t, url, "replicaof", "127.0.0.1", "1")
	wantError(t, j.Ping(t.Context()), queue.ErrUnavailable)
	wantError(t, j.Ping(t.Context()), queue.ErrUnavailable)
	if now := mine(); before == "" || now == "" || now == before {
		t.Errorf("appends went over %q, and now go over %q", before, now)
	}
}
