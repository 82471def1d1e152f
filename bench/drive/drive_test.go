package main

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
)

// fake is as much of a node as the driver touches: a slice per queue, no durability, no access levels.
type fake struct {
	mu     sync.Mutex
	queues map[string][]string
	active map[string]int
	issued int
}

func (f *fake) command(queue, name, ticket string, position int) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	line, ok := f.queues[queue]
	if !ok {
		return nil, fmt.Errorf("queue_not_found")
	}
	at := -1
	for i, id := range line {
		if id == ticket {
			at = i
		}
	}
	switch name {
	case "enqueue":
		f.issued++
		ticket = fmt.Sprintf("01999999-0000-7000-8000-%012d", f.issued)
		line = append(line, ticket)
	case "call_next":
		if len(line) == 0 {
			return nil, nil
		}
		ticket, line = line[0], line[1:]
		f.active[ticket]++
	case "complete":
		if f.active[ticket] == 0 {
			return nil, fmt.Errorf("ticket_not_active")
		}
		delete(f.active, ticket)
	case "move", "remove", "get":
		if at < 0 {
			return nil, fmt.Errorf("ticket_not_waiting")
		}
		if name != "get" {
			line = append(line[:at:at], line[at+1:]...)
		}
		if name == "move" {
			if position < 1 || position > len(line)+1 {
				return nil, fmt.Errorf("position_out_of_range")
			}
			line = append(line[:position-1:position-1], append([]string{ticket}, line[position-1:]...)...)
		}
	default:
		return nil, fmt.Errorf("invalid")
	}
	f.queues[queue] = line
	return struct {
		ID    string `json:"id"`
		Queue string `json:"queue"`
	}{ticket, queue}, nil
}

func (f *fake) rest(name string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if c.Get("Authorization") != "Bearer secret" {
			return c.Status(401).JSON(fiber.Map{"code": "unauthenticated"})
		}
		var body struct {
			Position int `json:"position"`
		}
		if len(c.Body()) > 0 {
			if err := json.Unmarshal(c.Body(), &body); err != nil {
				return c.Status(422).JSON(fiber.Map{"code": "invalid"})
			}
		}
		t, err := f.command(strings.Clone(c.Params("queue")), name, strings.Clone(c.Params("ticket")), body.Position)
		switch {
		case err != nil:
			return c.Status(409).JSON(fiber.Map{"code": err.Error()})
		case t == nil:
			return c.SendStatus(204)
		}
		return c.JSON(t)
	}
}

func (f *fake) socket(c *websocket.Conn) {
	for {
		var in struct {
			Type, ID, Queue, Command, Token string
			Args                            struct {
				Ticket   string
				Position int
			}
		}
		if err := c.ReadJSON(&in); err != nil {
			return
		}
		out := fiber.Map{"type": "ready"}
		if in.Type == "command" {
			t, err := f.command(in.Queue, in.Command, in.Args.Ticket, in.Args.Position)
			out = fiber.Map{"type": "reply", "id": in.ID, "ok": err == nil, "version": 1, "data": t}
			if err != nil {
				out["error"] = fiber.Map{"code": err.Error()}
			}
		} else if in.Token != "secret" {
			return
		}
		if err := c.WriteJSON(out); err != nil {
			return
		}
	}
}

func startFake(t *testing.T) (*fake, string) {
	t.Helper()
	f := &fake{queues: map[string][]string{}, active: map[string]int{}}
	app := fiber.New(fiber.Config{DisableStartupMessage: true, Immutable: true})
	api := app.Group("/api/v1")
	api.Post("/auth/login", func(c *fiber.Ctx) error {
		return c.JSON(fiber.Map{"access_token": "secret", "expires_in": 900})
	})
	api.Post("/queues", func(c *fiber.Ctx) error {
		var body struct {
			ID        string `json:"id"`
			MaxActive int    `json:"max_active"`
		}
		if err := c.BodyParser(&body); err != nil || body.MaxActive != 1000 {
			return c.Status(422).JSON(fiber.Map{"code": "invalid"})
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if _, ok := f.queues[body.ID]; ok {
			return c.Status(409).JSON(fiber.Map{"code": "queue_exists"})
		}
		f.queues[body.ID] = nil
		return c.Status(201).JSON(body)
	})
	api.Get("/queues/:queue/tickets", func(c *fiber.Ctx) error { // pages of three, to see the cursor followed
		f.mu.Lock()
		defer f.mu.Unlock()
		line, start := f.queues[c.Params("queue")], c.QueryInt("after")
		end := min(start+3, len(line))
		out := fiber.Map{"items": []fiber.Map{}, "next": nil}
		for _, id := range line[start:end] {
			out["items"] = append(out["items"].([]fiber.Map), fiber.Map{"id": id})
		}
		if end < len(line) {
			out["next"] = fmt.Sprint(end)
		}
		return c.JSON(out)
	})
	api.Post("/queues/:queue/tickets", f.rest("enqueue"))
	api.Post("/queues/:queue/call-next", f.rest("call_next"))
	api.Get("/queues/:queue/tickets/:ticket", f.rest("get"))
	api.Delete("/queues/:queue/tickets/:ticket", f.rest("remove"))
	api.Post("/queues/:queue/tickets/:ticket/move", f.rest("move"))
	api.Post("/queues/:queue/tickets/:ticket/complete", f.rest("complete"))
	api.Get("/ws", websocket.New(f.socket, websocket.Config{Subprotocols: []string{"nowserving.v1"}}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = app.Listener(l) }()
	t.Cleanup(func() { _ = app.ShutdownWithTimeout(time.Second) })
	return f, "http://" + l.Addr().String()
}

func TestDrivesTheContract(t *testing.T) {
	for name, args := range map[string][]string{
		"rest closed loop": {"--via", "rest", "--mix", "enqueue=40,move=20,remove=20,call-next=20,get=10", "--keys", "--customer"},
		"rest open loop":   {"--via", "rest", "--rate", "2000"},
		"ws":               {"--via", "ws", "--ws-frames", "0", "--payload", "100"},
		"ws held back":     {"--via", "ws"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, url := startFake(t)
			c, err := parse(append(args, "--url", url, "--password", "x", "--queues", "3", "--depth", "50",
				"--connections", "4", "--warmup", "50ms", "--duration", "1s", "--priorities", "3"))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time finds the queues and their tickets
				res, err := drive(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				check(t, f, c, res.Operations, res.Errors)
				for _, op := range []string{"enqueue", "move", "remove", "call-next", "complete"} {
					if res.Ops[op].Count == 0 {
						t.Errorf("no %s was counted: %v", op, res.Ops)
					}
				}
			}
		})
	}
}

func check(t *testing.T, f *fake, c config, ops uint64, errs map[string]int64) {
	t.Helper()
	for code, n := range errs { // a ticket may be called while another connection moves it, and no more than that
		if code != "ticket_not_waiting" || n > 5+int64(ops)/5 {
			t.Errorf("%d times %s in %d operations", n, code, ops)
		}
	}
	if c.rate > 0 && (float64(ops) > c.rate*c.duration.Seconds()*1.05 || ops == 0) {
		t.Errorf("%d operations at a rate of %v", ops, c.rate)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, line := range f.queues {
		if len(line) < 40 || len(line) > 60 {
			t.Errorf("queue %s has %d tickets, want about 50", id, len(line))
		}
	}
	if len(f.active) > 0 {
		t.Errorf("%d tickets left active", len(f.active))
	}
}

func TestRefusesWrongFlags(t *testing.T) {
	for _, args := range [][]string{{"--via", "tcp"}, {"--connections", "0"}, {"--priorities", "11"}, {}} {
		t.Setenv("NOWSERVING_ADMIN_PASSWORD", "")
		if _, err := parse(args); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}

func TestNamesRefusals(t *testing.T) {
	_, url := startFake(t)
	c, err := parse([]string{"--url", url, "--token", "wrong", "--depth", "1", "--duration", "100ms"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := drive(t.Context(), c); err == nil || !strings.Contains(err.Error(), "unauthenticated") {
		t.Errorf("got %v", err)
	}
}
