package filter

import (
	"errors"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
)

// Why a rule could not be evaluated. These are all that is ever said of it:
// CEL's own errors may quote the message.
const (
	failedCost     = "it costs more than it may for this message"
	failedTotal    = "the rules together cost more than they may for this message"
	failedMissing  = "it asks for something that the message does not have; has() tells"
	failedType     = "a value of the message is not of the type that it needs"
	failedText     = "a text is longer than matches takes"
	failedPriority = "it gives a priority that is not 0 to 9"
	failedOther    = "it cannot be evaluated for this message"
)

// Decide finds the first rule that a message fulfils. Where there is none, the
// request is taken as it is. A rule that cannot be evaluated refuses it: that
// would come again each time, and to pass the rule over could let in what it is
// there to keep out.
func (s *Set) Decide(m *Message) Decision {
	v, spent := newView(m), uint64(0)
	for i := range s.rules {
		rule := &s.rules[i]
		value, failed := run(rule.when, v, &spent)
		if failed != "" {
			return Decision{Refused: true, Rule: rule.Name, Failed: failed}
		}
		fulfilled, ok := value.(types.Bool)
		switch {
		case !ok:
			return Decision{Refused: true, Rule: rule.Name, Failed: failedType}
		case bool(fulfilled):
			return rule.decide(m, v, &spent)
		}
	}
	return Decision{Queue: m.Request.Queue}
}

// decide says what becomes of a message that the rule is about.
func (c *compiled) decide(m *Message, v *view, spent *uint64) Decision {
	if c.Action == Refuse {
		return Decision{Refused: true, Rule: c.Name}
	}
	d := Decision{Rule: c.Name, Queue: c.Queue, Priority: c.fixed}
	if d.Queue == "" {
		d.Queue = m.Request.Queue
	}
	if c.priority == nil {
		return d
	}
	value, failed := run(c.priority, v, spent)
	n, ok := value.(types.Int)
	switch {
	case failed != "":
	case !ok:
		failed = failedType
	case n < 0 || n > MaxPriority:
		failed = failedPriority
	}
	if failed != "" {
		return Decision{Refused: true, Rule: c.Name, Failed: failed}
	}
	priority := int(n)
	d.Priority = &priority
	return d
}

// run evaluates a program and adds what it cost.
func run(p cel.Program, v *view, spent *uint64) (value any, failed string) {
	out, details, err := p.Eval(v)
	if err != nil {
		return nil, reason(err)
	}
	if cost := details.ActualCost(); cost != nil {
		*spent += *cost
	}
	if *spent > MaxTotalCost {
		return nil, failedTotal
	}
	return out, ""
}

func reason(err error) string {
	var cancelled interpreter.EvalCancelledError
	text := err.Error()
	switch {
	case errors.As(err, &cancelled):
		return failedCost
	case errors.Is(err, errLongText):
		return failedText
	case strings.HasPrefix(text, "no such key"), strings.HasPrefix(text, "no such attribute"), strings.HasPrefix(text, "index out of bounds"):
		return failedMissing
	case strings.HasPrefix(text, "no such overload"), strings.Contains(text, "conversion error"):
		return failedType
	}
	return failedOther
}
