package filter

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// maxFault is the length in bytes of what is said about one expression.
const maxFault = 300

// Set is the rules of one queue, ready to decide. It is safe for concurrent use.
type Set struct{ rules []compiled }

type compiled struct {
	Rule
	when     cel.Program
	priority cel.Program // nil where the rule sets none, or a fixed one
	fixed    *int
}

// Compile checks rules and readies them. What is wrong with one is said about
// its expressions alone: names, actions and queues are the caller's to check.
func Compile(rules []Rule) (*Set, []Fault) {
	s := &Set{rules: make([]compiled, len(rules))}
	var faults []Fault
	for i, rule := range rules {
		c := &s.rules[i]
		c.Rule = rule
		var err error
		if c.when, err = compile(rule.When, types.BoolType); err != nil {
			faults = append(faults, Fault{i, "when", brief(err)})
		}
		if rule.Priority == "" {
			continue
		}
		if n, err := strconv.Atoi(rule.Priority); err == nil && n >= 0 && n <= MaxPriority {
			c.fixed = &n
		} else if c.priority, err = compile(rule.Priority, types.IntType); err != nil {
			faults = append(faults, Fault{i, "priority", brief(err)})
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return s, nil
}

// Len is how many rules there are.
func (s *Set) Len() int { return len(s.rules) }

// compile makes a program of an expression that gives a value of a type.
func compile(text string, want *types.Type) (program cel.Program, err error) {
	defer func() {
		// Anyone who may configure a queue writes expressions: a fault that one
		// finds in the library must not end the node.
		if recover() != nil {
			program, err = nil, errors.New("cannot be checked")
		}
	}()
	if n := utf8.RuneCountInString(text); n > MaxExpression { // before anything looks at it
		return nil, fmt.Errorf("must be at most %d characters", MaxExpression)
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	tree, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, firstIssue(issues)
	}
	// What comes of a payload has no type before it is there.
	if is := tree.OutputType(); !is.IsExactType(want) && !is.IsExactType(types.DynType) {
		return nil, fmt.Errorf("must give a value of type %s, and gives %s", want, tree.OutputType())
	}
	used, err := inspect(tree.NativeRep())
	if err != nil {
		return nil, err
	}
	estimate, err := env.EstimateCost(tree, estimator{used})
	if err != nil {
		return nil, err
	}
	if estimate.Max > MaxCost {
		return nil, fmt.Errorf("may cost %d, more than the %d that an expression may", estimate.Max, MaxCost)
	}
	return env.Program(tree, cel.OptimizeRegex(boundedMatch), cel.CostTracking(counter{used}), cel.CostLimit(MaxCost))
}

// inspect refuses what cannot be bounded, and gives the sizes of the regular
// expressions.
func inspect(tree *celast.AST) (patterns, error) {
	root := celast.NavigateAST(tree)
	if len(celast.MatchDescendants(root, celast.KindMatcher(celast.StructKind))) > 0 {
		return nil, errors.New("must not make objects")
	}
	used := patterns{}
	for _, call := range celast.MatchDescendants(root, celast.FunctionMatcher(overloads.Matches)) {
		args := call.AsCall().Args()
		if len(args) == 0 {
			continue // the checker does not let this come here
		}
		pattern, literal := literalText(args[len(args)-1])
		if !literal {
			return nil, errors.New("the pattern of matches must be a literal text")
		}
		size, err := programSize(pattern)
		switch {
		case err != nil:
			return nil, errors.New("the pattern of matches is no regular expression")
		case size > MaxPattern:
			return nil, fmt.Errorf("the pattern of matches makes %d instructions, more than %d", size, MaxPattern)
		}
		used[pattern] = size
	}
	return used, nil
}

// programSize is how many instructions regexp makes of a pattern. (CEL has a
// function and a validator for it, which panic where the pattern has a counted
// repetition, for they leave out Simplify.)
func programSize(pattern string) (int, error) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, err
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0, err
	}
	return len(program.Inst), nil
}

// errLongText: see MaxMatched.
var errLongText = errors.New("the text is too long for matches")

// boundedMatch compiles patterns once and refuses long texts: Go's regular
// expressions take time in proportion to text and pattern, which is only
// counted when it has passed.
var boundedMatch = &interpreter.RegexOptimization{
	Function: overloads.Matches, RegexIndex: 1,
	Factory: func(call interpreter.InterpretableCall, pattern string) (interpreter.InterpretableCall, error) {
		compiled, err := regexp.Compile(pattern)
		if err != nil {
			return nil, err
		}
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
			text, ok := args[0].(types.String)
			switch {
			case !ok:
				return types.MaybeNoSuchOverloadErr(args[0])
			case len(text) > MaxMatched:
				return types.WrapErr(errLongText)
			}
			return types.Bool(compiled.MatchString(string(text)))
		}), nil
	},
}

// firstIssue is the first thing that CEL complains of, without the drawing that
// it makes of it.
func firstIssue(issues *cel.Issues) error {
	all := issues.Errors()
	if len(all) == 0 {
		return issues.Err()
	}
	at, said := all[0].Location, strings.TrimSpace(all[0].Message)
	if at.Line() < 1 {
		return errors.New(said)
	}
	return fmt.Errorf("line %d, column %d: %s", at.Line(), at.Column()+1, said)
}

// brief cuts a message to its bound.
func brief(err error) string {
	text := strings.ToValidUTF8(strings.Join(strings.Fields(err.Error()), " "), "")
	if len(text) > maxFault {
		text = strings.ToValidUTF8(text[:maxFault], "") + "…"
	}
	return text
}
