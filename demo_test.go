package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// demoQueues are the sample queues.
var demoQueues = []string{"passports", "parking", "registry", "clinic", "blood-tests", "help-desk"}

// startDemo starts the demo, with a folder for temporary files of its own.
func startDemo(t *testing.T, args ...string) (p *process, temp string) {
	t.Helper()
	temp = t.TempDir()
	return launch(t, demoCommand(temp, args...)), temp
}

func demoCommand(temp string, args ...string) *exec.Cmd {
	env := []string{"TMPDIR=" + temp, "NOWSERVING_DATA_DIR=" + filepath.Join(temp, "data"), "NOWSERVING_REDIS_URL=redis://127.0.0.1:1"}
	return programCommand("node", env, append([]string{"demo", "--http-addr", "127.0.0.1:0"}, args...)...)
}

// printed waits for what a line of the greeting says.
func (p *process) printed(label string) (value string) {
	p.t.Helper()
	line := regexp.MustCompile(`(?m)^  ` + label + ` +(\S.*)$`)
	eventually(p.t, label+" is printed", func() bool {
		found := line.FindStringSubmatch(p.log())
		if found == nil {
			return false
		}
		value = found[1]
		return true
	})
	return value
}

// display is who reads with the key that is printed.
func (p *process) display() *caller {
	p.t.Helper()
	p.awaitServing()
	_, key, _ := strings.Cut(p.printed("display"), "#key=")
	return &caller{token: key}
}

type shownTicket struct {
	ID, Queue, Number, State, Attendant string
	CalledAt                            string `json:"called_at"`
	Customer, Payload                   any
}

// tickets gives what somebody sees of a queue.
func (c *caller) tickets(t testing.TB, url, id, filter string) []shownTicket {
	t.Helper()
	var list struct{ Items []shownTicket }
	a := c.must(t, url, http.MethodGet, "/queues/"+id+"/tickets?"+filter, "")
	if err := json.Unmarshal([]byte(a.body), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// awaitCalls waits until somebody has been called in each sample queue.
func (c *caller) awaitCalls(t testing.TB, url string) {
	t.Helper()
	for _, id := range demoQueues {
		eventually(t, "a call in "+id, func() bool {
			for _, ticket := range c.tickets(t, url, id, "") {
				if ticket.CalledAt != "" {
					return true
				}
			}
			return false
		})
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	p, temp := startDemo(t)
	display := p.display()
	display.awaitCalls(t, p.url)
	desk := p.login("attendant")
	for _, id := range demoQueues {
		for _, seen := range display.tickets(t, p.url, id, "") {
			if seen.Customer != nil || seen.Payload != nil {
				t.Errorf("the display is shown a customer of %s", id)
			}
		}
	}
	eventually(t, "an attendant sees who waits", func() bool {
		waiting := desk.tickets(t, p.url, "passports", "state=waiting")
		return len(waiting) > 0 && waiting[0].Customer != nil
	})
	for level, path := range map[string]string{"admin": "/users", "supervisor": "/queues/clinic/statistics"} {
		p.login(level).must(t, p.url, http.MethodGet, path, "")
	}
	for id := range strings.SplitSeq(path.Base(p.printed("check-in")), ",") {
		if a := get(t, p.url+"/api/v1/public/queues/"+id); a.status != http.StatusOK {
			t.Errorf("check-in at %s: %d", id, a.status)
		}
	}
	if code, _ := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	nothingLeft(t, temp)
	for _, level := range []string{"ERROR", "WARN"} {
		if strings.Contains(p.log(), `"level":"`+level) {
			t.Errorf("it has something to complain of:\n%s", p.log())
		}
	}
}

// login signs in with what the greeting says of a level.
func (p *process) login(level string) *caller {
	p.t.Helper()
	email, password, _ := strings.Cut(p.printed(level), ", password ")
	return login(p.t, p.url, email, password)
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// Wherever a demo is when it is stopped, its files go.
func TestDemoStopsWithoutATrace(t *testing.T) {
	t.Parallel()
	for when, wait := range map[string]func(p *process, temp string){
		"as soon as it has files": func(p *process, temp string) {
			eventually(t, "files", func() bool {
				found, err := filepath.Glob(filepath.Join(temp, "nowserving-demo-*"))
				return err == nil && len(found) > 0
			})
		},
		"while it is set up": func(p *process, _ string) { p.awaitServing() },
		"while it runs":      func(p *process, _ string) { p.printed("stop") },
	} {
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
			t.Run(fmt.Sprint(when, ", ", signal), func(t *testing.T) {
				t.Parallel()
				p, temp := startDemo(t)
				wait(p, temp)
				if err := p.cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				<-p.exited
				if code := p.cmd.ProcessState.ExitCode(); code != 0 {
					t.Errorf("exit code %d", code)
				}
				nothingLeft(t, temp)
			})
		}
	}
}

func TestDemoStoppedTwiceLeavesNothing(t *testing.T) {
	t.Parallel()
	p, temp := startDemo(t, "--ops-addr", "127.0.0.1:0")
	p.awaitServing()
	p.printed("stop")
	hold(t, p.url)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ops := p.logged("operators are served", "url")
	eventually(t, "the node drains", func() bool { return ready(t, ops) == "503 draining" })
	if code, _ := p.stop(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	nothingLeft(t, temp)
}

// What README promises to whoever tries it, of the program that they run: built
// without the race detector. A machine that does other things is no part of the
// promise, so the best of three counts.
func TestDemoMovesWithinTenSeconds(t *testing.T) {
	program := plainProgram(t)
	var took []time.Duration
	for range 3 {
		cmd := demoCommand(t.TempDir())
		cmd.Path = program
		began := time.Now()
		p := launch(t, cmd)
		p.display().awaitCalls(t, p.url)
		took = append(took, time.Since(began))
		p.kill()
		if took[len(took)-1] < 10*time.Second {
			t.Logf("somebody was called in every queue after %s", took)
			return
		}
	}
	t.Errorf("somebody was called in every queue after %s", took)
}
