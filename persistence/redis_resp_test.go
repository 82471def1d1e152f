package persistence

import (
	"bufio"
	"bytes"
	"reflect"
	"strings"
	"testing"
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
