package gateway

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/google/uuid"
)

// The kinds of fields that requests have. Each asks an object for one of its
// members and complains where it is not of that kind.

// text gives a string of min to max characters; nil where it was left out or
// is null. Where null is not allowed it is a fault.
func (o *object) text(name string, min, max int, nullable bool) *string {
	raw := o.raw(name)
	switch {
	case raw == nil || nullable && isNull(raw):
		return nil
	case raw[0] != '"':
		o.bad(name, "must be a string")
		return nil
	}
	s, sound := unquote(raw)
	switch n := utf8.RuneCountInString(s); {
	case !sound:
		o.bad(name, "must be valid Unicode")
	case n < min:
		o.bad(name, "must not be empty")
	case n > max:
		o.bad(name, "must be at most "+strconv.Itoa(max)+" characters")
	default:
		return &s
	}
	return nil
}

// line is text that is shown on screens: without control characters. It gives
// "" for what was left out or null.
func (o *object) line(name string, min, max int, nullable bool) string {
	s := o.text(name, min, max, nullable)
	if s == nil {
		return ""
	}
	for _, r := range *s {
		if r < ' ' || r == 0x7f {
			o.bad(name, "must not hold control characters")
			return ""
		}
	}
	return *s
}

// integer gives a whole number from min to max, false where it was left out.
func (o *object) integer(name string, min, max int64) (int64, bool) {
	n, given := o.number(name)
	if given && (n < min || n > max) {
		o.bad(name, "must be "+strconv.FormatInt(min, 10)+" to "+strconv.FormatInt(max, 10))
		return 0, false
	}
	return n, given
}

// number gives a whole number, brought to the nearest end where it is beyond
// what an int64 holds.
func (o *object) number(name string) (int64, bool) {
	raw := o.raw(name)
	if raw == nil {
		return 0, false
	}
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return n, true
	}
	// 3.0 and 3e0 are whole numbers too. (A string or null is no number.)
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil && !math.IsInf(f, 0) || f != math.Trunc(f) {
		o.bad(name, "must be a whole number")
		return 0, false
	}
	const bound = 1 << 62
	return int64(math.Max(-bound, math.Min(f, bound))), true
}

// bound is an optional number of at least 1: 0 where it was left out or is
// null, which is how the queue says "none".
func (o *object) bound(name string, max int64) uint32 {
	if m := o.find(name); m != nil && isNull(m.raw) {
		m.taken = true
		return 0
	}
	n, _ := o.integer(name, 1, max)
	return uint32(n)
}

func (o *object) flag(name string) bool {
	raw := o.raw(name)
	if raw != nil && raw[0] != 't' && raw[0] != 'f' {
		o.bad(name, "must be true or false")
	}
	return len(raw) > 0 && raw[0] == 't'
}

// texts gives a list of strings; their bounds are the queue's to check.
func (o *object) texts(name string) []string {
	raw := o.raw(name)
	if raw == nil {
		return nil
	}
	var list []*string
	if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		o.bad(name, "must be a list of strings")
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		if s == nil {
			o.bad(name, "must be a list of strings")
			return nil
		}
		out[i] = *s
	}
	return out
}

// ticket gives the 16 bytes of a ticket's id, nil where it was left out.
func (o *object) ticket(name string) []byte {
	s := o.text(name, 1, 36, false)
	if s == nil {
		return nil
	}
	id := ticketID(*s)
	if id == nil {
		o.bad(name, "must be a ticket's id")
	}
	return id
}

// ticketID reads an id in its one written form; nil where it is none. The zero
// UUID is none: the queue takes it for "no ticket".
func ticketID(s string) []byte {
	id, err := uuid.Parse(s)
	if len(s) != 36 || err != nil || id == uuid.Nil {
		return nil
	}
	return id[:]
}

// payload gives any JSON value as it was written, nil for null; given is false
// where it was left out.
func (o *object) payload(name string) (raw []byte, given bool) {
	raw = o.raw(name)
	switch {
	case raw == nil:
		return nil, false
	case isNull(raw):
		return nil, true
	case len(raw) > maxPayload:
		o.wrong.tooLarge = true
		return nil, true
	}
	return raw, true
}

// The fields of a customer and their bounds in characters.
var customerFields = []struct {
	name string
	max  int
}{{"name", 200}, {"phone", 40}, {"email", 254}, {"ref", 100}}

// customer gives the customer in the one form in which it is sealed and later
// shown, with every field; nil where nothing is said of anyone.
func (o *object) customer(name string) (plain []byte, given bool) {
	raw := o.raw(name)
	switch {
	case raw == nil:
		return nil, false
	case isNull(raw):
		return nil, true
	case raw[0] != '{':
		o.bad(name, "must be an object")
		return nil, true
	}
	in := o.wrong.open(raw, o.prefix+name+".")
	any := false
	for i, field := range customerFields {
		plain = append(plain, "{,"[min(i, 1)])
		plain = append(append(append(plain, '"'), field.name...), `":`...)
		if s := in.text(field.name, 0, field.max, true); s != nil {
			plain, any = appendString(plain, *s), true
		} else {
			plain = append(plain, "null"...)
		}
	}
	in.close()
	if !any {
		return nil, true
	}
	return append(plain, '}'), true
}

// canonical writes a JSON value so that equal values are equal texts: no white
// space, names in order. Numbers stay as they were written.
func canonical(raw []byte) []byte {
	if len(raw) == 0 {
		return nil
	}
	var value any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&value) != nil {
		return raw
	}
	text, err := json.Marshal(value)
	if err != nil {
		return raw
	}
	return text
}

// require complains about members that were left out.
func (o *object) require(names ...string) {
	for _, name := range names {
		if o.find(name) == nil && o.wrong.refusal == nil {
			o.bad(name, "is required")
		}
	}
}
