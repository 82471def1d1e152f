package main

import (
	"net/http"
	"os"
	"syscall"
	"testing"

	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

// testConfined has a node under test run as nobody, where it can write to no
// file and no folder.
const testConfined = "NOWSERVING_TEST_CONFINED"

func confine() error {
	if err := os.Chdir("/"); err != nil {
		return err
	}
	none := syscall.Rlimit{}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &none); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return nil // it owns nothing there anyway
	}
	const nobody = 65532
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setgid(nobody); err != nil {
		return err
	}
	return syscall.Setuid(nobody)
}

// A node whose stores and keys are elsewhere writes nothing where it runs: its
// file system may be read-only.
func TestNodeNeedsNothingToWriteTo(t *testing.T) {
	t.Parallel()
	env := []string{
		testConfined + "=1", "TMPDIR=/", "NOWSERVING_ADMIN_PASSWORD=" + adminPassword, "NOWSERVING_HTTP_ADDR=127.0.0.1:0",
		"NOWSERVING_CLUSTER_PROVIDER=redis", "NOWSERVING_REDIS_URL=" + redistest.Start(t), "NOWSERVING_DATABASE_URL=" + mariadbtest.Start(t),
		"NOWSERVING_TOKEN_KEYS=" + testRing, "NOWSERVING_DATA_KEYS=" + testRing,
	}
	p := startCommand(t, programCommand("node", env))
	eventually(t, "the node is ready", func() bool { return ready(t, p.url) == "200 ready" })
	who := admin(t, p.url)
	who.must(t, p.url, http.MethodPost, "/queues", `{"id":"desk"}`)
	who.must(t, p.url, http.MethodPost, "/queues/desk/tickets", `{"customer":{"name":"Ada"}}`)
	who.must(t, p.url, http.MethodPost, "/queues/desk/call-next", `{"desk":"1"}`)
	if code, took := p.stop(); code != 0 {
		t.Errorf("exit code %d after %s", code, took)
	}
}
