package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"nowserving/bench/load"
)

// node is the server under test and who we are to it.
type node struct {
	config
	urls   []string
	tokens []*atomic.Pointer[string]
}

type line interface {
	load.Line
	Close()
}

// line opens connection i; URLs and tokens are dealt out in turn.
func (n *node) line(i int) (line, error) {
	url, token := n.urls[i%len(n.urls)], n.tokens[i%len(n.tokens)]
	body := commandBodies{n.config, fmt.Sprint("desk-", i)}
	if n.via == "ws" {
		return newSocket(n, url, token, body), nil
	}
	return newRest(n, url, token, body)
}

func (n *node) queueID(i int) string { return fmt.Sprint(n.prefix, i) }

// login gets the tokens, and for as long as ctx lasts a new one before the old one's time is over.
func (n *node) login(ctx context.Context) error {
	if n.config.tokens != "" {
		for t := range strings.SplitSeq(n.config.tokens, ",") {
			p := new(atomic.Pointer[string])
			p.Store(&t)
			n.tokens = append(n.tokens, p)
		}
		return nil
	}
	p := new(atomic.Pointer[string])
	n.tokens = []*atomic.Pointer[string]{p}
	life, err := n.loginOnce(p)
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	go func() {
		for {
			select {
			case <-time.After(max(life*2/3, time.Second)):
			case <-ctx.Done():
				return
			}
			if life, err = n.loginOnce(p); err != nil {
				fmt.Fprintln(os.Stderr, "drive: login again:", err)
				life = 5 * time.Second
			}
		}
	}()
	return nil
}

func (n *node) loginOnce(p *atomic.Pointer[string]) (time.Duration, error) {
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	err := n.call("POST", "/auth/login", map[string]string{"email": n.email, "password": n.password}, &answer)
	if err != nil {
		return 0, err
	}
	p.Store(&answer.AccessToken)
	return time.Duration(answer.ExpiresIn) * time.Second, nil
}

// prepare makes what is missing and lets w know every waiting ticket.
func (n *node) prepare(ctx context.Context, w *load.Workload) error {
	work := make(chan int)
	errs := make(chan error, 32)
	var wg sync.WaitGroup
	for range min(32, n.queues) {
		wg.Go(func() {
			for queue := range work {
				if err := n.prepareQueue(queue, w); err != nil {
					select {
					case errs <- fmt.Errorf("queue %s: %w", n.queueID(queue), err):
					default:
					}
				}
			}
		})
	}
	for i := 0; i < n.queues && ctx.Err() == nil && len(errs) == 0; i++ {
		work <- i
	}
	close(work)
	wg.Wait()
	if len(errs) > 0 {
		return <-errs
	}
	if err := n.fill(ctx, w); err != nil {
		return err
	}
	return ctx.Err()
}

func (n *node) prepareQueue(queue int, w *load.Workload) error {
	id := n.queueID(queue)
	err := n.call("POST", "/queues", map[string]any{"id": id, "max_active": 1000}, nil)
	if code := refusalCode(err); err != nil && code != "queue_exists" {
		return err
	}
	for after := ""; ; {
		var page struct {
			Items []struct {
				ID string `json:"id"`
			} `json:"items"`
			Next *string `json:"next"`
		}
		path := "/queues/" + id + "/tickets?state=waiting&limit=1000"
		if after != "" {
			path += "&after=" + string(fasthttp.AppendQuotedArg(nil, []byte(after)))
		}
		if err := n.call("GET", path, nil, &page); err != nil {
			return err
		}
		for _, t := range page.Items {
			w.Add(queue, t.ID)
		}
		if page.Next == nil {
			return nil
		}
		after = *page.Next
	}
}

// fill enqueues over REST, with many connections at once so that the node can commit them in groups.
func (n *node) fill(ctx context.Context, w *load.Workload) error {
	missing := make([]atomic.Int64, n.queues)
	total := int64(0)
	for i := range missing {
		m := int64(max(n.depth-w.Waiting(i), 0))
		missing[i].Store(m)
		total += m
	}
	if total == 0 {
		return nil
	}
	fmt.Fprintf(os.Stderr, "drive: filling with %d tickets\n", total)
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range 128 {
		rest, err := newRest(n, n.urls[i%len(n.urls)], n.tokens[i%len(n.tokens)], commandBodies{n.config, ""})
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer rest.Close()
			for k := range missing {
				queue := (i + k) % len(missing)
				for missing[queue].Add(-1) >= 0 && ctx.Err() == nil && failed.Load() == nil {
					id, err := rest.Do(load.Op{Kind: load.Enqueue, Queue: queue})
					if err != nil {
						failed.CompareAndSwap(nil, &err)
						return
					}
					w.Add(queue, id)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return fmt.Errorf("fill: %w", *err)
	}
	return nil
}

// call is one JSON request outside of what is measured.
func (n *node) call(method, path string, body, answer any) error {
	conn, err := load.NewConn(n.urls[0], n.insecure)
	if err != nil {
		return err
	}
	defer conn.Close()
	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI(n.urls[0] + "/api/v1" + path)
	req.Header.SetMethod(method)
	req.SetConnectionClose()
	if len(n.tokens) > 0 && n.tokens[0].Load() != nil && path != "/auth/login" {
		req.Header.Set("Authorization", "Bearer "+*n.tokens[0].Load())
	}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		req.Header.SetContentType("application/json")
		req.SetBody(data)
	}
	if err := conn.Do(&req, &resp); err != nil {
		return err
	}
	if resp.StatusCode() >= 300 {
		return refusal(resp.StatusCode(), resp.Body())
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(resp.Body(), answer)
}
