package faults

import (
	"bufio"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// echo answers each line with itself, and tells of what it got.
func echo(t *testing.T) (addr string, got chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got = make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					got <- lines.Text()
					_, _ = c.Write([]byte(lines.Text() + "\n"))
				}
			}()
		}
	}()
	return l.Addr().String(), got
}

func TestLink(t *testing.T) {
	addr, got := echo(t)
	k, err := NewLink(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	conn, err := net.Dial("tcp", k.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	say := func(text string) { _, _ = conn.Write([]byte(text + "\n")) }
	hears := func(want string, within time.Duration) {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(within))
		text, err := answers.ReadString('\n')
		if want == "" && !errors.Is(err, os.ErrDeadlineExceeded) || want != "" && text != want+"\n" {
			t.Errorf("%q %v, want %q", text, err, want)
		}
	}
	reaches := func(want string) {
		t.Helper()
		select {
		case text := <-got:
			if text != want {
				t.Errorf("%q, want %q", text, want)
			}
		case <-time.After(100 * time.Millisecond):
			if want != "" {
				t.Errorf("nothing, want %q", want)
			}
		}
	}
	const soon, never = 10 * time.Second, 100 * time.Millisecond

	say("one")
	reaches("one")
	hears("one", soon)

	k.Set(Mode{CutTo: true})
	say("two")
	reaches("")
	hears("", never)
	k.Set(Mode{})
	reaches("two")
	hears("two", soon)

	k.Set(Mode{CutFrom: true})
	say("three")
	reaches("three")
	hears("", never)
	k.Set(Mode{})
	hears("three", soon)

	k.Set(Mode{DelayTo: 100 * time.Millisecond, Delay: 200 * time.Millisecond})
	began := time.Now()
	say("four")
	hears("four", soon)
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("it took %s", took)
	}
	reaches("four")

	k.Set(Mode{Swallow: true})
	say("five")
	reaches("five")
	hears("", never)
	k.Set(Mode{})
	_ = conn.SetReadDeadline(time.Now().Add(soon))
	if _, err := answers.ReadString('\n'); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a connection that lost something lives on")
	}
}
