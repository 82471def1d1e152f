package persistence

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"nowserving/actors/queue"
	"nowserving/persistence/redistest"
)

// staged is a save whose data is staged but not published yet.
func staged(t *testing.T, j *RedisJournal, l *line, s queue.Snapshot) *snapshotSave {
	t.Helper()
	save := j.newSave(l.queue, l.owner, s, 0)
	if old, err := save.stage(t.Context(), s.Data); old || err != nil {
		t.Fatal(old, err)
	}
	return save
}

// openWithSnapshot starts a Redis for withSnapshot.
func openWithSnapshot(t *testing.T) (j *RedisJournal, l *line, url string) {
	t.Helper()
	url = redistest.Start(t)
	j, l = withSnapshot(t, url)
	return j, l, url
}

// withSnapshot opens a journal of small chunks, whose queue q has an old snapshot.
func withSnapshot(t *testing.T, url string) (*RedisJournal, *line) {
	t.Helper()
	j := openRedis(t, url, RedisOptions{})
	j.chunkBytes = 1000
	l := claim(t, j, "q")
	l.append(9, "a")
	if err := j.SaveSnapshot(t.Context(), "q", l.owner, snapshotOf(1), 0); err != nil {
		t.Fatal(err)
	}
	return j, l
}

func snapshotOf(version uint64) queue.Snapshot {
	return queue.Snapshot{Version: version, Data: bytes.Repeat([]byte{byte(version)}, 4500)}
}

func wantSnapshot(t *testing.T, j *RedisJournal, version uint64) {
	t.Helper()
	got, err := j.LoadSnapshot(t.Context(), "q")
	if err != nil || got.Version != version || !bytes.Equal(got.Data, snapshotOf(version).Data) {
		t.Fatalf("snapshot %d of %d bytes, %v; want of %d", got.Version, len(got.Data), err, version)
	}
}

func wantStagings(t *testing.T, j *RedisJournal, want int) {
	t.Helper()
	if got := stagings(t, j); got != want {
		t.Fatalf("%d stagings, want %d", got, want)
	}
}

func stagings(t *testing.T, j *RedisJournal) int {
	t.Helper()
	keys, err := j.reader.Keys(t.Context(), j.keys.prefix+":{q}:staging:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return len(keys)
}

func TestRedisInterruptedStagingLeavesTheOldSnapshot(t *testing.T) {
	t.Parallel()
	server := redistest.StartWith(t, redistest.Options{})
	j, l := withSnapshot(t, server.URL())
	save := j.newSave("q", l.owner, snapshotOf(5), 0)
	if _, err := save.stage(t.Context(), snapshotOf(5).Data[:2000]); err != nil {
		t.Fatal(err)
	}
	wantSnapshot(t, j, 1)
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	retry(t, func() error { return j.Ping(context.Background()) }, queue.ErrUnavailable)
	wantSnapshot(t, j, 1)
	// What is not whole is not published, and goes.
	wantError(t, retryUntil(t, func() error { return save.finish(t.Context()) }, "not whole"), queue.ErrUnavailable)
	wantSnapshot(t, j, 1)
	wantStagings(t, j, 0)
	if err := j.SaveSnapshot(t.Context(), "q", l.owner, snapshotOf(5), 0); err != nil {
		t.Fatal(err)
	}
	wantSnapshot(t, j, 5)
}

// retryUntil calls f until its error says so: connections that a restart broke come first.
func retryUntil(t *testing.T, f func() error, says string) error {
	t.Helper()
	for range 100 {
		if err := f(); err != nil && strings.Contains(err.Error(), says) {
			return err
		}
	}
	t.Fatal("never said: ", says)
	return nil
}

func TestRedisTwoOwnersStageAtOnce(t *testing.T) {
	t.Parallel()
	j, a, _ := openWithSnapshot(t)
	saveA := staged(t, j, a, snapshotOf(3))
	b := claim(t, j, "q")
	saveB := staged(t, j, b, snapshotOf(3))
	saveB2 := staged(t, j, b, snapshotOf(4)) // nor do two of one owner mix
	wantStagings(t, j, 3)
	wantSnapshot(t, j, 1)
	wantError(t, saveA.finish(t.Context()), queue.ErrFenced)
	wantStagings(t, j, 2)
	wantSnapshot(t, j, 1)
	if err := saveB2.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := saveB.finish(t.Context()); err != nil { // older by now: ignored
		t.Fatal(err)
	}
	wantSnapshot(t, j, 4)
	wantStagings(t, j, 0)
	if _, err := saveA.stage(t.Context(), snapshotOf(3).Data); err == nil {
		t.Fatal("who is fenced stages")
	}
	wantStagings(t, j, 0)
}

func TestRedisAbandonedStagingDisappears(t *testing.T) {
	t.Parallel()
	j, l, _ := openWithSnapshot(t)
	j.stagingTTL = 100 * time.Millisecond
	save := staged(t, j, l, snapshotOf(3))
	for end := time.Now().Add(20 * time.Second); stagings(t, j) > 0; {
		if time.Now().After(end) {
			t.Fatal("it stays")
		}
	}
	wantError(t, save.addChunk(t.Context(), []byte("late"), 2), errStagingLost)
	wantStagings(t, j, 0) // a late chunk does not bring it back
	wantError(t, save.finish(t.Context()), queue.ErrUnavailable)
	wantSnapshot(t, j, 1)
	j.stagingTTL = time.Minute
	staged(t, j, l, snapshotOf(3))
	keys, err := j.reader.Keys(t.Context(), j.keys.prefix+":{q}:staging:*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	if ttl := j.reader.PTTL(t.Context(), keys[0]).Val(); ttl <= 0 || ttl > time.Minute {
		t.Fatal(ttl)
	}
	if err := j.SaveSnapshot(t.Context(), "q", l.owner, snapshotOf(4), 0); err != nil {
		t.Fatal(err)
	}
	if ttl := j.reader.PTTL(t.Context(), j.keys.snapshot("q")).Val(); ttl != -1 {
		t.Fatal("the snapshot itself has a time to live", ttl)
	}
}

func TestRedisFullWhileStaging(t *testing.T) {
	t.Parallel()
	j, l, url := openWithSnapshot(t)
	save := j.newSave("q", l.owner, snapshotOf(3), 0)
	if _, err := save.stage(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	redisCommand(t, url, "config", "set", "maxmemory", "1")
	err := save.addChunk(t.Context(), []byte("more"), 2)
	if err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		t.Fatal(err)
	}
	save.abandon(t.Context())
	wantStagings(t, j, 0) // its memory is free again at once
	wantError(t, j.SaveSnapshot(t.Context(), "q", l.owner, snapshotOf(3), 0), queue.ErrUnavailable)
	wantSnapshot(t, j, 1)
}

func TestRedisLoadBeginsAgainWhenReplaced(t *testing.T) {
	t.Parallel()
	j, l, url := openWithSnapshot(t)
	header := j.reader.LIndex(t.Context(), j.keys.snapshot("q"), 0).Val()
	if _, err := j.readChunks(t.Context(), "q", 2, 1, header); err != nil {
		t.Fatal(err)
	}
	// The same version again, too, is another save.
	if err := j.SaveSnapshot(t.Context(), "q", l.owner, snapshotOf(1), 0); err != nil {
		t.Fatal(err)
	}
	_, err := j.readChunks(t.Context(), "q", 2, 1, header)
	wantError(t, err, errReplaced)
	redisCommand(t, url, "rpop", j.keys.snapshot("q"))
	_, err = j.LoadSnapshot(t.Context(), "q")
	wantError(t, err, queue.ErrDamaged)
	redisCommand(t, url, "lset", j.keys.snapshot("q"), 0, "x")
	_, err = j.LoadSnapshot(t.Context(), "q")
	wantError(t, err, queue.ErrDamaged)
}
