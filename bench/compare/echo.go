package main

import (
	"context"
	"fmt"
	"net"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"nowserving/bench/load"
)

// echoBody is nowserving's enqueue body, so that both servers read the same bytes.
const echoBody = `{"service":"bench","priority":0}`

type echo struct {
	Service  string `json:"service"`
	Priority int    `json:"priority"`
}

// serveEcho is Fiber with nothing around it: no middleware, no logger, its default JSON codec.
func serveEcho() error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Post("/echo", func(c *fiber.Ctx) error {
		var body echo
		if err := c.BodyParser(&body); err != nil {
			return fiber.ErrBadRequest
		}
		return c.JSON(body)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	go func() { load.AwaitParent(); _ = app.Shutdown() }()
	return app.Listener(l)
}

func echoSeries(ctx context.Context, c config) (load.Series, error) {
	if err := load.RaiseFiles(uint64(c.connections) + 256); err != nil {
		return load.Series{}, err
	}
	server, err := load.StartChild(ctx, "echo-server")
	if err != nil {
		return load.Series{}, err
	}
	defer server.Close()
	conns := make([]*load.Conn, c.connections)
	for i := range conns {
		if conns[i], err = load.NewConn(server.URL, false); err != nil {
			return load.Series{}, err
		}
		defer conns[i].Close()
	}
	name := fmt.Sprintf("fiber JSON echo, %d connections", c.connections)
	if c.rate > 0 {
		name += fmt.Sprintf(", %.0f/s asked for", c.rate)
	}
	pace := load.Pace{Callers: c.connections, Rate: c.rate, Warmup: c.warmup, Duration: c.duration}
	return series(ctx, name, c, func() *load.Result {
		return load.Run(ctx, pace, func(i int) load.Step { return echoStep(server.URL, conns[i]) })
	})
}

func echoStep(base string, conn *load.Conn) load.Step {
	req, resp := new(fasthttp.Request), new(fasthttp.Response)
	return func() (string, error) {
		req.Reset()
		req.SetRequestURI(base + "/echo")
		req.Header.SetMethod(fasthttp.MethodPost)
		req.Header.SetContentType("application/json")
		req.SetBodyString(echoBody)
		if err := conn.Do(req, resp); err != nil {
			return "echo", err
		}
		if resp.StatusCode() != fasthttp.StatusOK {
			return "echo", &load.Refusal{Code: fmt.Sprint("http_", resp.StatusCode())}
		}
		return "echo", nil
	}
}
