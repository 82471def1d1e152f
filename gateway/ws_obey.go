package gateway

import (
	"context"
	"strconv"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/messages"
)

const (
	maxFrameID     = 128
	maxEpoch       = 64
	maxVersion     = 1<<53 - 1 // of JSON's whole numbers, as the documents promise
	commandTimeout = 10 * time.Second
)

// obey does what a frame asks for. The frame's bytes are free again afterwards.
func (s *liveSession) obey(text []byte) {
	wrong := &faults{}
	o := wrong.parse(text)
	kind := o.text("type", 1, 20, false)
	if s.strange() {
		s.first(kind, o, wrong)
		return
	}
	if kind == nil {
		o.require("type")
		s.refuse(o.text("id", 1, maxFrameID, false), wrong.problem())
		return
	}
	switch *kind {
	case "auth":
		s.auth(o, wrong)
	case "ping":
		o.close()
		if p := wrong.problem(); p != nil {
			s.refuse(o.text("id", 1, maxFrameID, false), p)
			return
		}
		s.out.Write(pongFrame)
	case "subscribe", "unsubscribe", "command":
		if s.ticket != nil {
			s.refuse(o.text("id", 1, maxFrameID, false), newProblem(string(queue.Forbidden), holdersOnly))
			return
		}
		if s.confirm(); !s.ended {
			s.ofQueue(*kind, o, wrong)
		}
	default:
		o.bad("type", "is not known")
		s.refuse(o.text("id", 1, maxFrameID, false), wrong.problem())
	}
}

// refuse answers a frame; id is nil where none could be read.
func (s *liveSession) refuse(id *string, p *problem) { s.out.Write(refusalFrame(id, p)) }

// first is the first frame of a session that the upgrade did not log in.
func (s *liveSession) first(kind *string, o *object, wrong *faults) {
	token := o.text("token", 1, maxToken, false)
	o.close()
	if kind == nil || *kind != "auth" || token == nil || wrong.problem() != nil {
		s.end(closeNotLoggedIn, notAuth)
		return
	}
	s.login(*token)
}

// auth renews the session.
func (s *liveSession) auth(o *object, wrong *faults) {
	token := o.text("token", 1, maxToken, false)
	o.require("token")
	id := o.text("id", 1, maxFrameID, false)
	if id != nil {
		o.bad("id", "is not known here")
	}
	o.close()
	if p := wrong.problem(); p != nil {
		s.refuse(id, p)
		return
	}
	s.login(*token)
}

// ofQueue is a frame that names a queue and bears an id.
func (s *liveSession) ofQueue(kind string, o *object, wrong *faults) {
	id := o.text("id", 1, maxFrameID, false)
	queueID := o.text("queue", 0, maxFrame, false)
	o.require("id", "queue")
	if queueID != nil && !s.who.sees(*queueID) {
		s.refuse(id, refused(queue.ErrQueueNotFound))
		return
	}
	if kind == "command" {
		s.command(id, queueID, o, wrong)
		return
	}
	sub := actors.Subscription{Full: s.who.full()}
	if kind == "subscribe" {
		sub.Since, sub.Epoch, sub.Resume = resumeFrom(o)
	}
	o.close()
	if p := wrong.problem(); p != nil {
		s.refuse(id, p)
		return
	}
	sub.ID, sub.Queue = *id, *queueID
	if kind == "subscribe" {
		s.out.Subscribe(s.live.g.auditReplay(s.who, s.from, sub))
	} else {
		s.out.Unsubscribe(*id, *queueID)
	}
}

// resumeFrom is where the client was; it works only with both fields.
func resumeFrom(o *object) (since uint64, epoch string, both bool) {
	var given bool
	if m := o.find("since"); m != nil && isNull(m.raw) {
		m.taken = true
	} else if n, ok := o.integer("since", 0, maxVersion); ok {
		since, given = uint64(n), true
	}
	if e := o.text("epoch", 1, maxEpoch, true); e != nil {
		return since, *e, given
	}
	return since, "", false
}

// command carries out a command and answers when its event is durable.
func (s *liveSession) command(id, queueID *string, o *object, wrong *faults) {
	name := o.text("command", 1, 20, false)
	meta := commandMeta{key: o.text("idempotency_key", 0, maxFrame, false)}
	args := o.raw("args")
	if args != nil && args[0] != '{' {
		o.bad("args", "must be an object")
	}
	o.require("command")
	o.close()
	p := wrong.problem()
	if p != nil && (name == nil || queueID == nil) {
		s.refuse(id, p)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	if p != nil {
		// What the level does not allow goes before what is malformed.
		if spec, known := commandSpecs[*name]; known {
			if forbidden := s.who.may(spec.action, *queueID); forbidden != nil {
				p = forbidden
			}
		}
		s.refuse(id, p)
		return
	}
	ctx, span := s.live.g.beginFrame(ctx, *name, *queueID)
	a, p := s.carryOut(ctx, *name, *queueID, args, meta)
	if p = s.live.g.inTrace(ctx, p); p != nil {
		s.refuse(id, p)
	} else {
		s.answer(*id, *queueID, a)
	}
	endWith(span, p)
}

func (s *liveSession) carryOut(ctx context.Context, name, queueID string, args []byte, meta commandMeta) (*messages.Answer, *problem) {
	b, p := s.live.g.build(ctx, name, queueID, args, s.who, queue.FromWebSocket, "", meta)
	if p != nil {
		return nil, p
	}
	a := b.do(ctx)
	s.live.g.auditQueue(ctx, s.who, s.from, name, b.message, a)
	return a, problemOf(a.Problem)
}

// answer replies to a command that was accepted.
func (s *liveSession) answer(id, queueID string, a *messages.Answer) {
	b := append(newFrame(eventFrame), `{"type":"reply","id":`...)
	b = appendString(b, id)
	b = append(b, `,"ok":true,"version":`...)
	b = strconv.AppendUint(b, a.Version, 10)
	b = append(b, `,"data":`...)
	b = s.live.g.appendAnswer(b, queueID, a, s.who.full())
	s.out.Write(sealFrame(append(b, '}')))
}
