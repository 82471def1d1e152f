package gateway

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"
)

// Bounds of a WebSocket's connection.
const (
	writeWithin = time.Second      // in which the client must take writeChunk bytes
	writeChunk  = 64 << 10         // so that a large snapshot may take its time on a thin line
	sendBuffer  = 128 << 10        // the kernel's, so that a client that does not read is noticed soon
	lingerFor   = time.Second      // for the client to answer a close frame
	aliveWithin = 60 * time.Second // for a sign of life: a frame or the answer to a ping
)

// Opcodes of RFC 6455, section 5.2, with the bit that says "whole message".
const (
	opText  = 0x80 | 0x1
	opClose = 0x80 | 0x8
	opPing  = 0x80 | 0x9
	opPong  = 0x80 | 0xA
)

const closeNoStatus = 1005 // stands for a close frame without a code; never sent

// frameHead is the room that newFrame leaves for the longest head of a frame.
const frameHead = 10

// newFrame begins a text frame; the JSON is appended to what it gives.
func newFrame(size int) []byte { return make([]byte, frameHead, frameHead+size) }

// sealFrame writes the head of a text frame right before its text. What it
// gives goes over the wire as it is, to as many sessions as it is meant for.
func sealFrame(b []byte) []byte { return headed(b, opText) }

func headed(b []byte, op byte) []byte {
	n := len(b) - frameHead
	switch {
	case n < 126:
		b = b[8:]
		b[1] = byte(n)
	case n < 1<<16:
		b = b[6:]
		b[1] = 126
		binary.BigEndian.PutUint16(b[2:], uint16(n))
	default:
		b[1] = 127
		binary.BigEndian.PutUint64(b[2:], uint64(n))
	}
	b[0] = op
	return b
}

// controlFrame makes a ping, pong or close frame; text is at most 125 bytes.
func controlFrame(op byte, text string) []byte {
	return headed(append(newFrame(len(text)), text...), op)
}

func closeFrame(code int, reason string) []byte {
	b := newFrame(2 + len(reason))
	if code != closeNoStatus {
		b = append(binary.BigEndian.AppendUint16(b, uint16(code)), reason...)
	}
	return headed(b, opClose)
}

// socket is the writing end of one WebSocket: an actors.Socket. It writes ready
// frames to the connection itself, past the library, which would copy each.
type socket struct {
	conn    net.Conn
	rest    []byte      // of a frame that was not taken in time
	closing atomic.Bool // the close frame is out; the reader waits for its answer only
}

// newSocket takes the connection out of fasthttp's wrapper, whose Close does
// nothing and which is used for other connections afterwards.
func newSocket(conn net.Conn) *socket {
	if wrapped, ok := conn.(interface{ UnsafeConn() net.Conn }); ok {
		conn = wrapped.UnsafeConn()
	}
	tcp := conn
	if inner, ok := conn.(interface{ NetConn() net.Conn }); ok {
		tcp = inner.NetConn()
	}
	if tcp, ok := tcp.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // a refusal changes nothing but when slowness is seen
	}
	return &socket{conn: conn}
}

// Write fails where the client does not take the frame, or a chunk of a long
// one, in time.
func (s *socket) Write(frame []byte) error {
	for len(frame) > 0 {
		if err := s.conn.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
			return err
		}
		n, err := s.conn.Write(frame[:min(len(frame), writeChunk)])
		frame = frame[n:]
		if err != nil {
			s.rest = frame
			return err
		}
	}
	return nil
}

var pingFrame = controlFrame(opPing, "")

// Ping asks for a sign of life; the reader sees the answer.
func (s *socket) Ping() error { return s.Write(pingFrame) }

// Close sends a close frame and leaves the client a moment to answer it: a
// connection that is cut with unread frames in it would be reset, and the close
// frame be lost. Where it cannot be sent, the connection is cut. What is left of
// a frame goes first, for a client that has begun to read again.
func (s *socket) Close(code int, reason string) {
	s.closing.Store(true)
	rest := s.rest
	s.rest = nil
	if s.Write(rest) != nil || s.Write(closeFrame(code, reason)) != nil {
		s.cut()
		return
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(lingerFor)) // it fails where the connection is gone already
}

// cut ends the connection at once, and with it the reader.
func (s *socket) cut() { _ = s.conn.Close() }

// extend gives the client time for its next sign of life.
func (s *socket) extend() error {
	if err := s.conn.SetReadDeadline(time.Now().Add(aliveWithin)); err != nil {
		return err
	}
	if s.closing.Load() { // Close may have come in between, with its shorter time
		return s.conn.SetReadDeadline(time.Now().Add(lingerFor))
	}
	return nil
}
