package filter

import (
	"fmt"
	"strings"
	"testing"
)

// text makes a pointer of a field's value.
func text[T any](v T) *T { return &v }

func mustCompile(t testing.TB, rules ...Rule) *Set {
	t.Helper()
	s, faults := Compile(rules)
	if len(faults) > 0 {
		t.Fatalf("refused: %+v: %s", faults, rules[faults[0].Rule].When)
	}
	return s
}

// ada is a message with something in every field.
func ada() *Message {
	return &Message{
		Request: Request{
			Queue: "passports", Service: text("Visas"), Priority: text(int64(3)),
			Customer: &Customer{Name: text("Ada"), Email: text("ada@example.org")},
			Payload:  []byte(`{"vip":true,"age":37,"weight":61.5,"tags":["a","b"],"lines":[{"n":1},{"n":2}],"note":null}`),
		},
		Headers:    map[string]any{"x-tenant": "north", "x-count": int32(7), "x-death": []any{map[string]any{"reason": "expired"}}},
		RoutingKey: "requests.north", MessageID: "m-1", Type: "request.made", Source: "/kiosk/7",
	}
}

// What an expression says of ada(); "" where it cannot be evaluated.
func TestExpressions(t *testing.T) {
	t.Parallel()
	for when, want := range map[string]string{
		`true`: "yes", `false`: "no",
		`request.queue == "passports"`: "yes", `request.service == "Visas"`: "yes", `request.priority > 2`: "yes",
		`request.customer.name == "Ada"`: "yes", `request.customer.phone == ""`: "yes",
		`has(request.customer.phone)`: "no", `has(request.customer.name)`: "yes", `has(request.customer)`: "yes",
		`request.payload.vip`: "yes", `request.payload.vip == true`: "yes", `request.payload.age >= 18`: "yes",
		`request.payload.age == 37.0`: "yes", `request.payload.age + 1 == 38`: "yes", `request.payload.weight < 100`: "yes",
		`"b" in request.payload.tags`: "yes", `request.payload.tags.exists(t, t == "b")`: "yes",
		`request.payload.lines.all(l, l.n > 0)`: "yes", `request.payload.lines.map(l, l.n) == [1, 2]`: "yes",
		`size(request.payload.lines.filter(l, l.n > 1)) == 1`: "yes",
		`request.payload.note == null`:                        "yes", `has(request.payload.none)`: "no",
		`has(request.payload.vip) && request.payload.vip`: "yes",
		`request.payload.?none.orValue(5) == 5`:           "yes", `request.payload.?none.?deeper.hasValue()`: "no",
		`request.payload["vip"]`: "yes", `"vip" in request.payload`: "yes",
		`headers["x-tenant"] == "north"`: "yes", `headers["x-count"] == 7`: "yes", `"x-none" in headers`: "no",
		`headers["x-death"][0].reason == "expired"`:                             "yes",
		`routing_key.startsWith("requests.")`:                                   "yes",
		`routing_key.matches("^requests\\.[a-z]+$")`:                            "yes",
		`matches(request.customer.email, "@example\\.")`:                        "yes",
		`message_id == "m-1" && type == "request.made" && source.endsWith("7")`: "yes",
		`timestamp("2026-11-22T10:00:00Z").getHours("Europe/Vienna") == 11`:     "yes",
		// What the message does not have, or not of that type.
		`request.payload.none`: "", `request.payload.none == 1`: "", `request.payload.note.x == 1`: "",
		`request.payload.age == "37"`: "no", `request.payload.age + "x" == "37x"`: "", `request.payload.tags[9] == "a"`: "",
		`headers["x-none"] == "a"`: "", `request.payload.age / 0 == 1`: "", `request.payload.vip == 1`: "no", `request.payload.age`: "", `request.payload`: "",
		`request.payload.none == 1 || request.payload.vip`: "yes", // CEL's or needs but one of its sides
	} {
		s, faults := Compile([]Rule{{Name: "r", When: when, Action: Take, Priority: "9"}})
		if len(faults) > 0 {
			t.Errorf("%s is refused: %s", when, faults[0].Message)
			continue
		}
		d := s.Decide(ada())
		got := "no"
		switch {
		case d.Failed != "":
			got = ""
		case d.Priority != nil:
			got = "yes"
		}
		if got != want {
			t.Errorf("%s: %q, want %q (%s)", when, got, want, d.Failed)
		}
	}
}

// A message that says no more than its queue fails no rule that asks for the
// fields of the contract.
func TestWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	bare := &Message{Request: Request{Queue: "a"}}
	for _, when := range []string{
		`request.service == ""`, `request.priority == 0`, `!has(request.service) && !has(request.priority)`,
		`!has(request.customer) && request.customer.name == "" && !has(request.customer.name)`,
		`!has(request.payload) && !has(request.payload.x) && size(request.payload) == 0`,
		`size(headers) == 0 && routing_key == "" && message_id == "" && type == "" && source == ""`,
	} {
		if d := mustCompile(t, Rule{Name: "r", When: when, Action: Refuse}).Decide(bare); !d.Refused || d.Failed != "" {
			t.Errorf("%s: %+v", when, d)
		}
	}
}

func TestFirstRuleDecides(t *testing.T) {
	t.Parallel()
	s := mustCompile(t,
		Rule{Name: "no", When: `request.service == "None"`, Action: Refuse},
		Rule{Name: "vip", When: `request.payload.vip`, Action: Take, Queue: "vips", Priority: `request.priority + 5`},
		Rule{Name: "rest", When: `true`, Action: Refuse},
	)
	m := ada()
	if d := s.Decide(m); d.Refused || d.Rule != "vip" || d.Queue != "vips" || *d.Priority != 8 {
		t.Errorf("%+v", d)
	}
	m.Request.Priority = text(int64(5))
	if d := s.Decide(m); !d.Refused || d.Rule != "vip" || d.Failed != failedPriority {
		t.Errorf("priority 10: %+v", d)
	}
	m.Request.Payload = []byte(`{"vip":false}`)
	if d := s.Decide(m); !d.Refused || d.Rule != "rest" || d.Failed != "" {
		t.Errorf("%+v", d)
	}
	m.Request.Payload = nil
	if d := s.Decide(m); !d.Refused || d.Rule != "vip" || d.Failed != failedMissing {
		t.Errorf("%+v", d)
	}
	if d := mustCompile(t).Decide(m); d.Refused || d.Queue != "passports" || d.Priority != nil {
		t.Errorf("no rules: %+v", d)
	}
}

// What is said of a rule that failed holds nothing of the message.
func TestFailuresHoldNoCustomerData(t *testing.T) {
	t.Parallel()
	m := ada()
	for _, when := range []string{
		`headers[request.customer.name] == 1`, `request.payload[request.customer.name] == 1`,
		`int(request.customer.name) == 1`, `timestamp(request.customer.name) == timestamp(0)`,
		`request.payload.tags[request.customer.name] == 1`, `duration(request.customer.email) == duration("1s")`,
		`{request.customer.name: 1}["x"] == 1`, `timestamp(0).getHours(request.customer.name) == 1`,
	} {
		d := mustCompile(t, Rule{Name: "r", When: when, Action: Take}).Decide(m)
		if d.Failed == "" || strings.Contains(strings.ToLower(d.Failed), "ada") {
			t.Errorf("%s: %+v", when, d)
		}
	}
}

// The names of a request's fields and the types of expressions are checked when
// a rule is saved, and what is wrong is named.
func TestRefusedExpressions(t *testing.T) {
	t.Parallel()
	for when, says := range map[string]string{
		``: "", `1`: "type bool", `"true"`: "type bool", `request == request`: "may cost", `request.payload.vip ? 1 : 2`: "type bool",
		`request.prority > 1`: "undefined field", `request.customer.fax == ""`: "undefined field", `customer.name == ""`: "undeclared reference",
		`request.priority > "1"`: "no matching overload", `request.service.lower() == ""`: "undeclared reference",
		`true &&`: "Syntax error", `"a`: "Syntax error", "\x00": "Syntax error", `true; true`: "Syntax error",
		`routing_key.matches(request.service)`:                                               "literal",
		`routing_key.matches("a" + "b")`:                                                     "literal",
		`routing_key.matches("(")`:                                                           "",
		`routing_key.matches("(.{0,30}){0,30}x")`:                                            "instructions",
		`routing_key.matches("((a{0,100}){0,100}){0,100}")`:                                  "",
		`request.payload.a.all(x, request.payload.a.all(y, request.payload.a.all(z, true)))`: "nesting",
		`request.payload.a.all(x, x.all(y, x == [y]))`:                                       "may cost", `request.payload.a.map(x, request.payload.a.map(y, [x, y])) == []`: "may cost",
		`request.payload.a.all(x, x.matches("^[a-z]{60}$") || x.matches("^[a-y]{60}$") || x.matches("^[a-x]{60}$"))`:              "may cost",
		`request.payload.a.all(x, request.payload.a.all(y, x.contains(y + y) && y.contains(x + x) && size(x + y) < size(y + x)))`: "may cost",
		`nowserving.Request{queue: "a"} == request`:                      "must not make objects",
		`google.protobuf.Struct{fields: {}} == google.protobuf.Struct{}`: "must not make objects",
		strings.Repeat("(", 1000) + "true" + strings.Repeat(")", 1000):   "",
		strings.Repeat("[", 500) + strings.Repeat("]", 500) + " == []":   "",
		strings.Repeat("true && ", 500) + "true":                         "characters",
		`"` + strings.Repeat("é", MaxExpression) + `" == ""`:             "characters",
		strings.Repeat("1+", 900) + `1 == 1`:                             "",
		strings.Repeat("x", 5_000_000):                                   "characters",
	} {
		_, faults := Compile([]Rule{{When: `true`, Action: Take}, {When: when, Action: Take}})
		if len(faults) != 1 || faults[0].Rule != 1 || faults[0].Field != "when" || !strings.Contains(faults[0].Message, says) {
			t.Errorf("%.80s: %+v, want %q", when, faults, says)
		}
		for _, f := range faults {
			if len(f.Message) > maxFault+3 {
				t.Errorf("%.80s: %d bytes are said of it", when, len(f.Message))
			}
		}
	}
	for _, priority := range []string{`10`, `-1`, `1.5`, `"1"`, `request.service`, `true`} {
		if _, faults := Compile([]Rule{{When: `true`, Action: Take, Priority: priority}}); len(faults) != 1 || faults[0].Field != "priority" {
			if priority == `10` || priority == `-1` { // an int, which only then is out of range
				continue
			}
			t.Errorf("priority %s: %+v", priority, faults)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, when := range []string{
		`request.payload.a.all(x, x > 1)`, `has(request.customer.name)`, `request.service.matches("^a+$")`,
		`request.payload.?a.optMap(x, x + 1).orValue(2) == 3`, `{"a": [1, 2u, 3.0, b"x", null]}["a"][0] == 1`, `type(request.payload) == map`,
	} {
		f.Add(when, `{"a":[1,2,3]}`)
	}
	f.Fuzz(func(t *testing.T, when, payload string) {
		s, faults := Compile([]Rule{{Name: "r", When: when, Action: Refuse}})
		if len(faults) > 0 {
			return
		}
		m := ada()
		m.Request.Payload = []byte(payload)
		d := s.Decide(m)
		if again := s.Decide(m); fmt.Sprint(again) != fmt.Sprint(d) {
			t.Fatalf("%q: %+v, then %+v", when, d, again)
		}
	})
}
