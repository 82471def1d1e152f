package main

import (
	"context"
	"time"
)

// serveGateway serves clients, and shuts down when the channel that it gives is
// closed. A node that is not for clients only says so, as it has from the start.
func (n *Node) serveGateway(run func(string, func(context.Context) error)) (drained chan struct{}) {
	drained = make(chan struct{})
	if !n.config.has(roleGateway) {
		return drained
	}
	n.early.stop()
	run("http", func(context.Context) error { return n.gateway.Serve(n.http) })
	n.closing(func(ctx context.Context) error {
		<-drained
		ctx, cancel := context.WithTimeout(ctx, answerWithin)
		defer cancel()
		if err := n.gateway.Shutdown(ctx); err != nil {
			// A client that does not finish what it sends must not make the stop a failure.
			n.log.Warn("connections are cut that did not end in time", "error", err)
		}
		return nil
	})
	return drained
}

// notice is how long the node tells that it leaves.
func (n *Node) notice() time.Duration {
	if n.config.ClusterProvider != providerRedis {
		return noticeAlone
	}
	return notice
}
