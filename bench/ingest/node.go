package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"nowserving/bench/load"
)

const adminPassword = "a password of the bench"

// node is a nowserving process that is started for each measurement.
type node struct {
	binary string
	args   []string
	amqp   string
	dir    string
}

// newNode makes the queues, with a node that does not ingest.
func newNode(ctx context.Context, c config, redis, amqpURL string) (*node, error) {
	dir, err := os.MkdirTemp("", "nowserving-bench-ingest-")
	if err != nil {
		return nil, err
	}
	n := &node{binary: c.binary, amqp: amqpURL, dir: dir, args: []string{
		"--http-addr", "127.0.0.1:0", "--data-dir", dir, "--redis-url", "redis://" + redis,
	}}
	p, err := n.start(ctx, "")
	if err != nil {
		n.close()
		return nil, err
	}
	defer p.Stop()
	if err := makeQueues(ctx, p, c.queues); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *node) close() { _ = os.RemoveAll(n.dir) }

// drain starts the node on what RabbitMQ holds and gives requests a second,
// from when it has taken a twentieth to when it has taken all but a twentieth.
func (n *node) drain(ctx context.Context, requests int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	ops, err := freeAddr()
	if err != nil {
		return 0, err
	}
	p, err := n.start(ctx, ops)
	if err != nil {
		return 0, err
	}
	defer p.Stop()
	var firstAt time.Time
	var first float64
	for {
		count, err := accepted(ctx, ops)
		if err != nil {
			return 0, err
		}
		now := time.Now()
		if firstAt.IsZero() && count >= float64(requests)/20 {
			firstAt, first = now, count
		}
		if count >= float64(requests)*19/20 {
			rate := (count - first) / now.Sub(firstAt).Seconds()
			return rate, finish(ctx, ops, requests)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// finish waits for the rest, so that the next measurement begins with nothing.
func finish(ctx context.Context, ops string, requests int) error {
	for {
		count, err := accepted(ctx, ops)
		if err != nil {
			return err
		}
		if count == float64(requests) {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%v of %d requests were accepted: %w", count, requests, ctx.Err())
		}
	}
}

// accepted reads the node's own count.
func accepted(ctx context.Context, ops string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), `nowserving_ingest_requests_total{result="accepted"} `); found {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.New("the node does not count its requests")
}

func (n *node) start(ctx context.Context, ops string) (*load.Node, error) {
	args := n.args
	if ops != "" {
		args = append(args[:len(args):len(args)], "--amqp-url", n.amqp, "--ops-addr", ops)
	}
	cmd := exec.CommandContext(ctx, n.binary, args...)
	cmd.Env = append(os.Environ(), "NOWSERVING_ADMIN_PASSWORD="+adminPassword)
	return load.StartNode(cmd, os.Stderr)
}

func makeQueues(ctx context.Context, p *load.Node, count int) error {
	var session struct {
		AccessToken string `json:"access_token"`
	}
	login := map[string]string{"email": "admin@localhost", "password": adminPassword}
	if err := post(ctx, p.URL+"/api/v1/auth/login", "", login, &session); err != nil {
		return err
	}
	for i := range count {
		body := map[string]any{"id": fmt.Sprint("bench-", i)}
		if err := post(ctx, p.URL+"/api/v1/queues", session.AccessToken, body, nil); err != nil {
			return err
		}
	}
	return nil
}

func post(ctx context.Context, url, token string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %d %s", url, response.StatusCode, text)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
