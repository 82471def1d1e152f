// Command local runs what docker-compose.yml describes without Docker: the
// same programs, from Debian's packages and from this checkout, with the same
// arguments, variables, configuration files, health checks and order of start,
// on loopback addresses and with data that are gone afterwards.
//
//	go run ./deploy/local
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	compose := flag.String("f", "docker-compose.yml", "the compose file")
	quiet := flag.Bool("q", false, "do not show what the services say")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := options{compose: *compose, log: os.Stderr}
	if *quiet {
		o.log = io.Discard
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

// run runs the stack until ctx is over.
func run(ctx context.Context, o options) (err error) {
	if o.dir, err = os.MkdirTemp("", "nowserving-local-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	env, err := environment(ctx, o.compose, o.dir)
	if err != nil {
		return err
	}
	o.getenv = func(name string) string { return env[name] }
	st, err := start(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("\n  open     %s\n  log in   %s, password %s\n  stop     Ctrl-C\n\n", st.published(),
		env["NOWSERVING_ADMIN_EMAIL"], env["NOWSERVING_ADMIN_PASSWORD"])
	<-ctx.Done()
	return st.stop()
}

// environment is what Compose would fill in: variables of this process, then
// those of .env. What has to be set and is not is made up for this run.
func environment(ctx context.Context, compose, dir string) (map[string]string, error) {
	root := filepath.Dir(compose)
	env, err := readEnv(filepath.Join(root, ".env"))
	if err != nil {
		return nil, err
	}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	if env["NOWSERVING_ADMIN_EMAIL"] == "" {
		env["NOWSERVING_ADMIN_EMAIL"] = "admin@localhost"
	}
	if env["NOWSERVING_ADMIN_PASSWORD"] == "" {
		env["NOWSERVING_ADMIN_PASSWORD"] = strings.ToLower(rand.Text())
	}
	if env["NOWSERVING_SECRETS"] == "" {
		env["NOWSERVING_SECRETS"] = filepath.Join(dir, "secrets")
		out, err := exec.CommandContext(ctx, "sh", filepath.Join(root, "deploy", "secrets.sh"), env["NOWSERVING_SECRETS"]).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("deploy/secrets.sh: %w: %s", err, out)
		}
	}
	return env, nil
}

// readEnv reads NAME=value lines; no file is the same as an empty one.
func readEnv(path string) (map[string]string, error) {
	env := make(map[string]string)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return env, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	read := bufio.NewScanner(f)
	for read.Scan() {
		name, value, found := strings.Cut(strings.TrimSpace(read.Text()), "=")
		if found && !strings.HasPrefix(name, "#") {
			env[name] = strings.Trim(value, `"'`)
		}
	}
	return env, read.Err()
}
