package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// options of a stack.
type options struct {
	compose string // the file
	getenv  func(string) string
	dir     string // for all data; the caller removes it
	log     io.Writer
}

// stack is all services of the file.
type stack struct {
	order    []string
	services map[string]*service
}

// start starts the services in their order and waits until all are healthy.
// Where that fails it stops those that run.
func start(ctx context.Context, o options) (*stack, error) {
	c, err := readCompose(o.compose, o.getenv)
	if err != nil {
		return nil, err
	}
	st := &stack{services: make(map[string]*service)}
	if st.order, err = c.inOrder(); err != nil {
		return nil, err
	}
	built, err := build(ctx, c, o.dir)
	if err != nil {
		return nil, err
	}
	addresses := addressesOf(st.order)
	log := &together{to: o.log}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	healthy := make(map[string]chan struct{})
	for _, name := range st.order {
		st.services[name] = &service{composeService: c.Services[name], log: log, place: &place{
			name: name, addr: addresses[name], dir: filepath.Join(o.dir, name), addresses: addresses, paths: make(map[string]string),
		}}
		healthy[name] = make(chan struct{})
	}
	var starting sync.WaitGroup
	for _, name := range st.order {
		starting.Go(func() {
			s := st.services[name]
			for other := range s.DependsOn {
				select {
				case <-healthy[other]:
				case <-ctx.Done():
					return
				}
			}
			if err := s.begin(ctx, c, built); err != nil {
				cancel(fmt.Errorf("%s: %w", name, err))
				return
			}
			s.say("healthy, at " + s.place.addr)
			close(healthy[name])
		})
	}
	starting.Wait()
	if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), st.stop())
	}
	return st, nil
}

// begin furnishes a service's place, starts it, and waits until it is healthy.
func (s *service) begin(ctx context.Context, c *composeFile, built string) (err error) {
	if err := s.place.furnish(c, s.composeService); err != nil {
		return err
	}
	if s.run, err = programOf(ctx, s.composeService, s.place, built); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	return s.awaitHealthy(ctx)
}

// stop stops the services, each before those that it depends on.
func (st *stack) stop() error {
	var late []string
	for _, name := range slices.Backward(st.order) {
		if !st.services[name].stop() {
			late = append(late, name)
		}
	}
	if len(late) > 0 {
		return fmt.Errorf("killed, for they did not stop in their time: %s", strings.Join(late, ", "))
	}
	return nil
}

// url is where a service is reached at a port of its own.
func (st *stack) url(name, port string) string {
	return "http://" + net.JoinHostPort(st.services[name].place.addr, port)
}

// published gives the URL of the service that is open to the outside.
func (st *stack) published() string {
	for name, s := range st.services {
		if len(s.Ports) > 0 {
			return st.url(name, s.Ports[0][strings.LastIndex(s.Ports[0], ":")+1:])
		}
	}
	return ""
}

// build builds the program as the Dockerfile does.
func build(ctx context.Context, c *composeFile, dir string) (string, error) {
	for _, s := range c.Services {
		if s.Build == "" {
			continue
		}
		built := filepath.Join(dir, "nowserving")
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", built, ".")
		cmd.Dir = s.Build
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build: %w: %s", err, out)
		}
		return built, nil
	}
	return "", nil
}

// addressesOf gives each service a loopback address of its own, in a network
// that is chosen by chance: all of 127.0.0.0/8 is this machine, on Linux.
func addressesOf(names []string) map[string]string {
	network := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(256))
	addresses := make(map[string]string)
	for i, name := range names {
		addresses[name] = fmt.Sprint(network, i+1)
	}
	return addresses
}
