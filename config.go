package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"nowserving/cluster"
	"nowserving/gateway/rabbit"
	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

// Config is everything that a node can be told.
type Config struct {
	HTTPAddr    string
	GRPCAddr    string // empty: off
	OpsAddr     string // empty: off
	DataDir     string
	RedisURL    string // empty: the journal is in the data dir
	DatabaseURL string // empty: the directory is in the data dir
	AMQPURL     string // empty: no RabbitMQ
	// ClusterProvider is providerSingle or providerRedis.
	ClusterProvider string
	ClusterAddr     string
	ClusterName     string
	ClusterTLS      *cluster.Credentials // nil: plain

	AllowedOrigins []string
	TrustedProxies []netip.Prefix
	WebhookPrivate []netip.Prefix // networks that webhooks may call although they are private
	CheckInRate    int

	// Nil: from the data dir, made there at the first start.
	TokenKeys *seal.Ring
	DataKeys  *seal.Ring
	// The files that they came from, which are read again when they change; empty
	// where they were given as such.
	TokenKeysFile, DataKeysFile string

	Certificate *certificateFiles // nil: plain HTTP
	// Exposed names the flags that gave secrets on the command line.
	Exposed []string

	oidc   oidcConfig
	traces traceConfig

	// The first user, of a directory without any.
	AdminEmail    string
	AdminPassword string // empty: a random one, printed once

	// Now is the wall clock, and Dial makes connections to other nodes.
	Now  func() time.Time
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// What is only needed to check the rest.
	tlsCert, tlsKey string
	clusterFiles    clusterFiles
	clusterInsecure bool
	roles           []string
}

// settings are the contract's flags.
var settings = []setting{
	{name: "http-addr", value: "127.0.0.1:8080", usage: "REST, WebSocket and web pages",
		put: address(func(c *Config) *string { return &c.HTTPAddr })},
	{name: "grpc-addr", usage: "the gRPC API for other services",
		put: address(func(c *Config) *string { return &c.GRPCAddr })},
	{name: "ops-addr", usage: "/livez, /readyz, /metrics, /debug/pprof",
		put: address(func(c *Config) *string { return &c.OpsAddr })},
	{name: "trace-endpoint", usage: "OTLP receiver of spans, http://host:4318; without it, that of OTEL_EXPORTER_OTLP_ENDPOINT", put: putTraceEndpoint},
	{name: "trace-ratio", value: "0.01", usage: "part of the requests of which spans are made, 0 to 1; OTEL_TRACES_SAMPLER goes before it", put: putTraceRatio},
	{name: "data-dir", value: "./data", usage: "the embedded stores",
		put: text(func(c *Config) *string { return &c.DataDir })},
	{name: "redis-url", secret: true, usage: "journal and snapshots in Redis instead of the data dir", put: putRedisURL},
	{name: "database-url", secret: true, usage: "users and history in MySQL or MariaDB", put: putDatabaseURL},
	{name: "amqp-url", secret: true, usage: "drain service requests from RabbitMQ", put: putAMQPURL},
	{name: "cluster-provider", value: "single", usage: "single; redis", put: putProvider},
	{name: "cluster-addr", value: "127.0.0.1:0", usage: "host:port at which other nodes reach this one",
		put: address(func(c *Config) *string { return &c.ClusterAddr })},
	{name: "cluster-name", value: "nowserving", usage: "nodes of one name form one cluster", put: putClusterName},
	{name: "roles", value: "gateway,actors,ingest", usage: "what this node does", put: putRoles},
	{name: "tls-cert", usage: "certificate file: HTTPS on --http-addr, TLS on --grpc-addr",
		put: text(func(c *Config) *string { return &c.tlsCert })},
	{name: "tls-key", usage: "its private key's file",
		put: text(func(c *Config) *string { return &c.tlsKey })},
	{name: "cluster-tls-cert", usage: "mutual TLS between nodes: a certificate for servers and clients",
		put: text(func(c *Config) *string { return &c.clusterFiles.certificate })},
	{name: "cluster-tls-key", usage: "its private key's file",
		put: text(func(c *Config) *string { return &c.clusterFiles.key })},
	{name: "cluster-tls-ca", usage: "the authority of all nodes' certificates, and of nobody else's",
		put: text(func(c *Config) *string { return &c.clusterFiles.authority })},
	{name: "allowed-origins", usage: "browser origins beside this host's own", put: putOrigins},
	{name: "trusted-proxies", usage: "networks whose X-Forwarded-For is believed", put: putProxies},
	{name: "checkin-rate", value: "10", usage: "public check-ins a minute for one address", put: putRate},
	{name: "cluster-insecure", toggle: true, usage: "allow a cluster address that is not loopback without mutual TLS", put: putInsecure},
	{name: "webhook-private-networks", usage: "private networks that webhooks may call, over plain HTTP too", put: putWebhookNetworks},
	{name: "oidc-issuer", usage: "OpenID provider at which users may sign in", put: putIssuer},
	{name: "oidc-client-id", usage: "this program's name there",
		put: text(func(c *Config) *string { return &c.oidc.clientID })},
	{name: "oidc-client-secret", secret: true, usage: "this program's secret there",
		put: text(func(c *Config) *string { return &c.oidc.clientSecret })},
	{name: "oidc-map", usage: "who may do what: claim; value = level queue …; …", put: putClaims},
	{name: "token-keys", secret: true, usage: "key ring id:base64,… that signs tokens",
		put:     ring(func(c *Config) **seal.Ring { return &c.TokenKeys }),
		putFile: func(c *Config, path string) { c.TokenKeysFile = path }},
	{name: "data-keys", secret: true, usage: "key ring id:base64,… that seals customer data",
		put:     ring(func(c *Config) **seal.Ring { return &c.DataKeys }),
		putFile: func(c *Config, path string) { c.DataKeysFile = path }},
}

// readConfig reads the flags and variables of serve.
func readConfig(args []string, getenv func(string) string) (Config, error) {
	var c Config
	flags, err := parseFlags("serve", args, settings, nil)
	if err != nil {
		return c, err
	}
	if err := applySettings(&c, settings, flags, getenv); err != nil {
		return c, err
	}
	if err := c.traces.fromVariables(getenv); err != nil {
		return c, err
	}
	c.AdminEmail, c.AdminPassword = getenv("NOWSERVING_ADMIN_EMAIL"), getenv("NOWSERVING_ADMIN_PASSWORD")
	return c, c.check()
}

// keepsFiles tells whether a node has anything in its data dir.
func (c *Config) keepsFiles() bool {
	return c.RedisURL == "" || c.DatabaseURL == "" || c.TokenKeys == nil || c.DataKeys == nil
}

// check is about values that are wrong together.
func (c *Config) check() error {
	if err := c.loadCertificate(); err != nil {
		return err
	}
	if c.GRPCAddr != "" && c.Certificate == nil && !isLoopback(c.GRPCAddr) {
		return usage("--grpc-addr: %s is not loopback, and without --tls-cert and --tls-key everybody on the way could read it", c.GRPCAddr)
	}
	if err := c.checkCluster(); err != nil {
		return err
	}
	if err := c.checkOIDC(); err != nil {
		return err
	}
	if c.AdminEmail != "" {
		if err := checkEmail(c.AdminEmail); err != nil {
			return usage("NOWSERVING_ADMIN_EMAIL: %w", err)
		}
	}
	if err := checkPassword(c.AdminPassword); c.AdminPassword != "" && err != nil {
		return usage("NOWSERVING_ADMIN_PASSWORD: %w", err)
	}
	return nil
}

func (c *Config) loadCertificate() error {
	switch {
	case c.tlsCert == "" && c.tlsKey == "":
		return nil
	case c.tlsKey == "":
		return usage("--tls-cert: it needs --tls-key")
	case c.tlsCert == "":
		return usage("--tls-key: it needs --tls-cert")
	}
	var err error
	if c.Certificate, err = openCertificate(c.tlsCert, c.tlsKey); err != nil {
		return usage("--tls-cert: %w", err)
	}
	return nil
}

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, value string) error {
		*field(c) = value
		return nil
	}
}

func address(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, value string) error {
		_, port, err := net.SplitHostPort(value)
		if err != nil {
			return fmt.Errorf("%q is not of the form host:port", value)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			return fmt.Errorf("%q: the port is a number from 0 to 65535", value)
		}
		*field(c) = value
		return nil
	}
}

func ring(field func(*Config) **seal.Ring) func(*Config, string) error {
	return func(c *Config, value string) error {
		r, err := seal.ParseRing(value)
		*field(c) = r
		return err
	}
}

func putRedisURL(c *Config, value string) error {
	if _, err := redis.ParseURL(value); err != nil {
		// The error may repeat the URL, and so the password.
		return errors.New("it is not a redis://, rediss:// or unix:// URL")
	}
	c.RedisURL = value
	return nil
}

func putDatabaseURL(c *Config, value string) error {
	c.DatabaseURL = value
	return directory.CheckURL(value)
}

func putAMQPURL(c *Config, value string) error {
	c.AMQPURL = value
	return rabbit.CheckURL(value)
}

func putOrigins(c *Config, value string) error {
	c.AllowedOrigins = list(value)
	for _, origin := range c.AllowedOrigins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || origin != u.Scheme+"://"+u.Host {
			return fmt.Errorf("%q is not of the form https://host", origin)
		}
	}
	return nil
}

func putProxies(c *Config, value string) (err error) {
	c.TrustedProxies, err = networks(value)
	return err
}

func putWebhookNetworks(c *Config, value string) (err error) {
	c.WebhookPrivate, err = networks(value)
	return err
}

func networks(value string) (prefixes []netip.Prefix, err error) {
	for _, network := range list(value) {
		prefix, err := netip.ParsePrefix(network)
		if addr, notAddr := netip.ParseAddr(network); err != nil && notAddr == nil {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("%q is not a network, such as 10.0.0.0/8", network)
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}

func putRate(c *Config, value string) (err error) {
	if c.CheckInRate, err = strconv.Atoi(value); err != nil || c.CheckInRate < 1 || c.CheckInRate > 100_000 {
		return fmt.Errorf("%q is not a number from 1 to 100000", value)
	}
	return nil
}

// list splits at commas and drops what is empty.
func list(value string) []string {
	var parts []string
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
