package gateway

import (
	"bytes"
	"encoding/json"
	"testing"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// Every kind of event is a CloudEvent as asyncapi.yaml promises, and says
// nothing of the customer.
func TestCloudEvents(t *testing.T) {
	t.Parallel()
	schemas, err := liveSchemas()
	if err != nil {
		t.Fatal(err)
	}
	const marker = "sealed-customer"
	ids := map[string]bool{}
	for kind := queue.TicketEnqueued; kind < queue.QueueDeleted; kind++ {
		e := &messages.Event{Version: uint64(kind), Epoch: "e1", At: 1_700_000_000_000, By: "ann", Kind: messages.EventKind(kind)}
		subject := "post"
		if kind.OfTicket() {
			id := newTestID()
			subject = id.String()
			e.Position = 3
			e.Ticket = &messages.Ticket{
				Id: id[:], Number: "A042", State: messages.TicketState_TICKET_STATE_WAITING, Source: messages.Source_SOURCE_AMQP,
				EnqueuedAt: e.At, Customer: []byte(marker), Payload: []byte(marker),
			}
		} else {
			e.Config = &messages.Config{Name: "Post", Prefix: "A", MaxActive: 1, Timezone: "UTC"}
			e.Status = messages.Status_STATUS_OPEN
		}
		text := CloudEvent("post", e)
		var f map[string]any
		if err := json.Unmarshal(text, &f); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if err := schemas["PublishedEvent"].Value.VisitJSON(f); err != nil {
			t.Errorf("%s: %v\n%s", kind, err, text)
		}
		if bytes.Contains(text, []byte(marker)) {
			t.Errorf("the customer is in %s", text)
		}
		if f["subject"] != subject || f["type"] != "nowserving."+kind.String() || f["source"] != "/nowserving/queues/post/epochs/e1" {
			t.Errorf("%s", text)
		}
		if data := f["data"].(map[string]any); kind.OfTicket() {
			ticket := data["data"].(map[string]any)
			if customer, there := ticket["customer"]; !there || customer != nil || ticket["position"] != 3.0 {
				t.Errorf("%s", text)
			}
		}
		ids[f["id"].(string)] = true
	}
	if len(ids) != int(queue.QueueDeleted)-1 {
		t.Errorf("%d ids", len(ids))
	}
}
