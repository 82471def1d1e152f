package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"nowserving/gateway"
)

// asideAfter is how long a node may be without its lease before its sessions
// are sent to other nodes. Where Redis is away, the others' leases end within
// that time too.
const asideAfter = 1500 * time.Millisecond

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

// listenGRPC serves the gRPC API from now on, as unavailable until the gateway
// does: on a node that is not for clients to the end.
func (n *Node) listenGRPC(says string) error {
	if n.config.GRPCAddr == "" {
		return nil
	}
	ln, err := gateway.Listen(n.config.GRPCAddr)
	if err != nil {
		return usage("--grpc-addr: %w", err)
	}
	n.grpc = gateway.NewGRPC(gateway.GRPCOptions{TLS: n.tls(), Log: n.log, Ready: n.health.readiness, Closed: says})
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := n.grpc.Serve(ln); err != nil {
			n.failed <- fmt.Errorf("grpc: %w", err)
		}
	})
	n.closing(func(ctx context.Context) error {
		n.grpc.Shutdown(ctx) // the gateway has done it, if it served
		serving.Wait()
		return nil
	})
	n.log.Info("gRPC is served", "address", ln.Addr().String())
	return nil
}

// notice is how long the node tells that it leaves.
func (n *Node) notice() time.Duration {
	if n.config.ClusterProvider != providerRedis {
		return noticeAlone
	}
	return notice
}

// standAside has sessions leave a node that is cut off from Redis while others
// are not: where all are, there is nowhere to go. Another node can only be
// reached while it is a member itself.
func (n *Node) standAside(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	joined, aside := time.Now(), false
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			cutOff := !n.member.Joined()
			if !cutOff {
				joined = now
			}
			switch {
			case aside && !cutOff:
				n.log.Info("sessions are held here again")
			case !aside && cutOff && now.Sub(joined) > asideAfter && n.member.Reached() > 0:
				n.log.Warn("sessions are sent to other nodes, for this one is no member and those are")
			default:
				continue
			}
			aside = cutOff
			n.gateway.StandAside(ctx, aside)
		}
	}
}
