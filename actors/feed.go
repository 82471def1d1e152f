package actors

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// Bounds of feeds.
const (
	feedKeeps       = 2_048           // events kept in memory for those who follow closely
	feedBytes       = 16 << 20        // of them, as they are kept and in all the ways that they are shown, about
	feedReadsEvery  = time.Second     // a look at the journal even where no wake-up came
	feedReadTimeout = 5 * time.Second // of one read of the journal
)

// Feeds follow the journals of the queues that somebody on this node looks at.
// Each queue is followed once, however many look; wake-ups may be lost, for
// the read of the journal that follows is what counts.
type Feeds struct {
	journal Journal
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu    sync.RWMutex
	feeds map[string]*Feed
	heard map[string]uint64 // versions of queues that other nodes have told of
}

// NewFeeds makes the node's feeds. Close ends them.
func NewFeeds(journal Journal, log *slog.Logger) *Feeds {
	ctx, cancel := context.WithCancel(context.Background())
	return &Feeds{journal: journal, log: log, ctx: ctx, cancel: cancel, feeds: make(map[string]*Feed), heard: make(map[string]uint64)}
}

// Close ends all feeds and waits for them.
func (f *Feeds) Close() {
	f.cancel()
	f.running.Wait()
}

// Wake tells that a queue's journal has reached a version. It never blocks.
func (f *Feeds) Wake(id string, _ uint64) {
	f.mu.RLock()
	feed := f.feeds[id]
	f.mu.RUnlock()
	if feed != nil {
		feed.wake()
	}
}

// Known is the newest version of a queue that its feed has seen or another node
// has told of, 0 where none was.
func (f *Feeds) Known(id string) uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	feed := f.feeds[id]
	if feed == nil {
		return f.heard[id]
	}
	feed.mu.RLock()
	defer feed.mu.RUnlock()
	return max(feed.head, f.heard[id])
}

// Follower is told, without blocking, that its feed has more for it. It may be
// told so once more right after it has left.
type Follower interface{ Wake(feed *Feed) }

// Join makes somebody a follower of a queue's events from about now on.
func (f *Feeds) Join(id string, who Follower) *Feed {
	f.mu.Lock()
	defer f.mu.Unlock()
	feed := f.feeds[id]
	if feed == nil {
		ctx, cancel := context.WithCancel(f.ctx)
		feed = &Feed{id: id, all: f, signal: make(chan struct{}, 1), cancel: cancel, followers: make(map[Follower]struct{})}
		f.feeds[id] = feed
		f.running.Add(1)
		go feed.run(ctx)
	}
	feed.mu.Lock()
	feed.followers[who], feed.audience = struct{}{}, nil
	feed.mu.Unlock()
	return feed
}

// Leave ends that; the last to leave ends the feed.
func (f *Feeds) Leave(feed *Feed, who Follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	feed.mu.Lock()
	defer feed.mu.Unlock()
	delete(feed.followers, who)
	feed.audience = nil
	if len(feed.followers) == 0 && f.feeds[feed.id] == feed {
		delete(f.feeds, feed.id)
		feed.cancel()
	}
}

// Feed is the tail of one queue's journal in memory.
type Feed struct {
	id      string
	all     *Feeds
	signal  chan struct{}
	cancel  context.CancelFunc
	failing bool // of the feed's own goroutine: the last look failed

	mu        sync.RWMutex
	items     []*FeedItem // contiguous versions, up to head
	bytes     int         // of items, about
	head      uint64
	shown     uint64 // the newest version that a follower has from elsewhere
	losses    int    // times that the journal was found to end before what was known
	followers map[Follower]struct{}
	audience  []Follower // the same, to walk without the lock; nil after a change
}

// FeedItem is one event, with what it looks like to those who follow.
type FeedItem struct {
	Event  *messages.Event
	frames [2 * forms]frame
}

type frame struct {
	once sync.Once
	b    []byte
}

// bytes is about what the event takes, with what is rendered of it.
func (i *FeedItem) bytes() int {
	t := i.Event.GetTicket()
	return (1 + len(i.frames)) * (eventBytes + len(t.GetCustomer()) + len(t.GetPayload()))
}

// Form tells renderings of an event apart: those of one are shared by all whose
// Renderer makes it.
type Form int

// The forms.
const (
	FormText  Form = iota // WebSocket's
	FormProto             // gRPC's
	forms
)

// Frame renders the event once for all who see it in full, and once for those who
// do not, in each form.
func (i *FeedItem) Frame(form Form, full bool, render func(*messages.Event, bool) []byte) []byte {
	f := &i.frames[2*form]
	if full {
		f = &i.frames[2*form+1]
	}
	f.once.Do(func() { f.b = render(i.Event, full) })
	return f.b
}

func (d *Feed) wake() {
	select {
	case d.signal <- struct{}{}:
	default: // it is about to look anyway
	}
}

// run follows the journal until nobody follows the feed any more.
func (d *Feed) run(ctx context.Context) {
	defer d.all.running.Done()
	tick := time.NewTicker(feedReadsEvery)
	defer tick.Stop()
	started := false
	for {
		if !started {
			started = d.start(ctx)
		}
		if started {
			d.follow(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-d.signal:
		case <-tick.C:
		}
	}
}

// Shown tells that a follower was shown the queue at a version: a journal that
// ends before it has lost events, though the feed may never have seen them.
func (d *Feed) Shown(version uint64) {
	d.mu.Lock()
	d.shown = max(d.shown, version)
	news := version > d.head
	d.mu.Unlock()
	if news {
		d.wake()
	}
}

// known is the version before which the journal cannot end.
func (d *Feed) known() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return max(d.head, d.shown)
}

// start begins at the journal's end; who needs what was before reads it from the journal.
func (d *Feed) start(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, feedReadTimeout)
	defer cancel()
	known := d.known() // before the look, which sees all of it
	versions, err := d.all.journal.Versions(ctx, []string{d.id})
	if err != nil {
		d.failed(ctx, err)
		return false
	}
	d.mu.Lock()
	if versions[0] < known {
		d.all.log.Error("the store has lost events of a queue that were followed", "queue", d.id, "version", known, "left", versions[0])
		d.losses++
		d.shown = 0
	}
	d.items, d.bytes, d.head = nil, 0, versions[0]
	d.mu.Unlock()
	d.tell()
	return true
}

// follow reads on until there is nothing more.
func (d *Feed) follow(ctx context.Context) {
	for ctx.Err() == nil {
		known := d.known()
		items, err := readItems(ctx, d.all.journal, d.id, d.head)
		// Too far behind, or ahead of what is left: followers read the rest, or start over.
		if errors.Is(err, queue.ErrTrimmed) || errors.Is(err, queue.ErrLost) {
			d.start(ctx)
			return
		}
		if err != nil {
			d.failed(ctx, err)
			return
		}
		d.failing = false
		if len(items) == 0 {
			if d.head < known { // that is all that there is
				d.start(ctx)
			}
			return
		}
		d.keep(items)
		d.tell()
	}
}

// keep adds what was read, and forgets the oldest.
func (d *Feed) keep(items []*FeedItem) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.items = append(d.items, items...)
	for _, i := range items {
		d.bytes += i.bytes()
	}
	old := 0
	for i := len(d.items) - len(items); i < len(d.items); i++ {
		if d.items[i].Event.Erases { // who resumes from before it is to start over
			for ; old < i; old++ {
				d.bytes -= d.items[old].bytes()
			}
		}
	}
	for len(d.items)-old > feedKeeps || d.bytes > feedBytes {
		d.bytes -= d.items[old].bytes()
		old++
	}
	if old > 0 {
		d.items = append([]*FeedItem(nil), d.items[old:]...)
	}
	d.head = items[len(items)-1].Event.Version
}

func (d *Feed) failed(ctx context.Context, err error) {
	if over := ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded); !over && !d.failing {
		d.failing = true // once for each outage
		d.all.log.Warn("the journal cannot be followed", "queue", d.id, "error", err)
	}
}

// tell wakes all followers, without the lock, which they need to look.
func (d *Feed) tell() {
	for _, who := range d.everyone() {
		who.Wake(d)
	}
}

func (d *Feed) everyone() []Follower {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.audience == nil {
		d.audience = slices.Collect(maps.Keys(d.followers))
	}
	return d.audience
}

// Losses counts how often the journal has lost events of the feed: who has
// followed it since before must start over.
func (d *Feed) Losses() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.losses
}

// After gives the events after a version; known is false where they have left
// the feed's memory, or never were in it, and have to be read from the journal.
func (d *Feed) After(version uint64) (items []*FeedItem, known bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if version >= d.head {
		return nil, true
	}
	behind := d.head - version
	if behind > uint64(len(d.items)) {
		return nil, false
	}
	return d.items[uint64(len(d.items))-behind:], true
}

// readItems reads the next events after a version from the journal.
func readItems(ctx context.Context, j Journal, id string, after uint64) ([]*FeedItem, error) {
	ctx, cancel := context.WithTimeout(ctx, feedReadTimeout)
	defer cancel()
	entries, err := j.Read(ctx, id, after, readEntries)
	if err != nil {
		return nil, err
	}
	var items []*FeedItem
	for _, entry := range entries {
		events, err := decodeEntry(entry)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			if e.Version > after {
				items = append(items, &FeedItem{Event: e})
			}
		}
	}
	return items, nil
}
