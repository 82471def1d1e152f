package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"mime"
	"strings"

	"nowserving/actors"
	"nowserving/tracing"
)

// Bounds of CloudEvents 1.0 (https://github.com/cloudevents/spec).
const (
	maxAttribute = 1_024
	// maxEnvelope holds a body of maxBody in base64, and its attributes.
	maxEnvelope = 2 * maxBody
)

// cloudEvents is the media type of structured mode; others that begin like it
// are batches and encodings that are not taken.
const (
	cloudEventsJSON = "application/cloudevents+json"
	cloudEventsAny  = "application/cloudevents"
)

// The prefixes of attributes in binary mode, by the AMQP binding: a colon may
// stand in no JMS property, so there is an underscore too.
var attributePrefixes = [...]string{"cloudEvents:", "cloudEvents_"}

// envelope is what a message holds: the body of a request, and, of a
// CloudEvent, its attributes.
type envelope struct {
	body             []byte
	id, kind, source string
	// Of the extension for distributed tracing; empty where there is none.
	traceParent string
}

// key is the idempotency key of a CloudEvent. Ids are its source's own: two
// sources may both count from 1 (CloudEvents 1.0, "source").
func (e envelope) key() string {
	sum := sha256.Sum256([]byte(e.source + "\x00" + e.id))
	return "cloudevent " + hex.EncodeToString(sum[:])
}

// openEnvelope takes a CloudEvent of either mode apart; any other message is a
// body.
func openEnvelope(d *actors.Delivery) (envelope, *problem) {
	media, _, err := mime.ParseMediaType(d.ContentType)
	if err != nil {
		media = d.ContentType
	}
	switch {
	case strings.EqualFold(media, cloudEventsJSON):
		return openStructured(d.Body)
	case strings.HasPrefix(strings.ToLower(media), cloudEventsAny):
		return envelope{}, malformed("Of CloudEvents, single ones in JSON are taken.")
	}
	return openBinary(d)
}

func openStructured(text []byte) (envelope, *problem) {
	if len(text) > maxEnvelope {
		return envelope{}, newProblem(codeTooLarge, "The CloudEvent is over 131,072 bytes.")
	}
	f := &faults{}
	o := f.parse(text)
	attribute := func(name string) string {
		if s := o.text(name, 1, maxAttribute, false); s != nil {
			return *s
		}
		return ""
	}
	e := envelope{id: attribute("id"), kind: attribute("type"), source: attribute("source"), body: o.raw("data")}
	e.traceParent = textIn(o, tracing.Parent)
	f.checkVersion(attribute("specversion"), e)
	if encoded := o.text("data_base64", 0, maxEnvelope, false); encoded != nil {
		var err error
		if e.body != nil {
			f.add("data_base64", "must not be given beside data")
		} else if e.body, err = base64.StdEncoding.DecodeString(*encoded); err != nil {
			f.add("data_base64", "must be base64")
		}
	}
	return e, f.problem()
}

// textIn is a member of which nothing depends: what is no text is as good as none.
func textIn(o *object, name string) (text string) {
	if m := o.find(name); m != nil {
		_ = json.Unmarshal(m.raw, &text)
	}
	return text
}

func openBinary(d *actors.Delivery) (envelope, *problem) {
	e, f := envelope{body: d.Body}, &faults{}
	attributes := make(map[string]string)
	for header, value := range d.Headers {
		for _, prefix := range attributePrefixes {
			if name, found := strings.CutPrefix(header, prefix); found {
				if s, isText := value.(string); isText && len(s) <= maxAttribute {
					attributes[name] = s
				} else {
					f.add(header, "must be a string of at most 1024 bytes")
				}
			}
		}
	}
	if len(attributes) == 0 && len(f.fields) == 0 {
		return e, nil
	}
	e.id, e.kind, e.source = attributes["id"], attributes["type"], attributes["source"]
	e.traceParent = attributes[tracing.Parent]
	f.checkVersion(attributes["specversion"], e)
	return e, f.problem()
}

// checkVersion holds the attributes to what CloudEvents 1.0 requires, but for
// the id: the contract takes a request without.
func (f *faults) checkVersion(version string, e envelope) {
	if version != "1.0" {
		f.add("specversion", "must be 1.0")
	}
	if e.kind == "" {
		f.add("type", "must be given")
	}
	if e.source == "" {
		f.add("source", "must be given")
	}
}
