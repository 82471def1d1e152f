// Package mariadbtest runs a private mariadbd as a child process: on a free
// port of 127.0.0.1, with its data in a temporary folder. Tests that need
// MariaDB fail where its programs are missing.
package mariadbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"nowserving/persistence/child"
)

// The user that all databases belong to. The password has what a URL must
// encode, so that every test shows that it is decoded.
const (
	User     = "nowserving"
	Password = "p@ss/w:rd %41?"
)

// Options of a server; zero values mean the defaults.
type Options struct {
	// Dir is where it keeps its data; by default a temporary folder, which
	// Stop removes.
	Dir string
	// Args are further arguments of mariadbd, such as "--max-connections=20".
	Args []string
}

// Start gives the URL of an empty database on a server that all tests of this
// process share while one of them runs. Starting one takes about a second.
func Start(t testing.TB) string {
	t.Helper()
	s, err := share()
	if err != nil {
		t.Fatalf("mariadbtest: %v", err)
	}
	t.Cleanup(unshare)
	return s.Database(t)
}

// StartWith runs a server of the test's own, to kill and restart it.
func StartWith(t testing.TB, opts Options) *Server {
	t.Helper()
	s, err := StartServer(opts)
	if err != nil {
		t.Fatalf("mariadbtest: %v", err)
	}
	t.Cleanup(s.Stop)
	return s
}

// The server that tests share, and how many use it.
var shared struct {
	sync.Mutex
	server *Server
	users  int
}

func share() (*Server, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		s, err := StartServer(Options{})
		if err != nil {
			return nil, err
		}
		shared.server = s
	}
	shared.users++
	return shared.server, nil
}

func unshare() {
	shared.Lock()
	defer shared.Unlock()
	if shared.users--; shared.users == 0 {
		shared.server.Stop()
		shared.server = nil
	}
}

// Server is one mariadbd. Its port stays the same through restarts. Kill,
// Restart, Pause, Resume and Stop are for one goroutine at a time.
type Server struct {
	opts      Options
	binary    string
	port      int
	ownDir    bool
	process   *child.Process
	databases atomic.Int64
}

// StartServer runs a server until Stop. It answers once the server takes
// connections.
func StartServer(opts Options) (*Server, error) {
	binary, err := find("mariadbd")
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, binary: binary}
	if opts.Dir == "" {
		if s.opts.Dir, err = os.MkdirTemp("", "mariadbtest-"); err != nil {
			return nil, err
		}
		s.ownDir = true
	}
	if err = s.install(); err == nil {
		for range 5 { // another process can take the port between our look and its start
			if s.port, err = child.FreePort(); err != nil {
				break
			}
			if err = s.Restart(); err == nil {
				return s, nil
			}
		}
	}
	s.Stop()
	return nil, err
}

// find also looks where Debian keeps daemons, which is not in everyone's path.
func find(name string) (string, error) {
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed (Debian: apt-get install mariadb-server)", name)
}

// install makes the system tables, and the statements that the server runs
// before it takes connections.
func (s *Server) install() error {
	if _, err := os.Stat(s.data()); err == nil {
		return nil // a folder that was used before
	}
	binary, err := find("mariadb-install-db")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := os.MkdirAll(s.temporary(), 0o700); err != nil {
		return err
	}
	args := []string{"--no-defaults", "--datadir=" + s.data(), "--tmpdir=" + s.temporary(), "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"}
	out, err := exec.CommandContext(ctx, binary, append(args, asRoot()...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mariadb-install-db: %w: %s", err, strings.TrimSpace(string(out)))
	}
	statements := fmt.Sprintf("CREATE USER IF NOT EXISTS '%s'@'127.0.0.1' IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO '%s'@'127.0.0.1';\n", User, Password, User)
	return os.WriteFile(s.initFile(), []byte(statements), 0o600)
}

// asRoot: MariaDB refuses to run as root unless told to.
func asRoot() []string {
	if os.Getuid() != 0 {
		return nil
	}
	return []string{"--user=root"}
}

func (s *Server) data() string { return filepath.Join(s.opts.Dir, "data") }

// temporary is each server's own: at its start it deletes what others have there.
func (s *Server) temporary() string { return filepath.Join(s.opts.Dir, "tmp") }
func (s *Server) initFile() string  { return filepath.Join(s.opts.Dir, "init.sql") }

// Addr is its host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is the mysql:// URL of one of its databases.
func (s *Server) URL(database string) string {
	return (&url.URL{Scheme: "mysql", User: url.UserPassword(User, Password), Host: s.Addr(), Path: "/" + database}).String()
}

// Open opens one of its databases, apart from what is tested.
func (s *Server) Open(database string) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = User, Password, "tcp", s.Addr(), database
	c.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// Database makes an empty database and gives its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", s.databases.Add(1))
	if err := s.create(name); err != nil {
		t.Fatalf("mariadbtest: %v", err)
	}
	return s.URL(name)
}

func (s *Server) create(name string) error {
	db, err := s.Open("")
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec("CREATE DATABASE " + name)
	return err
}

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

var errNotRunning = errors.New("mariadbd does not run")

// Pause stops the process in its tracks (SIGSTOP); Resume lets it go on.
func (s *Server) Pause() error {
	if s.process == nil {
		return errNotRunning
	}
	return s.process.Pause()
}

// Resume ends a Pause.
func (s *Server) Resume() error {
	if s.process == nil {
		return errNotRunning
	}
	return s.process.Resume()
}

// Restart starts it again on its port with its data, killing it first if it
// still runs.
func (s *Server) Restart() error {
	s.Kill()
	args := append([]string{
		"--no-defaults", "--datadir=" + s.data(), "--tmpdir=" + s.temporary(), "--init-file=" + s.initFile(),
		"--port=" + strconv.Itoa(s.port), "--bind-address=127.0.0.1", "--skip-name-resolve",
		"--socket=" + filepath.Join(s.opts.Dir, "socket"), "--pid-file=" + filepath.Join(s.opts.Dir, "pid"),
		"--innodb-log-file-size=16M", "--innodb-buffer-pool-size=64M",
		// What the kernel has for asynchronous writing is the whole machine's.
		"--innodb-use-native-aio=0",
	}, asRoot()...)
	p, err := child.Start(exec.Command(s.binary, append(args, s.opts.Args...)...), "ready for connections")
	if err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(s.binary), err)
	}
	s.process = p
	return nil
}
