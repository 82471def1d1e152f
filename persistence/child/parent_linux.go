package child

import (
	"os/exec"
	"syscall"
)

// dieWithParent keeps a parent that crashes from leaving its server behind. A
// Ctrl-C is the parent's alone: it stops its servers in an order of its own.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
