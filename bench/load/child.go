package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Child is this program again, as a server in a process of its own: a server that shared the driver's scheduler and
// garbage collector would be flattered or slowed by it.
type Child struct {
	URL string
	PID int
	cmd *exec.Cmd
	in  io.Closer
}

// StartChild runs this executable with args. The child prints its URL as the first line on standard output, and ends
// when its standard input closes, so that it never outlives its parent.
func StartChild(ctx context.Context, args ...string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &Child{PID: cmd.Process.Pid, cmd: cmd, in: in}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("%s %s did not come up: %w", self, strings.Join(args, " "), err)
	}
	c.URL = strings.TrimSpace(line)
	return c, nil
}

// Close ends the child and waits for it.
func (c *Child) Close() {
	_ = c.in.Close()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// AwaitParent returns when the parent of a child closes its standard input or dies.
func AwaitParent() { _, _ = io.Copy(io.Discard, os.Stdin) }

// RaiseFiles lifts the limit of open files to at least n, and the hard limit too where the user may. It says by name
// what is missing, for a bench with half of its sessions would be a wrong figure.
func RaiseFiles(n uint64) error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	if lim.Cur >= n {
		return nil
	}
	want := syscall.Rlimit{Cur: n, Max: max(lim.Max, n)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want); err != nil {
		return fmt.Errorf("%d open files are needed, the limit is %d: raise it with ulimit -n (%w)", n, lim.Max, err)
	}
	return nil
}

// RSS is the resident memory of a process in bytes, as Linux tells it.
func RSS(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("no VmRSS for process %d", pid)
}
