package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"nowserving/persistence/child"
)

const (
	// A service that ends is started again after this time, as Docker does.
	restartAfter = time.Second
	// startInterval is how often a service is asked until it is healthy.
	startInterval = 500 * time.Millisecond
	// stopWithin is Docker's, where stop_grace_period says nothing.
	stopWithin = 10 * time.Second
)

// service is one that runs.
type service struct {
	*composeService
	place *place
	run   program
	log   io.Writer // takes whole lines

	mu       sync.Mutex
	process  *child.Process
	beside   *child.Process
	stopping bool
	over     sync.WaitGroup
}

// start starts it and keeps it running until stop.
func (s *service) start() error {
	if len(s.run.beside) > 0 {
		beside, err := child.Run(s.output(s.run.command(context.Background(), s.run.beside)))
		if err != nil {
			return err
		}
		s.beside = beside
	}
	process, err := s.launch()
	if err != nil {
		return err
	}
	s.over.Go(func() { s.keep(process) })
	return nil
}

func (s *service) launch() (*child.Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, context.Canceled
	}
	cmd := s.output(s.run.command(context.Background(), s.run.args))
	if s.run.input {
		if _, err := cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	process, err := child.Run(cmd)
	if err == nil {
		s.process = process
	}
	return process, err
}

// keep starts the service again where its restart policy says so.
func (s *service) keep(process *child.Process) {
	for {
		<-process.Exited()
		s.mu.Lock()
		stopping := s.stopping
		s.mu.Unlock()
		if stopping {
			return
		}
		s.say("it ended: " + process.State())
		if s.Restart != "unless-stopped" && s.Restart != "always" {
			return
		}
		time.Sleep(restartAfter)
		next, err := s.launch()
		if err != nil {
			return
		}
		process = next
	}
}

// kill is kill -9, from which the service comes back.
func (s *service) kill() {
	s.mu.Lock()
	process := s.process
	s.mu.Unlock()
	process.Kill()
}

// restart ends it in an orderly way, from which it comes back.
func (s *service) restart() {
	s.mu.Lock()
	process := s.process
	s.mu.Unlock()
	process.Stop(time.Duration(s.StopGracePeriod))
}

// stop ends it for good. It tells whether it ended in its time.
func (s *service) stop() bool {
	s.mu.Lock()
	s.stopping = true
	process := s.process
	s.mu.Unlock()
	within := time.Duration(s.StopGracePeriod)
	if within == 0 {
		within = stopWithin
	}
	ended := process == nil || process.Stop(within)
	s.over.Wait()
	if s.beside != nil {
		s.beside.Kill()
	}
	return ended
}

// healthy asks once, by the health check of the file.
func (s *service) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Healthcheck.Timeout))
	defer cancel()
	args := make([]string, 0, len(s.Healthcheck.Test)+2)
	if s.Healthcheck.Test[0] == "CMD-SHELL" {
		args = append(args, "sh", "-c")
	}
	for _, arg := range s.Healthcheck.Test[1:] {
		args = append(args, s.place.rewrite(arg))
	}
	cmd := s.run.command(ctx, args)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// awaitHealthy gives up when Docker would call it unhealthy.
func (s *service) awaitHealthy(ctx context.Context) error {
	h := s.Healthcheck
	patience := time.Duration(h.StartPeriod) + time.Duration(h.Retries)*time.Duration(h.Interval+h.Timeout)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(startInterval)
	defer tick.Stop()
	var why error
	for {
		err := s.healthy(ctx)
		if err == nil {
			return nil
		}
		if why == nil || ctx.Err() == nil { // not only that the time is over
			why = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is not healthy: %w", why)
		case <-tick.C:
		}
	}
}

// output has a command's words written to the log, a line at a time.
func (s *service) output(cmd *exec.Cmd) *exec.Cmd {
	words := &lines{to: s.log, prefix: s.place.name + " | "}
	cmd.Stdout, cmd.Stderr = words, words
	cmd.WaitDelay = time.Second // for helpers that outlive a killed server
	return cmd
}

func (s *service) say(text string) { fmt.Fprintf(s.log, "%s | %s\n", s.place.name, text) }

// lines passes whole lines on, each with a prefix.
type lines struct {
	to     io.Writer
	prefix string
	rest   []byte
}

// maxLine bounds what is kept of a line that does not end.
const maxLine = 64 << 10

func (l *lines) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != '\n' && len(l.rest) < maxLine {
			l.rest = append(l.rest, b)
			continue
		}
		fmt.Fprintf(l.to, "%s%s\n", l.prefix, l.rest)
		l.rest = l.rest[:0]
	}
	return len(p), nil
}

// together lets several write whole lines to one.
type together struct {
	mu sync.Mutex
	to io.Writer
}

func (t *together) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.to.Write(p)
}
