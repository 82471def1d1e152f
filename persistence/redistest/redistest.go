// Package redistest runs a private redis-server as a child process: on a free
// port of 127.0.0.1, with its data in a temporary folder, AOF always unless
// asked otherwise. Tests that need Redis fail where the binary is missing.
package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const startTimeout = 20 * time.Second

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
	process *process
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
		if s.port, err = freePort(); err != nil {
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
		s.process.kill()
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
func (s *Server) Pause() error { return s.process.pause() }

// Resume ends a Pause.
func (s *Server) Resume() error { return s.process.resume() }

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
	p, err := startProcess(exec.Command(s.binary, append(args, s.opts.Args...)...))
	if err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(s.binary), err)
	}
	s.process = p
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// process is a running child and the goroutine that waits for it.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// startProcess starts cmd and waits until it says that it takes connections.
func startProcess(cmd *exec.Cmd) (*process, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = in, in
	dieWithParent(cmd)
	p := &process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel ends the child when the thread that made it ends, so this
		// one stays until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.exited)
		err := cmd.Start()
		_ = in.Close()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		_ = out.Close()
		return nil, err
	}
	ready := make(chan error, 1)
	go watch(out, ready)
	select {
	case err = <-ready:
	case <-time.After(startTimeout):
		err = fmt.Errorf("not ready after %s", startTimeout)
	}
	if err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// watch reads the server's log to its end and tells ready when it takes
// connections, or what it said last if it never did.
func watch(out *os.File, ready chan<- error) {
	defer out.Close()
	var once sync.Once
	var said []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			once.Do(func() { ready <- nil })
		} else if said = append(said, lines.Text()); len(said) > 5 {
			said = said[1:]
		}
	}
	_, _ = io.Copy(io.Discard, out)
	once.Do(func() { ready <- fmt.Errorf("redis-server ended: %s", strings.Join(said, " | ")) })
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}
