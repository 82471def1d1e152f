package persistence

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// What a pipe needs of RESP2, Redis's protocol
// (https://redis.io/docs/latest/develop/reference/protocol-spec/). The client
// library has it too, but hands a connection to one caller at a time: write,
// then wait.

// Bounds of a reply. None to what a pipe sends is near them.
const (
	maxReply   = 1 << 20 // bytes of a string
	maxList    = 64
	maxNesting = 4
)

// redisReply is an error that Redis answered; the client library's errors of
// that kind look the same to errors.As.
type redisReply string

func (e redisReply) Error() string { return string(e) }

// RedisError marks it as such.
func (e redisReply) RedisError() {}

var errProtocol = errors.New("redis: a reply that is none")

// respCommand begins a command of n words.
func respCommand(b []byte, n int) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(n), 10)
	return append(b, '\r', '\n')
}

func respWord[T string | []byte](b []byte, word T) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(word)), 10)
	b = append(b, '\r', '\n')
	b = append(b, word...)
	return append(b, '\r', '\n')
}

func respUint(b []byte, n uint64) []byte {
	var digits [20]byte
	return respWord(b, strconv.AppendUint(digits[:0], n, 10))
}

// replies is how many come to a call of each kind.
var replies = [...]int{callAppend: 1, callClaim: 2, callOwns: 1, callProbe: 1, callLoad: loadReplies}

// appendLoad makes the scripts of a pipe known to Redis, with as many replies as
// loadReplies.
func appendLoad(b []byte) []byte {
	for _, s := range []redisScript{appendScript, claimScript} {
		b = respWord(respWord(respWord(respCommand(b, 3), "script"), "load"), s.source)
	}
	return b
}

const loadReplies = 2

// appendCall writes a call's commands.
func (k redisKeys) appendCall(b []byte, c *journalCall) []byte {
	head := k.head(c.queue)
	switch c.kind {
	case callLoad:
		return appendLoad(b)
	case callOwns:
		return respWord(respWord(respCommand(b, 2), readAsWriter), head)
	case callProbe:
		b = respWord(respWord(respCommand(b, 4), "setrange"), k.probe())
		return respWord(respWord(b, "0"), "")
	case callClaim:
		b = respWord(respWord(respCommand(b, 5), "zadd"), k.queues())
		b = respWord(respWord(respWord(b, "nx"), "0"), c.queue)
		b = respWord(respWord(respWord(respCommand(b, 7), "evalsha"), claimScript.sha), "3")
		b = respWord(respWord(respWord(b, head), k.log(c.queue)), k.snapshot(c.queue))
		return respWord(b, c.owner[:])
	default:
		e := &c.entry
		b = respWord(respWord(respWord(respCommand(b, 11), "evalsha"), appendScript.sha), "2")
		b = respWord(respWord(b, head), k.log(c.queue))
		b = respUint(respWord(respWord(b, c.owner[:]), c.prev[:]), e.First-1)
		return respWord(respUint(respWord(b, e.Op[:]), e.Last), e.Data)
	}
}

// readAsWriter is GET, but Redis takes it for a write: one that has become a
// replica, and may be behind the one that is written to now, does not answer it.
const readAsWriter = "getex"

// readReply reads one reply: a string, an int64, nil, a redisReply or a list of
// these. Its error ends the connection.
func readReply(r *bufio.Reader) (any, error) { return readNested(r, 0) }

func readNested(r *bufio.Reader, depth int) (any, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return nil, errProtocol
	}
	kind, text := line[0], string(line[1:len(line)-2])
	switch kind {
	case '+':
		return text, nil
	case '-':
		return redisReply(text), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil, kind == '$' && n > maxReply, kind == '*' && (n > maxList || depth == maxNesting):
		return nil, fmt.Errorf("%w: a length of %.20q", errProtocol, text)
	case kind == ':':
		return n, nil
	case kind == '$' && n < 0, kind == '*' && n < 0:
		return nil, nil
	case kind == '$':
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		return string(b[:n]), nil
	case kind == '*':
		list := make([]any, n)
		for i := range list {
			if list[i], err = readNested(r, depth+1); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, errProtocol
}
