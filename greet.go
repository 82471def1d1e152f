package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
)

// logger writes for people on a terminal, and for machines elsewhere.
func (p *program) logger() *slog.Logger {
	if p.onTerminal() {
		return slog.New(slog.NewTextHandler(p.stderr, nil))
	}
	return slog.New(slog.NewJSONHandler(p.stderr, nil))
}

// quieter gives a library's log, of which only warnings are of interest.
func quieter(log *slog.Logger) *slog.Logger { return slog.New(warnings{log.Handler()}) }

type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }

func (n *Node) journalName() string {
	if n.config.RedisURL != "" {
		return "redis"
	}
	return "data dir"
}

func (n *Node) dataDir() string {
	dir, err := filepath.Abs(n.config.DataDir)
	if err != nil {
		return n.config.DataDir
	}
	return dir
}

// greet says, to a person, where to go from here; to a machine only what is
// said once.
func (p *program) greet(n *Node) {
	var b strings.Builder
	if !p.onTerminal() {
		if n.newborn.password != "" {
			fmt.Fprintf(p.stderr, "admin %s has the password %s (shown only this once)\n", n.newborn.email, n.newborn.password)
		}
		return
	}
	fmt.Fprintf(&b, "\n  nowserving %s\n\n  open     %s\n", version, n.URL())
	switch {
	case n.newborn.password != "":
		fmt.Fprintf(&b, "  log in   %s, password %s (shown only this once)\n", n.newborn.email, n.newborn.password)
	default:
		b.WriteString("  log in   with a user of yours; `nowserving user passwd` sets a new password\n")
	}
	fmt.Fprintf(&b, "  data     %s, journal: %s\n", n.dataDir(), n.journalName())
	if host, _, _ := net.SplitHostPort(n.config.HTTPAddr); isLoopback(n.config.HTTPAddr) {
		fmt.Fprintf(&b, "  reach    this machine only (%s); --http-addr and --tls-cert open it to others\n", host)
	}
	b.WriteString("  stop     Ctrl-C\n\n")
	_, _ = io.WriteString(p.stderr, b.String())
}
