package filter

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
)

// Bounds of the headers that an expression sees; RabbitMQ's own are far wider.
const (
	maxHeaderValues = 500
	maxHeaderText   = 16_384 // bytes of all names and texts
	maxHeaderDepth  = 8
)

// view is a message as the expressions see it. What costs something to make is
// made when it is first asked for.
type view struct {
	message *Message
	request *Request

	payloadMade bool
	payloadIs   any
	headersIs   map[string]any
}

func newView(m *Message) *view { return &view{message: m, request: &m.Request} }

// ResolveName gives a variable's value.
func (v *view) ResolveName(name string) (any, bool) {
	switch name {
	case "request":
		return v, true
	case "headers":
		if v.headersIs == nil {
			v.headersIs = plainHeaders(v.message.Headers)
		}
		return v.headersIs, true
	case "routing_key":
		return v.message.RoutingKey, true
	case "message_id":
		return v.message.MessageID, true
	case "type":
		return v.message.Type, true
	case "source":
		return v.message.Source, true
	}
	return nil, false
}

// Parent makes a view an Activation.
func (v *view) Parent() cel.Activation { return nil }

// payload is the payload's value; nil where there is none.
func (v *view) payload() any {
	if !v.payloadMade {
		v.payloadMade, v.payloadIs = true, decode(v.request.Payload)
	}
	return v.payloadIs
}

// decode reads JSON. A whole number becomes an int, any other number a double.
func decode(raw json.RawMessage) any {
	if len(raw) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return nil
	}
	return numbers(value)
}

// numbers replaces the numbers in a JSON value, in place.
func numbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := strconv.ParseFloat(v.String(), 64) // infinite where it is beyond a double
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for name, member := range v {
			v[name] = numbers(member)
		}
	}
	return value
}

// plainHeaders copies headers into values that expressions know, up to the
// bounds; what is beyond them or of no such type is not there.
func plainHeaders(headers map[string]any) map[string]any {
	left := headerBudget{values: maxHeaderValues, text: maxHeaderText}
	out, _ := left.plain(reflect.ValueOf(headers), 0)
	if table, ok := out.(map[string]any); ok {
		return table
	}
	return map[string]any{}
}

type headerBudget struct{ values, text int }

// plain goes by kind, for tables and lists of RabbitMQ's client have types of
// their own.
func (b *headerBudget) plain(v reflect.Value, depth int) (any, bool) {
	if b.values--; b.values < 0 || depth > maxHeaderDepth || !v.IsValid() {
		return nil, false
	}
	if t, ok := v.Interface().(time.Time); ok {
		return t, true
	}
	switch v.Kind() {
	case reflect.Interface:
		b.values++ // what is in it counts
		return b.plain(v.Elem(), depth)
	case reflect.String:
		b.text -= v.Len()
		return v.String(), b.text >= 0
	case reflect.Bool:
		return v.Bool(), true
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		return v.Int(), true
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return int64(v.Uint()), true
	case reflect.Float32, reflect.Float64:
		return v.Float(), true
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b.text -= v.Len()
			return bytes.Clone(v.Bytes()), b.text >= 0
		}
		list := make([]any, 0, min(v.Len(), maxHeaderValues))
		for i := range v.Len() {
			if item, ok := b.plain(v.Index(i), depth+1); ok {
				list = append(list, item)
			}
			if b.values < 0 {
				break
			}
		}
		return list, true
	case reflect.Map:
		return b.plainTable(v, depth)
	}
	return nil, false
}

func (b *headerBudget) plainTable(v reflect.Value, depth int) (any, bool) {
	if v.Type().Key().Kind() != reflect.String {
		return nil, false
	}
	table := map[string]any{}
	keys := v.MapKeys() // in order, so that the same ones are left out each time
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, key := range keys {
		b.text -= key.Len()
		if b.values < 0 || b.text < 0 {
			break
		}
		if item, ok := b.plain(v.MapIndex(key), depth+1); ok {
			table[key.String()] = item
		}
	}
	return table, true
}
