package load

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Kind is what an operation does. The text is its name in a mix and in results.
type Kind string

// The operations of a mix. Complete is never drawn: it follows each call.
const (
	Enqueue  Kind = "enqueue"
	Move     Kind = "move"
	Remove   Kind = "remove"
	CallNext Kind = "call-next"
	Get      Kind = "get"       // one ticket with its position
	GetQueue Kind = "get-queue" // the queue's fields and counts
	List     Kind = "list"      // a page of 100 waiting tickets
	Complete Kind = "complete"
)

var drawable = []Kind{Enqueue, Move, Remove, CallNext, Get, GetQueue, List}

// Mix draws operations by weight.
type Mix struct {
	kinds   []Kind
	weights []int
	total   int
}

// ParseMix reads "enqueue=40,move=20"; weights need not add up to 100.
func ParseMix(s string) (Mix, error) {
	var m Mix
	for part := range strings.SplitSeq(s, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.Atoi(weight)
		if err != nil || n < 0 || n > 1_000_000 || !slices.Contains(drawable, Kind(name)) {
			return Mix{}, fmt.Errorf("mix: %q is not <operation>=<weight> with an operation of %v", part, drawable)
		}
		if n == 0 || m.Has(Kind(name)) {
			continue
		}
		m.kinds, m.weights, m.total = append(m.kinds, Kind(name)), append(m.weights, n), m.total+n
	}
	if m.total == 0 {
		return Mix{}, fmt.Errorf("mix: %q draws nothing", s)
	}
	return m, nil
}

// Has says whether the mix ever draws k.
func (m Mix) Has(k Kind) bool { return slices.Contains(m.kinds, k) }

func (m Mix) draw(rng *rand.Rand) Kind {
	n := rng.IntN(m.total)
	for i, w := range m.weights {
		if n < w {
			return m.kinds[i]
		}
		n -= w
	}
	panic("load: weights do not add up")
}

// steady says whether the mix both fills and empties, so that a depth can be kept.
func (m Mix) steady() bool { return m.Has(Enqueue) && (m.Has(Remove) || m.Has(CallNext)) }
