package gateway

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// The audit log tells who did what that only some may do, and who looked at
// personal data. It holds ids and names of fields, and nothing that is personal
// but the network address.

const (
	auditEvery   = time.Second // how often entries are tried again
	auditPending = 10_000      // entries that wait while the store is away
	auditAtEnd   = 2 * time.Second
	maxAction    = 64
	maxTarget    = 256
)

// AuditEntry is one line of the log.
type AuditEntry struct {
	ID      [16]byte // UUIDv7: the same entry twice is one
	At      time.Time
	UserID  string // who; empty: somebody at the command line
	KeyID   string // the API key that was used; empty: none
	Action  string // such as user.created
	Target  string // the id of what it was done to
	Address string // of the network
	Details json.RawMessage
}

// AuditFilter says which entries are wanted; what is empty filters nothing.
type AuditFilter struct {
	UserID, Action, Target string
	From, To               time.Time // inclusive and exclusive
}

// AuditPlace is an entry's place in the log.
type AuditPlace struct {
	At time.Time
	ID [16]byte
}

// AuditStore keeps the log.
type AuditStore interface {
	// AddAudit keeps an entry; one that is kept already is no error. It fails with
	// ErrRefused for one that does not fit; anything else may pass.
	AddAudit(ctx context.Context, e AuditEntry) error
	// ListAudit gives entries behind a place, or from the newest on where it is
	// nil, the newest first; next is nil where no more follow.
	ListAudit(ctx context.Context, f AuditFilter, after *AuditPlace, limit int) (entries []AuditEntry, next *AuditPlace, err error)
}

// ErrRefused: the store will not take an entry, however often it is asked.
var ErrRefused = errors.New("gateway: refused by the store")

// errBehind: others wait for the store already.
var errBehind = errors.New("gateway: entries of the audit log wait")

// AuditLog writes entries. One that the store does not take now waits in memory
// for Run, and stands in the program's own log as well, should the node be lost.
type AuditLog struct {
	store AuditStore
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex
	waiting []lateEntry
	taken   uint64 // late entries that the store took
}

// lateEntry is one that the store did not take at once.
type lateEntry struct {
	AuditEntry
	failed  bool
	taken   uint64 // others that had been taken when it failed last
	refused int    // how often it failed between others that were taken
}

// auditRefusals is how often the store may refuse an entry while it takes others.
const auditRefusals = 3

// NewAuditLog makes a log whose Run brings late entries into the store.
func NewAuditLog(store AuditStore, log *slog.Logger, now func() time.Time) *AuditLog {
	return &AuditLog{store: store, log: log, now: now}
}

// Run tries again what the store has not taken, until ctx is over and once more
// then. It gives nil.
func (l *AuditLog) Run(ctx context.Context) error {
	tick := time.NewTicker(auditEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.catchUp(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditAtEnd)
			defer cancel()
			for left := l.late(); left > 0 && last.Err() == nil; left-- { // each is tried once
				l.catchUp(last)
			}
			return nil
		}
	}
}

func (l *AuditLog) late() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// catchUp brings waiting entries into the store, the oldest first, as far as it
// takes them. One that it does not take goes to the end: it may be that one alone
// which it refuses, whatever the reason, and that must hold up no other.
func (l *AuditLog) catchUp(ctx context.Context) {
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.mu.Unlock()
			return
		}
		e := l.waiting[0]
		l.mu.Unlock()
		err := l.add(ctx, e.AuditEntry)
		l.mu.Lock()
		l.waiting = l.waiting[1:]
		gone := errors.Is(err, ErrRefused) && l.giveUp(&e)
		switch {
		case err == nil:
			l.taken++
		case !gone:
			l.waiting = append(l.waiting, e)
		}
		l.mu.Unlock()
		if gone {
			l.tell(slog.LevelError, "an entry of the audit log stands here alone, for the store refuses it", &e.AuditEntry, err)
		} else if err != nil {
			return
		}
	}
}

// giveUp tells whether an entry that has failed is refused while others are not.
func (l *AuditLog) giveUp(e *lateEntry) bool {
	if e.failed && l.taken > e.taken {
		e.refused++
	}
	e.failed, e.taken = true, l.taken
	return e.refused == auditRefusals
}

func (l *AuditLog) add(ctx context.Context, e AuditEntry) error {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	return l.store.AddAudit(ctx, e)
}

// keep writes an entry of what cannot be undone, now or later.
func (l *AuditLog) keep(ctx context.Context, e AuditEntry) {
	l.mu.Lock()
	behind := len(l.waiting) > 0 // then the store is away, and asking it would take its time
	l.mu.Unlock()
	err := errBehind
	if !behind {
		if err = l.add(ctx, e); err == nil {
			return
		}
	}
	l.mu.Lock()
	full := len(l.waiting) >= auditPending
	if !full {
		l.waiting = append(l.waiting, lateEntry{AuditEntry: e})
	}
	l.mu.Unlock()
	level, says := slog.LevelWarn, "an entry of the audit log waits for the database"
	if full {
		level, says = slog.LevelError, "an entry of the audit log stands here alone, for too many wait"
	}
	l.tell(level, says, &e, err)
}

func (l *AuditLog) tell(level slog.Level, says string, e *AuditEntry, err error) {
	l.log.Log(context.Background(), level, says, "user", e.UserID, "key", e.KeyID, "action", e.Action, "target", e.Target,
		"address", e.Address, "at", e.At, "details", string(e.Details), "error", err)
}

// later keeps an entry without anybody waiting for the store.
func (l *AuditLog) later(e AuditEntry) {
	l.mu.Lock()
	full := len(l.waiting) >= auditPending
	if !full {
		l.waiting = append(l.waiting, lateEntry{AuditEntry: e})
	}
	l.mu.Unlock()
	if full {
		l.tell(slog.LevelError, "an entry of the audit log stands here alone, for too many wait", &e, errBehind)
	}
}

// entry makes one for what somebody does now. details may be nil.
func (l *AuditLog) entry(who *Principal, from netip.Addr, action, target string, details any) AuditEntry {
	id, _ := uuid.NewV7() // never fails: Go ends the program instead
	e := AuditEntry{ID: id, At: l.now().UTC(), UserID: who.UserID, KeyID: who.keyID, Action: action, Target: target, Address: from.String()}
	if details != nil {
		e.Details, _ = json.Marshal(details) // maps, lists and texts always encode
	}
	return e
}

// audit records an act that has happened. What it was done to is told by ids,
// and details by what is not personal; nil for none.
func (g *Gateway) audit(c *fiber.Ctx, who *Principal, action, target string, details any) {
	g.options.Audit.keep(c.UserContext(), g.auditEntry(c, who, action, target, details))
}

// auditFirst records what must not happen, or be shown, without an entry. It
// refuses where the log cannot be written.
func (g *Gateway) auditFirst(c *fiber.Ctx, who *Principal, action, target string, details any) *problem {
	e := g.auditEntry(c, who, action, target, details)
	if err := g.options.Audit.add(c.UserContext(), e); err != nil {
		g.log.WarnContext(c.UserContext(), "refused, for the audit log cannot be written", "user", who.UserID, "action", action, "error", err)
		return unavailable("The audit log cannot be written just now, without which this is not done.")
	}
	return nil
}

// auditEntry is for those who keep it together with what it tells of.
func (g *Gateway) auditEntry(c *fiber.Ctx, who *Principal, action, target string, details any) AuditEntry {
	return g.options.Audit.entry(who, g.clientAddr(c), action, target, details)
}

// queueActs are the commands that are audited, by their names in commandSpecs.
var queueActs = map[string]string{
	"create": "queue.created", "configure": "queue.configured", "delete": "queue.deleted",
	"open": "queue.opened", "pause": "queue.paused", "close": "queue.closed",
}

// auditQueue records a command to a queue that has had an answer, if it is one
// of those that are audited. One whose fate is not known is recorded as such.
func (g *Gateway) auditQueue(ctx context.Context, who *Principal, from netip.Addr, name string, m *messages.Command, a *messages.Answer) {
	action, audited := queueActs[name]
	if !audited || a.Replayed {
		return
	}
	details := map[string]any{}
	switch {
	case a.Problem == nil:
		details["version"], details["config"] = a.Event.Version, EncodeConfig(a.Event.Config)
	case a.Problem.Code == string(queue.OutcomeUnknown):
		details["outcome"] = "unknown"
	default:
		return
	}
	g.options.Audit.keep(ctx, g.options.Audit.entry(who, from, action, m.Queue, details))
}

// listAudit serves the log to admins.
func (g *Gateway) listAudit(c *fiber.Ctx, who *Principal) error {
	if p := who.may(ReadAudit, ""); p != nil {
		return p
	}
	var wrong faults
	limit, after := limitOf(c, &wrong), (*AuditPlace)(nil)
	f := AuditFilter{
		UserID: filterOf(c, "user", maxAttendant, &wrong), Action: filterOf(c, "action", maxAction, &wrong),
		Target: filterOf(c, "target", maxTarget, &wrong),
	}
	if from, given := timeOf(c, "from", &wrong); given {
		f.From = time.UnixMilli(from)
	}
	if to, given := timeOf(c, "to", &wrong); given {
		f.To = time.UnixMilli(to)
	}
	if text, given := queryOf(c, "after", &wrong); given {
		if after = parseAuditCursor(text); after == nil {
			wrong.add("after", "must be the next of the page before")
		}
	}
	if p := wrong.problem(); p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	entries, next, err := g.options.Audit.store.ListAudit(ctx, f, after, limit)
	if err != nil {
		g.log.WarnContext(c.UserContext(), "the audit log cannot be read", "error", err)
		return unavailable("The audit log cannot be read just now.")
	}
	cursor := ""
	if next != nil {
		cursor = auditCursor(next)
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte { return appendPage(dst, entries, cursor, appendAudit) })
}

func appendAudit(dst []byte, e *AuditEntry) []byte {
	dst = appendID(append(dst, `{"id":`...), e.ID[:])
	dst = appendTime(append(dst, `,"at":`...), e.At.UnixMilli())
	dst = appendOptional(append(dst, `,"user":`...), e.UserID)
	dst = appendOptional(append(dst, `,"key":`...), e.KeyID)
	dst = appendString(append(dst, `,"action":`...), e.Action)
	dst = appendOptional(append(dst, `,"target":`...), strings.ToValidUTF8(e.Target, "\ufffd"))
	dst = appendOptional(append(dst, `,"address":`...), e.Address)
	dst = append(dst, `,"details":`...)
	if len(e.Details) == 0 {
		return append(dst, "null}"...)
	}
	return append(append(dst, e.Details...), '}')
}

const auditCursorLength = 1 + 8 + 16

func auditCursor(p *AuditPlace) string {
	raw := binary.BigEndian.AppendUint64([]byte{'a'}, uint64(p.At.UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(append(raw, p.ID[:]...))
}

// parseAuditCursor is nil for what no page can have given.
func parseAuditCursor(text string) *AuditPlace {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != auditCursorLength || raw[0] != 'a' {
		return nil
	}
	at := binary.BigEndian.Uint64(raw[1:])
	if at > 1<<62 {
		return nil
	}
	return &AuditPlace{At: time.UnixMilli(int64(at)), ID: [16]byte(raw[9:])}
}
