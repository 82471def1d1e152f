//go:build !linux

package gateway

import "net"

// refuse does nothing: a connection that comes in the last moment is reset.
func refuse(*net.TCPListener) {}
