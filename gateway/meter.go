package gateway

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
)

// What can be measured of a gateway. Who shows it is not known here: hooks are
// called, and plain numbers counted that are read when somebody asks.

// Hooks are told what has happened. They must not block; a nil one is not called.
type Hooks struct {
	// Command is told of a command that was answered: its place in CommandNames, the
	// code of the refusal, empty where it was accepted, and how long that took from
	// when its arguments were read. Requests from RabbitMQ are not among them.
	Command func(number int, way queue.Source, code string, took time.Duration)
	// Login is told of a password that was tried, as Command is.
	Login func(code string)
}

func (h Hooks) orNone() Hooks {
	if h.Command == nil {
		h.Command = func(int, queue.Source, string, time.Duration) {}
	}
	if h.Login == nil {
		h.Login = func(string) {}
	}
	return h
}

var commandNames []string

func init() {
	commandNames = slices.Sorted(maps.Keys(commandSpecs))
	for i, name := range commandNames {
		commandSpecs[name].number = i
	}
}

// CommandNames are all commands, in the order of their numbers.
func CommandNames() []string { return slices.Clone(commandNames) }

// tally is what is counted in passing.
type tally struct {
	underway atomic.Int64
	answers  [6]atomic.Uint64 // by the first digit of the status
	ws, grpc actors.Traffic
}

// Answers counts HTTP answers whose status begins with a digit.
func (g *Gateway) Answers(digit int) uint64 { return g.counted.answers[digit].Load() }

// Requests counts HTTP requests that are being answered.
func (g *Gateway) Requests() int64 { return g.counted.underway.Load() }

// Connections counts those of HTTP that are open, WebSockets among them.
func (g *Gateway) Connections() int32 { return g.app.Server().GetOpenConnectionsCount() }

// WebSockets counts the sessions of users, and of those who hold a ticket.
func (g *Gateway) WebSockets() (users, holders int) {
	g.live.registry.mu.Lock()
	all := g.live.registry.count
	g.live.registry.mu.Unlock()
	holders = g.live.deps.Watches.Count()
	return max(0, all-holders), holders
}

// Watches counts queues that are followed over gRPC.
func (g *Gateway) Watches() int {
	if g.options.GRPC == nil {
		return 0
	}
	w := g.options.GRPC.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

// Traffic is what went to sessions over WebSocket, and over gRPC.
func (g *Gateway) Traffic() (ws, grpc *actors.Traffic) { return &g.counted.ws, &g.counted.grpc }

// Waiting counts entries that the store has not taken yet.
func (l *AuditLog) Waiting() int { return l.late() }
