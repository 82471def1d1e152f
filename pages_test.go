//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"nowserving/gateway/rabbit/rabbittest"

	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

// pagesWithin bounds one file of web/e2e; each of its own waits ends long before.
const pagesWithin = 10 * time.Minute

// The pages in a real browser, before the real program: each file of web/e2e is
// a test. Those whose names begin with "timed" measure what is promised in
// milliseconds, so they run one after the other, when nothing else does.
func TestPages(t *testing.T) {
	files, err := filepath.Glob("web/e2e/*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	npmInstall(t)
	binary := plainProgram(t)
	var timed []string
	// Much of what a file does is waiting: more of them than cores have room.
	var together errgroup.Group
	together.SetLimit(max(3, runtime.NumCPU()))
	for _, file := range files {
		if strings.HasPrefix(pagesName(file), "timed") {
			timed = append(timed, file)
			continue
		}
		together.Go(func() error {
			t.Run(pagesName(file), func(t *testing.T) { runPages(t, binary, file) })
			return nil
		})
	}
	_ = together.Wait() // the subtests tell
	for _, file := range timed {
		t.Run(pagesName(file), func(t *testing.T) { runPages(t, binary, file) })
	}
}

// plainProgram builds the program as people run it, for what is promised of its
// speed: without the race detector that the tests may have.
func plainProgram(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "nowserving")
	build := exec.Command("go", "build", "-race=false", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return binary
}

func pagesName(file string) string { return strings.TrimSuffix(filepath.Base(file), ".test.mjs") }

// npmInstall installs what the lock file names, if that has not been done since it changed.
func npmInstall(t *testing.T) {
	t.Helper()
	lock, err := os.Stat("web/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	done, err := os.Stat("web/node_modules/.package-lock.json")
	if err == nil && !done.ModTime().Before(lock.ModTime()) {
		return
	}
	install := exec.Command("npm", "ci", "--no-progress")
	install.Dir = "web"
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci (Debian: apt-get install nodejs npm): %v:\n%s", err, out)
	}
}

func runPages(t *testing.T, binary, file string) {
	ctx, cancel := context.WithTimeout(t.Context(), pagesWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--test", "--test-reporter=spec", file)
	cmd.Env = append(os.Environ(), "PAGES_BINARY="+binary)
	if strings.Contains(pagesName(file), "cluster") {
		cmd.Env = append(cmd.Env, "PAGES_REDIS_URL="+redistest.Start(t), "PAGES_DATABASE_URL="+mariadbtest.Start(t), "PAGES_KEYS="+testRing)
	}
	if strings.Contains(pagesName(file), "letters") {
		url := rabbittest.Start(t)
		cmd.Env = append(cmd.Env, "PAGES_AMQP_URL="+url)
		requests := newOutside(t, url)
		for _, id := range []string{"order-1", "order-2", "order-3"} {
			requests.publish(id, `{"queue":"desk","service":"`+id+`"}`, nil) // there is no such queue yet
		}
	}
	// All that a file starts ends with it: it is told, and then all of its group is ended.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	t.Logf("%s:\n%s", file, out)
	if err != nil {
		t.Error(err)
	}
}
