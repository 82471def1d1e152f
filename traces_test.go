package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// span is one as a receiver of OTLP has it, with the process that made it.
type span struct {
	*tracepb.Span
	process string
}

// receiver takes spans as a collector does.
type receiver struct {
	url   string
	mu    sync.Mutex
	spans []span
	wrong []string
}

func startReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		var m coltracepb.ExportTraceServiceRequest
		body, err := io.ReadAll(request.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil || proto.Unmarshal(body, &m) != nil || request.URL.Path != tracesPath {
			r.wrong = append(r.wrong, request.URL.Path)
		}
		for _, resource := range m.ResourceSpans {
			process := ""
			for _, a := range resource.Resource.Attributes {
				if a.Key == "service.instance.id" {
					process = a.Value.GetStringValue()
				}
			}
			for _, scope := range resource.ScopeSpans {
				for _, s := range scope.Spans {
					r.spans = append(r.spans, span{s, process})
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// chain gives the spans from one of the first name to the last one's, each of them
// part of the one before.
func (r *receiver) chain(t testing.TB, names ...string) []span {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	byID := make(map[string]span)
	for _, s := range r.spans {
		byID[string(s.SpanId)] = s
	}
	var all []string
	for _, s := range r.spans {
		all = append(all, s.Name)
		way, at, found := []span{s}, s, true
		for found && len(way) < len(names) {
			above, known := byID[string(at.ParentSpanId)]
			found = known && string(above.TraceId) == string(s.TraceId)
			way, at = append(way, above), above
		}
		for i, name := range names {
			found = found && way[len(names)-1-i].Name == name
		}
		if found {
			slices.Reverse(way)
			return way
		}
	}
	t.Fatalf("there is no %s among %s", strings.Join(names, " > "), strings.Join(all, ", "))
	return nil
}

// One command by way of one node to a queue on the other one is one trace, whose
// spans reach their receiver when the nodes end, if not before.
func TestTraceGoesThroughNodes(t *testing.T) {
	t.Parallel()
	to := startReceiver(t)
	nodes, _ := startMembers(t, 2, "--trace-endpoint", to.url, "--trace-ratio", "1")
	for _, p := range nodes {
		eventually(t, "the nodes reach each other", func() bool { return p.logged("another node can be reached", "addr") != "" })
	}
	c := admin(t, nodes[0].url)
	far := ""
	for i := 0; far == ""; i++ {
		id := fmt.Sprint("q", i)
		c.must(t, nodes[0].url, "POST", "/queues", fmt.Sprintf(`{"id":%q}`, id))
		eventually(t, "the queue is listed", func() bool {
			seen, listed := c.cluster(t, nodes[0].url), false
			for _, q := range seen.Items {
				listed = listed || q.Queue == id
				for _, n := range seen.Nodes {
					if q.Queue == id && q.Node == n.ID && !n.This {
						far = id
					}
				}
			}
			return listed
		})
	}
	for range 3 { // a slow machine may take a node for lost for a moment
		c.must(t, nodes[0].url, "POST", "/queues/"+far+"/tickets", `{"customer":{"name":"Ada Marsh"}}`)
	}
	for _, p := range nodes {
		if code, took := p.stop(); code != 0 {
			t.Errorf("exit code %d after %s", code, took)
		}
	}
	for _, last := range []string{"decide enqueue", "append"} {
		way := to.chain(t, "POST /api/v1/queues/:queue/tickets", "ask queue", "serve queue", last)
		if way[0].process != way[1].process || way[1].process == way[2].process || way[2].process != way[3].process {
			t.Errorf("the spans are not of the processes that did the work: %v", way)
		}
		if way[1].Kind != tracepb.Span_SPAN_KIND_CLIENT || way[2].Kind != tracepb.Span_SPAN_KIND_SERVER {
			t.Errorf("%s, %s", way[1].Kind, way[2].Kind)
		}
	}
	if len(to.wrong) > 0 {
		t.Errorf("what cannot be read came to %v", to.wrong)
	}
}

// A receiver that hangs holds nobody up, and a stop for a moment only.
func TestReceiverOfSpansThatHangsHarmsNothing(t *testing.T) {
	t.Parallel()
	hangs, err := net.Listen("tcp", "127.0.0.1:0") // its backlog takes connections
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hangs.Close() })
	node := startNodeWith(t, []string{
		"NOWSERVING_ADMIN_PASSWORD=" + adminPassword, "NOWSERVING_TRACE_RATIO=1",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + hangs.Addr().String(), "OTEL_BSP_MAX_QUEUE_SIZE=50",
	}, t.TempDir())
	c := admin(t, node.url)
	c.must(t, node.url, "POST", "/queues", `{"id":"a"}`)
	for range 100 {
		c.must(t, node.url, "POST", "/queues/a/tickets", `{}`)
	}
	code, took := node.stop()
	if code != 0 || node.logged("the last spans were not taken", "error") == "" {
		t.Errorf("exit code %d after %s", code, took)
	}
	if n := strings.Count(node.log(), "spans are not taken"); n > 1 {
		t.Errorf("the log says so %d times", n)
	}
}
