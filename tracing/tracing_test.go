package tracing_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"nowserving/tracing"
)

const (
	sampled   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func TestOnlyWhatIsSampledIsToldOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		parent, want string
		sound        bool
	}{
		{sampled, sampled, true}, {unsampled, "", true}, {"", "", false}, {"nonsense", "", false}, {strings.Repeat("0", 4096), "", false},
	} {
		ctx, sound := tracing.From(t.Context(), c.parent)
		if got := tracing.Text(ctx); got != c.want || sound != c.sound {
			t.Errorf("%q is told on as %q, and is sound: %t", c.parent, got, sound)
		}
	}
}

// What is no part of a trace costs nothing.
func TestNoTraceIsFree(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	allocated := testing.AllocsPerRun(100, func() {
		if tracing.Text(ctx) != "" || tracing.Sampled(ctx) {
			t.Error("there is a trace")
		}
		if _, sound := tracing.From(ctx, ""); sound {
			t.Error("there is a trace")
		}
		tracing.End(trace.SpanFromContext(ctx), "")
	})
	if allocated != 0 {
		t.Errorf("%.0f allocations", allocated)
	}
}

func TestLogsBearTheIdsOfTheirSpan(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	log := slog.New(tracing.Handler{Handler: slog.NewTextHandler(&said, nil)}).With("queue", "a").WithGroup("g")
	ctx, _ := tracing.From(t.Context(), unsampled)
	log.InfoContext(ctx, "one")
	if !strings.Contains(said.String(), "trace_id=0af7651916cd43dd8448eb211c80319c") || !strings.Contains(said.String(), "span_id=b7ad6b7169203331") {
		t.Errorf("%s", &said)
	}
	said.Reset()
	log.Info("two")
	if strings.Contains(said.String(), "_id") {
		t.Errorf("%s", &said)
	}
}
