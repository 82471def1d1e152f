package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// lastCall is how long a door waits for one more connection before it closes.
	lastCall = 50 * time.Millisecond
	// lastCalls bounds what Shutdown waits for that.
	lastCalls = 500 * time.Millisecond
)

// Listen makes a listener that Serve can close without cutting anybody off. It is
// one of plain TCP, for Linux knows no filters on Go's default, Multipath TCP.
func Listen(addr string) (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	return config.Listen(context.Background(), "tcp", addr)
}

// door is a listener that can be closed without cutting anybody off. A
// connection that the kernel has made and that nobody has accepted yet is reset
// when its listener closes, and with it the request that was sent over it.
type door struct {
	*net.TCPListener
	last   bool          // Accept's own: the door has been shut
	empty  chan struct{} // closed when nobody stands before it any more
	closed sync.Once
	failed error
}

func newDoor(ln *net.TCPListener) *door { return &door{TCPListener: ln, empty: make(chan struct{})} }

// Accept ends with io.EOF once the door is shut and whoever stood before it is in.
func (d *door) Accept() (net.Conn, error) {
	for {
		if d.last {
			_ = d.SetDeadline(time.Now().Add(lastCall)) // it fails where the door is closed, and so does Accept
		}
		c, err := d.TCPListener.Accept()
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return c, err
		case d.last:
			return nil, errors.Join(io.EOF, d.Close())
		}
		d.last = true
	}
}

// shut lets nobody come who is not there yet, and waits until those are in.
func (d *door) shut() {
	refuse(d.TCPListener)
	if d.SetDeadline(time.Now()) != nil { // wakes Accept
		return
	}
	timer := time.NewTimer(lastCalls)
	defer timer.Stop()
	select {
	case <-d.empty:
	case <-timer.C: // nobody accepts
	}
}

// Close may be called more than once.
func (d *door) Close() error {
	d.closed.Do(func() {
		d.failed = d.TCPListener.Close()
		close(d.empty)
	})
	return d.failed
}
