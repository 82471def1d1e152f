package queue

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// stage is what a dialogue plays on: queues, a clock, and the people in it.
// Tickets are called by names, which are their ids as well.
type stage struct {
	t      testing.TB
	where  string
	queues map[ID]*witness
	clock  Time
	sent   map[TicketID]*Ticket // old tickets of transfers
	ops    uint32               // of commands that name none
}

func newStage(t testing.TB) *stage {
	return &stage{t: t, queues: map[ID]*witness{}, clock: moment("10:00"), sent: map[TicketID]*Ticket{}}
}

func named(name string) (id TicketID) {
	copy(id[:], name)
	return id
}

func nameOf(id TicketID) string { return string(bytes.TrimRight(id[:], "\x00")) }

// moment reads 10:00, 10:00:15, 10:00:15.001 or, of another day of March 2025
// than the 10th, 11/10:00; always UTC.
func moment(s string) Time {
	if !strings.Contains(s, "/") {
		s = "10/" + s
	}
	for _, layout := range []string{"2/15:04", "2/15:04:05", "2/15:04:05.000"} {
		if at, err := time.Parse(layout, s); err == nil {
			return Time(at.AddDate(2025, 2, 0).UnixMilli())
		}
	}
	panic("no moment: " + s)
}

func clockFace(t Time) string {
	at := time.UnixMilli(int64(t)).UTC()
	face := at.Format("15:04:05.000")
	face = strings.TrimSuffix(strings.TrimSuffix(face, ".000"), ":00")
	if at.Day() != 10 || at.Month() != time.March {
		face = at.Format("2/") + face
	}
	return face
}

// words are a command's arguments: names first, then key=value.
type words struct {
	plain []string
	named map[string]string
}

func (w *words) take(key string) string {
	v := w.named[key]
	delete(w.named, key)
	return v
}

func (w *words) number(key string) int {
	s := w.take(key)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func (w *words) shift() string {
	if len(w.plain) == 0 {
		return ""
	}
	first := w.plain[0]
	w.plain = w.plain[1:]
	return first
}

// perform does one line: [in QUEUE] [at TIME] [by USER] [own] [again] COMMAND [NAME] [key=value…].
func (st *stage) perform(line string) (answers []string) {
	defer func() {
		if r := recover(); r != nil {
			st.t.Fatalf("%s: %s: %v", st.where, line, r)
		} else if st.t.Failed() {
			st.t.Logf("%s: %s", st.where, line)
		}
	}()
	w := &words{named: map[string]string{}}
	for _, word := range strings.Fields(line) {
		if key, value, ok := strings.Cut(word, "="); ok {
			w.named[key] = value
		} else {
			w.plain = append(w.plain, word)
		}
	}
	id, c := ID("bank"), &Command{By: "ann"}
	verb := ""
	for verb == "" {
		switch word := w.shift(); word {
		case "in":
			id = ID(w.shift())
		case "at":
			st.clock = moment(w.shift())
		case "by":
			c.By = w.shift()
		case "own":
			c.OwnOnly = true
		case "again":
			c.Again = true
		default:
			verb = word
		}
	}
	c.At = st.clock
	if st.queues[id] == nil {
		st.queues[id] = newWitness(st.t, id)
		st.queues[id].thorough = true
	}
	queue := st.queues[id]
	if answers, done := st.beside(queue, verb, w); done {
		st.allRead(w)
		return answers
	}
	st.identify(c, w)
	if _, c.HasIfMatch = w.named["if-match"]; c.HasIfMatch {
		c.IfMatch = uint64(w.number("if-match"))
	}
	c.Fingerprints = []uint64{fingerprintOf(verb, w)}
	c.Do = st.action(verb, w)
	if a, ok := c.Do.(*Arrive); ok {
		c.Op, c.Keyed, c.Fingerprints = ArrivalOp(a.Old), true, []uint64{1}
	}
	st.allRead(w)
	return st.act(queue, c)
}

// identify names the operation: by its key, or by op, which is remembered for a
// moment only.
func (st *stage) identify(c *Command, w *words) {
	key, op := w.take("key"), w.take("op")
	switch {
	case key != "":
		c.Keyed, c.Op = true, OpID(named(key))
	case op != "":
		c.Op = OpID(named(op))
	default:
		c.Op = st.freshOp()
	}
}

func (st *stage) freshOp() OpID {
	st.ops++
	return OpID(named(fmt.Sprint("unnamed ", st.ops)))
}

// allRead refuses words that nothing read, such as a misspelt key.
func (st *stage) allRead(w *words) {
	if len(w.plain)+len(w.named) > 0 {
		panic(fmt.Sprintf("what is %v %v?", w.plain, w.named))
	}
}

// fingerprintOf is of what is asked, which includes the names.
func fingerprintOf(verb string, w *words) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, verb, w.plain, w.named)
	return h.Sum64()
}

func (st *stage) act(queue *witness, c *Command) []string {
	d, err := queue.do(c)
	switch {
	case err != nil:
		return []string{refusal(err)}
	case d.ReplayOf != 0:
		return []string{fmt.Sprintf("replay of v%d", d.ReplayOf)}
	}
	if d.Event.Kind == TicketTransferred {
		st.sent[d.Event.Ticket.ID] = d.Event.Ticket
	}
	return []string{eventWords(d.Event), lineWords(queue.live)}
}

func refusal(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	answer := "refused: " + string(e.Code)
	for _, f := range e.Fields {
		answer += " " + f.Field
	}
	return answer
}

// beside does what is not a command of a user.
func (st *stage) beside(queue *witness, verb string, w *words) ([]string, bool) {
	s := queue.live
	placed := func(err error) []string {
		if err != nil {
			return []string{refusal(err)}
		}
		return []string{"kept"}
	}
	switch verb {
	case "keep-place":
		return placed(s.KeepPlace(named(w.shift()), st.clock)), true
	case "free-place":
		s.FreePlace(named(w.shift()))
		return []string{"freed"}, true
	case "delivered":
		queue.delivered(named(w.shift()))
		return []string{fmt.Sprintf("outbox: %d", len(s.Outbox()))}, true
	case "lost":
		// The store has lost events; known is the highest version known elsewhere.
		e := queue.newEpoch(uint64(w.number("known")), w.take("epoch"), OpID{9}, st.clock)
		return []string{eventWords(e), lineWords(s)}, true
	case "restart":
		// Another activation: from an image, and without the places.
		queue.restore()
		queue.live, queue.restored = queue.restored, nil
		return []string{lineWords(queue.live)}, true
	case "show":
		t, position, ok := s.Ticket(named(w.shift()))
		if !ok {
			return []string{"not there"}, true
		}
		return []string{ticketWords(t, position)}, true
	case "of-person":
		names := []string{"of that person:"}
		for _, t := range s.OfPerson([][]byte{[]byte(w.shift())}, 3) {
			names = append(names, nameOf(t.ID))
		}
		return []string{strings.Join(names, " ")}, true
	case "number":
		var names []string
		for _, t := range s.ByNumber(w.shift()) {
			names = append(names, nameOf(t.ID))
		}
		return []string{strings.Join(names, " ")}, true
	case "crowd":
		return st.crowd(queue, w), true
	}
	return nil, false
}

// crowd enqueues count=n tickets and removes them at once, for their numbers.
func (st *stage) crowd(queue *witness, w *words) []string {
	var last string
	prefix, n := w.shift(), w.number("count")
	queue.thorough = false
	for i := range n {
		id := named(prefix + strconv.Itoa(i))
		d, err := queue.do(&Command{At: st.clock, By: "ann", Op: st.freshOp(), Do: &Enqueue{ID: id}})
		if err == nil {
			last = d.Event.Ticket.Number
			_, err = queue.do(&Command{At: st.clock, By: "ann", Op: st.freshOp(), Do: &Remove{Ticket: id}})
		}
		if err != nil {
			panic(err)
		}
	}
	queue.thorough = true
	queue.check()
	return []string{fmt.Sprintf("%d came and went, the last was %s; v%d", n, last, queue.live.Version())}
}

func lineWords(s *State) string {
	if !s.Exists() {
		return "no queue"
	}
	var parts []string
	for state := Waiting; state <= Completed; state++ {
		var names []string
		s.Page(state, 0, func(t *Ticket) bool {
			name := nameOf(t.ID)
			if t.State.Active() {
				name += "@" + short(t.Desk) + "/" + t.Attendant
			}
			if t.State.Finished() {
				name += "(" + t.State.String() + ")"
			}
			names = append(names, name)
			return true
		})
		label := state.String() + ": "
		if state == Waiting {
			label = ""
		}
		if state == Completed {
			label = "finished: "
		}
		if n := len(names); n > 12 {
			names = append(slices.Clone(names[:2]), "…", names[n-1], fmt.Sprintf("(%d)", n))
		}
		if len(names) > 0 {
			parts = append(parts, label+strings.Join(names, " "))
		} else if state == Waiting {
			parts = append(parts, "-")
		}
	}
	return s.Status().String() + " | " + strings.Join(parts, " | ")
}
