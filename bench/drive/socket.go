package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"

	"nowserving/bench/load"
)

const socketTimeout = 15 * time.Second

// socket is one WebSocket session that sends commands and awaits each reply; it subscribes to nothing. It is opened by
// its first operation, and anew after an error.
type socket struct {
	url    string
	dialer websocket.Dialer
	token  *atomic.Pointer[string]
	authed *string // the token that the session knows
	body   commandBodies
	queues []string
	conn   *websocket.Conn
	id     uint64
}

func newSocket(n *node, url string, token *atomic.Pointer[string], body commandBodies) *socket {
	s := &socket{url: "ws" + strings.TrimPrefix(url, "http") + "/api/v1/ws", token: token, body: body}
	s.dialer = websocket.Dialer{Subprotocols: []string{"nowserving.v1"}, HandshakeTimeout: socketTimeout,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: n.insecure}}
	for i := range n.queues {
		s.queues = append(s.queues, n.queueID(i))
	}
	return s
}

func (s *socket) Close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// Do sends one command and waits for its reply.
func (s *socket) Do(op load.Op) (string, error) {
	command, args, err := s.command(op)
	if err != nil {
		return "", err
	}
	if err := s.auth(); err != nil {
		s.Close()
		return "", socketError(err)
	}
	s.id++
	id := strconv.FormatUint(s.id, 10)
	frame := `{"type":"command","id":"` + id + `","queue":"` + s.queues[op.Queue] + `","command":"` + command + `","args":` + args
	if s.body.c.keys {
		frame += `,"idempotency_key":"` + newKey() + `"`
	}
	reply, err := s.exchange(frame+`}`, `"id":"`+id+`"`)
	if err != nil {
		s.Close()
		return "", socketError(err)
	}
	return parseReply(reply)
}

func (s *socket) command(op load.Op) (name, args string, err error) {
	ticket := `{"ticket":"` + op.Ticket + `",`
	switch op.Kind {
	case load.Enqueue:
		return "enqueue", s.body.enqueue(op.Priority), nil
	case load.Move:
		return "move", ticket + `"position":` + strconv.Itoa(op.Position) + `}`, nil
	case load.Remove:
		return "remove", ticket + `"reason":"bench"}`, nil
	case load.CallNext:
		return "call_next", s.body.call(), nil
	case load.Complete:
		return "complete", ticket + `"outcome":"served"}`, nil
	}
	return "", "", fmt.Errorf("a WebSocket cannot %s", op.Kind)
}

// auth opens the session where it is not open, and renews it where there is a newer token.
func (s *socket) auth() error {
	if s.conn == nil {
		conn, _, err := s.dialer.Dial(s.url, nil)
		if err != nil {
			return err
		}
		s.conn, s.authed = conn, nil
	}
	token := s.token.Load()
	if s.authed == token {
		return nil
	}
	_, err := s.exchange(`{"type":"auth","token":"`+*token+`"}`, `"type":"ready"`)
	s.authed = token
	return err
}

// exchange sends a frame and reads until one that bears the mark.
func (s *socket) exchange(frame, mark string) ([]byte, error) {
	if err := s.conn.SetWriteDeadline(time.Now().Add(socketTimeout)); err != nil {
		return nil, err
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(socketTimeout)); err != nil {
		return nil, err
	}
	if err := s.conn.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		return nil, err
	}
	for {
		_, reply, err := s.conn.ReadMessage()
		if err != nil {
			return nil, err
		}
		if bytes.Contains(reply, []byte(mark)) {
			return reply, nil
		}
	}
}

func parseReply(reply []byte) (string, error) {
	if !bytes.Contains(reply, []byte(`"ok":true`)) {
		var r struct {
			Error struct {
				Code string `json:"code"`
			} `json:"error"`
		}
		if json.Unmarshal(reply, &r) != nil || r.Error.Code == "" {
			r.Error.Code = "unreadable reply"
		}
		return "", &load.Refusal{Code: r.Error.Code}
	}
	if _, data, ok := bytes.Cut(reply, []byte(`"data":`)); ok {
		if bytes.HasPrefix(data, []byte(`{"id":"`)) {
			return ticketID(data), nil
		}
	}
	var r struct {
		Data struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	err := json.Unmarshal(reply, &r)
	return r.Data.ID, err
}

// socketError makes a server's close code a code of the result.
func socketError(err error) error {
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		return fmt.Errorf("websocket closed with %d", closed.Code)
	}
	return err
}
