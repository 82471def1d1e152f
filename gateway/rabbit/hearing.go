package rabbit

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// errSilent: nothing was heard of RabbitMQ for so long, by the clock of this
// process, that it may have given our deliveries to somebody else.
var errSilent = errors.New("rabbit: nothing was heard for too long")

// hearing knows when RabbitMQ was heard of last. A process that was paused finds
// old heartbeats in its kernel's buffer when it goes on, and they prove nothing:
// after a silence that was too long the connection is given up.
type hearing struct {
	began time.Time
	on    atomic.Bool
	last  atomic.Int64 // since began; negative: too long ago, for good
}

func newHearing() *hearing { return &hearing{began: time.Now()} }

// begin is called once something comes regularly.
func (h *hearing) begin() {
	h.last.Store(int64(time.Since(h.began)))
	h.on.Store(true)
}

// fresh tells whether it is not too long ago.
func (h *hearing) fresh() bool {
	if !h.on.Load() {
		return true
	}
	last := h.last.Load()
	return last >= 0 && time.Since(h.began)-time.Duration(last) < silence
}

// hear is false where it had been too long.
func (h *hearing) hear() bool {
	switch {
	case !h.on.Load():
		return true
	case !h.fresh():
		h.last.Store(-1)
		return false
	}
	h.last.Store(int64(time.Since(h.began)))
	return true
}

// heardConn is a connection that is listened to.
type heardConn struct {
	net.Conn
	heard *hearing
}

func (c *heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.heard.hear() {
		return 0, errors.Join(errSilent, c.Close())
	}
	return n, err
}
