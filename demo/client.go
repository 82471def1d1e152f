package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// maxAnswer is more than any answer is long that is asked for here.
const maxAnswer = 4 << 20

// refusal is an answer that is none of 200 to 299.
type refusal struct {
	status int
	code   string
}

func (r *refusal) Error() string { return fmt.Sprintf("the node answered %d %s", r.status, r.code) }

// expected tells whether others may have brought about the refusal: who call,
// move and close as they like.
func (r *refusal) expected() bool {
	switch r.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return false
}

// refusedWith tells whether an error is the refusal with that code.
func refusedWith(err error, code string) bool {
	var r *refusal
	return errors.As(err, &r) && r.code == code
}

// client is one client of the API. It is not for several goroutines at once.
type client struct {
	http   *http.Client
	api    string // the address of /api/v1
	bearer string // an API key, or the access token of a login; empty: nobody

	login   Login // empty: there is none
	user    string
	refresh string
}

// do sends one request. in and out may be nil. Where the login has ended, it is
// renewed.
func (c *client) do(ctx context.Context, method, path string, in, out any) error {
	err := c.send(ctx, method, path, in, out)
	var r *refusal
	if c.login.Email == "" || !errors.As(err, &r) || r.status != http.StatusUnauthorized {
		return err
	}
	if err := c.signIn(ctx); err != nil {
		return err
	}
	return c.send(ctx, method, path, in, out)
}

// signIn goes on with the login of before, or begins one.
func (c *client) signIn(ctx context.Context) error {
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		User    struct{ ID string }
	}
	err := error(&refusal{status: http.StatusUnauthorized})
	if c.refresh != "" {
		err = c.send(ctx, http.MethodPost, "/auth/refresh", map[string]string{"refresh_token": c.refresh}, &tokens)
		c.refresh = "" // it works once
	}
	var r *refusal
	if errors.As(err, &r) && r.status == http.StatusUnauthorized {
		err = c.send(ctx, http.MethodPost, "/auth/login", map[string]string{"email": c.login.Email, "password": c.login.Password}, &tokens)
	}
	if err != nil {
		return err
	}
	c.bearer, c.refresh, c.user = tokens.Access, tokens.Refresh, tokens.User.ID
	return nil
}

func (c *client) send(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.api+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		// The path may hold a ticket's token.
		var where *url.Error
		if errors.As(err, &where) {
			err = where.Err
		}
		return fmt.Errorf("the node does not answer: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return err
	}
	if answer.StatusCode >= http.StatusMultipleChoices {
		var problem struct{ Code string }
		_ = json.Unmarshal(text, &problem) // an answer of something else has none
		return &refusal{answer.StatusCode, problem.Code}
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, out)
}

// awaitReady asks until the node is ready.
func awaitReady(ctx context.Context, c *http.Client, node string) error {
	probe := client{http: c, api: node}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if probe.send(ctx, http.MethodGet, "/readyz", nil, nil) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
