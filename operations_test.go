package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"
)

// clusterOf is what a node tells of the cluster.
type clusterOf struct {
	Nodes []struct {
		ID      string
		Address *string
		Roles   []string
		Since   time.Time
		This    bool
	}
	Items []struct{ Queue, Node string }
}

func (c *caller) cluster(t testing.TB, url string) (seen clusterOf) {
	t.Helper()
	if err := json.Unmarshal([]byte(c.must(t, url, "GET", "/cluster", "").body), &seen); err != nil {
		t.Fatal(err)
	}
	return seen
}

// An administrator sees the one node that there is, and what its rings are for.
func TestNodeAndKeysOfOneNode(t *testing.T) {
	t.Parallel()
	began := time.Now().Truncate(time.Millisecond)
	node := startNode(t, t.TempDir())
	c := admin(t, node.url)
	c.must(t, node.url, "POST", "/queues", `{"id":"a"}`)
	c.must(t, node.url, "POST", "/queues/a/tickets", `{"customer":{"name":"Ada Marsh"}}`)
	seen := c.cluster(t, node.url)
	if len(seen.Nodes) != 1 || seen.Nodes[0].Address != nil || !seen.Nodes[0].This || len(seen.Nodes[0].Roles) != 3 || seen.Nodes[0].Since.Before(began) {
		t.Fatalf("%+v", seen)
	}
	if len(seen.Items) != 1 || seen.Items[0].Queue != "a" || seen.Items[0].Node != seen.Nodes[0].ID {
		t.Fatalf("%+v", seen)
	}
	var keys struct {
		Items []struct {
			ID, Ring, State string
			FirstSeen       *time.Time `json:"first_seen"`
			DataKeys        int        `json:"data_keys"`
			Users           int
		}
	}
	if err := json.Unmarshal([]byte(c.must(t, node.url, "GET", "/keys", "").body), &keys); err != nil {
		t.Fatal(err)
	}
	if len(keys.Items) != 2 {
		t.Fatalf("%+v", keys)
	}
	data, token := keys.Items[0], keys.Items[1]
	if data.Ring != "data" || data.State != "first" || data.DataKeys < 1 || data.Users != 1 || data.FirstSeen == nil {
		t.Errorf("%+v", data)
	}
	if token.Ring != "token" || token.State != "first" || token.FirstSeen == nil || token.ID == data.ID {
		t.Errorf("%+v", token)
	}
}

// Every node of a cluster says the same of where queues live.
func TestNodesTellWhereQueuesLive(t *testing.T) {
	t.Parallel()
	nodes, _ := startMembers(t, 2)
	c := admin(t, nodes[0].url)
	for i := range 40 {
		c.must(t, nodes[0].url, "POST", "/queues", fmt.Sprintf(`{"id":"q%d"}`, i))
	}
	var seen [2]clusterOf
	eventually(t, "both nodes know both", func() bool {
		for i, p := range nodes {
			seen[i] = c.cluster(t, p.url)
		}
		return len(seen[0].Nodes) == 2 && len(seen[1].Nodes) == 2
	})
	if !slices.Equal(seen[0].Items, seen[1].Items) || len(seen[0].Items) != 40 {
		t.Fatalf("%+v", seen)
	}
	on := map[string]int{}
	for _, q := range seen[0].Items {
		on[q.Node]++
	}
	for i, n := range seen[0].Nodes {
		if on[n.ID] == 0 || n.Address == nil || n.Since.IsZero() || n.This == seen[1].Nodes[i].This {
			t.Errorf("%+v, and on it %v", n, on)
		}
	}
}
