package gateway

import (
	"strconv"
	"time"

	"nowserving/messages"
)

// frames makes the frames that go to clients: an actors.Renderer. Each is
// rendered once, however many sessions it goes to.
type frames struct{ *renderer }

// Sizes to begin with, so that most frames need not grow.
const (
	smallFrame = 256
	eventFrame = 1_024
	perTicket  = 600
)

// Event is one event of a queue.
func (f frames) Event(queueID string, e *messages.Event, full bool) []byte {
	return sealFrame(f.appendEvent(newFrame(eventFrame), queueID, e, full))
}

// Snapshot is a queue as it stands, with the first of its waiting tickets.
func (f frames) Snapshot(id, queueID string, v *messages.View, full bool) []byte {
	b := newFrame(eventFrame + perTicket*(len(v.Tickets)+len(v.ActiveTickets)+len(v.Held)))
	b = append(b, `{"type":"snapshot","id":`...)
	b = appendStream(b, id, queueID, v.Version, v.Epoch)
	b = append(b, `,"data":`...)
	b = f.appendSnapshot(b, queueID, v, full)
	return sealFrame(append(b, '}'))
}

// SnapshotPart is more of its waiting tickets.
func (f frames) SnapshotPart(queueID string, v *messages.View, full bool) []byte {
	b := append(newFrame(eventFrame+perTicket*len(v.Tickets)), `{"type":"snapshot_part","queue":`...)
	b = appendString(b, queueID)
	b = append(b, `,"version":`...)
	b = strconv.AppendUint(b, v.Version, 10)
	b = append(b, `,"waiting":`...)
	b = f.appendTickets(b, v.Tickets, queueID, full)
	return sealFrame(append(b, '}'))
}

// Resumed says that the events go on where the client was.
func (f frames) Resumed(id, queueID string, version uint64, epoch string) []byte {
	b := append(newFrame(smallFrame), `{"type":"resumed","id":`...)
	return sealFrame(append(appendStream(b, id, queueID, version, epoch), '}'))
}

func appendStream(b []byte, id, queueID string, version uint64, epoch string) []byte {
	b = appendString(b, id)
	b = append(b, `,"queue":`...)
	b = appendString(b, queueID)
	b = append(b, `,"version":`...)
	b = strconv.AppendUint(b, version, 10)
	b = append(b, `,"epoch":`...)
	return appendString(b, epoch)
}

// Gone says that the queue was deleted.
func (f frames) Gone(queueID string) []byte {
	b := append(newFrame(smallFrame), `{"type":"gone","queue":`...)
	return sealFrame(append(appendString(b, queueID), '}'))
}

// Refused answers a frame that a queue refused.
func (f frames) Refused(id string, p *messages.Problem) []byte {
	return refusalFrame(&id, problemOf(p))
}

// Done answers an unsubscribe.
func (f frames) Done(id string) []byte {
	b := append(newFrame(smallFrame), `{"type":"reply","id":`...)
	return sealFrame(append(appendString(b, id), `,"ok":true}`...))
}

// refusalFrame answers a frame that is refused; id is nil where none could be read.
func refusalFrame(id *string, p *problem) []byte {
	b := append(newFrame(2*smallFrame), `{"type":"reply","id":`...)
	if id == nil {
		b = append(b, "null"...)
	} else {
		b = appendString(b, *id)
	}
	b = append(b, `,"ok":false,"error":`...)
	return sealFrame(append(appendProblem(b, p), '}'))
}

// readyFrame says that the session is logged in; u is nil for the holder of a
// ticket, whose token has no end of its own.
func readyFrame(session string, u *User, expires time.Time) []byte {
	b := append(newFrame(2*smallFrame), `{"type":"ready","session":`...)
	b = appendString(b, session)
	b = append(b, `,"user":`...)
	if u == nil {
		return sealFrame(append(b, `null,"expires_at":null}`...))
	}
	b = appendUser(b, u)
	b = append(b, `,"expires_at":`...)
	b = appendTime(b, expires.UnixMilli())
	return sealFrame(append(b, '}'))
}

// Ticket is how a ticket stands, for its holder.
func (f frames) Ticket(queueID string, p *messages.Placed) []byte {
	b := append(newFrame(2*smallFrame), `{"type":"ticket","data":`...)
	return sealFrame(append(appendPublicTicket(b, queueID, p), '}'))
}

var pongFrame = sealFrame(append(newFrame(smallFrame), `{"type":"pong"}`...))
