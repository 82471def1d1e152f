package main

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"nowserving/bench/load"
)

const adminPassword = "a password of the bench"

// keys is a ring that all nodes share.
var keys = "bench:" + base64.StdEncoding.EncodeToString(make([]byte, 32))

// startNode starts a member of the cluster on one core, and waits until it serves.
func (w *world) startNode(ctx context.Context, dir, core string) (*load.Node, error) {
	group, err := w.limit(filepath.Base(dir))
	if err != nil {
		return nil, err
	}
	// The shell enters the control group, and becomes the node.
	cmd := exec.CommandContext(ctx, "sh", "-c", `[ -z "$0" ] || echo $$ >"$0/tasks"; exec taskset -c "$@"`, group, core, w.binary,
		"--http-addr", "127.0.0.1:0", "--data-dir", dir, "--redis-url", w.redis, "--database-url", w.database,
		"--cluster-provider", "redis", "--token-keys", keys, "--data-keys", keys)
	cmd.Env = append(os.Environ(), "NOWSERVING_ADMIN_PASSWORD="+adminPassword)
	return load.StartNode(cmd, io.Discard)
}

// limit makes a control group with the node's share, and gives its folder.
func (w *world) limit(name string) (string, error) {
	if w.share == 0 {
		return "", nil
	}
	const period = 10_000 // microseconds
	dir := filepath.Join("/sys/fs/cgroup/cpu/nowserving-bench-" + name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for file, value := range map[string]int{"cpu.cfs_period_us": period, "cpu.cfs_quota_us": int(w.share * period)} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(value)), 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func awaitReady(ctx context.Context, url string) error {
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
