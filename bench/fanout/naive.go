//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"

	"nowserving/bench/load"
)

// naive is what one writes first: a map of sessions under one lock, and a loop that writes to each. It speaks as much
// of the contract as the measuring side needs, keeps nothing and checks nobody.
type naive struct {
	mu       sync.Mutex
	sessions map[*websocket.Conn]bool
	version  uint64
	tickets  int
}

type naiveEvent struct {
	Type    string         `json:"type"`
	Queue   string         `json:"queue"`
	Version uint64         `json:"version"`
	Event   string         `json:"event"`
	At      string         `json:"at"`
	By      string         `json:"by"`
	Data    map[string]any `json:"data"`
}

// publish makes an event as large as a real one, marshals it once and writes it to one session after the other.
func (n *naive) publish(queue, event, ticket string) (uint64, map[string]any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.version++
	data := map[string]any{"id": ticket, "queue": queue, "number": "A042", "state": "waiting", "position": 1, "priority": 0,
		"service": "bench", "customer": nil, "payload": nil, "source": "rest", "visit": ticket, "attendant": nil, "desk": nil,
		"calls": 0, "enqueued_at": "2026-11-02T09:00:00.000Z", "called_at": nil, "started_at": nil, "finished_at": nil,
		"transferred_from": nil, "transferred_to": nil, "reason": nil, "outcome": nil}
	frame, _ := json.Marshal(naiveEvent{"event", queue, n.version, event, "2026-11-02T09:00:00.000Z", "admin", data})
	for c := range n.sessions {
		if err := c.WriteMessage(websocket.TextMessage, frame); err != nil {
			delete(n.sessions, c)
		}
	}
	return n.version, data
}

func (n *naive) command(event string, status int) fiber.Handler {
	return func(c *fiber.Ctx) error {
		ticket := strings.Clone(c.Params("ticket"))
		if ticket == "" {
			n.mu.Lock()
			n.tickets++
			ticket = fmt.Sprintf("01999999-0000-7000-8000-%012d", n.tickets)
			n.mu.Unlock()
		}
		version, data := n.publish(strings.Clone(c.Params("queue")), event, ticket)
		c.Set("ETag", fmt.Sprintf(`"%d"`, version))
		return c.Status(status).JSON(data)
	}
}

func (n *naive) session(c *websocket.Conn) {
	defer func() {
		n.mu.Lock()
		delete(n.sessions, c)
		n.mu.Unlock()
	}()
	for {
		var in struct{ Type, ID, Queue string }
		if err := c.ReadJSON(&in); err != nil {
			return
		}
		n.mu.Lock()
		out := fiber.Map{"type": "ready"}
		if in.Type == "subscribe" {
			n.sessions[c] = true
			out = fiber.Map{"type": "snapshot", "id": in.ID, "queue": in.Queue, "version": n.version}
		}
		err := c.WriteJSON(out)
		n.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (n *naive) app() *fiber.App {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	api := app.Group("/api/v1")
	api.Post("/auth/login", func(c *fiber.Ctx) error { return c.JSON(fiber.Map{"access_token": "naive"}) })
	api.Post("/queues", func(c *fiber.Ctx) error { return c.SendStatus(201) })
	api.Get("/queues/:queue", func(c *fiber.Ctx) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		c.Set("ETag", fmt.Sprintf(`"%d"`, n.version))
		return c.JSON(fiber.Map{"version": n.version})
	})
	api.Post("/queues/:queue/tickets", n.command("ticket.enqueued", 201))
	api.Delete("/queues/:queue/tickets/:ticket", n.command("ticket.removed", 200))
	api.Get("/ws", websocket.New(n.session, websocket.Config{Subprotocols: []string{"nowserving.v1"}}))
	return app
}

func serveNaive() error {
	n := &naive{sessions: map[*websocket.Conn]bool{}}
	app := n.app()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	go func() { load.AwaitParent(); _ = app.Shutdown() }()
	return app.Listener(l)
}
