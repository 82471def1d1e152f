package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"nowserving/bench/load"
)

// commandBodies writes the JSON of commands; REST and WebSocket share it.
type commandBodies struct {
	c    config
	desk string
}

func (b commandBodies) enqueue(priority int) string {
	s := `{"service":"bench","priority":` + strconv.Itoa(priority)
	if b.c.customer {
		s += `,"customer":{"name":"Ada Lovelace","phone":"+44 20 7946 0958"}`
	}
	if b.c.payload > 0 {
		s += `,"payload":"` + strings.Repeat("x", max(b.c.payload-2, 0)) + `"`
	}
	return s + `}`
}

func (b commandBodies) call() string { return `{"desk":"` + b.desk + `"}` }

// rest is one keep-alive connection.
type rest struct {
	conn  *load.Conn
	token *atomic.Pointer[string]
	body  commandBodies
	paths []string // of each queue
	req   fasthttp.Request
	resp  fasthttp.Response
}

func newRest(n *node, url string, token *atomic.Pointer[string], body commandBodies) (*rest, error) {
	conn, err := load.NewConn(url, n.insecure)
	if err != nil {
		return nil, err
	}
	r := &rest{conn: conn, token: token, body: body, paths: make([]string, n.queues)}
	for i := range r.paths {
		r.paths[i] = url + "/api/v1/queues/" + n.queueID(i)
	}
	return r, nil
}

func (r *rest) Close() { r.conn.Close() }

// Do sends one operation.
func (r *rest) Do(op load.Op) (string, error) {
	q := r.paths[op.Queue]
	ticket := q + "/tickets/" + op.Ticket
	switch op.Kind {
	case load.Enqueue:
		return r.send("POST", q+"/tickets", r.body.enqueue(op.Priority))
	case load.Move:
		return r.send("POST", ticket+"/move", `{"position":`+strconv.Itoa(op.Position)+`}`)
	case load.Remove:
		return r.send("DELETE", ticket+"?reason=bench", "")
	case load.CallNext:
		return r.send("POST", q+"/call-next", r.body.call())
	case load.Complete:
		return r.send("POST", ticket+"/complete", `{"outcome":"served"}`)
	case load.Get:
		return r.send("GET", ticket, "")
	case load.GetQueue:
		return r.send("GET", q, "")
	case load.List:
		return r.send("GET", q+"/tickets?state=waiting&limit=100", "")
	}
	return "", fmt.Errorf("rest cannot %s", op.Kind)
}

func (r *rest) send(method, uri, body string) (string, error) {
	r.req.Reset()
	r.req.SetRequestURI(uri)
	r.req.Header.SetMethod(method)
	r.req.Header.Set("Authorization", "Bearer "+*r.token.Load())
	if body != "" {
		r.req.Header.SetContentType("application/json")
		r.req.SetBodyString(body)
	}
	if r.body.c.keys && method != "GET" {
		r.req.Header.Set("Idempotency-Key", newKey())
	}
	if err := r.conn.Do(&r.req, &r.resp); err != nil {
		return "", err
	}
	switch status := r.resp.StatusCode(); {
	case status == fasthttp.StatusNoContent:
		return "", nil
	case status >= 300:
		return "", refusal(status, r.resp.Body())
	}
	return ticketID(r.resp.Body()), nil
}

func newKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// ticketID reads a ticket's id. Decoding every answer would take the driver a share of the cores that it is to leave
// to the server, so an id that stands first is cut out.
func ticketID(body []byte) string {
	const head, size = `{"id":"`, 36
	if len(body) > len(head)+size && bytes.HasPrefix(body, []byte(head)) && body[len(head)+size] == '"' {
		return string(body[len(head) : len(head)+size])
	}
	var t struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(body, &t) // a list has no id, and needs none
	return t.ID
}

func refusal(status int, body []byte) error {
	var problem struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(body, &problem) != nil || problem.Code == "" {
		problem.Code = "http_" + strconv.Itoa(status)
	}
	return &load.Refusal{Code: problem.Code}
}

func refusalCode(err error) string {
	var r *load.Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}
