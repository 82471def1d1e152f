package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"nowserving/cluster"
)

// Where a node knows the other nodes from.
const (
	providerSingle = "single" // there are none
	providerRedis  = "redis"
)

// The roles of a node.
const (
	roleGateway = "gateway"
	roleActors  = cluster.HostRole
	roleIngest  = "ingest"
)

// clusterFiles are checked together, and then read.
type clusterFiles struct{ certificate, key, authority string }

// checkCluster is about values that are wrong together.
func (c *Config) checkCluster() error {
	if err := c.checkProvider(); err != nil {
		return err
	}
	if err := c.loadClusterTLS(); err != nil {
		return err
	}
	switch host, _, _ := net.SplitHostPort(c.ClusterAddr); {
	case host == "" || isUnspecified(host):
		return usage("--cluster-addr: at %s no other node can reach this one; name one of its addresses", c.ClusterAddr)
	case !isLoopback(c.ClusterAddr) && c.ClusterTLS == nil && !c.clusterInsecure:
		return usage("--cluster-addr: %s is not loopback, and without mutual TLS (--cluster-tls-cert) anyone who reaches it could command the queues; --cluster-insecure allows it", c.ClusterAddr)
	}
	return nil
}

// checkProvider: what several nodes need, and what each of them is for.
func (c *Config) checkProvider() error {
	if c.ClusterProvider == providerSingle {
		if !c.has(roleGateway) || !c.has(roleActors) {
			return usage("--roles: a node that is alone needs both gateway and actors")
		}
		return nil
	}
	var missing []string
	for name, lacks := range map[string]bool{
		"--redis-url": c.RedisURL == "", "--database-url": c.DatabaseURL == "",
		"--token-keys": c.TokenKeys == nil, "--data-keys": c.DataKeys == nil,
	} {
		if lacks {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return usage("--cluster-provider: more than one node needs the same stores and keys in each: %s", strings.Join(missing, ", "))
	}
	switch everything := c.has(roleGateway) && c.has(roleActors); {
	case len(c.roles) == 0:
		return usage("--roles: a node without any does nothing")
	case c.has(roleIngest) && c.AMQPURL == "" && !everything: // which is what a node is that was told nothing
		return usage("--roles: ingest needs --amqp-url")
	}
	return nil
}

func (c *Config) has(role string) bool { return slices.Contains(c.roles, role) }

func (c *Config) loadClusterTLS() (err error) {
	f := c.clusterFiles
	switch {
	case f == clusterFiles{}:
		return nil
	case f.certificate == "" || f.key == "" || f.authority == "":
		return usage("--cluster-tls-cert, --cluster-tls-key, --cluster-tls-ca: all three are needed")
	}
	if c.ClusterTLS, err = cluster.LoadCredentials(f.certificate, f.key, f.authority); err != nil {
		return usage("--cluster-tls-cert: %w", err)
	}
	return nil
}

func putProvider(c *Config, value string) error {
	if value != providerSingle && value != providerRedis {
		return fmt.Errorf("%q is neither single nor redis", value)
	}
	c.ClusterProvider = value
	return nil
}

func putClusterName(c *Config, value string) error {
	for _, r := range value {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", r) {
			return fmt.Errorf("%q has other characters than letters, digits, '-', '_' and '.'", value)
		}
	}
	if len(value) > 63 {
		return errors.New("it is longer than 63 characters")
	}
	c.ClusterName = value
	return nil
}

func putRoles(c *Config, value string) error {
	c.roles = list(value)
	for _, role := range c.roles {
		if role != roleGateway && role != roleActors && role != roleIngest {
			return fmt.Errorf("%q is none of gateway, actors and ingest", role)
		}
	}
	return nil
}

func putInsecure(c *Config, value string) (err error) {
	if c.clusterInsecure, err = strconv.ParseBool(value); err != nil {
		return fmt.Errorf("%q is neither true nor false", value)
	}
	return nil
}

func isLoopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func isUnspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsUnspecified()
}
