package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/tap"

	"nowserving/actors/queue"
	v1 "nowserving/messages/nowserving/v1"
)

// Whoever sends no message, or half of one, does not hold a call for ever.
func TestGRPCCallsEnd(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	who := metadata.Pairs("authorization", "Bearer x")
	for method, want := range map[string][2]time.Duration{ // without a token, and with one
		v1.Queues_Enqueue_FullMethodName:                                  {strangersCall, grpcCall},
		v1.Queues_Watch_FullMethodName:                                    {strangersCall, 0},
		grpc_health_v1.Health_Check_FullMethodName:                        {grpcCall, grpcCall},
		grpc_health_v1.Health_Watch_FullMethodName:                        {healthStream, healthStream},
		reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName: {reflectionStream, reflectionStream},
		"/nobody/knows": {strangersCall, grpcCall},
	} {
		if got := [2]time.Duration{callTime(method, nil), callTime(method, who)}; got != want {
			t.Errorf("%s: %v, not %v", method, got, want)
		}
	}
	call, leave := context.WithCancel(t.Context())
	within, err := inTime(call, &tap.Info{FullMethodName: v1.Queues_Enqueue_FullMethodName})
	if _, limited := within.Deadline(); err != nil || !limited {
		t.Errorf("%v, %v", limited, err)
	}
	leave()
	<-within.Done()

	ctx := e.as("-")
	silent, err := e.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, v1.Queues_Enqueue_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	if err := silent.RecvMsg(&v1.TicketResponse{}); refusalOf(err).status != codes.DeadlineExceeded || ctx.Err() != nil {
		t.Errorf("%v, and it was waited for: %v", err, ctx.Err())
	}
}

// A page of queues is cut before it is more than a client takes.
func TestGRPCListsOfLargeQueues(t *testing.T) {
	t.Parallel()
	e := startCalls(t)
	services := make([]string, queue.MaxServices)
	for i := range services {
		services[i] = fmt.Sprintf("%03d", i) + strings.Repeat("\U0001F3AB", queue.MaxServiceLength-3)
	}
	list, err := json.Marshal(services)
	if err != nil {
		t.Fatal(err)
	}
	const queues = 90
	for i := range queues {
		e.queue(fmt.Sprintf("q%02d", i), `,"services":`+string(list))
	}
	var all, pages int
	for after := ""; ; pages++ {
		page := must[*v1.ListQueuesResponse](t)(e.ListQueues(e.as("admin"), &v1.ListQueuesRequest{Limit: 1000, After: after}))
		for _, q := range page.Queues {
			if want := fmt.Sprintf("q%02d", all); q.Id != want {
				t.Fatalf("%s, not %s", q.Id, want)
			}
			all++
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if all != queues || pages == 0 {
		t.Errorf("%d queues, %d pages more than one", all, pages)
	}
}
