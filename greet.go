package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"nowserving/tracing"
)

// logger writes for people on a terminal, and for machines elsewhere.
func (p *program) logger() *slog.Logger {
	if p.onTerminal() {
		return slog.New(tracing.Handler{Handler: slog.NewTextHandler(p.stderr, nil)})
	}
	return slog.New(tracing.Handler{Handler: slog.NewJSONHandler(p.stderr, nil)})
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

// redisLog takes what the Redis client says by itself, for debugging only:
// whoever called it gets the same as an error.
type redisLog struct{ log *slog.Logger }

func (r redisLog) Printf(ctx context.Context, format string, v ...any) {
	r.log.DebugContext(ctx, "redis", "said", fmt.Sprintf(format, v...))
}

func (n *Node) journalName() string {
	if n.config.RedisURL != "" {
		return "redis"
	}
	return "data dir"
}

func (n *Node) directoryName() string {
	if n.config.DatabaseURL != "" {
		return "mysql"
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
	switch {
	case p.onTerminal():
		_, _ = io.WriteString(p.stderr, n.greeting())
	case n.newborn.password != "":
		fmt.Fprintf(p.stderr, "admin %s has the password %s (shown only this once)\n", n.newborn.email, n.newborn.password)
	}
}

func (n *Node) greeting() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  nowserving %s\n\n  open     %s\n", version, n.URL())
	switch {
	case n.newborn.password != "":
		fmt.Fprintf(&b, "  log in   %s, password %s (shown only this once)\n", n.newborn.email, n.newborn.password)
	case n.newborn.email != "":
		fmt.Fprintf(&b, "  log in   %s, with the password of NOWSERVING_ADMIN_PASSWORD\n", n.newborn.email)
	default:
		b.WriteString("  log in   with a user of yours; `nowserving user passwd` sets a new password\n")
	}
	fmt.Fprintf(&b, "  data     %s, journal: %s, users: %s\n", n.dataDir(), n.journalName(), n.directoryName())
	if isLoopback(n.config.HTTPAddr) {
		b.WriteString("  reach    this machine only; --http-addr and --tls-cert open it to others\n")
	}
	b.WriteString("  stop     Ctrl-C\n\n")
	return b.String()
}
