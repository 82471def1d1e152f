package gateway

import (
	"context"
	"testing"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// What every request pays for, apart from the queue itself.

func BenchmarkAuthenticate(b *testing.B) {
	e := start(b)
	token, _ := e.tokens.Load("attendant@example.org")
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, p := e.gateway.auth.Authenticate(context.Background(), token.(string)); p != nil {
				b.Fatal(p)
			}
		}
	})
}

func benchEnqueue(b *testing.B, key *string) {
	e := start(b)
	who := &Principal{UserID: "u", Level: Admin}
	body := []byte(`{"service":"Passports","priority":3,"customer":{"name":"Ada Marsh"},"payload":{"documents":2}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, p := e.gateway.build(context.Background(), "enqueue", "a", body, who, queue.FromREST, "", commandMeta{key: key}); p != nil {
			b.Fatal(p)
		}
	}
}

func BenchmarkEnqueueCommand(b *testing.B) { benchEnqueue(b, nil) }

func BenchmarkEnqueueCommandKeyed(b *testing.B) { key := "k"; benchEnqueue(b, &key) }

func BenchmarkAppendTicket(b *testing.B) {
	e := start(b)
	made, p := e.gateway.build(context.Background(), "enqueue", "a",
		[]byte(`{"service":"P","customer":{"name":"Ada Marsh"},"payload":{"documents":2}}`),
		&Principal{UserID: "u", Level: Admin}, queue.FromREST, "", commandMeta{})
	if p != nil {
		b.Fatal(p)
	}
	a := made.message.GetEnqueue()
	t := &messages.Ticket{Id: a.Id, Number: "A042", State: 1, Service: "P", Source: 1, Customer: a.Customer, Payload: a.Payload, EnqueuedAt: 1}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = e.gateway.appendTicket(dst[:0], t, "a", 7, true)
	}
}
