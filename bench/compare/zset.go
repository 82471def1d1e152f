package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"nowserving/bench/load"
)

// The scripts of a line kept in a sorted set. KEYS: the line, its sequence, its tickets' JSON; a lower score is called
// sooner. Each is what one would write at first: no log of events, no idempotency, no states but waiting, and a move
// halves the gap between two scores, which runs out of digits after some fifty moves to one place.
var (
	// ARGV: id, priority, ticket ("" for none). Answers the number that the newcomer got.
	enqueueScript = redis.NewScript(`
local n = redis.call('INCR', KEYS[2])
redis.call('ZADD', KEYS[1], n - ARGV[2] * 1099511627776, ARGV[1])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[3], ARGV[1], ARGV[3]) end
return n`)

	// ARGV: id, position from 1. Answers 0 where the ticket does not wait.
	moveScript = redis.NewScript(`
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
local p = tonumber(ARGV[2])
local score
if p == 1 then
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  score = first[2] and first[2] - 1 or 0
else
  local around = redis.call('ZRANGE', KEYS[1], p - 2, p - 1, 'WITHSCORES')
  if around[4] then score = (around[2] + around[4]) / 2
  else score = (around[2] or 0) + 1 end
end
redis.call('ZADD', KEYS[1], score, ARGV[1])
return 1`)

	// ARGV: id. Answers 0 where the ticket does not wait.
	removeScript = redis.NewScript(`
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[3], ARGV[1])
return 1`)

	// Answers the id and the ticket, or nothing where nobody waits.
	callNextScript = redis.NewScript(`
local first = redis.call('ZPOPMIN', KEYS[1])
if not first[1] then return false end
local ticket = redis.call('HGET', KEYS[3], first[1])
redis.call('HDEL', KEYS[3], first[1])
return {first[1], ticket}`)
)

const ticketJSON = `{"number":"A042","state":"waiting","priority":0,"service":"bench","source":"rest","enqueued_at":"2026-11-02T09:00:00.000Z"}`

// zset is one caller's Line. The client and its pool are shared by all callers, as in any Go program.
type zset struct {
	ctx     context.Context
	client  *redis.Client
	keys    [][]string
	tickets bool
}

func queueKeys(n int) [][]string {
	keys := make([][]string, n)
	for i := range keys {
		q := fmt.Sprintf("bench:{q%d}:", i)
		keys[i] = []string{q + "line", q + "seq", q + "tickets"}
	}
	return keys
}

func newID() string {
	var b [18]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (z *zset) Do(op load.Op) (string, error) {
	keys := z.keys[op.Queue]
	switch op.Kind {
	case load.Enqueue:
		id := newID()
		return id, enqueueScript.Run(z.ctx, z.client, keys, id, op.Priority, z.ticket()).Err()
	case load.Move:
		return "", found(moveScript.Run(z.ctx, z.client, keys, op.Ticket, op.Position))
	case load.Remove:
		return "", found(removeScript.Run(z.ctx, z.client, keys, op.Ticket))
	case load.CallNext:
		first, err := callNextScript.Run(z.ctx, z.client, keys).Slice()
		if errors.Is(err, redis.Nil) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		return first[0].(string), nil
	case load.Get:
		err := z.client.ZRank(z.ctx, keys[0], op.Ticket).Err()
		if errors.Is(err, redis.Nil) {
			return "", &load.Refusal{Code: "ticket_not_found"}
		}
		return "", err
	}
	return "", &load.Refusal{Code: "not in the comparison: " + string(op.Kind)}
}

func (z *zset) ticket() string {
	if z.tickets {
		return ticketJSON
	}
	return ""
}

func found(cmd *redis.Cmd) error {
	n, err := cmd.Int()
	if err == nil && n == 0 {
		return &load.Refusal{Code: "ticket_not_waiting"}
	}
	return err
}

func (c config) shape() string {
	s := fmt.Sprintf("%d queue(s) of %d, %d callers", c.queues, c.depth, c.callers)
	if c.pool > 0 {
		s += fmt.Sprintf(", pool %d", c.pool)
	}
	return s
}

// openZset fills the sorted sets.
func openZset(ctx context.Context, c config, mix load.Mix) (*zset, *load.Workload, error) {
	client := redis.NewClient(&redis.Options{Addr: c.redisAddr, PoolSize: c.pool, PoolTimeout: time.Minute})
	z := &zset{ctx: ctx, client: client, keys: queueKeys(c.queues), tickets: c.tickets}
	w := load.NewWorkload(mix, c.queues, c.depth)
	if err := z.fill(w, c.depth); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("fill: %w", err), client.Close())
	}
	return z, w, nil
}

// fill empties and fills every queue, in pipelines: filling is not what is measured.
func (z *zset) fill(w *load.Workload, depth int) error {
	for _, s := range []*redis.Script{enqueueScript, moveScript, removeScript, callNextScript} {
		if err := s.Load(z.ctx, z.client).Err(); err != nil {
			return err
		}
	}
	for queue, keys := range z.keys {
		if err := z.client.Del(z.ctx, keys...).Err(); err != nil {
			return err
		}
		pipe := z.client.Pipeline()
		for i := range depth {
			id := newID()
			enqueueScript.EvalSha(z.ctx, pipe, keys, id, 0, z.ticket())
			w.Add(queue, id)
			if i%1000 == 999 || i == depth-1 {
				if _, err := pipe.Exec(z.ctx); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
