package gateway

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	v1 "nowserving/messages/nowserving/v1"
)

const queuesMethods = "/nowserving.v1.Queues/"

// callRaw calls a method, known by its name alone. Of a stream it waits for the
// first message.
func (c *callEnv) callRaw(ctx context.Context, method protoreflect.MethodDescriptor, in proto.Message) error {
	out := dynamicpb.NewMessage(method.Output())
	if !method.IsStreamingServer() {
		return c.conn.Invoke(ctx, queuesMethods+string(method.Name()), in, out)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, queuesMethods+string(method.Name()))
	if err == nil {
		err = stream.SendMsg(in)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return stream.RecvMsg(out)
}

// request is the cell as a request of gRPC.
func (m *matrix) request(c cell, method protoreflect.MethodDescriptor, body string) proto.Message {
	m.t.Helper()
	names := m.fill(c)
	in := dynamicpb.NewMessage(method.Input())
	if err := protojson.Unmarshal([]byte(names.Replace(body)), in); body != "" && err != nil {
		m.t.Fatal(err)
	}
	fields := method.Input().Fields()
	for name, value := range map[protoreflect.Name]string{"queue": names.Replace(":queue"), "ticket": names.Replace("TICKET")} {
		if name == "queue" && c.line() != c.queue {
			value = c.line()
		}
		if field := fields.ByName(name); field != nil {
			in.Set(field, protoreflect.ValueOfString(value))
		}
	}
	return in
}

// The statuses of refusals that the matrix knows by HTTP's.
var grpcOf = map[int]codes.Code{200: codes.OK, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 404: codes.NotFound}

func TestAccessOverGRPC(t *testing.T) {
	t.Parallel()
	broker := newRabbit(t)
	c := startCalls(t, broker.options)
	m := &matrix{liveEnv: c.liveEnv, broker: broker}
	for _, id := range []string{"a", "b", "c"} {
		m.queue(id, `,"max_active":1000`)
	}
	rows, methods := map[string]bool{}, v1.File_nowserving_v1_queues_proto.Services().ByName("Queues").Methods()
	for i := range accesses {
		a := &accesses[i]
		if a.rpc == "" {
			continue
		}
		name, body, _ := strings.Cut(a.rpc, " ")
		rows[name] = true
		method := methods.ByName(protoreflect.Name(name))
		if method == nil {
			t.Errorf("%s has a row and is no method", name)
			continue
		}
		for _, level := range append([]Level{nobody}, levels...) {
			for _, queue := range []string{"a", "c"} {
				if queue == "c" && a.foreign == none {
					continue
				}
				as := string(level)
				if level == nobody {
					as = "-"
				}
				err := c.callRaw(c.as(as), method, m.request(cell{a, level, queue}, method, body))
				want, code := a.want(level, queue == "c")
				if got := refusalOf(err); got.status != grpcOf[want] || got.reason != code {
					t.Errorf("%s in %s as %q: %v, want %v %s", a.rpc, queue, level, err, grpcOf[want], code)
				}
			}
		}
	}
	for i := range methods.Len() {
		if name := string(methods.Get(i).Name()); !rows[name] {
			t.Errorf("%s has no row", name)
		}
	}
	for name, service := range c.server.server.GetServiceInfo() { // what else is open to anyone
		for _, method := range service.Methods {
			full := "/" + name + "/" + method.Name
			if open := needsNoLogin(full); open == strings.HasPrefix(full, queuesMethods) {
				t.Errorf("%s needs no login: %v", full, open)
			}
		}
	}
}
