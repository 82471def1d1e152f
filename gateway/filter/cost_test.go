package filter

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// payloads are the largest that a request can have, each hard on something.
func payloads() map[string]string {
	const most = 16_384
	fill := func(open, item, end string) string {
		n := (most - 10 - len(open) - len(end)) / (len(item) + 1)
		return open + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + end
	}
	var keys strings.Builder
	for i := 0; keys.Len() < most-30; i++ {
		fmt.Fprintf(&keys, `"k%d":%d,`, i, i)
	}
	ones := strings.Repeat("1,", 4_000) + "1"
	return map[string]string{
		"ints": `{"l":` + fill("[", "1", "]}"), "texts": `{"l":` + fill("[", `"aaaaaaaaaaaaaaaa"`, "]}"),
		"lists": `{"l":` + fill("[", `[1,1,1,1,1,1,1,1,1,1,1,1,1,1]`, "]}"), "text": `{"l":["` + strings.Repeat("a", most-20) + `"]}`,
		"halves": `{"l":["` + strings.Repeat("a", most/2-10) + `","` + strings.Repeat("a", most/2-10) + `"]}`,
		"short":  `{"l":["` + strings.Repeat("a", MaxMatched) + `"]}`,
		"table":  `{"l":[{` + strings.TrimSuffix(keys.String(), ",") + `}]}`,
		"twice":  `{"l":[[` + ones + `],[` + ones + `]]}`,
		"deep":   `{"l":` + strings.Repeat("[", 30) + strings.TrimSuffix(strings.Repeat("1,", 8000), ",") + strings.Repeat("]", 30) + `}`,
		"empty":  `{"l":` + fill("[", "[]", "]}"),
	}
}

// hostile are expressions that are accepted and mean to take long.
var hostile = []string{
	`request.payload.l.all(x, x == x)`,
	`request.payload.l.all(x, request.payload.l == request.payload.l)`,
	`request.payload.l.all(x, request.payload == request.payload)`,
	`request.payload.l.all(x, [request.payload] == [request.payload])`,
	`request.payload.l.all(x, request.payload.l.all(y, x == y))`,
	`request.payload.l.all(x, request.payload.l.all(y, true))`,
	`request.payload.l.all(x, request.payload.l.exists(y, false) || true)`,
	`request.payload.l.all(x, x.all(y, true))`,
	`request.payload.l.map(x, request.payload.l.exists(y, x == 2)) == []`,
	`request.payload.l.map(x, [x]).map(y, [y, y]) == request.payload.l`,
	`request.payload.l.filter(x, x in request.payload.l).filter(y, y in request.payload.l) == []`,
	`request.payload.l.all(x, !(2 in request.payload.l))`,
	`request.payload.l.all(x, !(request.payload.l in [[1], [request.payload.l], request.payload.l]))`,
	`request.payload.l.all(x, x + x + x + x + x + x != "" )`,
	`request.payload.l.map(x, x + x + x + x) == request.payload.l.map(x, x + x + x + x)`,
	`request.payload.l + request.payload.l + request.payload.l + request.payload.l == request.payload.l + request.payload.l + request.payload.l + request.payload.l`,
	`request.payload.l.all(x, request.payload.l + request.payload.l == request.payload.l + request.payload.l)`,
	`request.payload.l.all(x, x.contains("aaaaaaaaaaaaaaaab") || !x.endsWith("b"))`,
	`request.payload.l.all(x, x.contains(x) && !x.contains(x + "b"))`,
	`request.payload.l.all(x, !x.matches("([ab]*a[ab]*){12}c"))`,
	`request.payload.l.all(x, !x.matches("(x+x+)+y|(a|a)*(a|a)*(a|a)*(a|a)*(a|a)*b$"))`,
	`request.payload.l.all(x, size(x) > 0 && string(x) != "" )`,
	`request.payload.l.all(x, timestamp(0).getHours("America/Argentina/Buenos_Aires") < 24)`,
	`request.payload.l.all(x, timestamp(0) + duration("1s") > timestamp("2026-01-01T00:00:00Z") || true)`,
	`request.payload.l.all(x, {"a": x, "b": {"c": x}}["a"] == x)`,
	`request.payload.l.all(x, x.all(k, x[k] == 1))`,
	`request.payload.l.all(x, "k1" in x && x["k1"] == 1)`,
	`request.payload.l.exists_one(x, request.payload.?l.?x.orValue(1) == 2)`,
	`request.payload.l.all(x, optional.of(x).optMap(v, v).hasValue())`,
	`request.payload.l.all(x, bytes(x) == bytes(x) && string(bytes(x)) == x)`,
	`request.payload.l.all(x, dyn(x) == dyn(x) && x != [1])`,
	`request.payload.l.all(x, has(x.a) || !has(x.a))`,
	`headers.all(k, headers.all(m, headers[k] == headers[m]))`,
	`request.payload.l[0][0][0][0][0][0][0][0][0] == request.payload.l[0][0][0][0][0][0][0][0][0]`,
}

// The bound on cost is a bound on time: the most expensive expression that is
// accepted, over the largest payload, takes milliseconds. How long that is on a
// busy machine, or with -race, is told by how long it takes to decode the payload.
func TestCostIsTime(t *testing.T) {
	const most = 150 // times as long; 20 to 40 are usual, some 5 ms against 0.2 ms
	headers := map[string]any{}
	for i := range 400 {
		headers[fmt.Sprint("h", i)] = strings.Repeat("a", 30)
	}
	decoding := time.Duration(0)
	var worst time.Duration
	var worstOf string
	for name, payload := range payloads() {
		if len(payload) > 16_384 {
			t.Fatalf("%s has %d bytes", name, len(payload))
		}
		if decode([]byte(payload)) == nil {
			t.Fatalf("%s is no JSON: %.40s", name, payload)
		}
		decoding = max(decoding, least(20, func() { decode([]byte(payload)) }))
		m := &Message{Request: Request{Queue: "a", Payload: []byte(payload)}, Headers: headers}
		for _, when := range hostile {
			s := mustCompile(t, Rule{Name: "r", When: when, Action: Refuse})
			if took := least(3, func() { s.Decide(m) }); took > worst {
				worst, worstOf = took, name+": "+when
			}
		}
	}
	t.Logf("the worst took %s, decoding %s: %s", worst, decoding, worstOf)
	if worst > most*decoding {
		t.Errorf("%s is more than %d times %s", worst, most, decoding)
	}
}

// least is the shortest of some times, for what the machine does beside is no
// cost of ours.
func least(times int, do func()) time.Duration {
	took := time.Hour
	for range times {
		began := time.Now()
		do()
		took = min(took, time.Since(began))
	}
	return took
}

// All rules together have a bound too: it ends the message, not the queue.
func TestTotalCost(t *testing.T) {
	t.Parallel()
	rules := make([]Rule, MaxRules)
	for i := range rules {
		rules[i] = Rule{Name: fmt.Sprint("r", i), When: `request.payload.l.exists(x, x == "b")`, Action: Refuse}
	}
	s := mustCompile(t, rules...)
	m := &Message{Request: Request{Queue: "a", Payload: []byte(`{"l":[` + strings.Repeat(`"a",`, 400) + `"a"]}`)}}
	if d := s.Decide(m); !d.Refused || d.Failed != failedTotal || d.Rule == "r0" {
		t.Errorf("%+v", d)
	}
	m.Request.Payload = []byte(`{"l":["a"]}`)
	if d := s.Decide(m); d.Refused {
		t.Errorf("%+v", d)
	}
}

func BenchmarkDecide(b *testing.B) {
	for name, rules := range map[string][]Rule{
		"none": nil,
		"usual": {
			{Name: "closed", When: `request.service == "Closed"`, Action: Refuse},
			{Name: "north", When: `has(request.payload.region) && request.payload.region == "north"`, Action: Take, Queue: "north"},
			{Name: "vip", When: `request.payload.vip || request.customer.ref.startsWith("VIP-")`, Action: Take, Priority: "9"},
		},
	} {
		s, faults := Compile(rules)
		if len(faults) > 0 {
			b.Fatal(faults)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			m := ada()
			for b.Loop() {
				s.Decide(m)
			}
		})
	}
}
