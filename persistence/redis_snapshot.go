package persistence

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"nowserving/actors/queue"
)

// A large snapshot must not hold up the appends of other queues: Redis does one
// thing at a time, and with appendfsync always it also writes and syncs what it
// took in before it answers anybody. So snapshots go there and back in chunks,
// with everybody's commands in between, and the log is trimmed in steps.
const (
	// snapshotChunk is what Redis takes in or gives out at once. Smaller ones
	// made saving slower by more than they made appends faster.
	snapshotChunk = 256 << 10
	// stagingTTL is how long a staging outlives its last chunk.
	stagingTTL = time.Minute
	// trimStep is how many entries one script drops at most: below 1 ms with
	// entries of 2 KB.
	trimStep = 1000
	// maxSaves bounds the snapshots that are being saved at once, which is also
	// what their stagings take of Redis's memory; the others wait.
	maxSaves = 2
	// maxLoads bounds how often LoadSnapshot begins again. Each time it takes
	// twice as many chunks at once, so that it comes to an end before the next
	// snapshot does.
	maxLoads = 10
)

var (
	errStagingLost = errors.New("the staged snapshot is not whole in Redis")
	errReplaced    = errors.New("the snapshot is replaced all the time")
)

// snapshotHeader stands before a snapshot's chunks. No two saves have the same
// one, so whoever finds it unchanged read chunks of one save.
type snapshotHeader struct {
	version uint64
	save    string // hex digits
	bytes   int
}

func (h snapshotHeader) String() string { return fmt.Sprintf("%d %s %d", h.version, h.save, h.bytes) }

// parseSnapshotHeader is the counterpart of String. Errors: ErrDamaged.
func parseSnapshotHeader(queueID, text string) (h snapshotHeader, err error) {
	versionText, rest, _ := strings.Cut(text, " ")
	save, bytesText, _ := strings.Cut(rest, " ")
	version, err := strconv.ParseUint(versionText, 10, 64)
	bytes, err2 := strconv.ParseUint(bytesText, 10, 64)
	if err != nil || err2 != nil || save == "" || bytes > MaxSnapshotBytes {
		return h, fmt.Errorf("%w: snapshot of queue %s", queue.ErrDamaged, queueID)
	}
	return snapshotHeader{version: version, save: save, bytes: int(bytes)}, nil
}

// snapshotSave is one SaveSnapshot on its way.
type snapshotSave struct {
	j       *RedisJournal
	queue   string
	staging string
	keys    []string // of snapshot.lua
	args    []any    // of snapshot.lua, without the step
}

// SaveSnapshot stores s in place of the older snapshot, in one atomic step, and
// drops the entries whose Last <= trimTo, but never the last one. Long logs it
// drops in several steps, each of the oldest: where it ends with an error, s may
// stand with some of them left, which the next SaveSnapshot drops. A snapshot
// older than the one stored is ignored as a whole. While it runs Redis holds
// both, and what a node that crashed leaves of its own for a minute. Errors:
// ErrFenced, ErrGap (the journal does not reach s.Version), ErrUnknown,
// ErrUnavailable (s does not stand), ErrMalformed.
func (j *RedisJournal) SaveSnapshot(ctx context.Context, queueID string, owner queue.OwnerID, s queue.Snapshot, trimTo uint64) error {
	if err := checkSnapshot(queueID, owner, s, trimTo, MaxSnapshotBytes); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return unavailable(context.Cause(ctx))
	}
	select {
	case j.saves <- struct{}{}:
		defer func() { <-j.saves }()
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	}
	save := j.newSave(queueID, owner, s, trimTo)
	if len(s.Data) <= j.chunkBytes {
		return save.finish(ctx, s.Data)
	}
	old, err := save.stage(ctx, s.Data)
	if old || err != nil {
		return err
	}
	return save.finish(ctx)
}

func (j *RedisJournal) newSave(queueID string, owner queue.OwnerID, s queue.Snapshot, trimTo uint64) *snapshotSave {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	header := snapshotHeader{version: s.Version, save: hex.EncodeToString(id[:]), bytes: len(s.Data)}
	staging := j.keys.staging(queueID, hex.EncodeToString(owner[:]), header.save)
	chunks := (len(s.Data) + j.chunkBytes - 1) / j.chunkBytes
	return &snapshotSave{
		j: j, queue: queueID, staging: staging,
		keys: []string{j.keys.head(queueID), j.keys.log(queueID), j.keys.snapshot(queueID), staging},
		args: []any{owner[:], s.Version, trimTo + 1, header.String(), j.stagingTTL.Milliseconds(), chunks, trimStep},
	}
}

// stage writes the data chunk by chunk, each an exchange of its own. Whatever
// goes wrong, the snapshot does not stand. It answers old where a newer one is
// stored, so that nothing is to be done.
func (s *snapshotSave) stage(ctx context.Context, data []byte) (old bool, err error) {
	answer, err := s.step(ctx, "stage")
	if err != nil {
		return false, unavailable(err)
	}
	if err := verdict(s.queue, answer); err != nil || answer == "OLD" {
		return answer == "OLD", err
	}
	for n := int64(2); len(data) > 0; n++ {
		chunk := data[:min(len(data), s.j.chunkBytes)]
		data = data[len(chunk):]
		if err := s.addChunk(ctx, chunk, n); err != nil {
			s.abandon(ctx)
			return false, unavailable(err)
		}
	}
	return false, nil
}

// addChunk makes the staging n items long.
func (s *snapshotSave) addChunk(ctx context.Context, chunk []byte, n int64) error {
	pipe := s.j.writer.Pipeline()
	length := pipe.RPushX(ctx, s.staging, chunk)
	pipe.PExpire(ctx, s.staging, s.j.stagingTTL)
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	if length.Val() != n {
		return errStagingLost
	}
	return nil
}

// abandon frees a staging's memory early, above all where Redis refused a chunk
// because it has none left. Where it cannot, the time to live does.
func (s *snapshotSave) abandon(ctx context.Context) {
	if ctx.Err() == nil {
		_ = s.j.writer.Unlink(ctx, s.staging).Err()
	}
}

// finish publishes what is staged, or small, and trims.
func (s *snapshotSave) finish(ctx context.Context, small ...any) error {
	answer, err := s.step(ctx, "publish", small...)
	if errors.Is(err, queue.ErrUnavailable) {
		return err
	}
	if err != nil {
		return writeError(err)
	}
	for answer == "MORE" {
		if answer, err = s.step(ctx, "trim"); err != nil {
			return unknown(fmt.Errorf("the snapshot is saved, the log not trimmed to its end: %w", err))
		}
	}
	return verdict(s.queue, answer)
}

// step runs snapshot.lua. Its error is Redis's, or ErrUnavailable.
func (s *snapshotSave) step(ctx context.Context, step string, more ...any) (any, error) {
	args := append(append([]any{step}, s.args...), more...)
	cmd := newScriptCmd(ctx, snapshotScript, s.keys, args...)
	err := s.j.writer.Process(ctx, cmd)
	if isNoScript(err) {
		if err := loadScripts(ctx, s.j.writer); err != nil {
			return nil, unavailable(err)
		}
		cmd = redis.NewCmd(ctx, cmd.Args()...)
		err = s.j.writer.Process(ctx, cmd)
	}
	return cmd.Val(), err
}

// LoadSnapshot answers the newest snapshot. Errors: ErrNoSnapshot, ErrDamaged,
// ErrUnavailable.
func (j *RedisJournal) LoadSnapshot(ctx context.Context, queueID string) (queue.Snapshot, error) {
	for again := range maxLoads {
		s, err := j.loadSnapshot(ctx, queueID, 1<<again)
		if !errors.Is(err, errReplaced) {
			return s, err
		}
	}
	return queue.Snapshot{}, unavailable(errReplaced)
}

// loadSnapshot reads so many chunks at once. It answers errReplaced where
// another save's snapshot came between.
func (j *RedisJournal) loadSnapshot(ctx context.Context, queueID string, chunks int64) (queue.Snapshot, error) {
	items, err := j.reader.LRange(ctx, j.keys.snapshot(queueID), 0, chunks).Result()
	if err != nil {
		return queue.Snapshot{}, readError(ctx, err)
	}
	if len(items) == 0 {
		return queue.Snapshot{}, fmt.Errorf("%w: queue %s", queue.ErrNoSnapshot, queueID)
	}
	header, err := parseSnapshotHeader(queueID, items[0])
	if err != nil {
		return queue.Snapshot{}, err
	}
	data := appendAll(make([]byte, 0, header.bytes), items[1:])
	for n := chunks + 1; len(data) < header.bytes; n += chunks {
		more, err := j.readChunks(ctx, queueID, n, chunks, items[0])
		if err != nil {
			return queue.Snapshot{}, err
		}
		data = appendAll(data, more)
	}
	if len(data) != header.bytes {
		return queue.Snapshot{}, fmt.Errorf("%w: snapshot of queue %s has not its %d bytes", queue.ErrDamaged, queueID, header.bytes)
	}
	return queue.Snapshot{Version: header.version, Data: data}, nil
}

func appendAll(data []byte, chunks []string) []byte {
	for _, c := range chunks {
		data = append(data, c...)
	}
	return data
}

// readChunks answers chunks from n of the snapshot whose header is given. The
// header is read after them: no save's header comes back, so where it stands
// the chunks were that save's.
func (j *RedisJournal) readChunks(ctx context.Context, queueID string, n, chunks int64, header string) ([]string, error) {
	key := j.keys.snapshot(queueID)
	pipe := j.reader.Pipeline()
	found, now := pipe.LRange(ctx, key, n, n+chunks-1), pipe.LIndex(ctx, key, 0)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, readError(ctx, err)
	}
	switch {
	case now.Val() != header:
		return nil, errReplaced
	case len(found.Val()) == 0:
		return nil, fmt.Errorf("%w: snapshot of queue %s lacks chunk %d", queue.ErrDamaged, queueID, n)
	}
	return found.Val(), nil
}
