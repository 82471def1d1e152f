package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"nowserving/actors/queue"
)

// A person is found by phone, e-mail or reference without any of them being kept
// where it can be read: by a blind index, a keyed hash of each. It travels with
// the ticket as opaque bytes.

// subject is a customer's data by which tickets are found.
type subject struct {
	Phone string `json:"phone"`
	Email string `json:"email"`
	Ref   string `json:"ref"`
}

// personFields are what a person is found by, in the order of the tags in an
// index. Normal forms make one of what people write in several ways; they never
// change for a field of that version, or what was kept is not found any more.
var personFields = [...]struct {
	name   string
	of     func(*subject) string
	normal func(string) string
}{
	{"phone/v1", func(p *subject) string { return p.Phone }, normalPhone},
	{"email/v1", func(p *subject) string { return p.Email }, normalEmail},
	{"ref/v1", func(p *subject) string { return p.Ref }, normalText},
}

// normalText is for what has a form of its own, which we do not know: case may
// tell two references apart, so it stays.
func normalText(s string) string { return strings.TrimSpace(norm.NFKC.String(s)) }

func normalEmail(s string) string { return strings.ToLower(normalText(s)) }

// normalPhone is the digits alone. What stands for the international prefix goes,
// and a trunk zero in brackets behind it. A number without a country's code is
// another one than with it: we do not know the country.
func normalPhone(s string) string {
	s = normalText(s)
	number := strings.TrimLeftFunc(s, func(r rune) bool { return r == '(' || unicode.IsSpace(r) })
	if strings.HasPrefix(number, "+") || strings.HasPrefix(number, "00") {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "( 0 )", ""), "(0)", "")
	}
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
	if digits == "" {
		return strings.ToLower(s) // no number, but what was written
	}
	return strings.TrimPrefix(digits, "00")
}

// indexOf makes the index of a customer as it is sealed: nil for nobody, and for
// one who cannot be found.
func (g *Gateway) indexOf(customer []byte) []byte {
	var p subject
	if len(customer) == 0 || json.Unmarshal(customer, &p) != nil {
		return nil
	}
	tags := p.tags(g.options.IndexKeys()[0].Bytes)
	index, found := make([]byte, 0, len(tags)*queue.TagSize), false
	for _, tag := range tags {
		if tag == nil {
			tag = make([]byte, queue.TagSize)
		} else {
			found = true
		}
		index = append(index, tag...)
	}
	if !found {
		return nil
	}
	return index
}

// tags are those of the fields under one key, nil where a field is empty.
func (p *subject) tags(key []byte) (tags [len(personFields)][]byte) {
	for i, field := range personFields {
		if value := field.normal(field.of(p)); value != "" {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(field.name + "\x00" + value))
			tags[i] = mac.Sum(nil)[:queue.TagSize]
		}
	}
	return tags
}

// wanted are the tags under every key of all that is given of a person.
func (g *Gateway) wanted(p *subject) (tags [][]byte) {
	for _, key := range g.options.IndexKeys() {
		for _, tag := range p.tags(key.Bytes) {
			if tag != nil {
				tags = append(tags, tag)
			}
		}
	}
	return tags
}
