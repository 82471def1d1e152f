package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The ports that only nodes and operators reach.
const (
	clusterPort = 7000
	opsPort     = 8081
)

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// program is the path of the program, secrets the folder that secrets.sh filled.
var program, secrets string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "check-")
	if err == nil {
		err = prepare(dir)
	}
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// prepare builds the program, unless who runs this has it already.
func prepare(dir string) error {
	secrets = filepath.Join(dir, "secrets")
	if said, err := exec.Command("sh", "../secrets.sh", secrets).CombinedOutput(); err != nil {
		return fmt.Errorf("secrets.sh: %w: %s", err, said)
	}
	if program = os.Getenv("NOWSERVING_PROGRAM"); program != "" {
		return nil
	}
	program = filepath.Join(dir, "nowserving")
	build := exec.Command("go", "build", "-C", "../..", "-o", program, ".")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, said)
	}
	return nil
}

// variables gives a container's environment as it will be, and the variables
// that come from secrets by their reference.
func (m *manifests) variables(t testing.TB, c corev1.Container, podIP string) (env map[string]string, fromSecrets map[string]string) {
	t.Helper()
	env, fromSecrets = make(map[string]string), make(map[string]string)
	for _, from := range c.EnvFrom {
		i := slices.IndexFunc(m.settings, func(s *corev1.ConfigMap) bool { return from.ConfigMapRef != nil && s.Name == from.ConfigMapRef.Name })
		if i < 0 {
			t.Fatalf("there is no %+v", from)
		}
		for name, value := range m.settings[i].Data {
			env[name] = value
		}
	}
	for _, v := range c.Env {
		switch {
		case v.ValueFrom == nil:
			env[v.Name] = strings.ReplaceAll(v.Value, "$(POD_IP)", env["POD_IP"])
		case v.ValueFrom.FieldRef != nil && v.ValueFrom.FieldRef.FieldPath == "status.podIP":
			env[v.Name] = podIP
		case v.ValueFrom.SecretKeyRef != nil:
			fromSecrets[v.Name] = v.ValueFrom.SecretKeyRef.Name + "/" + v.ValueFrom.SecretKeyRef.Key
		default:
			t.Fatalf("%s comes from %+v", v.Name, v.ValueFrom)
		}
	}
	return env, fromSecrets
}

// known gives all variables of which the program's help tells.
func known(t testing.TB) map[string]bool {
	t.Helper()
	help, err := exec.Command(program, "help").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"NOWSERVING_ADMIN_EMAIL": true, "NOWSERVING_ADMIN_PASSWORD": true}
	for line := range strings.Lines(string(help)) {
		for _, flag := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(line, -1) {
			if strings.HasPrefix(line, "  --") {
				names["NOWSERVING_"+strings.ToUpper(strings.ReplaceAll(flag[1], "-", "_"))] = true
			}
		}
	}
	if len(names) < 20 {
		t.Fatalf("the help is not understood: %s", help)
	}
	return names
}

func TestVariablesAreTheProgramsOwn(t *testing.T) {
	names := known(t)
	each(t, func(t *testing.T, m *manifests) {
		for _, w := range m.workloads() {
			if !w.ours {
				continue
			}
			env, fromSecrets := m.variables(t, w.container(t), "192.0.2.1")
			for name := range env {
				if !names[name] && name != "POD_IP" {
					t.Errorf("%s: the program knows no %s", w.name, name)
				}
			}
			for name := range fromSecrets {
				if !names[name] {
					t.Errorf("%s: the program knows no %s", w.name, name)
				}
			}
			if w.node && env["NOWSERVING_CLUSTER_ADDR"] != fmt.Sprint("192.0.2.1:", w.port(t, "cluster")) {
				t.Errorf("%s is looked for at %s", w.name, env["NOWSERVING_CLUSTER_ADDR"])
			}
		}
	})
}

// The program is really started with each container's arguments, variables and
// files, on an address of its own, so that every port is the one in the manifest.
// No store is there: it lives and is not ready.
func TestContainersStart(t *testing.T) {
	each(t, func(t *testing.T, m *manifests) {
		for _, w := range m.workloads() {
			if !w.ours || !w.node && len(m.jobs) == 0 {
				continue
			}
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				s := m.start(t, w)
				if !w.node {
					s.await(t)
					if code := s.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(s.said.String(), "127.0.0.1:1") {
						t.Errorf("it ended with %d, not for want of a database:\n%s", code, &s.said)
					}
					return
				}
				s.proveProbes(t, m, w)
				if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				s.await(t)
				if code := s.cmd.ProcessState.ExitCode(); code != 0 {
					t.Errorf("it ended with %d:\n%s", code, &s.said)
				}
			})
		}
	})
}

type started struct {
	cmd   *exec.Cmd
	ip    string
	said  bytes.Buffer // for when it has ended
	ended chan struct{}
}

func (m *manifests) start(t *testing.T, w workload) *started {
	t.Helper()
	s := &started{ip: fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(64), rand.IntN(256), 1+rand.IntN(254)), ended: make(chan struct{})}
	dir := t.TempDir()
	all := documented(t)
	for _, f := range w.files(t) {
		for key, from := range all[f.secret] {
			if !f.has(key) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(secrets, from))
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(dir, f.at, key)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, m.nowhere(t, key, text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := w.container(t)
	env, fromSecrets := m.variables(t, c, s.ip)
	for name := range fromSecrets {
		env[name] = map[bool]string{true: "somebody@example.org", false: "a long enough password"}[strings.HasSuffix(name, "EMAIL")]
	}
	s.cmd = exec.Command(program, c.Args...)
	s.cmd.Dir = "/"
	s.cmd.Env = []string{"PATH=/bin"}
	for name, value := range env {
		switch {
		case strings.HasPrefix(value, "/"):
			value = filepath.Join(dir, value)
		case strings.HasPrefix(value, ":"):
			value = s.ip + value
		}
		s.cmd.Env = append(s.cmd.Env, name+"="+value)
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
	})
	return s
}

// nowhere is a store's URL with an address at which there is nothing. That of
// secrets.sh names the service of staging.
func (m *manifests) nowhere(t *testing.T, key string, url []byte) []byte {
	t.Helper()
	store := map[string]string{"redis-url": "redis", "database-url": "mysql", "amqp-url": "rabbitmq"}[key]
	if store == "" {
		return url
	}
	for _, service := range m.services {
		if service.Name == store && !bytes.Contains(url, fmt.Appendf(nil, "@%s:%d", store, service.Spec.Ports[0].Port)) {
			t.Errorf("secrets.sh's %s does not name the service %s", key, store)
		}
	}
	return regexp.MustCompile(`@[a-z]+:\d+`).ReplaceAll(url, []byte("@127.0.0.1:1"))
}

func (s *started) await(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}

func (s *started) proveProbes(t *testing.T, m *manifests, w workload) {
	t.Helper()
	c, note := w.container(t), w.template.Annotations
	probes := []struct {
		what, port, path string
		status           int
	}{
		{"liveness", target(c.LivenessProbe).String(), c.LivenessProbe.HTTPGet.Path, http.StatusOK},
		{"readiness", target(c.ReadinessProbe).String(), c.ReadinessProbe.HTTPGet.Path, http.StatusServiceUnavailable},
		{"metrics", note["prometheus.io/port"], note["prometheus.io/path"], http.StatusOK},
		{"http", "http", "/livez", http.StatusOK},
	}
	secure := slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == "grpc" })
	for _, p := range probes {
		port, scheme := w.port(t, p.port), "http"
		if secure && p.what == "http" {
			scheme = "https"
		}
		if url := fmt.Sprintf("%s://%s:%d%s", scheme, s.ip, port, p.path); s.asked(t, url) != p.status {
			t.Errorf("%s: %s does not answer with %d", p.what, url, p.status)
		}
		if p.what != "http" && port != opsPort {
			t.Errorf("%s is asked for at port %d", p.what, port)
		}
	}
	if secure {
		s.proveGRPC(t, fmt.Sprint(s.ip, ":", w.port(t, "grpc")))
	}
	if c.LivenessProbe.HTTPGet.Path != "/livez" || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Error("one probe does the other one's work")
	}
}

func (s *started) proveGRPC(t *testing.T, addr string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		var conn *tls.Conn
		if conn, err = tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}); err == nil {
			conn.Close()
			return
		}
	}
	t.Errorf("gRPC is not served: %v", err)
}

func target(p *corev1.Probe) *intstr.IntOrString { return &p.HTTPGet.Port }

// asked gives the status of an answer, for which it waits while the node begins.
func (s *started) asked(t *testing.T, url string) int {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		response, err := client.Get(url)
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			return response.StatusCode
		}
		select {
		case <-s.ended:
			t.Fatalf("it ended with %d:\n%s", s.cmd.ProcessState.ExitCode(), &s.said)
		case <-tick.C:
		}
	}
	if conn, err := net.Dial("tcp", strings.Split(url, "/")[2]); err == nil {
		conn.Close()
	}
	t.Fatalf("%s never answers", url)
	return 0
}
