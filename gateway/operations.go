package gateway

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
)

// REST for those who run the system: its nodes and its keys.

// Node is a member of the cluster.
type Node struct {
	ID      string
	Address string // where the others reach it; empty where it is alone
	Roles   []string
	Since   time.Time // zero: not known
	Leaving bool      // its queues go to others
	This    bool
}

// Cluster tells who the members are and where queues live, as far as this node
// knows.
type Cluster interface {
	Nodes() []Node
	// NodeOf gives the id of the node on which a queue lives, or would if somebody
	// asked for it; empty where there is none.
	NodeOf(queue string) string
}

// Key is what may be told of a key of a ring.
type Key struct {
	ID    string
	Ring  string    // "data" or "token"
	State string    // "first", "needed", "spare" or "missing"
	Why   string    // it is needed; empty: it is not
	First time.Time // when a node first had it; zero: none ever did
	Led   time.Time // when it was last the first one; zero: never
	// Of data keys: how many it wraps, and users that it has sealed.
	DataKeys, Users int64
}

// Keys tells of the rings.
type Keys interface {
	Keys(ctx context.Context) ([]Key, error)
}

func (g *Gateway) getCluster(c *fiber.Ctx, who *Principal) error {
	if p := who.may(ReadSystem, ""); p != nil {
		return p
	}
	rows, more, p := g.pageOfQueues(c.UserContext(), who, restQuery(c))
	if p != nil {
		return p
	}
	nodes := g.options.Cluster.Nodes()
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		dst = append(dst, `{"nodes":[`...)
		for i := range nodes {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendNode(dst, &nodes[i])
		}
		page := appendQueuePage(nil, rows, more, func(dst []byte, i int) []byte {
			dst = appendString(append(dst, `{"queue":`...), rows[i].ID)
			return append(appendOptional(append(dst, `,"node":`...), g.options.Cluster.NodeOf(rows[i].ID)), '}')
		})
		return append(append(dst, `],`...), page[1:]...)
	})
}

func appendNode(dst []byte, n *Node) []byte {
	dst = appendString(append(dst, `{"id":`...), n.ID)
	dst = appendOptional(append(dst, `,"address":`...), n.Address)
	dst = appendStrings(append(dst, `,"roles":`...), n.Roles)
	dst = appendSince(append(dst, `,"since":`...), n.Since)
	dst = strconv.AppendBool(append(dst, `,"leaving":`...), n.Leaving)
	return append(strconv.AppendBool(append(dst, `,"this":`...), n.This), '}')
}

// appendSince is appendTime for a time that may be zero.
func appendSince(dst []byte, at time.Time) []byte {
	if at.IsZero() {
		return append(dst, "null"...)
	}
	return appendTime(dst, at.UnixMilli())
}

func (g *Gateway) listRingKeys(c *fiber.Ctx, who *Principal) error {
	if p := who.may(ReadSystem, ""); p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	keys, err := g.options.Keys.Keys(ctx)
	if err != nil {
		g.log.WarnContext(c.UserContext(), "what is known of keys cannot be read", "error", err)
		return unavailable("What is known of keys cannot be read just now.")
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		dst = append(dst, `{"items":[`...)
		for i := range keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendRingKey(dst, &keys[i])
		}
		return append(dst, `],"next":null}`...)
	})
}

func appendRingKey(dst []byte, k *Key) []byte {
	dst = appendString(append(dst, `{"id":`...), k.ID)
	dst = appendString(append(dst, `,"ring":`...), k.Ring)
	dst = appendString(append(dst, `,"state":`...), k.State)
	dst = appendOptional(append(dst, `,"needed_for":`...), k.Why)
	dst = appendSince(append(dst, `,"first_seen":`...), k.First)
	dst = appendSince(append(dst, `,"last_first":`...), k.Led)
	dst = strconv.AppendInt(append(dst, `,"data_keys":`...), k.DataKeys, 10)
	return append(strconv.AppendInt(append(dst, `,"users":`...), k.Users, 10), '}')
}
