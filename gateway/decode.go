package gateway

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"nowserving/actors/queue"
)

// Bounds of what is decoded.
const (
	maxBody    = 64 << 10
	maxPayload = 16_384
	maxDepth   = 32
	maxErrors  = 20 // fields that a problem names
	maxNamed   = 100
)

// object is a JSON object that is being taken apart. Whoever decodes asks for
// the fields that it knows; close then complains about the others. Everything
// that is wrong is gathered, so that one answer names it all.
type object struct {
	members []member
	prefix  string // of field names in errors: "customer."
	wrong   *faults
}

type member struct {
	name  string
	raw   []byte
	taken bool
}

// faults is what was found wrong with a request.
type faults struct {
	fields []queue.FieldError
	// tooLarge and refusal are answered only where no field is wrong, which is
	// the order that the contract gives.
	tooLarge bool
	refusal  *problem
}

func (f *faults) add(field, message string) {
	if len(f.fields) < maxErrors {
		f.fields = append(f.fields, queue.FieldError{Field: field, Message: message})
	}
}

// problem is nil where nothing is wrong.
func (f *faults) problem() *problem {
	switch {
	case f.refusal != nil && f.refusal.Code == string(queue.Invalid):
		return f.refusal
	case len(f.fields) > 0:
		return invalid(f.fields...)
	case f.tooLarge:
		return newProblem(codeTooLarge, "The payload is over 16,384 bytes of JSON text.")
	}
	return f.refusal
}

// parse checks a whole text and opens the object that it is: valid UTF-8, valid
// JSON, not nested too deeply, nothing behind it, no name twice. No text at all
// is an empty object. The object refers to text.
func (f *faults) parse(text []byte) *object {
	text = bytes.TrimLeft(text, " \t\r\n")
	switch {
	case len(text) == 0:
		return &object{wrong: f}
	case !utf8.Valid(text):
		f.refusal = malformed("The text is not valid UTF-8.")
	case tooDeep(text):
		f.refusal = malformed("The JSON is nested too deeply.")
	case !json.Valid(text):
		f.refusal = malformed("The text is not valid JSON.")
	case text[0] != '{':
		f.refusal = malformed("A JSON object is needed.")
	default:
		return f.open(text, "")
	}
	return &object{wrong: f}
}

// open splits an object, known to be valid JSON, into its members.
func (f *faults) open(text []byte, prefix string) *object {
	o := &object{prefix: prefix, wrong: f}
	i := skipSpace(text, 1)
	for text[i] != '}' {
		if text[i] == ',' {
			i = skipSpace(text, i+1)
		}
		end := skipValue(text, i)
		name, _ := unquote(text[i:end])
		i = skipSpace(text, skipSpace(text, end)+1) // over the colon
		end = skipValue(text, i)
		if o.find(name) != nil {
			f.add(o.field(name), "is given twice")
		} else {
			o.members = append(o.members, member{name: name, raw: text[i:end]})
		}
		i = skipSpace(text, end)
	}
	return o
}

func (o *object) find(name string) *member {
	for i := range o.members {
		if o.members[i].name == name {
			return &o.members[i]
		}
	}
	return nil
}

// field is a member's name as errors give it, cut to a bound.
func (o *object) field(name string) string {
	if len(name) > maxNamed {
		name = strings.ToValidUTF8(name[:maxNamed], "") + "…"
	}
	if name == "" && o.prefix == "" {
		return `""`
	}
	return o.prefix + name
}

func (o *object) bad(name, message string) { o.wrong.add(o.field(name), message) }

// raw gives a member's JSON text, nil where it was left out.
func (o *object) raw(name string) []byte {
	m := o.find(name)
	if m == nil {
		return nil
	}
	m.taken = true
	return m.raw
}

// has tells whether a member is there, without taking it.
func (o *object) has(name string) bool { return o.find(name) != nil }

// close complains about every member that nobody asked for.
func (o *object) close() {
	for i := range o.members {
		if !o.members[i].taken {
			o.bad(o.members[i].name, "is not known here")
		}
	}
}

func isNull(raw []byte) bool { return len(raw) > 0 && raw[0] == 'n' }

// tooDeep looks for brackets outside strings; it needs no valid JSON.
func tooDeep(text []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

func skipSpace(text []byte, i int) int {
	for text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r' {
		i++
	}
	return i
}

// skipValue gives the end of the value that begins at i, in valid JSON.
func skipValue(text []byte, i int) int {
	switch text[i] {
	case '"':
		for i++; text[i] != '"'; i++ {
			if text[i] == '\\' {
				i++
			}
		}
		return i + 1
	case '{', '[':
		for depth := 0; ; i++ {
			switch text[i] {
			case '"':
				i = skipValue(text, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(text) && !strings.ContainsRune(",]} \t\r\n", rune(text[i])) {
		i++
	}
	return i
}

// unquote gives the text of a valid JSON string; false where an escape stands
// for no character (half a surrogate pair), which Go would silently replace.
func unquote(raw []byte) (string, bool) {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	const replacement = "\ufffd"
	meant := bytes.Count(inner, []byte(replacement)) + bytes.Count(bytes.ToLower(inner), []byte(`\ufffd`))
	return s, strings.Count(s, replacement) <= meant
}
