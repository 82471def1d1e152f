package main

import (
	"context"
	"slices"
	"time"

	"nowserving/actors"
	"nowserving/gateway"
	"nowserving/persistence/directory"
)

// members is the cluster as the gateway wants it.
type members struct{ n *Node }

func (m members) Nodes() []gateway.Node {
	var nodes []gateway.Node
	for _, member := range m.n.member.View().Members {
		nodes = append(nodes, gateway.Node{
			ID: member.Life, Address: member.Addr, Roles: member.Roles, Since: member.Since(), Leaving: member.Leaving,
			This: member.Addr == m.n.member.Addr(),
		})
	}
	if m.n.config.ClusterProvider == providerSingle {
		nodes[0].Address, nodes[0].Roles = "", m.n.config.roles
	}
	return nodes
}

func (m members) NodeOf(queue string) string {
	owner, _ := m.n.member.View().Owner(actors.QueueKind, queue)
	return owner.Life
}

// rings is what is known of both rings, as the gateway wants it.
type rings struct{ n *Node }

func (r rings) Keys(ctx context.Context) ([]gateway.Key, error) {
	data, err := r.n.directory.RingKeys(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := rowsSealed(ctx, r.n.directory)
	if err != nil {
		return nil, err
	}
	token, err := r.n.directory.TokenRingKeys(ctx)
	if err != nil {
		return nil, err
	}
	now := r.n.config.Now()
	return append(keysOf("data", r.n.dataKeys.IDs(), data, rows, func(k directory.RingKey) string { return needed(k, rows, now) }),
		keysOf("token", r.n.tokenKeys.IDs(), token, sealedRows{}, func(k directory.RingKey) string { return neededToVerify(k, now) })...), nil
}

// keysOf tells of the keys of a ring: of those that it has, and of those that it
// should have.
func keysOf(ring string, ids []string, known []directory.RingKey, rows sealedRows, why func(directory.RingKey) string) (keys []gateway.Key) {
	for _, id := range ids { // one that no node has told of yet
		if !slices.ContainsFunc(known, func(k directory.RingKey) bool { return k.ID == id }) {
			known = append(known, directory.RingKey{ID: id})
		}
	}
	for _, k := range known {
		key := gateway.Key{
			ID: k.ID, Ring: ring, State: "spare", Why: why(k), First: k.First, Led: k.Led, DataKeys: k.DataKeys, Users: int64(rows.users[k.ID]),
		}
		switch has := slices.Contains(ids, k.ID); {
		case !has && (ring == "token" || k.DataKeys == 0 && rows.by(k.ID) == 0):
			continue // it has left, and nothing can be done for what it may have made
		case !has:
			key.State = "missing"
		case k.ID == ids[0]:
			key.State, key.Why = "first", ""
		case key.Why != "":
			key.State = "needed"
		}
		keys = append(keys, key)
	}
	return keys
}

// neededToVerify says why a token key may not leave the ring yet; empty where it
// may. Links of tickets live longer than that, and end with it.
func neededToVerify(k directory.RingKey, now time.Time) string {
	if !k.Led.IsZero() && now.Sub(k.Led) < tokensLast {
		return "tokens that it signed are in use, until " + k.Led.Add(tokensLast).UTC().Format(time.DateTime)
	}
	return ""
}

// tokensLast is longer than any access token lives.
const tokensLast = time.Hour
