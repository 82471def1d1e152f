package rabbittest

import (
	"os/exec"
	"syscall"
)

// dieWithParent keeps a test that crashes from leaving its server behind.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
