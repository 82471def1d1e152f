// Package redistest runs a private redis-server as a child process: on a free
// port of 127.0.0.1, with its data in a temporary folder, AOF always unless
// asked otherwise. Tests that need Redis fail where the binary is missing.
package redistest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"nowserving/persistence/child"
)

// Options of a server; zero values mean the defaults.
type Options struct {
	// Fsync is appendfsync: "always" (the default), "everysec" or "no".
	Fsync string
	// NoAOF starts it with appendonly no.
	NoAOF bool
	// Dir is where it keeps its data; by default a temporary folder, which Stop removes.
	Dir string
	// Args are further arguments of redis-server, such as "--maxmemory", "10mb".
	Args []string
}

// Start runs a server for as long as the test runs and answers its URL.
func Start(t testing.TB) string {
	t.Helper()
	return StartWith(t, Options{}).URL()
}

// StartWith is Start with options, and hands out the server, to kill and restart it.
func StartWith(t testing.TB, opts Options) *Server {
	t.Helper()
	s, err := StartServer(opts)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Server is one redis-server. Its port stays the same through restarts. Its
// methods are for one goroutine at a time.
type Server struct {
	opts    Options
	binary  string
	port    int
	ownDir  bool
	process *child.Process
}

// StartServer runs a server until Stop. It answers once the server takes
// connections.
func StartServer(opts Options) (*Server, error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not installed (Debian: apt-get install redis-server)")
	}
	if opts.Fsync == "" {
		opts.Fsync = "always"
	}
	s := &Server{opts: opts, binary: binary}
	if opts.Dir == "" {
		if s.opts.Dir, err = os.MkdirTemp("", "redistest-"); err != nil {
			return nil, err
		}
		s.ownDir = true
	}
	for range 5 { // another process can take the port between our look and its start
		if s.port, err = child.FreePort(); err != nil {
			break
		}
		if err = s.Restart(); err == nil {
			return s, nil
		}
	}
	s.Stop()
	return nil, err
}

// Addr is its host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is its redis:// URL.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Dir is the folder of its data.
func (s *Server) Dir() string { return s.opts.Dir }

// Kill ends it as kill -9 does, and waits until it is gone.
func (s *Server) Kill() {
	if s.process != nil {
		s.process.Kill()
		s.process = nil
	}
}

// Stop kills it and removes its data if the folder was its own.
func (s *Server) Stop() {
	s.Kill()
	if s.ownDir {
		_ = os.RemoveAll(s.opts.Dir)
	}
}

// Pause stops the process in its tracks (SIGSTOP); Resume lets it go on.
func (s *Server) Pause() error { return s.process.Pause() }

// Resume ends a Pause.
func (s *Server) Resume() error { return s.process.Resume() }

// Remember copies what is on its disk. The function that it gives kills the
// server and starts it again as it was then, as often as it is called.
func (s *Server) Remember(t testing.TB) (rollBack func()) {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(s.opts.Dir)); err != nil {
		t.Fatalf("redistest: %v", err)
	}
	return func() {
		t.Helper()
		s.Kill()
		entries, err := os.ReadDir(s.opts.Dir)
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.opts.Dir, e.Name())))
		}
		if err = errors.Join(err, os.CopyFS(s.opts.Dir, os.DirFS(copied))); err == nil {
			err = s.Restart()
		}
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
	}
}

// Restart starts it again on its port with its data, killing it first if it
// still runs.
func (s *Server) Restart() error {
	s.Kill()
	appendonly := "yes"
	if s.opts.NoAOF {
		appendonly = "no"
	}
	args := []string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.opts.Dir,
		"--appendonly", appendonly, "--appendfsync", s.opts.Fsync, "--save", "",
		"--daemonize", "no", "--logfile", "",
	}
	p, err := child.Start(exec.Command(s.binary, append(args, s.opts.Args...)...), "Ready to accept connections")
	if err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(s.binary), err)
	}
	s.process = p
	return nil
}
