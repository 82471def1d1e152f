//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// watch is the one event that is under way: who has got it, and when the last one did.
type watch struct {
	version uint64
	missing atomic.Int64
	last    time.Time
	done    chan struct{}
}

// tracker is shared by the readers. Sessions count an event even before the command's reply has told its version, so
// arrivals go into a ring by version.
type tracker struct {
	ring   [1024]atomic.Pointer[watch]
	gaps   atomic.Int64
	closed atomic.Int64
}

// expect must be called before the command of that version is sent.
func (t *tracker) expect(version uint64, sessions int) *watch {
	w := &watch{version: version, done: make(chan struct{})}
	w.missing.Store(int64(sessions))
	t.ring[version%uint64(len(t.ring))].Store(w)
	return w
}

func (t *tracker) arrived(version uint64) {
	w := t.ring[version%uint64(len(t.ring))].Load()
	if w != nil && w.version == version && w.missing.Add(-1) == 0 {
		w.last = time.Now()
		close(w.done)
	}
}

// read serves sessions until ctx is done. It keeps its thread, as it is nearly always in a system call.
func read(ctx context.Context, sessions []*session, t *tracker) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	defer syscall.Close(ep)
	for i, s := range sessions {
		ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}
		if err := syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, s.fd, &ev); err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
	}
	events := make([]syscall.EpollEvent, 512)
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := syscall.EpollWait(ep, events, 100) // wakes ten times a second to see ctx
		if err != nil && err != syscall.EINTR {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, ev := range events[:max(n, 0)] {
			s := sessions[ev.Fd]
			if s.receive(buf, t); s.dead {
				t.closed.Add(1)
				_ = syscall.EpollCtl(ep, syscall.EPOLL_CTL_DEL, s.fd, nil)
			}
		}
	}
	return nil
}

// receive reads what is there and counts the events in it.
func (s *session) receive(buf []byte, t *tracker) {
	n, err := syscall.Read(s.fd, buf)
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return
	}
	if err != nil || n == 0 {
		s.dead = true
		return
	}
	data := buf[:n]
	if len(s.rest) > 0 {
		data = append(s.rest, data...)
	}
	for {
		op, payload, size := frame(data)
		if size == 0 {
			break
		}
		s.handle(op, payload, t)
		data = data[size:]
	}
	s.rest = append(s.rest[:0:0], data...)
}

var eventMark = []byte(`"type":"event"`)

func (s *session) handle(op byte, payload []byte, t *tracker) {
	switch op {
	case opPing:
		_ = s.write(clientFrame(opPong, payload))
	case opClose:
		s.dead = true
	case opText:
		v, ok := versionOf(payload)
		if !ok || !bytes.Contains(payload, eventMark) {
			return
		}
		if v != s.version+1 {
			t.gaps.Add(1)
		}
		s.version = v
		t.arrived(v)
	}
}
