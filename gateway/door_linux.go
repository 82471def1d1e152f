package gateway

import (
	"net"

	"golang.org/x/sys/unix"
)

// noSyn is a filter that drops what asks for a connection: the byte of flags in
// the head of TCP has SYN set.
var noSyn = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x02, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 18},
}

// refuse makes the kernel begin no connection any more; those that are there or
// begun go on. Who asks for one asks again after a second, and by then the
// listener is closed. Where filters are not to be had, a connection that comes
// in the last moment is reset.
func refuse(ln *net.TCPListener) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		program := unix.SockFprog{Len: uint16(len(noSyn)), Filter: &noSyn[0]}
		_ = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	})
}
