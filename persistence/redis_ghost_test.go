package persistence

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nowserving/actors/queue"
	"nowserving/persistence/redistest"
)

// A disk that was full in the middle of an append leaves half of it in Redis's file.
// What is acknowledged in its place is there after any number of starts.
func TestRedisHalfAnAppendDoesNotComeBack(t *testing.T) {
	t.Parallel()
	server := redistest.StartWith(t, redistest.Options{})
	j := openRedis(t, server.URL(), RedisOptions{})
	l := claim(t, j, "q")
	l.append(1, "first")
	settleFile(t, server.URL()) // the one of the first start
	server.Kill()

	files, err := filepath.Glob(filepath.Join(server.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[len(files)-1], os.O_APPEND|os.O_WRONLY, 0) // the newest
	if err != nil {
		t.Fatal(err)
	}
	half := command("MULTI") + command("XADD", j.keys.log("q"), "2-0", "a", "1", "o", strings.Repeat("g", 16), "d", "a ghost") +
		command("SET", j.keys.head("q"), "nothing")[:20]
	if _, err := f.WriteString(half); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	second := l.entry(1, []byte("second"))
	_ = retry(t, func() error { return l.try(second) }, queue.ErrUnknown, queue.ErrUnavailable)
	settleFile(t, server.URL())
	server.Kill()
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	var entries []queue.Entry
	_ = retry(t, func() (err error) {
		entries, err = j.Read(t.Context(), "q", 0, 10)
		return err
	}, queue.ErrUnavailable)
	if len(entries) != 2 || string(entries[1].Data) != "second" {
		t.Errorf("%v", entries)
	}
}

// settleFile waits until Redis has written its file anew.
func settleFile(t *testing.T, url string) {
	t.Helper()
	_ = retry(t, func() error {
		info := strings.ReplaceAll(redisAnswer(t, url, "INFO", "persistence"), "\r", "")
		if strings.Contains(info, "aof_rewrites:0\n") || !strings.Contains(info, "aof_rewrite_in_progress:0\n") {
			return errNotYet
		}
		return nil
	}, errNotYet)
}

// command is one as Redis's file has it.
func command(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}
