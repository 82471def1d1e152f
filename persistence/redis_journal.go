package persistence

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/url"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"nowserving/actors/queue"
)

// RedisOptions are the Redis journal's options; zero values mean the defaults.
type RedisOptions struct {
	// Prefix of all keys, "nowserving" by default. Clusters that share a Redis
	// must differ in it.
	Prefix string
	// Pipes is over how many connections appends go, 4 by default: Redis takes in
	// 16 KiB of a connection between two syncs, so more connections make larger
	// group commits.
	Pipes int
	// Timeout bounds one exchange with Redis, 3 s by default.
	Timeout time.Duration
}

func (o RedisOptions) withDefaults() RedisOptions {
	if o.Prefix == "" {
		o.Prefix = "nowserving"
	}
	if o.Pipes <= 0 {
		o.Pipes = 4
	}
	if o.Timeout <= 0 {
		o.Timeout = 3 * time.Second
	}
	return o
}

const (
	// maxReads bounds the reads under way: a slow Redis must not keep them in line.
	maxReads = 64
	// keptReads is how many of their connections are kept while nobody reads.
	keptReads = 16
)

// RedisJournal keeps the journals of all queues in one Redis, which all nodes
// of a cluster share. The fence is a script there; this side only batches.
//
// It keeps no memory of heads or owners: another node may change them at any
// time, so each answer comes from Redis.
//
// A context's end is seen at once by Claim. The other methods see its deadline
// at once, but a cancellation only when the exchange that is under way ends,
// which RedisOptions.Timeout bounds, as it does the time to an answer of Append
// and Owns.
type RedisJournal struct {
	keys   redisKeys
	writer *redis.Client // never repeats a command by itself
	reader *redis.Client // reads may be repeated
	pipes  []*redisPipe  // of claims, appends and checks of ownership
	seed   maphash.Seed  // spreads the queues over them
	saves  chan struct{} // a token for each SaveSnapshot under way
	doubts *doubts

	chunkBytes int           // of a snapshot; fields for the tests to change
	stagingTTL time.Duration // since the last chunk
}

// OpenRedisJournal connects to the Redis at rawURL (redis://, rediss:// or
// unix://), checks that its settings keep what it is given, and starts the
// writers. Close ends them. It fails with ErrUnavailable where Redis is away just
// now, and otherwise where waiting is of no use: it lets nobody in with this
// password, would evict keys, or does not write to its disk.
func OpenRedisJournal(ctx context.Context, rawURL string, log *slog.Logger, opts RedisOptions) (*RedisJournal, error) {
	opts = opts.withDefaults()
	base, err := redis.ParseURL(rawURL)
	if err != nil {
		var inURL *url.Error
		if errors.As(err, &inURL) {
			err = inURL.Err // the whole of it would show the password
		}
		return nil, fmt.Errorf("redis journal: url: %w", err)
	}
	base.ReadTimeout, base.WriteTimeout = opts.Timeout, opts.Timeout
	base.DialTimeout = min(opts.Timeout, time.Second)
	base.DialerRetries = 1 // callers are waiting, and have retries of their own
	base.ContextTimeoutEnabled = true
	base.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

	writing, reading := *base, *base
	// A repeated append would be recognised (DUP), but a repeated claim or
	// check would be another one at another time.
	writing.MaxRetries = -1
	writing.PoolSize = maxSaves
	reading.MaxRetries = 1
	reading.PoolSize, reading.MaxIdleConns = maxReads, keptReads
	j := &RedisJournal{
		keys:   redisKeys{prefix: opts.Prefix},
		writer: redis.NewClient(&writing),
		reader: redis.NewClient(&reading),
		seed:   maphash.MakeSeed(),
		saves:  make(chan struct{}, maxSaves),

		chunkBytes: snapshotChunk,
		stagingTTL: stagingTTL,
	}
	if err := j.prepare(ctx, log); err != nil {
		_ = j.Close()
		if away(err) {
			err = unavailable(err)
		}
		return nil, fmt.Errorf("redis journal at %s: %w", base.Addr, err)
	}
	j.doubts = startDoubts(j.reader, log)
	for range opts.Pipes {
		j.pipes = append(j.pipes, startRedisPipe(j.keys, j.writer.Options(), opts.Timeout, j.doubts.arise))
	}
	return j, nil
}

func (j *RedisJournal) prepare(ctx context.Context, log *slog.Logger) error {
	if err := j.reader.Ping(ctx).Err(); err != nil {
		return err
	}
	if err := checkRedisConfig(ctx, j.reader, log); err != nil {
		return err
	}
	renewFile(ctx, j.reader, log)
	return loadScripts(ctx, j.writer)
}

// Close ends the connections after what is under way. Calls that still wait
// are answered ErrUnavailable.
func (j *RedisJournal) Close() error {
	for _, p := range j.pipes {
		p.close()
	}
	j.doubts.end()
	return errors.Join(j.writer.Close(), j.reader.Close())
}

// Claim makes owner the queue's only writer and answers where its journal
// stands; a queue that was never seen has Head{}. Where keys were lost, the
// highest version that is still known counts. Errors: ErrUnavailable,
// ErrUnknown (owner may be the owner; claim again, with a new one), ErrMalformed.
func (j *RedisJournal) Claim(ctx context.Context, queueID string, owner queue.OwnerID) (queue.Head, error) {
	if err := checkOwner(queueID, owner); err != nil {
		return queue.Head{}, err
	}
	return j.pipe(queueID).calls.do(ctx, &journalCall{kind: callClaim, queue: queueID, owner: owner})
}

// Append adds entry e if owner is still the owner, the journal stands at
// e.First-1 and prev is the operation of its last entry. The same entry again
// is success. Entries of a queue are added in the order of the calls; the next
// one may be handed over before done has been called for this one. done is
// called once, from another goroutine, and must not block. e.Data must not
// change until then. Answers: ErrFenced, ErrGap, ErrUnknown (it may have
// happened), ErrUnavailable (certainly not), ErrMalformed.
func (j *RedisJournal) Append(queueID string, owner queue.OwnerID, prev queue.OpID, e queue.Entry, done func(error)) {
	if err := checkEntry(queueID, owner, e); err != nil {
		go done(err)
		return
	}
	j.pipe(queueID).calls.put(&journalCall{kind: callAppend, queue: queueID, owner: owner, prev: prev, entry: e, done: done})
}

// Owns checks in Redis, after the call began, that owner is still the owner,
// and that the journal has what the owner knows of it: that it is at version at
// or above. done is called once, from another goroutine, and must not block.
// Answers: ErrFenced, ErrGap (the store has lost events), ErrUnavailable,
// ErrDamaged, ErrMalformed.
func (j *RedisJournal) Owns(queueID string, owner queue.OwnerID, at uint64, done func(error)) {
	if err := checkOwner(queueID, owner); err != nil {
		go done(err)
		return
	}
	j.pipe(queueID).calls.put(&journalCall{kind: callOwns, queue: queueID, owner: owner, at: at, done: done})
}

// pipe is the connection of a queue: always the same one, for its order is the
// order of the queue's appends.
func (j *RedisJournal) pipe(queueID string) *redisPipe {
	return j.pipes[maphash.String(j.seed, queueID)%uint64(len(j.pipes))]
}

// Versions answers the version of each queue's journal, 0 for unknown ones, in
// one round trip. Errors: ErrUnavailable, ErrDamaged.
func (j *RedisJournal) Versions(ctx context.Context, queues []string) ([]uint64, error) {
	versions := make([]uint64, len(queues))
	if len(queues) == 0 {
		return versions, nil
	}
	pipe := j.reader.Pipeline() // not MGET, whose keys would have to be in one slot
	cmds := make([]*redis.Cmd, len(queues))
	for i, id := range queues {
		cmds[i] = pipe.Do(ctx, readAsWriter, j.keys.head(id))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, readError(ctx, err)
	}
	for i, id := range queues {
		v, err := headVersion(id, cmds[i])
		if err != nil {
			return nil, err
		}
		versions[i] = v
	}
	return versions, nil
}

// Queues lists the ids of all queues that were ever claimed, in byte order,
// those after the given id, at most limit. Errors: ErrUnavailable.
func (j *RedisJournal) Queues(ctx context.Context, after string, limit int) ([]string, error) {
	if limit <= 0 {
		return nil, nil
	}
	from := "-"
	if after != "" {
		from = "(" + after
	}
	ids, err := j.reader.ZRangeArgs(ctx, redis.ZRangeArgs{
		Key: j.keys.queues(), ByLex: true, Start: from, Stop: "+", Count: int64(min(limit, maxListed)),
	}).Result()
	if err != nil {
		return nil, readError(ctx, err)
	}
	return ids, nil
}

// Ping says whether Redis can be reached and takes writes, over a connection on
// which appends go. Errors: ErrUnavailable.
func (j *RedisJournal) Ping(ctx context.Context) error {
	_, err := j.pipes[0].calls.do(ctx, &journalCall{kind: callProbe})
	if err != nil && !errors.Is(err, queue.ErrUnavailable) {
		err = unavailable(err) // it would have changed nothing
	}
	return err
}

// headVersion reads the version out of a queue's head, 0 where it has none.
func headVersion(queueID string, cmd *redis.Cmd) (uint64, error) {
	head, err := cmd.Text()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, unavailable(err)
	}
	return parseHead(queueID, head)
}

// parseHead answers the version. Errors: ErrDamaged.
func parseHead(queueID, head string) (uint64, error) {
	if len(head) <= ownerAndOp {
		return 0, fmt.Errorf("%w: head of queue %s", queue.ErrDamaged, queueID)
	}
	v, err := strconv.ParseUint(head[ownerAndOp:], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: head of queue %s", queue.ErrDamaged, queueID)
	}
	return v, nil
}

// ownerAndOp is the length of what stands before the version in a head.
const ownerAndOp = len(queue.OwnerID{}) + len(queue.OpID{})
