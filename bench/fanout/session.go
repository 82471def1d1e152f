//go:build linux

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
)

// session is one WebSocket on a socket of its own, outside of Go's network poller: a goroutine woken for each frame of
// 10,000 sessions would cost more than the server that is measured.
type session struct {
	fd      int
	rest    []byte // the beginning of a frame whose end has not come
	version uint64 // the last one seen
	dead    bool
}

const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// openSession connects, upgrades, logs in and subscribes, all blocking; it returns when the snapshot is there.
func openSession(base, token, queue string) (*session, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	tcp, err := net.ResolveTCPAddr("tcp4", u.Host)
	if err != nil {
		return nil, err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	s := &session{fd: fd}
	if err := s.greet(tcp.AddrPort(), u.Host, token, queue); err != nil {
		_ = syscall.Close(fd)
		return nil, err
	}
	return s, syscall.SetNonblock(fd, true)
}

func (s *session) greet(addr netip.AddrPort, host, token, queue string) error {
	patience := syscall.Timeval{Sec: 20}
	if err := syscall.SetsockoptTimeval(s.fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &patience); err != nil {
		return err
	}
	if err := syscall.SetsockoptInt(s.fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return err
	}
	if err := syscall.Connect(s.fd, &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().Unmap().As4()}); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	var key [16]byte
	_, _ = rand.Read(key[:])
	request := "GET /api/v1/ws HTTP/1.1\r\nHost: " + host + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: nowserving.v1\r\nSec-WebSocket-Key: " +
		base64.StdEncoding.EncodeToString(key[:]) + "\r\n\r\n"
	if err := s.write([]byte(request)); err != nil {
		return err
	}
	head, err := s.readHead()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101")) {
		return fmt.Errorf("upgrade refused: %.120q", head)
	}
	if err := s.ask(`{"type":"auth","token":"`+token+`"}`, `"type":"ready"`); err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	if err := s.ask(`{"type":"subscribe","id":"1","queue":"`+queue+`"}`, `"type":"snapshot"`); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

func (s *session) write(b []byte) error {
	for len(b) > 0 {
		n, err := syscall.Write(s.fd, b)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// more reads once and adds to what is left over.
func (s *session) more() error {
	var buf [16 << 10]byte
	for {
		n, err := syscall.Read(s.fd, buf[:])
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("connection closed")
		}
		s.rest = append(s.rest, buf[:n]...)
		return nil
	}
}

func (s *session) readHead() ([]byte, error) {
	for {
		if i := bytes.Index(s.rest, []byte("\r\n\r\n")); i >= 0 {
			head := s.rest[:i+4]
			s.rest = append([]byte(nil), s.rest[i+4:]...)
			return head, nil
		}
		if err := s.more(); err != nil {
			return nil, err
		}
	}
}

// ask sends a frame and reads until a text frame bears the mark.
func (s *session) ask(text, mark string) error {
	if err := s.write(clientFrame(opText, []byte(text))); err != nil {
		return err
	}
	for {
		op, payload, size := frame(s.rest)
		if size == 0 {
			if err := s.more(); err != nil {
				return err
			}
			continue
		}
		found := op == opText && bytes.Contains(payload, []byte(mark))
		bad := op == opClose || bytes.Contains(payload, []byte(`"ok":false`))
		what := fmt.Sprintf("%.200q", payload)
		if v, ok := versionOf(payload); ok {
			s.version = v
		}
		s.rest = append([]byte(nil), s.rest[size:]...)
		if found {
			return nil
		}
		if bad {
			return fmt.Errorf("refused: %s", what)
		}
	}
}

// frame cuts the first frame off b; size is 0 where it is not complete. A server's frames are not masked.
func frame(b []byte) (op byte, payload []byte, size int) {
	if len(b) < 2 {
		return 0, nil, 0
	}
	n, head := int(b[1]&0x7f), 2
	switch n {
	case 126:
		if len(b) < 4 {
			return 0, nil, 0
		}
		n, head = int(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return 0, nil, 0
		}
		n, head = int(binary.BigEndian.Uint64(b[2:])), 10
	}
	if len(b) < head+n {
		return 0, nil, 0
	}
	return b[0] & 0x0f, b[head : head+n], head + n
}

// clientFrame makes a masked frame; a mask of zeros is a valid one and leaves the payload as it is.
func clientFrame(op byte, payload []byte) []byte {
	b := []byte{0x80 | op}
	if n := len(payload); n < 126 {
		b = append(b, 0x80|byte(n))
	} else {
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	}
	b = append(b, 0, 0, 0, 0)
	return append(b, payload...)
}

var versionMark = []byte(`"version":`)

// versionOf finds the first version in a frame. Events and snapshots bear theirs before "data", so that no field of a
// ticket is taken for it.
func versionOf(payload []byte) (uint64, bool) {
	_, rest, ok := bytes.Cut(payload, versionMark)
	if !ok {
		return 0, false
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	v, err := strconv.ParseUint(string(rest[:end]), 10, 64)
	return v, err == nil
}
