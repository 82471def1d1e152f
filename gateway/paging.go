package gateway

import (
	"encoding/base64"
	"slices"
	"strconv"

	"github.com/gofiber/fiber/v2"
	"google.golang.org/protobuf/proto"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// Pages of lists.

const (
	defaultLimit = 100
	maxLimit     = 1_000
	maxCursor    = 512
)

// query gives a parameter of a list by its name; false where it was left out.
type query func(name string, wrong *faults) (string, bool)

func restQuery(c *fiber.Ctx) query {
	return func(name string, wrong *faults) (string, bool) { return queryOf(c, name, wrong) }
}

// queryOf gives a parameter of the query; false where it was left out.
func queryOf(c *fiber.Ctx, name string, wrong *faults) (string, bool) {
	values := c.Context().QueryArgs().PeekMulti(name)
	if len(values) == 0 {
		return "", false
	}
	if len(values) > 1 {
		wrong.add(name, "is given twice")
	}
	return string(values[0]), true
}

// appendPage writes a page of a list, each item as item does, and where the next
// one begins; empty: none follows.
func appendPage[T any](dst []byte, items []T, next string, item func(dst []byte, one *T) []byte) []byte {
	dst = append(dst, `{"items":[`...)
	for i := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = item(dst, &items[i])
	}
	return append(appendOptional(append(dst, `],"next":`...), next), '}')
}

func limitOf(c *fiber.Ctx, wrong *faults) int { return restQuery(c).limit(wrong) }

func (q query) limit(wrong *faults) int {
	text, given := q("limit", wrong)
	if !given {
		return defaultLimit
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n < 1 || n > maxLimit {
		wrong.add("limit", "must be 1 to 1000")
	}
	return int(n)
}

// Cursors say no more than what the page showed, so they bear no signature; a
// forged one shows nothing that the list itself would not.

func ticketCursor(c *messages.ListCursor) string {
	text, _ := proto.Marshal(c) // numbers and bytes always encode
	return base64.RawURLEncoding.EncodeToString(text)
}

// parseTicketCursor is nil for what no page of these states can have given.
func parseTicketCursor(text string, states []messages.TicketState) *messages.ListCursor {
	if len(text) > maxCursor {
		return nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil
	}
	c := &messages.ListCursor{}
	if proto.Unmarshal(raw, c) != nil || len(c.ProtoReflect().GetUnknown()) > 0 {
		return nil
	}
	if len(c.Id) != 16 || !slices.Contains(states, c.State) {
		return nil
	}
	return c
}

func queueCursor(id string) string { return base64.RawURLEncoding.EncodeToString([]byte("q:" + id)) }

// parseQueueCursor gives the id of the last queue of a page; false for what no
// page can have given.
func parseQueueCursor(text string) (string, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < 2 || string(raw[:2]) != "q:" {
		return "", false
	}
	id := string(raw[2:])
	return id, queue.ID(id).Valid()
}
