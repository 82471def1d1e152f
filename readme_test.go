//go:build unix

package main

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// block gives the commands that stand in README.md between two marks.
func block(t *testing.T, mark string) string {
	t.Helper()
	return blockOf(t, "README.md", mark)
}

func blockOf(t *testing.T, file, mark string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile("(?s)<!-- " + mark + " -->\n```sh\n(.*?)```\n<!-- /" + mark + " -->")
	found := pattern.FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s has no block %q", file, mark)
	}
	return string(found[1])
}

// What the tour promises behind its arrows must come, in that order.
func TestReadmeTour(t *testing.T) {
	t.Parallel()
	p := startNodeWith(t, []string{"NOWSERVING_ADMIN_PASSWORD=tour-password"}, t.TempDir())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tour := block(t, "tour")
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", tour)
	cmd.Env = append(os.Environ(), "NOWSERVING_TOUR="+p.url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	rest, promises := string(out), 0
	for line := range strings.Lines(tour) {
		want, promised := strings.CutPrefix(strings.TrimSpace(line), "# → ")
		if !promised {
			continue
		}
		promises++
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("%q does not come, in this rest:\n%s", want, rest)
		}
		rest = after
	}
	if promises == 0 {
		t.Error("the tour promises nothing")
	}
}

// The command that README gives starts a node in a fresh checkout.
func TestReadmeRun(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("bash", "-c", block(t, "run"))
	cmd.Env = append(os.Environ(), "NOWSERVING_HTTP_ADDR=127.0.0.1:0", "NOWSERVING_DATA_DIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run has a child
	p := startCommand(t, cmd)
	if said := ready(t, p.url); said != "200 ready" && said != "503 starting" {
		t.Errorf("/readyz: %s", said)
	}
	if a := get(t, p.url+"/"); a.status != 200 || !strings.Contains(a.body, "nowserving") {
		t.Errorf("/: %d %s", a.status, a.body)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-p.exited
	if !strings.Contains(p.log(), `"stopped"`) || !strings.Contains(p.log(), "admin admin@localhost has the password ") {
		t.Errorf("the node said:\n%s", p.log())
	}
}

func TestHelpNamesEverySetting(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"-h"}, {"serve", "--help"}, {"user", "add", "-h"}} {
		o := runProgram(t, "", nil, args...)
		if o.code != 0 || o.stderr != "" {
			t.Errorf("%v: exit code %d: %s", args, o.code, o.stderr)
		}
		for _, s := range settings {
			if !strings.Contains(o.stdout, "--"+s.name+" ") && !strings.Contains(o.stdout, "--"+s.name+", ") {
				t.Errorf("%v: %s is missing", args, s.name)
			}
		}
	}
}
