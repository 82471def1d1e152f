package load

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Redis is a private redis-server, durable as nowserving wants it: AOF, synced at every write, no eviction.
type Redis struct {
	Addr string
	PID  int
	cmd  *exec.Cmd
	dir  string
	done chan struct{}
}

// StartRedis starts redis-server on a free port of loopback with its data in a new folder under parent ("" for the
// system's temporary folder). fsync is the appendfsync policy; figures use "always".
func StartRedis(ctx context.Context, parent, fsync string) (*Redis, error) {
	dir, err := os.MkdirTemp(parent, "nowserving-bench-redis-")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	r := &Redis{Addr: addr, dir: dir, done: make(chan struct{})}
	r.cmd = exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--appendonly", "yes",
		"--appendfsync", fsync, "--maxmemory-policy", "noeviction", "--save", "", "--logfile", filepath.Join(dir, "log"))
	if err := r.cmd.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	r.PID = r.cmd.Process.Pid
	go func() { _ = r.cmd.Wait(); close(r.done) }()
	if err := r.await(ctx); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		r.Close()
		return nil, fmt.Errorf("redis-server: %w\n%s", err, log)
	}
	return r, nil
}

// await polls, because redis-server has no other way to say that it listens.
func (r *Redis) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", r.Addr); err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-r.done:
			return fmt.Errorf("ended at its start")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close kills the server and deletes its data.
func (r *Redis) Close() {
	_ = r.cmd.Process.Kill()
	<-r.done
	_ = os.RemoveAll(r.dir)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return "127.0.0.1:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}
