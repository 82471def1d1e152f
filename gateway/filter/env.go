package filter

import (
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// The parser's bounds: they keep the time to check an expression short, however
// it is written.
const (
	maxDepth    = 50 // of brackets and operators within one another
	maxNodes    = 1_000
	maxRecovery = 5 // errors after which the parser gives up
)

var (
	requestType  = types.NewObjectType("nowserving.Request")
	customerType = types.NewObjectType("nowserving.Customer")
)

// environment is what expressions can name: variables, their types, and
// functions. That a request's fields have types finds a misspelt one when the
// rule is saved, not when a message comes.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	return cel.NewEnv(
		cel.CustomTypeProvider(provider{registry}), cel.CustomTypeAdapter(registry),
		cel.OptionalTypes(cel.OptionalTypesVersion(0)),
		cel.Variable("request", requestType),
		cel.Variable("headers", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("routing_key", cel.StringType),
		cel.Variable("message_id", cel.StringType),
		cel.Variable("type", cel.StringType),
		cel.Variable("source", cel.StringType),
		cel.ParserExpressionSizeLimit(MaxExpression), cel.ParserRecursionLimit(maxDepth),
		cel.ParserErrorRecoveryLimit(maxRecovery), cel.ExpressionNodeLimit(maxNodes),
		cel.DefaultUTCTimeZone(true),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateComprehensionNestingLimit(MaxNesting)),
	)
})

// provider knows the types of a request beside CEL's own.
type provider struct{ *types.Registry }

func fieldsOf(name string) map[string]*types.FieldType {
	switch name {
	case requestType.TypeName():
		return requestFields
	case customerType.TypeName():
		return customerFields
	}
	return nil
}

func (p provider) FindStructType(name string) (*types.Type, bool) {
	switch name {
	case requestType.TypeName():
		return types.NewTypeTypeWithParam(requestType), true
	case customerType.TypeName():
		return types.NewTypeTypeWithParam(customerType), true
	}
	return p.Registry.FindStructType(name)
}

func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	fields := fieldsOf(name)
	if fields == nil {
		return p.Registry.FindStructFieldNames(name)
	}
	names := make([]string, 0, len(fields))
	for field := range fields {
		names = append(names, field)
	}
	return names, true
}

func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if fields := fieldsOf(name); fields != nil {
		t, ok := fields[field]
		return t, ok
	}
	return p.Registry.FindStructFieldType(name, field)
}

func (p provider) NewValue(name string, _ map[string]ref.Val) ref.Val {
	return types.NewErr("a value of type %s cannot be made here", name)
}

// field makes a field that gives what get does, or a default where get gives
// nil: as in protocol buffers, has() tells the two apart.
func field[T any](t *types.Type, get func(T) any, otherwise any) *types.FieldType {
	return &types.FieldType{
		Type: t,
		IsSet: func(target any) bool {
			of, ok := target.(T)
			return ok && get(of) != nil
		},
		GetFrom: func(target any) (any, error) {
			of, ok := target.(T)
			if !ok {
				return nil, fmt.Errorf("no such overload")
			}
			if value := get(of); value != nil {
				return value, nil
			}
			return otherwise, nil
		},
	}
}

// given is a pointer's value, nil for a nil pointer.
func given[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

var requestFields = map[string]*types.FieldType{
	"queue":    field(types.StringType, func(v *view) any { return v.request.Queue }, ""),
	"service":  field(types.StringType, func(v *view) any { return given(v.request.Service) }, ""),
	"priority": field(types.IntType, func(v *view) any { return given(v.request.Priority) }, int64(0)),
	"customer": field(customerType, func(v *view) any {
		if v.request.Customer == nil {
			return nil
		}
		return v.request.Customer
	}, &Customer{}),
	// Without a payload there is an empty one, so that has(request.payload.x)
	// can be asked of every message.
	"payload": field(types.DynType, func(v *view) any { return v.payload() }, map[string]any{}),
}

var customerFields = map[string]*types.FieldType{
	"name":  field(types.StringType, func(c *Customer) any { return given(c.Name) }, ""),
	"phone": field(types.StringType, func(c *Customer) any { return given(c.Phone) }, ""),
	"email": field(types.StringType, func(c *Customer) any { return given(c.Email) }, ""),
	"ref":   field(types.StringType, func(c *Customer) any { return given(c.Ref) }, ""),
}
