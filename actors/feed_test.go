package actors_test

import (
	"bytes"
	"testing"

	"nowserving/actors"
	"nowserving/messages"
)

type sleeper struct{}

func (sleeper) Wake(*actors.Feed) {}

// What a feed keeps is bounded in bytes too: the largest events are fewer.
func TestFeedKeepsFewLargeEvents(t *testing.T) {
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	n := startNode(t, j)
	n.do(t, "q", create(1))
	feed := n.feeds.Join("q", sleeper{})
	defer n.feeds.Leave(feed, sleeper{})
	payload := bytes.Repeat([]byte{7}, 16<<10)
	const most = 16 << 20 / (5 * 16 << 10) // as it is kept, and shown in two forms to two levels
	var version uint64
	for range most + 50 {
		version = n.do(t, "q", &messages.Command{Action: &messages.Command_Enqueue{Enqueue: &messages.Enqueue{
			Id: newID(), Source: messages.Source_SOURCE_REST, Payload: payload,
		}}}).Version
	}
	eventually(t, "the feed is up with the journal", func() bool {
		items, _ := feed.After(version - 1)
		return len(items) == 1
	})
	if items, known := feed.After(version - most + 20); !known || len(items) != most-20 {
		t.Errorf("%d events are kept, %v", len(items), known)
	}
	if _, known := feed.After(version - most - 1); known {
		t.Error("too much is kept")
	}
}

// A follower that was shown the queue before the feed first looked, and before
// the store lost it, is told: else it would go on with what is no more.
func TestFeedMissesWhatItsFollowersWereShown(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	n := startNode(t, j)
	version := n.do(t, "q", create(1)).Version
	whole, empty := n.feeds.Join("q", sleeper{}), n.feeds.Join("lost", sleeper{})
	defer n.feeds.Leave(whole, sleeper{})
	defer n.feeds.Leave(empty, sleeper{})
	whole.Shown(version)
	empty.Shown(4)
	eventually(t, "the loss is noticed", func() bool { return empty.Losses() == 1 })
	empty.Shown(5) // again
	eventually(t, "the next loss is noticed", func() bool { return empty.Losses() == 2 })
	if n := whole.Losses(); n != 0 {
		t.Errorf("%d losses where nothing is lost", n)
	}
}
