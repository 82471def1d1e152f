package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"syscall"
)

// Node is the program itself, in a process of its own.
type Node struct {
	URL string
	PID int
	cmd *exec.Cmd
}

// StartNode starts cmd, which is the program or becomes it, and waits until it says that it serves. What it logs from
// then on goes to rest.
func StartNode(cmd *exec.Cmd, rest io.Writer) (*Node, error) {
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	n := &Node{PID: cmd.Process.Pid, cmd: cmd}
	lines := bufio.NewScanner(stderr)
	for n.URL == "" && lines.Scan() {
		var line struct{ Msg, URL string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			n.URL = line.URL
		}
	}
	go func() { _, _ = io.Copy(rest, stderr) }()
	if n.URL == "" {
		n.Stop()
		return nil, errors.New("the node does not serve")
	}
	return n, nil
}

// Stop ends the node in an orderly way, and waits for it.
func (n *Node) Stop() {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	_ = n.cmd.Wait()
}
