package persistence

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"nowserving/actors/queue"
)

// write is what each writer does with a batch: all of it in one pipeline, and
// its answers to their callers. It answers every call.
func (j *RedisJournal) write(batch []*journalCall) {
	// Not the callers' contexts: one pipeline carries many callers, and each
	// may leave it alone. The client's timeouts bound it.
	ctx := context.Background()
	cmds := j.exchange(ctx, batch)
	var again []*journalCall
	for i, c := range batch {
		if isNoScript(cmds[i].Err()) { // a restarted Redis: certainly not done
			again = append(again, c)
			continue
		}
		c.answer(j.result(c, cmds[i]))
	}
	if len(again) == 0 {
		return
	}
	if err := loadScripts(ctx, j.writer); err != nil {
		for _, c := range again {
			c.answer(unavailable(err))
		}
		return
	}
	for i, cmd := range j.exchange(ctx, again) {
		again[i].answer(j.result(again[i], cmd))
	}
}

// exchange runs the calls' commands in one pipeline, in order, and answers the
// command that bears each call's answer or error.
func (j *RedisJournal) exchange(ctx context.Context, batch []*journalCall) []redis.Cmder {
	pipe := j.writer.Pipeline()
	cmds := make([]redis.Cmder, len(batch))
	registered := make(map[int]*redis.IntCmd)
	for i, c := range batch {
		if c.kind == callClaim {
			registered[i] = pipe.ZAddNX(ctx, j.keys.queues(), redis.Z{Member: c.queue})
		}
		cmds[i] = j.command(ctx, c)
		_ = pipe.Process(ctx, cmds[i])
	}
	_, _ = pipe.Exec(ctx) // each command bears its own error
	for i, r := range registered {
		if r.Err() != nil && cmds[i].Err() == nil {
			cmds[i].SetErr(r.Err()) // a queue that is not listed must not get events
		}
	}
	return cmds
}

func (j *RedisJournal) command(ctx context.Context, c *journalCall) redis.Cmder {
	head := j.keys.head(c.queue)
	switch c.kind {
	case callOwns:
		return redis.NewStringCmd(ctx, "getrange", head, 0, len(c.owner)-1)
	case callClaim:
		return newScriptCmd(ctx, claimScript, []string{head, j.keys.log(c.queue), j.keys.snapshot(c.queue)}, c.owner[:])
	default:
		e := &c.entry
		return newScriptCmd(ctx, appendScript, []string{head, j.keys.log(c.queue)},
			c.owner[:], c.prev[:], strconv.FormatUint(e.First-1, 10),
			e.Op[:], strconv.FormatUint(e.Last, 10), e.Data)
	}
}

func newScriptCmd(ctx context.Context, s redisScript, keys []string, args ...any) *redis.Cmd {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, "evalsha", s.sha, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	return redis.NewCmd(ctx, append(all, args...)...)
}

// result turns a command's answer into its call's.
func (j *RedisJournal) result(c *journalCall, cmd redis.Cmder) error {
	if err := cmd.Err(); err != nil {
		if c.kind == callOwns {
			return unavailable(err)
		}
		return writeError(err)
	}
	switch cmd := cmd.(type) {
	case *redis.StringCmd:
		if cmd.Val() != string(c.owner[:]) {
			return fmt.Errorf("%w: queue %s", queue.ErrFenced, c.queue)
		}
		return nil
	case *redis.Cmd:
		if c.kind == callClaim {
			head, err := decodeHead(c.queue, cmd.Val())
			c.head = head
			return err
		}
		return verdict(c.queue, cmd.Val())
	}
	return fmt.Errorf("%w: unexpected answer", queue.ErrUnknown)
}

// verdict reads what append.lua and snapshot.lua answer.
func verdict(queueID string, answer any) error {
	text, _ := answer.(string)
	word, version, _ := strings.Cut(text, " ")
	switch word {
	case "OK", "DUP", "OLD":
		return nil
	case "LOST":
		return unavailable(errStagingLost)
	case "FENCED":
		return fmt.Errorf("%w: queue %s", queue.ErrFenced, queueID)
	case "GAP":
		return fmt.Errorf("%w: queue %s is at version %s", queue.ErrGap, queueID, version)
	}
	return fmt.Errorf("%w: unexpected answer of a script", queue.ErrUnknown)
}

// decodeHead reads what claim.lua answers. Errors: ErrDamaged.
func decodeHead(queueID string, answer any) (queue.Head, error) {
	fields, _ := answer.([]any)
	var text [3]string
	if len(fields) == len(text) {
		for i, f := range fields {
			text[i], _ = f.(string)
		}
	}
	var head queue.Head
	var err, err2 error
	head.Version, err = strconv.ParseUint(text[0], 10, 64)
	head.SnapshotVersion, err2 = strconv.ParseUint(text[2], 10, 64)
	if err != nil || err2 != nil || len(text[1]) != len(head.Op) {
		return queue.Head{}, fmt.Errorf("%w: head of queue %s", queue.ErrDamaged, queueID)
	}
	copy(head.Op[:], text[1])
	return head, nil
}

// refusals are the first words of replies which mean that a script did nothing:
// it was not started, or its first write was refused.
var refusals = map[string]bool{
	"OOM": true, "READONLY": true, "MISCONF": true, "LOADING": true, "NOREPLICAS": true,
	"MASTERDOWN": true, "BUSY": true, "NOAUTH": true, "WRONGPASS": true, "NOSCRIPT": true,
	"CLUSTERDOWN": true, "MOVED": true, "ASK": true, "TRYAGAIN": true,
}

// writeError says what a failed write means: ErrUnavailable where it certainly
// did not happen, ErrUnknown where it may have.
func writeError(err error) error {
	var reply redis.Error
	var network *net.OpError
	switch {
	case errors.As(err, &reply):
		word, _, _ := strings.Cut(reply.Error(), " ")
		if refusals[word] || strings.HasPrefix(reply.Error(), "ERR max number of clients") {
			return unavailable(err)
		}
		if strings.Contains(reply.Error(), "specified in XADD is equal or smaller") {
			return fmt.Errorf("%w: the log is ahead of its head", queue.ErrGap)
		}
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted), errors.Is(err, redis.ErrClosed):
		return unavailable(err)
	case errors.As(err, &network) && network.Op == "dial":
		return unavailable(err) // no connection, so nothing was sent
	}
	return unknown(err)
}

func isNoScript(err error) bool {
	return err != nil && redis.HasErrorPrefix(err, "NOSCRIPT")
}
