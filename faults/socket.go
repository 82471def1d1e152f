package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/fasthttp/websocket"
)

// frame is what a node sends over a WebSocket.
type frame struct {
	Type, ID, Queue, Epoch, Event string
	OK                            bool
	Version                       uint64
	Error                         struct {
		Status int
		Code   string
	}
	Data    json.RawMessage
	Waiting []Ticket // of a snapshot_part
}

// dial opens a session and waits until it is logged in.
func dial(a *auth, at string) (*websocket.Conn, error) {
	dialer := websocket.Dialer{Subprotocols: []string{"nowserving.v1"}, HandshakeTimeout: 5 * time.Second}
	conn, response, err := dialer.Dial("ws"+strings.TrimPrefix(at, "http")+"/api/v1/ws", http.Header{"Authorization": {"Bearer " + a.token(at)}})
	if response != nil {
		_ = response.Body.Close()
	}
	if err != nil {
		if response != nil && response.StatusCode == http.StatusUnauthorized {
			_ = a.renew(at)
		}
		return nil, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	var f frame
	if err := conn.ReadJSON(&f); err != nil || f.Type != "ready" {
		conn.Close()
		if websocket.IsCloseError(err, 4401) {
			_ = a.renew(at)
		}
		return nil, fmt.Errorf("session: %s: %w", f.Type, err)
	}
	return conn, nil
}

// socket is commands over a WebSocket, which is opened again where it ended.
type socket struct {
	auth *auth
	conn *websocket.Conn
	sent int
}

func (s *socket) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

func (s *socket) try(at string, o *Op) (answer, error) {
	if s.conn == nil {
		conn, err := dial(s.auth, at)
		if err != nil {
			return answer{}, errNotSent
		}
		s.conn = conn
	}
	a, err := s.command(o)
	if err != nil || a.status == http.StatusServiceUnavailable { // it tries elsewhere
		s.close()
	}
	if websocket.IsCloseError(err, 1012) {
		return a, errSentAway
	}
	return a, err
}

func (s *socket) command(o *Op) (a answer, err error) {
	s.sent++
	id, args := fmt.Sprint(s.sent), arguments(o)
	if o.Ticket != "" {
		args = strings.Replace(args, "{", fmt.Sprintf(`{"ticket":%q,`, o.Ticket), 1)
		args = strings.Replace(args, ",}", "}", 1)
	}
	key := ""
	if o.Key != "" {
		key = fmt.Sprintf(`,"idempotency_key":%q`, o.Key)
	}
	text := fmt.Sprintf(`{"type":"command","id":%q,"queue":%q,"command":%q,"args":%s%s}`, id, o.Queue, o.Command, args, key)
	_ = s.conn.SetWriteDeadline(time.Now().Add(attemptWithin))
	if err := s.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		return a, err
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(attemptWithin))
	var f frame
	for f.Type != "reply" || f.ID != id {
		f = frame{}
		if err := s.conn.ReadJSON(&f); err != nil {
			return a, err
		}
	}
	switch {
	case !f.OK:
		return answer{status: f.Error.Status, code: f.Error.Code}, nil
	case len(f.Data) == 0 || string(f.Data) == "null":
		return answer{status: http.StatusNoContent}, nil
	}
	a = answer{status: http.StatusOK, version: f.Version}
	return a, json.Unmarshal(f.Data, &a.ticket)
}
