//go:build linux

package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/contrib/websocket"
)

func startNaive(t *testing.T) string {
	t.Helper()
	app := (&naive{sessions: map[*websocket.Conn]bool{}}).app()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = app.Listener(l) }()
	t.Cleanup(func() { _ = app.ShutdownWithTimeout(time.Second) })
	return "http://" + l.Addr().String()
}

func TestCountsEveryArrival(t *testing.T) {
	c, err := parse([]string{"--url", startNaive(t), "--password", "x", "--sessions", "50", "--events", "30",
		"--readers", "3", "--pause", "0s", "--settle", "0s"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time starts from a version that is not 0
		rep, err := measure(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Events != 30 || rep.Incomplete != 0 || rep.Gaps != 0 || rep.Closed != 0 || rep.FromSend.Max <= 0 {
			t.Errorf("got %+v", rep)
		}
	}
}

func TestFramesAreCutWhereverTheyArrive(t *testing.T) {
	long := `{"type":"event","queue":"q","version":2,"data":{"version":99,"payload":"` + strings.Repeat("x", 70_000) + `"}}`
	var stream []byte
	for _, text := range []string{`{"type":"event","queue":"q","version":1}`, long, `{"type":"pong"}`, `{"type":"event","version":4}`} {
		b := clientFrame(opText, nil)[:1]
		switch n := len(text); {
		case n < 126:
			b = append(b, byte(n))
		default:
			b = append(b, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		}
		stream = append(stream, append(b, text...)...)
	}
	tr := new(tracker)
	w1, w2, w4 := tr.expect(1, 1), tr.expect(2, 1), tr.expect(4, 1)
	s := new(session)
	for _, b := range stream { // one byte at a time is the worst that can come
		s.rest = append(s.rest, b)
		if op, payload, size := frame(s.rest); size > 0 {
			s.handle(op, payload, tr)
			s.rest = s.rest[size:]
		}
	}
	<-w1.done
	<-w2.done
	<-w4.done
	if tr.gaps.Load() != 1 { // 3 is missing
		t.Errorf("%d gaps", tr.gaps.Load())
	}
}
