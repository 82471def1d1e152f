package gateway

import (
	"strconv"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// CloudEvent writes an event of a queue as a CloudEvent 1.0 in structured JSON
// (https://github.com/cloudevents/spec), for those outside who follow all
// queues. Its data is the event as a WebSocket session has it who may not see
// customers: customer and payload are null.
//
// A version names one event of one history, so source and id together are never
// those of another event.
func CloudEvent(queueID string, e *messages.Event) []byte {
	b := append(make([]byte, 0, cloudEventSize), `{"specversion":"1.0","id":`...)
	b = appendString(b, queueID+"/"+strconv.FormatUint(e.Version, 10))
	b = append(b, `,"source":`...)
	b = appendString(b, "/nowserving/queues/"+queueID+"/epochs/"+e.Epoch)
	b = append(b, `,"type":`...)
	b = appendString(b, CloudEventType(e))
	b = append(b, `,"subject":`...)
	if e.Ticket != nil {
		b = appendID(b, e.Ticket.Id)
	} else {
		b = appendString(b, queueID)
	}
	b = append(b, `,"time":`...)
	b = appendTime(b, e.At)
	b = append(b, `,"datacontenttype":"application/json","data":{`...)
	b = new(renderer).appendEventFields(b, queueID, e, false)
	return append(b, '}')
}

// WebhookBody writes an event of a queue as webhooks have it, by the convention of
// https://www.standardwebhooks.com. Its data is the event as a WebSocket session
// has it who may not see customers, and its epoch.
func WebhookBody(queueID string, e *messages.Event) []byte {
	b := append(make([]byte, 0, cloudEventSize), `{"type":`...)
	b = appendString(b, queue.Kind(e.Kind).String())
	b = append(b, `,"timestamp":`...)
	b = appendTime(b, e.At)
	b = append(b, `,"data":{"epoch":`...)
	b = appendString(b, e.Epoch)
	b = append(b, ',')
	b = new(renderer).appendEventFields(b, queueID, e, false)
	return append(b, '}')
}

// CloudEventType is the type of an event: "nowserving.ticket.called".
func CloudEventType(e *messages.Event) string { return "nowserving." + queue.Kind(e.Kind).String() }

// cloudEventSize is about that of most.
const cloudEventSize = 1_280
