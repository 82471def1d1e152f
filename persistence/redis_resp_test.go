package persistence

import (
	"bufio"
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"nowserving/actors/queue"
)

func TestReadReply(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"+OK\r\n":                       "OK",
		"-OOM no memory\r\n":            redisReply("OOM no memory"),
		":-7\r\n":                       int64(-7),
		"$5\r\na\r\nbc\r\n":             "a\r\nbc",
		"$0\r\n\r\n":                    "",
		"$-1\r\n":                       nil,
		"*-1\r\n":                       nil,
		"*2\r\n$1\r\na\r\n*1\r\n:1\r\n": []any{"a", []any{int64(1)}},
	} {
		got, err := readReply(bufio.NewReader(strings.NewReader(text)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "\r\n", "+OK\n", "$x\r\n", "$3\r\nab", "?1\r\n", "$1048577\r\n", "*65\r\n",
		strings.Repeat("*1\r\n", 10), "+" + strings.Repeat("a", 1<<17) + "\r\n",
	} {
		if got, err := readReply(bufio.NewReader(strings.NewReader(text))); err == nil {
			t.Errorf("%.20q: %v", text, got)
		}
	}
}

// No reply makes the reader panic, or take more than its bounds.
func FuzzReadReply(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\na\r\n:1\r\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		r := bufio.NewReader(bytes.NewReader(text))
		for {
			if _, err := readReply(r); err != nil {
				return
			}
		}
	})
}

// What stands in Redis is an entry or a snapshot's header that this program wrote,
// or damage.
func FuzzRedisValues(f *testing.F) {
	f.Add("7-0", "5", strings.Repeat("o", 16), "data", "7 abc 4")
	f.Add("", "", "", "", "")
	f.Add("18446744073709551615-1", "18446744073709551615", "short", "", "1  99999999999")
	f.Fuzz(func(t *testing.T, id, before, op, data, header string) {
		e, err := decodeEntry("q", redis.XMessage{ID: id, Values: map[string]any{"a": before, "o": op, "d": data}})
		if err != nil && !errors.Is(err, queue.ErrDamaged) || err == nil && (string(e.Op[:]) != op || string(e.Data) != data) {
			t.Fatalf("%+v, %v", e, err)
		}
		h, err := parseSnapshotHeader("q", header)
		if err != nil && !errors.Is(err, queue.ErrDamaged) || err == nil && (h.bytes < 0 || h.bytes > MaxSnapshotBytes || h.save == "") {
			t.Fatalf("%+v, %v", h, err)
		}
	})
}
