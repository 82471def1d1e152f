package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"nowserving/persistence/child"
)

// program is how a service is run here.
type program struct {
	args []string // the first one is the program
	env  map[string]string
	// input: it wants a standard input that stays open.
	input bool
	// beside runs as long as the program does, and is started before it.
	beside []string
}

// rabbitPrograms are RabbitMQ's own; those in the path want to become another user.
const rabbitPrograms = "/usr/lib/rabbitmq/bin"

// programOf turns an image, its command and its environment into a program of
// this machine. It does what the image's entrypoint does.
func programOf(ctx context.Context, c *composeService, p *place, built string) (program, error) {
	run := program{env: make(map[string]string)}
	for name, value := range c.Environment {
		run.env[name] = p.rewrite(value)
	}
	for _, arg := range c.Command {
		run.args = append(run.args, p.rewrite(arg))
	}
	image, _, _ := strings.Cut(c.Image, ":")
	var err error
	switch {
	case c.Build != "":
		if len(run.args) == 0 {
			run.args = []string{"serve"} // the Dockerfile's CMD
		}
		run.args = append([]string{built}, run.args...)
	case image == "mariadb":
		err = run.mariadb(ctx, p)
	case image == "redis":
		run.args = append(run.args, "--bind", p.addr)
	case image == "rabbitmq":
		err = run.rabbitmq(p)
	case image == "nginx":
		run.args = []string{"nginx", "-e", "stderr", "-p", p.dir, "-c", p.path("/etc/nginx/nginx.conf"), "-g", "daemon off;"}
	default:
		err = fmt.Errorf("nothing is known to stand for the image %s", c.Image)
	}
	return run, err
}

func (run *program) mariadb(ctx context.Context, p *place) error {
	data, temporary, first := p.path("/var/lib/mysql"), p.path("/tmp"), p.path("/init.sql")
	if err := os.MkdirAll(temporary, 0o700); err != nil {
		return err
	}
	common := []string{"--no-defaults", "--datadir=" + data, "--tmpdir=" + temporary}
	if os.Getuid() == 0 {
		common = append(common, "--user=root")
	}
	if _, err := os.Stat(filepath.Join(data, "mysql")); err != nil {
		install := exec.CommandContext(ctx, "mariadb-install-db", append(common, "--auth-root-authentication-method=normal", "--skip-test-db")...)
		if out, err := install.CombinedOutput(); err != nil {
			return fmt.Errorf("mariadb-install-db: %w: %s", err, out)
		}
	}
	var passwords [2]string
	for i, name := range []string{"MARIADB_PASSWORD_FILE", "MARIADB_ROOT_PASSWORD_FILE"} {
		text, err := os.ReadFile(run.env[name])
		if err != nil {
			return err
		}
		passwords[i] = strings.TrimSpace(string(text))
	}
	database, user := run.env["MARIADB_DATABASE"], run.env["MARIADB_USER"]
	text := "CREATE DATABASE IF NOT EXISTS " + database + ";\n" +
		"CREATE USER IF NOT EXISTS '" + user + "'@'%' IDENTIFIED BY '" + passwords[0] + "';\n" +
		"GRANT ALL ON " + database + ".* TO '" + user + "'@'%';\n"
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		text += "ALTER USER IF EXISTS 'root'@'" + host + "' IDENTIFIED BY '" + passwords[1] + "';\n"
	}
	if err := p.write(first, text); err != nil {
		return err
	}
	args := append([]string{run.args[0]}, common...)
	args = append(args, "--bind-address="+p.addr, "--socket="+p.path("/socket"), "--pid-file="+p.path("/pid"), "--init-file="+first)
	run.args = append(args, run.args[1:]...)
	return nil
}

func (run *program) rabbitmq(p *place) error {
	var ports [2]int
	for i := range ports {
		port, err := child.FreePort()
		if err != nil {
			return err
		}
		ports[i] = port
	}
	dist, epmd := strconv.Itoa(ports[0]), strconv.Itoa(ports[1])
	home := p.path("/var/lib/rabbitmq")
	maps.Copy(run.env, map[string]string{
		"PATH":                                rabbitPrograms + ":" + os.Getenv("PATH"),
		"HOME":                                home, // for the cookie
		"RABBITMQ_NODENAME":                   "rabbit@localhost",
		"RABBITMQ_NODE_IP_ADDRESS":            p.addr,
		"RABBITMQ_DIST_PORT":                  dist,
		"ERL_EPMD_PORT":                       epmd,
		"ERL_EPMD_ADDRESS":                    "127.0.0.1",
		"RABBITMQ_MNESIA_BASE":                filepath.Join(home, "mnesia"),
		"RABBITMQ_LOG_BASE":                   p.path("/var/log/rabbitmq"),
		"RABBITMQ_ENABLED_PLUGINS_FILE":       p.path("/etc/rabbitmq/enabled_plugins"),
		"RABBITMQ_CONFIG_FILES":               p.path("/etc/rabbitmq/conf.d"),
		"RABBITMQ_CONF_ENV_FILE":              "/dev/null",
		"RABBITMQ_PID_FILE":                   p.path("/pid"),
		"RABBITMQ_ALLOW_INPUT":                "1", // else a shell stands between us and the server
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
	})
	run.args, run.input = []string{filepath.Join(rabbitPrograms, "rabbitmq-server")}, true
	// Erlang would start a daemon of its own, which nobody ends.
	run.beside = []string{"epmd", "-port", epmd, "-address", "127.0.0.1"}
	return p.write(p.path("/etc/rabbitmq/enabled_plugins"), "[].\n")
}

// command makes args a command with the service's environment.
func (run *program) command(ctx context.Context, args []string) *exec.Cmd {
	env := map[string]string{"PATH": os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME": os.Getenv("HOME")}
	maps.Copy(env, run.env)
	cmd := exec.CommandContext(ctx, find(args[0], env["PATH"]), args[1:]...)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// find looks for a program in the service's path, not in ours.
func find(name, path string) string {
	for _, dir := range filepath.SplitList(path) {
		candidate := filepath.Join(dir, name)
		if info, err := os.Stat(candidate); !strings.Contains(name, "/") && err == nil && info.Mode()&0o111 != 0 && !info.IsDir() {
			return candidate
		}
	}
	return name
}
