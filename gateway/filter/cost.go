package filter

import (
	"strings"

	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// What an expression costs is counted twice: estimated when it is saved, for a
// message as they usually are, and counted when it runs, for the message that it is.
//
// CEL counts by overload, and so takes a call whose arguments are dyn, as all of
// a payload is, for nearly free; and it counts the comparison of two lists by
// their length alone, whatever is in them. So calls are counted here. It also looks
// through all that a loop has done so far at each step of it: with MaxCost a loop
// ends before that takes long.

// A usual message: what the estimate takes for the size of what it cannot know.
const (
	usualItems = 20  // in a list or map
	usualText  = 512 // characters of a text
)

// Costs that have no other source than measurement; see TestCostIsTime.
const (
	bytesPerUnit   = 16  // copied, compared or searched
	stepsPerUnit   = 10  // of a regular expression's program: an instruction for a byte
	timeZoneCost   = 500 // a time zone is read from a file each time
	matchCost      = 2
	maxCountedSize = 2 * MaxCost // where counting the size of a value ends
)

// patterns are the sizes of the programs of an expression's regular expressions.
type patterns map[string]int

// estimator says what CEL needs to estimate an expression.
type estimator struct{ patterns patterns }

// EstimateSize is about what comes with the message; literals CEL knows itself.
func (estimator) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	switch t := node.Type(); {
	case t == nil:
		return nil
	case t.TypeName() == "string" || t.TypeName() == "bytes":
		return &checker.SizeEstimate{Max: usualText}
	case t.TypeName() == "list" || t.TypeName() == "map" || t.TypeName() == "dyn":
		return &checker.SizeEstimate{Max: usualItems}
	}
	return nil
}

// EstimateCallCost is nil where CEL's own estimate stands.
func (e estimator) EstimateCallCost(function, _ string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	if function != overloads.Matches || len(args) == 0 {
		return nil
	}
	text, pattern := args[0], args[len(args)-1]
	if target != nil {
		text = *target
	}
	size := uint64(usualText)
	if known := text.ComputedSize(); known != nil {
		size = known.Max
	}
	program := MaxPattern
	if literal, ok := literalText(pattern.Expr()); ok {
		program = e.patterns[literal]
	}
	return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Max: matchUnits(min(size, MaxMatched), program)}}
}

func matchUnits(text uint64, program int) uint64 {
	return matchCost + (text+1)*uint64(program)/stepsPerUnit
}

// literalText gives the value of a string literal.
func literalText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().Value().(string)
	return text, ok
}

// counter counts calls as they are made.
type counter struct{ patterns patterns }

// CallCost is asked after the call, so one call may go over the bound; each is
// cheap enough for that.
func (c counter) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	cost := uint64(1)
	switch {
	case function == overloads.Matches && len(args) == 2:
		text, _ := args[0].Value().(string)
		pattern, _ := args[1].Value().(string)
		cost = matchUnits(uint64(len(text)), c.patterns[pattern])
	case function == operators.In && len(args) == 2 && isMap(args[1]):
		cost += uint64(weight(args[0], maxCountedSize))
	case function == operators.Equals || function == operators.NotEquals || function == operators.In:
		left := maxCountedSize
		for _, arg := range args {
			left -= weight(arg, left)
		}
		cost += uint64(maxCountedSize - left)
	case function == operators.Add:
		for _, arg := range args {
			cost += uint64(length(arg))
		}
	case strings.HasPrefix(function, "get") && len(args) == 2: // getHours("Europe/London")
		cost += timeZoneCost
	default:
		for _, arg := range args {
			cost += uint64(length(arg)) / bytesPerUnit
		}
	}
	return &cost
}

func isMap(value ref.Val) bool {
	_, is := value.(traits.Mapper)
	return is
}

// length is a text's in bytes, or a list's or map's in members.
func length(value ref.Val) int {
	switch v := value.(type) {
	case types.String:
		return len(v)
	case types.Bytes:
		return len(v)
	case traits.Sizer: // a list joined of two would be copied to give its value
		n, _ := v.Size().(types.Int)
		return int(n)
	}
	return 1
}

// weight is what comparing a value costs at most, counted up to a bound.
func weight(value any, most int) int {
	if v, ok := value.(ref.Val); ok {
		value = v.Value()
	}
	sum := 1
	add := func(member any) bool {
		if sum < most {
			sum += weight(member, most-sum)
		}
		return sum < most
	}
	switch v := value.(type) {
	case string:
		sum += len(v) / bytesPerUnit
	case []byte:
		sum += len(v) / bytesPerUnit
	case []any:
		for _, item := range v {
			if !add(item) {
				break
			}
		}
	case []ref.Val:
		for _, item := range v {
			if !add(item) {
				break
			}
		}
	case map[string]any:
		for name, member := range v {
			if !add(name) || !add(member) {
				break
			}
		}
	case map[ref.Val]ref.Val:
		for key, member := range v {
			if !add(key) || !add(member) {
				break
			}
		}
	}
	return sum
}
