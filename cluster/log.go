package cluster

import (
	"context"
	"fmt"
	"log/slog"
)

// typesOnly is a log handler for the actor library, which logs whole messages
// when they go astray. Messages hold customer data, so only their type is kept.
type typesOnly struct{ slog.Handler }

func (h typesOnly) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(typeOnly(a))
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

func (h typesOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = typeOnly(a)
	}
	return typesOnly{h.Handler.WithAttrs(clean)}
}

func (h typesOnly) WithGroup(name string) slog.Handler { return typesOnly{h.Handler.WithGroup(name)} }

// typeOnly leaves what is text, number or error as it is.
func typeOnly(a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindAny {
		return a
	}
	if _, isError := a.Value.Any().(error); isError {
		return a
	}
	return slog.String(a.Key, fmt.Sprintf("%T", a.Value.Any()))
}
