package actors

import (
	"context"
	"time"

	"nowserving/actors/queue"
)

// Unfollowed bounds what of one queue's journal waits for those who must have
// its events. Beyond it the queue takes no command that makes an event: it is
// unavailable until they have caught up, and nothing is dropped.
type Unfollowed struct {
	Events uint64
	Bytes  uint64 // as events are large, roughly; those of before the queue was loaded count as small ones
}

// maxUnfollowed is the bound where GrainDeps has none: as many events as keys
// keep in the journal anyway.
var maxUnfollowed = Unfollowed{Events: 1_000_000, Bytes: 256 << 20}

const (
	// backlogMarks is how many steps of the bound are told apart.
	backlogMarks = 64
	// Followers are asked again no sooner, and do not keep the queue waiting.
	backlogLooksEvery = time.Second
	backlogLookWithin = 2 * time.Second
)

// backlog knows, about, how much of a queue's journal is not followed yet.
type backlog struct {
	most     Unfollowed
	followed uint64 // as far as is known; they may have come further since
	bytes    uint64 // of all events, counted from the first mark on
	// marks tell how many bytes there were at some versions. The first stands
	// at or before what is followed.
	marks   []backlogMark
	looking bool
	lookAt  time.Time // not before
	blind   bool      // they could not be asked
	said    bool      // that the bound is reached
}

type backlogMark struct{ version, bytes uint64 }

// begin starts anew at the version of a state that was loaded.
func (b *backlog) begin(most Unfollowed, followed, version uint64) {
	if most == (Unfollowed{}) {
		most = maxUnfollowed
	}
	b.most, b.followed, b.bytes = most, min(followed, version), 0
	b.marks = append(b.marks[:0], backlogMark{version: b.followed})
	if version > b.followed {
		b.bytes = (version - b.followed) * eventBytes
		b.marks = append(b.marks, backlogMark{version: version, bytes: b.bytes})
	}
}

// add counts an event that was decided.
func (b *backlog) add(e *queue.Event) {
	b.bytes += eventBytes
	if e.Ticket != nil {
		b.bytes += uint64(len(e.Ticket.Customer) + len(e.Ticket.Payload))
	}
	last := b.marks[len(b.marks)-1]
	if e.Version-last.version > b.most.Events/backlogMarks || b.bytes-last.bytes > b.most.Bytes/backlogMarks {
		b.marks = append(b.marks, backlogMark{e.Version, b.bytes})
	}
}

// follow notes how far everybody has come.
func (b *backlog) follow(version uint64) {
	b.followed = max(b.followed, version)
	for len(b.marks) > 1 && b.marks[1].version <= b.followed {
		b.marks = b.marks[1:]
	}
}

// over tells whether more than one part in so many of the bound waits at a version.
func (b *backlog) over(version, part uint64) bool {
	if version <= b.followed {
		return false
	}
	return (version-b.followed)*part > b.most.Events || (b.bytes-b.marks[0].bytes)*part > b.most.Bytes
}

// followedTo answers the grain's question how far everybody has come.
type followedTo struct {
	version uint64
	err     error
}

// mayGrow tells whether the queue may make an event. It looks how far everybody
// has come when half of the bound is reached, so that nobody is refused who
// need not be; in between that costs nothing.
func (g *grain) mayGrow() bool {
	version := g.state.Version()
	if !g.backlog.over(version, 2) {
		return true
	}
	g.lookBack()
	return !g.backlog.over(version, 1)
}

func (g *grain) lookBack() {
	b := &g.backlog
	if b.looking || time.Now().Before(b.lookAt) {
		return
	}
	b.looking = true
	go func() {
		ctx, cancel := context.WithTimeout(g.ctx, backlogLookWithin)
		defer cancel()
		version, err := g.Followed(ctx, string(g.id))
		g.tell(&followedTo{version, err})
	}()
}

func (g *grain) lookedBack(m *followedTo) {
	b := &g.backlog
	b.looking, b.lookAt = false, time.Now().Add(backlogLooksEvery)
	if g.state == nil {
		return
	}
	switch {
	case m.err == nil:
		b.follow(m.version)
	case !b.blind:
		g.log.Warn("it cannot be known how far the journal was followed", "error", m.err)
	}
	b.blind = m.err != nil
	if over := b.over(g.state.Version(), 1); over != b.said {
		b.said = over
		if over {
			g.log.Error("the queue takes no commands: its events wait for those who must have them", "version", g.state.Version(), "followed", b.followed)
		} else {
			g.log.Info("the queue takes commands again", "version", g.state.Version(), "followed", b.followed)
		}
	}
}
