//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"nowserving/bench/load"
)

// patience is how long an event may take to reach everyone before it is given up.
const patience = 10 * time.Second

// commander sends the commands whose events are watched.
type commander struct {
	conn  *load.Conn
	url   string
	token string
	queue string
	req   fasthttp.Request
	resp  fasthttp.Response
}

func (c *commander) send(method, path, body string) ([]byte, error) {
	c.req.Reset()
	c.req.SetRequestURI(c.url + "/api/v1" + path)
	c.req.Header.SetMethod(method)
	if c.token != "" {
		c.req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != "" {
		c.req.Header.SetContentType("application/json")
		c.req.SetBodyString(body)
	}
	if err := c.conn.Do(&c.req, &c.resp); err != nil {
		return nil, err
	}
	if status := c.resp.StatusCode(); status >= 300 {
		var problem struct {
			Code string `json:"code"`
		}
		_ = json.Unmarshal(c.resp.Body(), &problem)
		return nil, fmt.Errorf("%s %s: %d %s", method, path, status, problem.Code)
	}
	return c.resp.Body(), nil
}

// version is that of the last answer's ETag.
func (c *commander) version() (uint64, error) {
	return strconv.ParseUint(strings.Trim(string(c.resp.Header.Peek("ETag")), `"`), 10, 64)
}

func newCommander(c config) (*commander, error) {
	conn, err := load.NewConn(c.url, false)
	if err != nil {
		return nil, err
	}
	cmd := &commander{conn: conn, url: c.url, token: c.token, queue: "/queues/" + c.queue}
	if cmd.token == "" {
		login, _ := json.Marshal(map[string]string{"email": c.email, "password": c.password})
		var answer struct {
			Token string `json:"access_token"`
		}
		body, err := cmd.send("POST", "/auth/login", string(login))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return nil, err
		}
		cmd.token = answer.Token
	}
	_, err = cmd.send("POST", "/queues", `{"id":"`+c.queue+`","max_active":1000}`)
	if err != nil && !strings.Contains(err.Error(), "queue_exists") {
		return nil, err
	}
	return cmd, nil
}

func measure(ctx context.Context, c config) (*report, error) {
	cmd, err := newCommander(c)
	if err != nil {
		return nil, err
	}
	defer cmd.conn.Close()
	before, _ := load.RSS(c.pid)
	start := time.Now()
	sessions, err := openAll(ctx, c, cmd.token)
	defer func() {
		for _, s := range sessions {
			_ = syscall.Close(s.fd)
		}
	}()
	if err != nil {
		return nil, err
	}
	rep := &report{Sessions: c.sessions, Errors: map[string]int64{}, OpenSeconds: time.Since(start).Seconds()}
	time.Sleep(c.warmup)
	if after, err := load.RSS(c.pid); err == nil && before > 0 {
		rep.SessionBytes = (after - before) / int64(c.sessions)
	}

	t := new(tracker)
	readCtx, stop := context.WithCancel(ctx)
	errs := make(chan error, c.readers)
	var readers sync.WaitGroup
	for i := range c.readers {
		share := sessions[i*len(sessions)/c.readers : (i+1)*len(sessions)/c.readers]
		readers.Go(func() { errs <- read(readCtx, share, t) })
	}
	err = events(ctx, c, cmd, t, rep)
	stop()
	readers.Wait()
	for range c.readers {
		err = errors.Join(err, <-errs)
	}
	rep.Gaps, rep.Closed = t.gaps.Load(), t.closed.Load()
	return rep, err
}

// openAll opens the sessions, 64 at a time: a server's backlog of connections has a bound.
func openAll(ctx context.Context, c config, token string) ([]*session, error) {
	sessions := make([]*session, c.sessions)
	errs := make([]error, 64)
	var wg sync.WaitGroup
	for k := range errs {
		wg.Go(func() {
			for i := k; i < len(sessions) && errs[k] == nil && ctx.Err() == nil; i += len(errs) {
				sessions[i], errs[k] = openSession(c.url, token, c.queue)
			}
		})
	}
	wg.Wait()
	open := sessions[:0]
	for _, s := range sessions {
		if s != nil {
			open = append(open, s)
		}
	}
	return open, errors.Join(append(errs, ctx.Err())...)
}

// events enqueues a ticket and removes it again, in turn, so that the queue stays as it was.
func events(ctx context.Context, c config, cmd *commander, t *tracker, rep *report) error {
	const uncounted = 10
	var fromSend, fromReply, reply load.Histogram
	if _, err := cmd.send("GET", cmd.queue, ""); err != nil {
		return err
	}
	version, err := cmd.version()
	if err != nil {
		return fmt.Errorf("the answer's ETag: %w", err)
	}
	ticket := ""
	for i := 0; i < uncounted+c.events && ctx.Err() == nil; i++ {
		w := t.expect(version+1, c.sessions)
		method, path, body := "POST", cmd.queue+"/tickets", `{"service":"bench"}`
		if ticket != "" {
			method, path, body = "DELETE", cmd.queue+"/tickets/"+ticket, ""
		}
		sent := time.Now()
		answer, err := cmd.send(method, path, body)
		replied := time.Now()
		if err != nil {
			return err
		}
		if ticket, err = nextTicket(ticket, answer); err != nil {
			return err
		}
		if version, err = cmd.version(); err != nil {
			return err
		}
		if version != w.version {
			return fmt.Errorf("version %d where %d was next: is somebody else using the queue?", version, w.version)
		}
		select {
		case <-w.done:
			if i >= uncounted {
				fromSend.Record(w.last.Sub(sent))
				fromReply.Record(w.last.Sub(replied))
				reply.Record(replied.Sub(sent))
			}
		case <-time.After(patience):
			rep.Incomplete++
			rep.Errors[fmt.Sprintf("%d sessions did not get version %d", w.missing.Load(), version)]++
			if rep.Incomplete == 3 {
				return nil // sessions are lost; the rest would only repeat it
			}
		}
		time.Sleep(c.pause)
	}
	rep.FromSend, rep.FromReply, rep.Reply = load.Summary(&fromSend), load.Summary(&fromReply), load.Summary(&reply)
	rep.Events = int(fromSend.Count())
	return ctx.Err()
}

func nextTicket(ticket string, answer []byte) (string, error) {
	if ticket != "" {
		return "", nil
	}
	var t struct {
		ID string `json:"id"`
	}
	err := json.Unmarshal(answer, &t)
	return t.ID, err
}
