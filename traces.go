package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// flushWithin bounds how long a node that leaves waits for its last spans to be taken.
	flushWithin = 2 * time.Second
	// complainEvery bounds how often the log says that spans are not taken.
	complainEvery = time.Minute
	// tracesPath is where OTLP over HTTP takes spans.
	tracesPath = "/v1/traces"
)

// traceConfig says where spans go and how many are made. What it leaves open the
// library finds in the variables OTEL_….
type traceConfig struct {
	on       bool
	endpoint string // empty: the one of the variables
	ratio    float64
	sampler  bool // the variables say how many
}

// fromVariables takes the standard variables where no flag of this program says otherwise.
func (t *traceConfig) fromVariables(getenv func(string) string) error {
	t.on = t.endpoint != "" || getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		t.on = false
	}
	t.sampler = getenv("OTEL_TRACES_SAMPLER") != ""
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		protocol := getenv(name)
		if t.on && protocol != "" && protocol != "http/protobuf" {
			return usage("%s: %q is not spoken, only http/protobuf (port 4318)", name, protocol)
		}
		if protocol != "" {
			break // what is said of traces alone goes first
		}
	}
	return nil
}

func putTraceEndpoint(c *Config, value string) error {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("it is not of the form http://host:4318 or https://host:4318")
	case u.User != nil:
		return errors.New("a login does not stand in it; OTEL_EXPORTER_OTLP_HEADERS takes one")
	case u.Path == "" || u.Path == "/":
		u.Path = tracesPath
	}
	c.traces.endpoint = u.String()
	return nil
}

func putTraceRatio(c *Config, value string) (err error) {
	if c.traces.ratio, err = strconv.ParseFloat(value, 64); err != nil || !(c.traces.ratio >= 0 && c.traces.ratio <= 1) {
		return fmt.Errorf("%q is not a number from 0 to 1", value)
	}
	return nil
}

// startTraces is first, so that the last spans go out when all else has ended.
func (n *Node) startTraces(ctx context.Context) error {
	if !n.config.traces.on {
		return nil
	}
	otel.SetErrorHandler(&complaints{log: n.log})
	var to []otlptracehttp.Option
	if n.config.traces.endpoint != "" {
		to = append(to, otlptracehttp.WithEndpointURL(n.config.traces.endpoint))
	}
	exporter, err := otlptracehttp.New(ctx, to...) // it connects later
	if err != nil {
		return usage("--trace-endpoint: %w", err)
	}
	self, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "nowserving"), attribute.String("service.version", version),
		attribute.String("service.instance.id", uuid.NewString()),
	), resource.WithHost(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil { // it is what could be found out
		n.log.Warn("not all is known of where spans come from", "error", err)
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithBatcher(exporter), sdktrace.WithResource(self)}
	if !n.config.traces.sampler {
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(n.config.traces.ratio))))
	}
	provider := sdktrace.NewTracerProvider(options...)
	n.tracer = provider.Tracer("nowserving", trace.WithInstrumentationVersion(version))
	n.closing(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, flushWithin)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil { // what is lost of traces makes no stop a failure
			n.log.Warn("the last spans were not taken", "error", err)
		}
		return nil
	})
	return nil
}

// complaints are those of the library: while nobody takes spans, one for each batch.
type complaints struct {
	log  *slog.Logger
	last atomic.Int64 // Unix milliseconds
}

// Handle logs one of them now and then.
func (c *complaints) Handle(err error) {
	now, last := time.Now().UnixMilli(), c.last.Load()
	if now-last >= complainEvery.Milliseconds() && c.last.CompareAndSwap(last, now) {
		c.log.Warn("spans are not taken; they are dropped", "error", err)
	}
}
