package gateway

import (
	"context"
	"errors"
	"testing"
	"time"
)

// nodesOf is a cluster of two, in which every queue lives on the second one.
type nodesOf struct{}

func (nodesOf) Nodes() []Node {
	return []Node{
		{ID: "1-A", Address: "10.0.0.1:7000", Roles: []string{"gateway"}, This: true},
		{ID: "2-B", Address: "10.0.0.2:7000", Roles: []string{"gateway", "actors"}, Since: time.UnixMilli(1_700_000_000_123), Leaving: true},
	}
}

func (nodesOf) NodeOf(queue string) string {
	if queue == "b" {
		return ""
	}
	return "2-B"
}

// keysOf fails where there are none.
type keysOf []Key

func (k keysOf) Keys(context.Context) ([]Key, error) {
	if k == nil {
		return nil, errors.New("away")
	}
	return k, nil
}

func TestClusterAndKeys(t *testing.T) {
	t.Parallel()
	keys := keysOf{
		{ID: "k2", Ring: "data", State: "first", First: time.UnixMilli(1_700_000_000_000), Led: time.UnixMilli(1_700_000_000_001), DataKeys: 3, Users: 2},
		{ID: "k1", Ring: "token", State: "needed", Why: "it is"},
	}
	e := start(t, func(o *Options) { o.Cluster, o.Keys = nodesOf{}, keys })
	e.queue("a")
	e.queue("b")
	nodes := `{"nodes":[{"id":"1-A","address":"10.0.0.1:7000","roles":["gateway"],"since":null,"leaving":false,"this":true},` +
		`{"id":"2-B","address":"10.0.0.2:7000","roles":["gateway","actors"],"since":"2023-11-14T22:13:20.123Z","leaving":true,"this":false}],`
	if r := e.get("/cluster"); string(r.body) != nodes+`"items":[{"queue":"a","node":"2-B"},{"queue":"b","node":null}],"next":null}` {
		t.Errorf("%s", r.body)
	}
	first := e.get("/cluster?limit=1")
	if r := e.get("/cluster?after=" + first.str("next")); string(r.body) != nodes+`"items":[{"queue":"b","node":null}],"next":null}` {
		t.Errorf("%s", r.body)
	}
	e.get("/cluster?limit=0").want(422, "invalid")
	if r := e.get("/keys"); string(r.body) != `{"items":[`+
		`{"id":"k2","ring":"data","state":"first","needed_for":null,"first_seen":"2023-11-14T22:13:20.000Z","last_first":"2023-11-14T22:13:20.001Z","data_keys":3,"users":2},`+
		`{"id":"k1","ring":"token","state":"needed","needed_for":"it is","first_seen":null,"last_first":null,"data_keys":0,"users":0}],"next":null}` {
		t.Errorf("%s", r.body)
	}
	e = start(t, func(o *Options) { o.Cluster, o.Keys = nodesOf{}, keysOf(nil) })
	e.get("/keys").want(503, "unavailable")
}
