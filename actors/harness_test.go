package actors_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/google/uuid"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/cluster"
	"nowserving/messages"
	"nowserving/persistence"
)

// node is one member with queue grains over a journal.
type node struct {
	name    string
	queues  *actors.Queues
	feeds   *actors.Feeds
	journal actors.Journal
}

// shared is the one member of this process: the library sets gRPC's logger,
// which is the whole process's, at every start, so that two starts race. Each
// test has its own kind of grain on it, named by the identity's first part.
var shared struct {
	once  sync.Once
	node  *cluster.Node
	kinds sync.Map // of a test's name: func(string) actor.Actor
	count atomic.Int64
}

func sharedNode(t testing.TB) *cluster.Node {
	t.Helper()
	shared.once.Do(func() {
		node, err := cluster.New(cluster.Options{
			Name: "test", Addr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), IdleAfter: time.Hour,
			Kinds: map[string]func(string) actor.Actor{actors.QueueKind: func(identity string) actor.Actor {
				name, id, _ := strings.Cut(identity, "/")
				produce, _ := shared.kinds.Load(name)
				return produce.(func(string) actor.Actor)(id)
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		node.Join()
		shared.node = node
	})
	return shared.node
}

func startNode(t testing.TB, journal actors.Journal, options ...func(*actors.GrainDeps)) *node {
	t.Helper()
	n := &node{journal: journal, name: fmt.Sprintf("n%d", shared.count.Add(1))}
	member := sharedNode(t)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	n.feeds = actors.NewFeeds(journal, log)
	request := func(ctx context.Context, kind, id string, m any) (any, error) {
		return member.Request(ctx, kind, n.name+"/"+id, m)
	}
	deps := actors.GrainDeps{
		Journal: journal, Log: log,
		Now:       func() queue.Time { return queue.Time(time.Now().UnixMilli()) },
		Request:   request,
		Committed: n.feeds.Wake,
		Known:     func(context.Context, string) (uint64, error) { return 0, nil },
		Followed:  func(context.Context, string) (uint64, error) { return math.MaxUint64, nil },
		Passivate: func(m any) bool { _, ok := m.(cluster.Passivate); return ok },
	}
	for _, option := range options {
		option(&deps)
	}
	shared.kinds.Store(n.name, actors.NewGrain(deps))
	n.queues = actors.NewQueues(request, func(err error) bool { return errors.Is(err, cluster.ErrUndelivered) })
	t.Cleanup(func() {
		n.passivate(t)
		n.feeds.Close()
	})
	return n
}

// passivate stops the node's grains and waits until they have stopped.
func (n *node) passivate(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if !shared.node.Passivate(ctx, func(identity string) bool { return strings.HasPrefix(identity, n.name+"/") }) {
		t.Error("grains did not stop")
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func sqliteJournal(t testing.TB, dir string) *persistence.SQLiteJournal {
	t.Helper()
	j, err := persistence.OpenSQLiteJournal(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func randomOp() []byte {
	op := make([]byte, 16)
	_, _ = rand.Read(op)
	return op
}

func newID() []byte { id := uuid.Must(uuid.NewV7()); return id[:] }

// do sends a command and fails the test where it is refused.
func (n *node) do(t testing.TB, id string, command *messages.Command) *messages.Answer {
	t.Helper()
	a := n.try(id, command)
	if a.Problem != nil {
		t.Fatalf("%s: %s: %s %v", id, a.Problem.Code, a.Problem.Detail, a.Problem.Fields)
	}
	return a
}

func (n *node) try(id string, command *messages.Command) *messages.Answer {
	command.Queue = id
	if command.Op == nil {
		command.Op = randomOp()
	}
	if command.By == "" {
		command.By = "ann"
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.queues.Do(ctx, command)
}

func create(max uint32) *messages.Command {
	return &messages.Command{Action: &messages.Command_Create{Create: &messages.Create{
		Epoch:  uuid.NewString(),
		Config: &messages.Config{Name: "q", Prefix: "A", MaxActive: max, Timezone: "UTC"},
	}}}
}

func enqueue() *messages.Command {
	return &messages.Command{Action: &messages.Command_Enqueue{Enqueue: &messages.Enqueue{Id: newID(), Source: messages.Source_SOURCE_REST}}}
}

func callNext() *messages.Command {
	return &messages.Command{Action: &messages.Command_CallNext{CallNext: &messages.CallNext{}}}
}

func setStatus(status messages.Status) *messages.Command {
	return &messages.Command{Action: &messages.Command_SetStatus{SetStatus: &messages.SetStatus{Status: status}}}
}

func transfer(ticket []byte, to string) *messages.Command {
	return &messages.Command{Action: &messages.Command_Transfer{Transfer: &messages.Transfer{Ticket: ticket, To: to, NewId: newID()}}}
}

func (n *node) describe(id string) *messages.View {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.queues.Read(ctx, &messages.Read{Queue: id, Question: &messages.Read_Describe{Describe: &messages.ReadQueue{}}})
}
