package gateway

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "nowserving/messages/nowserving/v1"
)

// Whatever a request holds, its arguments are one JSON object with the fields that
// were sent and no others, each as it was: nobody slips in another by a text.
func FuzzOrder(f *testing.F) {
	requests := []proto.Message{
		&v1.EnqueueRequest{}, &v1.UpdateRequest{}, &v1.MoveRequest{}, &v1.TransferRequest{}, &v1.CreateQueueRequest{}, &v1.ConfigureQueueRequest{},
	}
	for kind, seed := range []proto.Message{
		&v1.EnqueueRequest{Queue: "a", IdempotencyKey: "k", Service: `x","priority":9`, Customer: &v1.Customer{Name: "\u2028\"\\"}, Payload: `{"a":[1]}`},
		&v1.UpdateRequest{Ticket: "t", Payload: proto.String(`1,"service":"y"`), Customer: &v1.Customer{}},
		&v1.MoveRequest{To: &v1.MoveRequest_Position{Position: -1}, ExpectedVersion: proto.Uint64(1 << 63)},
		&v1.TransferRequest{Queue: "a", ToQueue: "b"},
		&v1.CreateQueueRequest{Id: "a", Capacity: proto.Uint32(0), Services: &v1.Services{Items: []string{"", "\x00"}}},
		&v1.ConfigureQueueRequest{Status: 77, Public: proto.Bool(false)},
	} {
		bytes, err := proto.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(kind), bytes)
	}
	beside := map[protoreflect.Name]bool{"queue": true, "idempotency_key": true, "expected_version": true}
	f.Fuzz(func(t *testing.T, kind uint8, bytes []byte) {
		in := requests[int(kind)%len(requests)].ProtoReflect().New()
		if proto.Unmarshal(bytes, in.Interface()) != nil {
			return
		}
		o := orderOf(in)
		wrong := &faults{}
		args := wrong.parse(o.args)
		if tooDeep(o.args) {
			return
		}
		if p := wrong.problem(); p != nil {
			t.Fatalf("%v: %s", p, o.args)
		}
		sent := 0
		in.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
			if beside[field.Name()] || field.Name() == "payload" && len(o.meta.wrong) > 0 {
				return true
			}
			sent++
			name := string(field.Name())
			if name == "to_queue" {
				name = "queue"
			}
			member := args.find(name)
			switch {
			case member == nil:
				t.Errorf("%s is not in %s", name, o.args)
			case field.Name() != "payload" && field.Kind() == protoreflect.StringKind:
				if text, sound := unquote(member.raw); !sound || text != value.String() {
					t.Errorf("%s is %q in %s", name, value.String(), o.args)
				}
			}
			return true
		})
		if len(args.members) != sent {
			t.Errorf("%d fields, and %d in %s", sent, len(args.members), o.args)
		}
	})
}
