package main

import (
	"fmt"
	"slices"
)

// What is read of a node's parts when somebody asks.

// measureHealth comes first: it can be asked for while the node starts.
func (n *Node) measureHealth() {
	m, h := n.metrics, n.health
	gauge(m, "nowserving_ready", "1 where /readyz answers 200.", func() int { return one(h.readiness().Status == statusReady) })
	dependencies := []string{"journal", "database"}
	if n.config.AMQPURL != "" {
		dependencies = append(dependencies, "rabbitmq")
	}
	if n.config.ClusterProvider == providerRedis {
		dependencies = append(dependencies, "cluster")
	}
	for _, name := range dependencies {
		gauge(m, "nowserving_dependency_up", "1 where the node had what it needs when it last looked; the journal must take writes.",
			func() int { return one(!slices.Contains(h.readiness().Down, name)) }, "dependency", name)
	}
	const until = "When a certificate of this node ends, in Unix time."
	if c := n.config.Certificate; c != nil {
		gauge(m, "nowserving_certificate_expiry_timestamp_seconds", until, func() int64 { return c.current(n.log).Leaf.NotAfter.Unix() }, "certificate", "clients")
	}
	if c := n.config.ClusterTLS; c != nil {
		gauge(m, "nowserving_certificate_expiry_timestamp_seconds", until, func() int64 { return c.Until(n.log).Unix() }, "certificate", "nodes")
	}
	if n.config.keepsFiles() {
		gauge(m, "nowserving_data_dir_free_bytes", "Room on the disk of the data dir.", func() float64 { return freeBytes(n.config.DataDir) })
	}
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

func (n *Node) measureQueues(l *lines) {
	m, c := n.metrics, n.member
	m.MustRegister(l)
	gauge(m, "nowserving_active_queues", "Queues in this node's memory.", c.Activations)
	counter(m, "nowserving_queue_activations_total", "Times that a queue came into this node's memory.", func() uint64 { begun, _ := c.Lives(); return begun })
	counter(m, "nowserving_queue_passivations_total", "Times that one left it: idle, handed over to another node, or dropped.", func() uint64 { _, over := c.Lives(); return over })
	gauge(m, "nowserving_mailbox_requests", "Requests that the queues in this node's memory have not answered.", func() int64 { all, _ := c.Load(); return all })
	gauge(m, "nowserving_mailbox_requests_max", "Those of them of the one queue that has the most.", func() int64 { _, most := c.Load(); return most })
	gauge(m, "nowserving_cluster_members", "Members of the cluster, as far as this node knows.", func() int { return len(c.View().Members) })
	gauge(m, "nowserving_cluster_reached", "Other members that this node can speak to directly.", c.Reached)
	const sent = "Requests to other nodes: answered, refused as not theirs or not to be reached, lost on their way."
	counter(m, "nowserving_cluster_requests_total", sent, func() uint64 { n, _, _ := c.Sent(); return n }, "result", "answered")
	counter(m, "nowserving_cluster_requests_total", sent, func() uint64 { _, n, _ := c.Sent(); return n }, "result", "refused")
	counter(m, "nowserving_cluster_requests_total", sent, func() uint64 { _, _, n := c.Sent(); return n }, "result", "lost")
	counter(m, "nowserving_database_errors_total", "Calls of the database that failed for a reason that may pass.", n.directory.Failures)
	const unopened = "Sealed values that were asked for and could not be opened: the ring lacks their key, they were changed, " +
		"the database is away, or their key has ended as it should."
	u := &n.sealer.Unopened
	counter(m, "nowserving_unopened_values_total", unopened, u.NoKey.Load, "reason", "no_key")
	counter(m, "nowserving_unopened_values_total", unopened, u.Changed.Load, "reason", "changed")
	counter(m, "nowserving_unopened_values_total", unopened, u.Away.Load, "reason", "away")
	counter(m, "nowserving_unopened_values_total", unopened, u.Ended.Load, "reason", "ended")
	counter(m, "nowserving_ring_sealed_values_total", "Values sealed by the key ring itself, for no data key could be had.", n.sealer.Direct)
}

func (n *Node) measureGateway() {
	m, g := n.metrics, n.gateway
	gauge(m, "nowserving_http_requests_in_flight", "HTTP requests that are being answered.", g.Requests)
	gauge(m, "nowserving_http_connections", "HTTP connections that are open, WebSockets among them.", g.Connections)
	for digit := 1; digit <= 5; digit++ {
		counter(m, "nowserving_http_requests_total", "HTTP requests answered, by the class of the status.",
			func() uint64 { return g.Answers(digit) }, "code", fmt.Sprint(digit, "xx"))
	}
	const sessions = "Sessions that are open: of users over WebSocket, of holders of a ticket, and queues followed over gRPC."
	gauge(m, "nowserving_sessions", sessions, func() int { users, _ := g.WebSockets(); return users }, "kind", "websocket")
	gauge(m, "nowserving_sessions", sessions, func() int { _, holders := g.WebSockets(); return holders }, "kind", "ticket")
	gauge(m, "nowserving_sessions", sessions, g.Watches, "kind", "grpc")
	ws, grpc := g.Traffic()
	const frames, slow = "Frames sent to sessions.", "Sessions that were ended because the client did not read."
	counter(m, "nowserving_frames_sent_total", frames, ws.Frames.Load, "kind", "websocket")
	counter(m, "nowserving_frames_sent_total", frames, grpc.Frames.Load, "kind", "grpc")
	counter(m, "nowserving_slow_clients_total", slow, ws.Slow.Load, "kind", "websocket")
	counter(m, "nowserving_slow_clients_total", slow, grpc.Slow.Load, "kind", "grpc")
	gauge(m, "nowserving_audit_entries_waiting", "Entries of the audit log that the database has not taken yet.", n.audit.Waiting)
	gauge(m, "nowserving_requests_underway", "Requests to queues, here or elsewhere, for whose answer this node waits.", n.queues.Underway)
}
