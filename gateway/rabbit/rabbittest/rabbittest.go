// Package rabbittest runs a private rabbitmq-server as a child process: on free
// ports of 127.0.0.1, without plugins, with its data in a temporary folder.
// Tests that need RabbitMQ fail where the binary is missing.
//
// A server takes some six seconds to start, so the tests of one binary share
// one, each in a virtual host of its own: their TestMain calls Run, and they
// call Start. A test that kills its server takes one for itself (StartServer).
package rabbittest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/persistence/child"
)

const (
	startTimeout = 120 * time.Second
	evalTimeout  = 120 * time.Second
	// script starts the server in the foreground as the user who calls it; the
	// command in the path wants to become the user rabbitmq.
	script = "/usr/lib/rabbitmq/bin/rabbitmq-server"
)

var shared struct {
	sync.Mutex
	running bool // Run is running
	server  *Server
	err     error
}

// Run runs the tests and then stops the server that they shared, if they
// started it. TestMain exits with what it gives.
func Run(m *testing.M) int {
	shared.Lock()
	shared.running = true
	shared.Unlock()
	defer func() {
		shared.Lock()
		defer shared.Unlock()
		if shared.server != nil {
			shared.server.Stop()
		}
	}()
	return m.Run()
}

// Start gives the URL of a fresh virtual host of the shared server.
func Start(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.running {
		t.Fatal("rabbittest: TestMain has to call rabbittest.Run")
	}
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = StartServer()
	}
	if shared.err != nil {
		t.Fatalf("rabbittest: %v", shared.err)
	}
	url, err := shared.server.NewVHost()
	if err != nil {
		t.Fatalf("rabbittest: %v", err)
	}
	return url
}

// StartPrivate gives a server of the test's own, to kill and restart.
func StartPrivate(t testing.TB) *Server {
	t.Helper()
	s, err := StartServer()
	if err != nil {
		t.Fatalf("rabbittest: %v", err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Server is one rabbitmq-server. Its port stays the same through restarts. Its
// methods but NewVHost and Eval are for one goroutine at a time.
type Server struct {
	dir                  string
	port, distPort, epmd int
	epmdProcess          *child.Process
	broker               *broker
	vhosts               atomic.Int64
}

// StartServer runs a server until Stop. It answers once the server takes
// connections.
func StartServer() (*Server, error) {
	if _, err := os.Stat(script); err != nil {
		return nil, errors.New("rabbitmq-server is not installed (Debian: apt-get install rabbitmq-server)")
	}
	s := &Server{}
	var err error
	if s.dir, err = os.MkdirTemp("", "rabbittest-"); err != nil {
		return nil, err
	}
	for range 3 { // another process can take a port between our look and its start
		if err = s.start(); err == nil {
			return s, nil
		}
		s.kill()
	}
	s.Stop()
	return nil, err
}

func (s *Server) start() (err error) {
	for _, port := range []*int{&s.port, &s.distPort, &s.epmd} {
		if *port, err = child.FreePort(); err != nil {
			return err
		}
	}
	// Erlang would start a daemon of its own, which nobody ends.
	epmd := exec.Command("epmd", "-port", strconv.Itoa(s.epmd), "-address", "127.0.0.1")
	if s.epmdProcess, err = child.Run(epmd); err != nil {
		return fmt.Errorf("start epmd: %w", err)
	}
	plugins, config := filepath.Join(s.dir, "plugins"), filepath.Join(s.dir, "rabbitmq.conf")
	if err := os.WriteFile(plugins, []byte("[].\n"), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(config, []byte("log.console.level = error\nlog.file = false\n"), 0o600); err != nil {
		return err
	}
	return s.Restart()
}

// URL is the server's amqp:// URL, of its default virtual host.
func (s *Server) URL() string { return fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", s.port) }

// NewVHost makes a virtual host and gives its URL.
func (s *Server) NewVHost() (string, error) {
	name := fmt.Sprintf("t%d", s.vhosts.Add(1))
	_, err := s.Eval(fmt.Sprintf(`rabbit_vhost:add(<<"%[1]s">>, <<"test">>), `+
		`rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"%[1]s">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>)`, name))
	return s.URL() + name, err
}

// Settle has it write down what was declared. RabbitMQ 3.10 keeps that in memory
// for some seconds, and loses a quorum queue, with all that it confirmed, when it
// is killed before.
func (s *Server) Settle() error {
	_, err := s.Eval("mnesia:sync_log(), [dets:sync(T) || T <- dets:all()], ok")
	return err
}

// Kill ends it as kill -9 does, and waits until it is gone.
func (s *Server) Kill() {
	if s.broker != nil {
		s.broker.Kill()
		s.broker = nil
	}
}

// Pause stops the process in its tracks (SIGSTOP); Resume lets it go on.
func (s *Server) Pause() error { return s.broker.Pause() }

// Resume ends a Pause.
func (s *Server) Resume() error { return s.broker.Resume() }

// Restart starts it again on its port with its data, killing it first if it
// still runs.
func (s *Server) Restart() error {
	s.Kill()
	cmd := exec.Command(script)
	cmd.Env = append(os.Environ(),
		"HOME="+s.dir, // for the cookie
		"RABBITMQ_NODENAME=rabbittest@localhost",
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT="+strconv.Itoa(s.port),
		"RABBITMQ_DIST_PORT="+strconv.Itoa(s.distPort),
		"ERL_EPMD_PORT="+strconv.Itoa(s.epmd),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_MNESIA_BASE="+filepath.Join(s.dir, "mnesia"),
		"RABBITMQ_LOG_BASE="+filepath.Join(s.dir, "log"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(s.dir, "plugins"),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(s.dir, "rabbitmq"),
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"ERL_CRASH_DUMP="+filepath.Join(s.dir, "crash.dump"),
		"RABBITMQ_PID_FILE="+filepath.Join(s.dir, "pid"),
		"RABBITMQ_ALLOW_INPUT=1", // Eval speaks to the Erlang shell
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
	)
	b, err := startBroker(cmd)
	if err != nil {
		return fmt.Errorf("start rabbitmq-server: %w", err)
	}
	s.broker = b
	return nil
}

// Bounce stops RabbitMQ in an orderly way and starts it again, within its
// process: quicker than Restart, and with farewells to its clients.
func (s *Server) Bounce() error {
	// A server that says that it is ready is not quite: as long as what booted it
	// still lives, a start is taken for a second one and does nothing.
	const booted = "(fun Wait() -> case whereis(rabbit_boot) of undefined -> ok; _ -> timer:sleep(5), Wait() end end)()"
	answer, err := s.Eval(booted + ", rabbit:stop(), " + booted + ", rabbit:start(), rabbit:await_startup()")
	if err == nil && answer != "ok" {
		err = fmt.Errorf("RabbitMQ did not start again: %s", answer)
	}
	return err
}

// Eval evaluates Erlang expressions in the server and gives what the last one
// printed as.
func (s *Server) Eval(expressions string) (string, error) {
	if s.broker == nil {
		return "", errors.New("the server does not run")
	}
	return s.broker.eval(expressions)
}

func (s *Server) kill() {
	s.Kill()
	if s.epmdProcess != nil {
		s.epmdProcess.Kill()
		s.epmdProcess = nil
	}
}

// Stop kills it and removes its data.
func (s *Server) Stop() {
	s.kill()
	_ = os.RemoveAll(s.dir)
}
