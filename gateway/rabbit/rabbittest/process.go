package rabbittest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// process is a running child and the goroutines that wait for it and read what
// it says.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	exited chan struct{}

	evaluating sync.Mutex // one expression at a time
	answers    chan string
}

// mark stands before what an expression came to, among the server's log lines.
const mark = "rabbittest-answer:"

// startProcess starts cmd and waits until it says ready, if that is not empty.
func startProcess(cmd *exec.Cmd, ready string) (*process, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = in, in
	dieWithParent(cmd)
	p := &process{cmd: cmd, exited: make(chan struct{}), answers: make(chan string, 1)}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
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
	said := make(chan error, 1)
	go p.read(out, ready, said)
	if ready == "" {
		return p, nil
	}
	select {
	case err = <-said:
	case <-time.After(startTimeout):
		err = fmt.Errorf("not ready after %s", startTimeout)
	}
	if err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// read reads all that the server says. It tells said when the server is ready,
// or what it said last if it never was, and hands on what was evaluated.
func (p *process) read(out *os.File, ready string, said chan<- error) {
	defer out.Close()
	var once sync.Once
	var last []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		_, answer, answered := strings.Cut(line, mark)
		switch {
		case answered:
			select {
			case p.answers <- answer:
			default: // of one who no longer waits
			}
		case ready != "" && strings.Contains(line, ready):
			once.Do(func() { said <- nil })
		default:
			if last = append(last, line); len(last) > 10 {
				last = last[1:]
			}
		}
	}
	_, _ = io.Copy(io.Discard, out)
	once.Do(func() { said <- fmt.Errorf("it ended: %s", strings.Join(last, " | ")) })
}

// eval has the Erlang shell evaluate expressions. Each is wrapped, so that the
// shell remembers no variable of it.
func (p *process) eval(expressions string) (string, error) {
	p.evaluating.Lock()
	defer p.evaluating.Unlock()
	select {
	case <-p.answers: // of one who did not wait long enough
	default:
	}
	_, err := fmt.Fprintf(p.stdin, "io:format(\"~n%s~0p~n\", [catch (fun() -> %s end)()]).\n", mark, expressions)
	if err != nil {
		return "", err
	}
	select {
	case answer := <-p.answers:
		if strings.HasPrefix(answer, "{'EXIT'") {
			return "", fmt.Errorf("the server failed: %s", answer)
		}
		return answer, nil
	case <-p.exited:
		return "", fmt.Errorf("the server ended")
	case <-time.After(evalTimeout):
		return "", fmt.Errorf("no answer from the server after %s", evalTimeout)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}
