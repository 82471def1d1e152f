package persistence

import (
	"testing"
	"time"

	"nowserving/persistence/redistest"
)

func TestRedisPace(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t)
	nodes := []*RedisJournal{openRedis(t, url, RedisOptions{}), openRedis(t, url, RedisOptions{})}
	take := func(i int, by string, window time.Duration) time.Duration {
		t.Helper()
		wait, err := nodes[i%2].Pace(t.Context(), by, 3, window)
		if err != nil {
			t.Fatal(err)
		}
		return wait
	}
	for i := range 5 {
		wait := take(i, "somebody", time.Hour)
		if taken := wait == 0; taken != (i < 3) || wait > time.Hour {
			t.Errorf("act %d waits %v", i, wait)
		}
	}
	if wait := take(0, "another", time.Hour); wait != 0 {
		t.Errorf("another waits %v", wait)
	}
	// The window moves on, and nothing is left behind it.
	const short = 50 * time.Millisecond
	for i := range 3 {
		take(i, "briefly", short)
	}
	_ = retry(t, func() error {
		wait := take(0, "briefly", short)
		if wait > short {
			t.Fatalf("%v of a window of %v", wait, short)
		}
		if wait > 0 {
			return errNotYet
		}
		return nil
	}, errNotYet)
	_ = retry(t, func() error {
		if redisAnswer(t, url, "TYPE", nodes[0].keys.pace("briefly")) != "none" {
			return errNotYet
		}
		return nil
	}, errNotYet)
}
