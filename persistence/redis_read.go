package persistence

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"nowserving/actors/queue"
)

// Redis bounds a range by a count but not by bytes. Reading begins with a small
// page and doubles it while the pages are small.
const (
	firstPage = 64
	lastPage  = 1024
)

// Read answers, in order, entries that hold events after version after: the
// first may begin at or before it. At most maxEntries, ending after the one that
// brings it to 8 MiB; none where after is the journal's version. Errors:
// ErrTrimmed (the events right after it are no longer kept), ErrLost (the
// journal ends before it), ErrDamaged, ErrUnavailable.
func (j *RedisJournal) Read(ctx context.Context, queueID string, after uint64, maxEntries int) ([]queue.Entry, error) {
	if maxEntries <= 0 || after >= MaxVersion {
		return nil, nil
	}
	// The head first: a log that ends before it has lost events. The other way
	// round an append in between would look like one.
	pipe := j.reader.Pipeline()
	head := pipe.Do(ctx, readAsWriter, j.keys.head(queueID))
	page := pipe.XRangeN(ctx, j.keys.log(queueID), streamID(after+1), "+", int64(min(maxEntries, firstPage)))
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(head.Err(), redis.Nil) {
		return nil, readError(ctx, err)
	}
	version, err := headVersion(queueID, head)
	if err != nil {
		return nil, err
	}
	if version < after {
		return nil, lost(queueID, version, after)
	}
	messages, err := page.Result()
	if err != nil {
		return nil, readError(ctx, err)
	}
	if len(messages) == 0 {
		if version > after {
			return nil, fmt.Errorf("%w: queue %s after version %d", queue.ErrTrimmed, queueID, after)
		}
		return nil, nil
	}
	return j.readOn(ctx, queueID, after, maxEntries, messages)
}

// readOn decodes the first page and reads more until a bound is reached.
func (j *RedisJournal) readOn(ctx context.Context, queueID string, after uint64, maxEntries int, messages []redis.XMessage) ([]queue.Entry, error) {
	var entries []queue.Entry
	var last queue.Entry
	size, asked := 0, min(maxEntries, firstPage)
	for {
		for i, m := range messages {
			e, err := decodeEntry(queueID, m)
			if err != nil {
				return nil, err
			}
			if len(entries) == 0 && e.First > after+1 {
				return nil, fmt.Errorf("%w: queue %s after version %d", queue.ErrTrimmed, queueID, after)
			}
			if err := follows(queueID, last, e); err != nil {
				if i == 0 {
					return entries, nil // trimmed between two pages: the next Read says so
				}
				return nil, err
			}
			entries, last = append(entries, e), e
			if size += len(e.Data); size >= readBytes {
				return entries, nil
			}
		}
		if len(messages) < asked || len(entries) >= maxEntries {
			return entries, nil
		}
		if size < readBytes/8 {
			asked = min(asked*2, lastPage)
		}
		asked = min(asked, maxEntries-len(entries))
		var err error
		messages, err = j.reader.XRangeN(ctx, j.keys.log(queueID), streamID(last.Last+1), "+", int64(asked)).Result()
		if err != nil {
			return nil, readError(ctx, err)
		}
	}
}

func streamID(version uint64) string { return strconv.FormatUint(version, 10) + "-0" }

// decodeEntry is the counterpart of what append.lua adds. Errors: ErrDamaged.
func decodeEntry(queueID string, m redis.XMessage) (queue.Entry, error) {
	idText, _, _ := strings.Cut(m.ID, "-")
	last, err := strconv.ParseUint(idText, 10, 64)
	beforeText, _ := m.Values["a"].(string)
	op, _ := m.Values["o"].(string)
	data, ok := m.Values["d"].(string)
	before, err2 := strconv.ParseUint(beforeText, 10, 64)
	e := queue.Entry{First: before + 1, Last: last, Data: []byte(data)}
	if err != nil || err2 != nil || !ok || copy(e.Op[:], op) != len(e.Op) || len(op) != len(e.Op) {
		return queue.Entry{}, fmt.Errorf("%w: queue %s, entry %s", queue.ErrDamaged, queueID, m.ID)
	}
	return e, nil
}
