package persistence

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"nowserving/actors/queue"
	"nowserving/persistence/redistest"
)

var errNotYet = errors.New("not yet")

// redisCommand runs one command as an operator would.
func redisCommand(t *testing.T, url string, args ...any) {
	t.Helper()
	_ = redisAnswer(t, url, args...)
}

// redisAnswer gives what it answers, where that is a text.
func redisAnswer(t *testing.T, url string, args ...any) string {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	answer, err := rdb.Do(context.Background(), args...).Result()
	if err != nil {
		t.Fatal(args, err)
	}
	text, _ := answer.(string)
	return text
}

func TestRedisLostKeysAreAGap(t *testing.T) {
	t.Parallel()
	keys := redisKeys{prefix: "nowserving"}
	for name, c := range map[string]struct {
		lose  []any
		trims bool // the version is still known, the events are gone
	}{
		"all":          {lose: []any{"flushall"}},
		"head":         {lose: []any{"del", keys.head("q")}},
		"log":          {lose: []any{"del", keys.log("q")}, trims: true},
		"head and log": {lose: []any{"del", keys.head("q"), keys.log("q")}, trims: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := redistest.Start(t)
			j := openRedis(t, url, RedisOptions{})
			l := claim(t, j, "q")
			l.append(1, "a")
			b := l.append(1, "b")
			if err := j.SaveSnapshot(t.Context(), "q", l.owner, queue.Snapshot{Version: 2}, 0); err != nil {
				t.Fatal(err)
			}
			redisCommand(t, url, c.lose...)
			wantError(t, l.try(l.entry(1, nil)), queue.ErrGap)
			again := claim(t, j, "q")
			switch {
			case name == "all":
				if again.head != (queue.Head{}) {
					t.Fatal(again.head)
				}
			case again.head.Version != 2 || again.head.SnapshotVersion != 2:
				t.Fatal(again.head)
			case name == "head" && again.head.Op != b.Op:
				t.Fatal("the log knows the operation")
			}
			if c.trims {
				_, err := j.Read(t.Context(), "q", 0, 10)
				wantError(t, err, queue.ErrTrimmed)
			}
			again.append(1, "goes on")
		})
	}
}

// swallower is a TCP proxy that, once armed, lets one request through, drops
// its reply and cuts that connection.
type swallower struct {
	net.Listener
	mu    sync.Mutex
	armed bool
}

func (p *swallower) arm() { p.mu.Lock(); p.armed = true; p.mu.Unlock() }

func (p *swallower) swallow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	armed := p.armed
	p.armed = false
	return armed
}

func (p *swallower) serve(target string) {
	for {
		client, err := p.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			continue
		}
		go p.relay(server, client, false)
		go p.relay(client, server, true)
	}
}

func (p *swallower) relay(to, from net.Conn, replies bool) {
	defer to.Close()
	defer from.Close()
	for buf := make([]byte, 64<<10); ; {
		n, err := from.Read(buf)
		if err != nil || (replies && p.swallow()) {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestRedisSwallowedReplyIsUnknown(t *testing.T) {
	t.Parallel()
	server := redistest.StartWith(t, redistest.Options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	proxy := &swallower{Listener: listener}
	go proxy.serve(server.Addr())
	j := openRedis(t, "redis://"+listener.Addr().String(), RedisOptions{})
	l := claim(t, j, "q")
	e := l.entry(1, []byte("a"))
	proxy.arm()
	wantError(t, l.try(e), queue.ErrUnknown)
	wantEntries(t, j, "q", 0, 10, e) // it did happen, once
	if err := l.try(e); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, j, "q", 0, 10, e)
	l.append(1, "b")
}

// Of appends that were handed over one behind the other when the connection
// broke, those that happened are the first ones, and none is said not to have.
func TestRedisConnectionBreaksUnderManyAppends(t *testing.T) {
	t.Parallel()
	server := redistest.StartWith(t, redistest.Options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	proxy := &swallower{Listener: listener}
	go proxy.serve(server.Addr())
	j := openRedis(t, "redis://"+listener.Addr().String(), RedisOptions{})
	l := claim(t, j, "q")
	const n = 300
	var entries []queue.Entry
	answers := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		e := l.entry(1, []byte("x"))
		entries = append(entries, e)
		wg.Add(1)
		j.Append("q", l.owner, l.head.Op, e, func(err error) { answers[i] = err; wg.Done() })
		l.head.Version, l.head.Op = e.Last, e.Op
		if i == n/2 {
			proxy.arm()
		}
	}
	wg.Wait()
	stored, err := j.Read(t.Context(), "q", 0, n)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range stored {
		if e.Op != entries[i].Op {
			t.Fatalf("entry %d is another one", i)
		}
	}
	for i, err := range answers {
		switch {
		case err == nil && i >= len(stored):
			t.Fatalf("append %d was acknowledged, %d are there", i, len(stored))
		case errors.Is(err, queue.ErrUnavailable) && i < len(stored):
			t.Fatalf("append %d is there although it was said not to be", i)
		}
	}
	// The last ones may have found a new connection already.
	if !slices.ContainsFunc(answers, func(err error) bool { return errors.Is(err, queue.ErrUnknown) }) {
		t.Fatal("no append was under way when the connection broke")
	}
}

func TestRedisThatHangsLeavesTheFateUnknown(t *testing.T) {
	t.Parallel()
	server := redistest.StartWith(t, redistest.Options{})
	j := openRedis(t, server.URL(), RedisOptions{Timeout: time.Second})
	l := claim(t, j, "q")
	e := l.entry(1, []byte("a"))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	wantError(t, l.try(e), queue.ErrUnknown)
	wantError(t, owns(j, "q", l.owner), queue.ErrUnavailable)
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	retry(t, func() error { return l.try(e) }, queue.ErrUnknown, queue.ErrUnavailable)
	wantEntries(t, j, "q", 0, 10, e)
}

func TestRedisThatIsGoneAndComesBack(t *testing.T) {
	t.Parallel()
	server := redistest.StartWith(t, redistest.Options{})
	j := openRedis(t, server.URL(), RedisOptions{})
	l := claim(t, j, "q")
	l.append(1, "a")
	server.Kill()
	e := l.entry(1, []byte("b"))
	// A connection that broke unnoticed leaves the fate open, none at all does not.
	err := retry(t, func() error {
		if err := l.try(e); !errors.Is(err, queue.ErrUnavailable) {
			return err
		}
		return nil
	}, queue.ErrUnknown)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	retry(t, func() error { return l.try(e) }, queue.ErrUnknown, queue.ErrUnavailable)
	wantHead(t, j, "q", l.head) // the scripts, too, were loaded again
}

// retry calls f while it answers one of the errors.
func retry(t *testing.T, f func() error, while ...error) error {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); runtime.Gosched() {
		err := f()
		again := false
		for _, w := range while {
			again = again || errors.Is(err, w)
		}
		if !again {
			if err != nil {
				t.Fatal(err)
			}
			return nil
		}
	}
	t.Fatal("did not come to an end")
	return nil
}

func TestRedisForgottenScripts(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t)
	j := openRedis(t, url, RedisOptions{})
	redisCommand(t, url, "script", "flush")
	l := claim(t, j, "q")
	redisCommand(t, url, "script", "flush")
	l.append(1, "a")
	redisCommand(t, url, "script", "flush")
	if err := j.SaveSnapshot(t.Context(), "q", l.owner, queue.Snapshot{Version: 1}, 1); err != nil {
		t.Fatal(err)
	}
}

func TestRedisPrefixesAreApart(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t)
	a, b := openRedis(t, url, RedisOptions{}), openRedis(t, url, RedisOptions{Prefix: "other"})
	claim(t, a, "q").append(1, "a")
	wantEntries(t, b, "q", 0, 10)
	if ids, err := b.Queues(t.Context(), "", 10); err != nil || len(ids) != 0 {
		t.Fatal(ids, err)
	}
}

func TestRedisSettingsThatForget(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts          redistest.Options
		refused, warn string
	}{
		"evicts":   {opts: redistest.Options{Args: []string{"--maxmemory-policy", "allkeys-lru"}}, refused: "noeviction"},
		"no AOF":   {opts: redistest.Options{NoAOF: true}, refused: "appendonly yes"},
		"everysec": {opts: redistest.Options{Fsync: "everysec"}, warn: "level=WARN"},
		"always":   {},
		"hidden":   {opts: redistest.Options{Args: []string{"--rename-command", "CONFIG", ""}}, warn: "cannot read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said bytes.Buffer
			server := redistest.StartWith(t, c.opts)
			j, err := OpenRedisJournal(t.Context(), server.URL(), slog.New(slog.NewTextHandler(&said, nil)), RedisOptions{})
			if err == nil {
				defer j.Close()
			}
			if (err != nil) != (c.refused != "") || (err != nil && !strings.Contains(err.Error(), c.refused)) {
				t.Fatal(err)
			}
			if errors.Is(err, queue.ErrUnavailable) {
				t.Fatal("waiting does not mend it", err)
			}
			if (said.Len() > 0) != (c.warn != "") || !strings.Contains(said.String(), c.warn) {
				t.Fatal(said.String())
			}
		})
	}
}

// A Redis that comes back as one that forgets is told of, while it lives.
func TestRedisComesBackWithOtherSettings(t *testing.T) {
	t.Parallel()
	server := redistest.StartWith(t, redistest.Options{})
	reader, writer := io.Pipe()
	j, err := OpenRedisJournal(t.Context(), server.URL(), slog.New(slog.NewTextHandler(writer, nil)), RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close(); _ = j.Close() })
	l := claim(t, j, "q")
	redisCommand(t, server.URL(), "config", "set", "maxmemory-policy", "allkeys-lru")
	redisCommand(t, server.URL(), "client", "kill", "type", "normal")
	e := l.entry(1, nil)
	retry(t, func() error { return l.try(e) }, queue.ErrUnknown, queue.ErrUnavailable)
	said, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil || !strings.Contains(said, "level=ERROR") || !strings.Contains(said, "noeviction") {
		t.Fatal(said, err)
	}
}

func TestRedisURLErrorsKeepThePassword(t *testing.T) {
	t.Parallel()
	_, err := OpenRedisJournal(t.Context(), "redis://user:secret@host:port:/%zz", quiet, RedisOptions{})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Fatal(err)
	}
}
