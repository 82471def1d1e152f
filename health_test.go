package main

import (
	"errors"
	"net"
	"strings"
	"testing"
)

func TestReadiness(t *testing.T) {
	t.Parallel()
	h := newHealth()
	for _, step := range []struct{ journal, database, want string }{
		{"journal", "", "starting journal"},
		{"", "database", "starting database"}, // the first 200 needs all
		{"", "", "ready"},
		{"", "database", "ready database"},
		{"journal", "database", "unavailable journal,database"},
		{"", "", "ready"},
	} {
		h.found(step.journal != "", []string{step.journal, step.database})
		r := h.readiness()
		if got := strings.TrimSpace(r.Status + " " + strings.Join(r.Down, ",")); got != step.want {
			t.Errorf("after %q, %q down: %s, want %s", step.journal, step.database, got, step.want)
		}
	}
	h.drain()
	h.found(false, nil)
	if r := h.readiness(); r.Status != statusDraining {
		t.Errorf("a draining node says %s", r.Status)
	}
}

func TestErrorsAreOneLine(t *testing.T) {
	t.Parallel()
	if got := oneLine(errors.Join(usage("--a:\n  b"), errors.New("c"))); got != "--a: b c" {
		t.Errorf("%q", got)
	}
}

func TestGreetingOnATerminal(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	n := &Node{config: Config{DataDir: "data", HTTPAddr: "127.0.0.1:0"}, http: listener}
	for login, made := range map[string]credentials{
		"root@example.org, password secret (shown only this once)":             {"root@example.org", "secret"},
		"root@example.org, with the password of NOWSERVING_ADMIN_PASSWORD":     {"root@example.org", ""},
		"with a user of yours; `nowserving user passwd` sets a new password\n": {},
	} {
		n.newborn = made
		for _, want := range []string{"open     http://" + listener.Addr().String(), "log in   " + login, "data     " + n.dataDir(), "this machine only"} {
			if text := n.greeting(); !strings.Contains(text, want) {
				t.Errorf("%q is missing in:%s", want, text)
			}
		}
	}
}
