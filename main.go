// Command nowserving runs service queues: one node of them, and what an
// administrator needs beside it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
	_ "time/tzdata" // queues name time zones, and a small image has none

	"golang.org/x/term"
)

// version is set by the linker for releases.
var version = "dev"

// Exit codes.
const (
	exitFailed = 1 // it could not be done
	exitUsage  = 2 // a flag, a variable or a file was wrong
)

// errUsage: what was asked for is wrong, and the text says how.
var errUsage = errors.New("usage")

// program is the process as the sub-commands see it.
type program struct {
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time
	dial           func(ctx context.Context, network, addr string) (net.Conn, error) // to other nodes
}

func main() { os.Exit(newProgram().run(os.Args[1:])) }

func newProgram() *program {
	return &program{
		getenv: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		now: time.Now, dial: (&net.Dialer{}).DialContext,
	}
}

// run carries out a sub-command and gives the exit code. What went wrong is
// one line on standard error.
func (p *program) run(args []string) int {
	command := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	err := p.command(command, args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(p.stderr, "nowserving: "+oneLine(err))
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailed
}

// oneLine is an error's text without the mark that only chooses the exit code.
func oneLine(err error) string {
	text := strings.TrimPrefix(err.Error(), errUsage.Error()+": ")
	return strings.Join(strings.Fields(text), " ")
}

func (p *program) command(name string, args []string) error {
	switch name {
	case "serve":
		return p.serve(args)
	case "user":
		return p.user(args)
	case "version":
		return p.version(args)
	case "help":
		return p.help()
	case "keys":
		return p.keys(args)
	case "demo":
		return p.demo(args)
	case "restored":
		return p.restored(args)
	}
	return usage("unknown command %q (serve, demo, user, keys, restored, version or help)", name)
}

// usage makes an error whose exit code is 2.
func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errUsage, fmt.Errorf(format, args...))
}

func (p *program) version(args []string) error {
	if len(args) > 0 {
		return usage("version takes no arguments")
	}
	build := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		build = " " + info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				build += " " + s.Value
			}
		}
	}
	_, err := fmt.Fprintln(p.stdout, "nowserving "+version+build)
	return err
}

// serve runs a node until SIGTERM or SIGINT, and once more means at once.
func (p *program) serve(args []string) error {
	config, err := readConfig(args, p.getenv)
	if errors.Is(err, errHelp) {
		return p.help()
	}
	if err != nil {
		return err
	}
	ctx, stop := stopSignals(func() {})
	defer stop()
	return p.node(ctx, config, func(ctx context.Context, node *Node) error {
		if len(config.Exposed) > 0 {
			node.log.Warn("secrets stand on the command line, where every user of this machine can read them: give them by a file or a variable",
				"flags", strings.Join(config.Exposed, " "))
		}
		p.greet(node)
		<-ctx.Done()
		return nil
	})
}

// node runs a node, and beside it what is given, until either fails or the
// context ends.
func (p *program) node(ctx context.Context, config Config, beside func(context.Context, *Node) error) error {
	config.Now, config.Dial = p.now, p.dial
	tuneGarbage()
	node, err := Start(ctx, config, p.logger())
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // stopped while it started
	case err != nil:
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- beside(ctx, node) }()
	select {
	case err := <-ended:
		return errors.Join(err, node.Shutdown())
	case err := <-node.Failed():
		cancel()
		return errors.Join(err, <-ended, node.Shutdown())
	}
}

// stopSignals gives a context that the first signal ends. The second one ends
// the process, after a last act.
func stopSignals(last func(), more ...os.Signal) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, append(more, syscall.SIGTERM, os.Interrupt)...)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for range 2 {
			select {
			case <-done:
				return
			case <-signals:
			}
			if ctx.Err() != nil {
				last()
				os.Exit(exitFailed)
			}
			cancel()
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		watching.Wait()
		cancel()
	}
}

// onTerminal tells whether a person reads standard error.
func (p *program) onTerminal() bool {
	f, ok := p.stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
