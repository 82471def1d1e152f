package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"nowserving/demo"
)

// demoRequest is for how long a person of the demo waits for an answer.
const demoRequest = 30 * time.Second

// demoSettings are those that a demo takes. Others would have it touch what is
// not its own.
func demoSettings() []setting {
	var some []setting
	for _, s := range settings {
		switch s.name {
		case "http-addr", "grpc-addr", "ops-addr":
			some = append(some, s)
		case "checkin-rate":
			s.value = "600" // its invented people and whoever looks on have one address
			some = append(some, s)
		}
	}
	return some
}

// readDemoConfig reads the flags and variables of demo. All other settings have
// their defaults.
func readDemoConfig(args []string, getenv func(string) string) (Config, error) {
	var c Config
	own := demoSettings()
	flags, err := parseFlags("demo", args, own, nil)
	if err != nil {
		return c, err
	}
	others := slices.DeleteFunc(slices.Clone(settings), func(s setting) bool {
		return slices.ContainsFunc(own, func(o setting) bool { return o.name == s.name })
	})
	if err := applySettings(&c, others, nil, func(string) string { return "" }); err != nil {
		return c, err
	}
	c.AdminEmail, c.AdminPassword = defaultAdmin, demo.NewPassword()
	if err := applySettings(&c, own, flags, getenv); err != nil {
		return c, err
	}
	return c, c.check()
}

// demo runs a node of sample queues with people who use them. Its data dir goes
// when it ends.
func (p *program) demo(args []string) (err error) {
	config, err := readDemoConfig(args, p.getenv)
	if errors.Is(err, errHelp) {
		return p.help()
	}
	if err != nil {
		return err
	}
	config.DataDir = filepath.Join(os.TempDir(), "nowserving-demo-"+rand.Text())
	remove := func() error { return os.RemoveAll(config.DataDir) }    //nolint:gosec // the name is made here
	ctx, stop := stopSignals(func() { _ = remove() }, syscall.SIGHUP) // its terminal may be closed
	defer stop()
	defer func() { err = errors.Join(err, remove()) }()
	return p.node(ctx, config, func(ctx context.Context, node *Node) error { return p.openDemo(ctx, config, node) })
}

// openDemo has people come until the context ends.
func (p *program) openDemo(ctx context.Context, config Config, node *Node) error {
	client := &http.Client{Timeout: demoRequest, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	admin := demo.Login{Email: config.AdminEmail, Password: config.AdminPassword}
	town, err := demo.Open(ctx, demo.Options{URL: node.URL(), Admin: admin, HTTP: client, Pace: 1, Log: node.log})
	switch {
	case ctx.Err() != nil:
		return nil // stopped while it was set up
	case err != nil:
		return err
	}
	fmt.Fprint(p.stderr, demoGreeting(node.URL(), admin, town))
	town.Run(ctx)
	return nil
}

// demoGreeting says which pages there are, and with what to open them. It is the
// one place where passwords and keys of the demo are shown.
func demoGreeting(url string, admin demo.Login, town *demo.Town) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  nowserving %s: a demo with invented people; nothing of it is kept\n\n", version)
	for _, page := range []struct{ what, where string }{
		{"desk", url + "/console"},
		{"overview", url + "/supervisor"},
		{"display", url + "/display#key=" + town.DisplayKey},
		{"check-in", url + "/checkin/" + strings.Join(town.CheckIn, ",")},
		{"REST", url + "/api/v1/openapi.yaml"},
	} {
		fmt.Fprintf(&b, "  %-12s %s\n", page.what, page.where)
	}
	for _, who := range []struct {
		level string
		login demo.Login
	}{{"admin", admin}, {"supervisor", town.Supervisor}, {"attendant", town.Attendant}} {
		fmt.Fprintf(&b, "  %-12s %s, password %s\n", who.level, who.login.Email, who.login.Password)
	}
	b.WriteString("  stop         Ctrl-C\n\n")
	return b.String()
}
