package cluster

import (
	"context"
	"fmt"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"nowserving/tracing"
)

// A sampled request has a span on either node, and the grain is told of the last
// one; any other request has none, and the grain is told of nothing.
func TestRequestsBetweenNodesGoOnWithTheirTrace(t *testing.T) {
	w := newWorld(t)
	spans := tracetest.NewInMemoryExporter()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)).Tracer("test")
	told := make(chan string, 1)
	traced := func(o *Options) {
		o.Tracer = tracer
		o.Kinds["tells"] = func(string) actor.Actor {
			return actor.ReceiveFunc(func(ctx actor.Context) {
				switch ctx.Message().(type) {
				case *wrapperspb.StringValue:
					told <- ctx.MessageHeader().Get(tracing.Parent)
					ctx.Respond(wrapperspb.String("ok"))
				case Passivate:
					ctx.Stop(ctx.Self())
				}
			})
		}
	}
	nodes := []*Node{w.start(traced), w.start(traced)}
	w.together(nodes...)
	ids := make(map[bool]string) // by whether the first node hosts it
	for i := 0; len(ids) < 2; i++ {
		ids[nodes[0].Hosts("tells", fmt.Sprint(i))] = fmt.Sprint(i)
	}
	request := func(ctx context.Context, here bool) string {
		t.Helper()
		if _, err := nodes[0].Request(ctx, "tells", ids[here], wrapperspb.String("hello")); err != nil {
			t.Fatal(err)
		}
		return <-told
	}
	ctx, span := tracer.Start(t.Context(), "command")
	if got, want := request(ctx, true), tracing.Text(ctx); got != want {
		t.Errorf("a grain of this node is told of %q, not of %q", got, want)
	}
	if n := len(spans.GetSpans()); n != 0 {
		t.Errorf("%d spans of a request that left no node", n)
	}
	got := request(ctx, false)
	made := spans.GetSpans() // of the node that answers first
	if len(made) != 2 || made[0].Parent.SpanID() != made[1].SpanContext.SpanID() || made[1].Parent.SpanID() != span.SpanContext().SpanID() ||
		made[0].SpanKind != trace.SpanKindServer || made[1].SpanKind != trace.SpanKindClient {
		t.Fatalf("%+v", made)
	}
	if want := tracing.Text(trace.ContextWithSpanContext(ctx, made[0].SpanContext)); got != want {
		t.Errorf("the grain is told of %q, not of %q", got, want)
	}
	unsampled, _ := tracing.From(t.Context(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
	for _, ctx := range []context.Context{t.Context(), unsampled} {
		if got := request(ctx, true) + request(ctx, false); got != "" || len(spans.GetSpans()) != 2 {
			t.Errorf("a request that is not sampled is traced: %q", got)
		}
	}
}
