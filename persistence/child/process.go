// Package child runs a server as a child process that does not outlive the
// process that started it, for tests and for trying things out.
package child

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// startTimeout is how long a server may take until it is ready.
const startTimeout = time.Minute

// Process is a running child.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// Run starts cmd and does not wait for it. What it says goes where cmd says.
func Run(cmd *exec.Cmd) (*Process, error) {
	dieWithParent(cmd)
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel ends the child when the thread that made it ends, so this
		// one stays until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Startup is how a server tells that it is ready.
type Startup struct {
	Ready  string        // a line of its output holds it
	Within time.Duration // a minute if zero
	// Line, if not nil, is given every line of its output, to its end.
	Line func(string)
}

// Start is StartWith of a server that says ready.
func Start(cmd *exec.Cmd, ready string) (*Process, error) {
	return StartWith(cmd, Startup{Ready: ready})
}

// StartWith starts cmd and waits until it is ready. A server that ends before
// that, or takes too long, is an error with the last lines that it said.
func StartWith(cmd *exec.Cmd, startup Startup) (*Process, error) {
	if startup.Within == 0 {
		startup.Within = startTimeout
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = in, in
	p, err := Run(cmd)
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		return nil, err
	}
	name := filepath.Base(cmd.Path)
	waiting := make(chan error, 1)
	go startup.watch(out, name, waiting)
	select {
	case err = <-waiting:
	case <-time.After(startup.Within):
		err = fmt.Errorf("%s is not ready after %s", name, startup.Within)
	}
	if err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// watch reads a server's output to its end and tells waiting when it is ready,
// or what it said last if it never was.
func (s Startup) watch(out *os.File, name string, waiting chan<- error) {
	defer out.Close()
	var once sync.Once
	var said []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if s.Line != nil {
			s.Line(lines.Text())
		}
		if strings.Contains(lines.Text(), s.Ready) {
			once.Do(func() { waiting <- nil })
		} else if said = append(said, lines.Text()); len(said) > 10 {
			said = said[1:]
		}
	}
	_, _ = io.Copy(io.Discard, out)
	once.Do(func() { waiting <- fmt.Errorf("%s ended: %s", name, strings.Join(said, " | ")) })
}

// Kill ends it as kill -9 does, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Stop asks it to end (SIGTERM), kills it where it takes longer than within,
// and waits until it is gone. It tells whether it ended by itself.
func (p *Process) Stop(within time.Duration) bool {
	if terminate(p.cmd.Process) == nil {
		select {
		case <-p.exited:
			return true
		case <-time.After(within):
		}
	}
	p.Kill()
	return false
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// State says how it ended, and is empty while it runs.
func (p *Process) State() string {
	select {
	case <-p.exited:
		return p.cmd.ProcessState.String()
	default:
		return ""
	}
}

// FreePort gives a port of 127.0.0.1 that nothing listens on. Another process
// can take it before it is used.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
