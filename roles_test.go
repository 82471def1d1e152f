package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"nowserving/cluster/certtest"
	"nowserving/gateway/rabbit/rabbittest"
	v1 "nowserving/messages/nowserving/v1"
	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
)

// Nodes each do what their roles say and nothing else, and reach each other over
// mutual TLS: requests from RabbitMQ come in at one, are decided at another, and
// are asked for at a third.
func TestRolesScaleApart(t *testing.T) {
	t.Parallel()
	redis, broker := redistest.Start(t), rabbittest.Start(t)
	database := mariadbtest.StartWith(t, mariadbtest.Options{}).Database(t)
	authority := certtest.New(t)
	start := func(role string, args ...string) *process {
		dir := filepath.Join(t.TempDir(), role)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		f := authority.Write(t, dir, authority.Issue(t, &x509.Certificate{}))
		return startNode(t, dir, append(args, "--roles", role, "--ops-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0", "--cluster-provider", "redis",
			"--redis-url", redis, "--database-url", database, "--token-keys", testRing, "--data-keys", testRing,
			"--cluster-tls-cert", f.Certificate, "--cluster-tls-key", f.Key, "--cluster-tls-ca", f.Authority)...)
	}
	door := start("gateway")
	house, mouth := start("actors", "--amqp-url", broker), start("ingest", "--amqp-url", broker)
	for _, p := range []*process{door, house, mouth} {
		eventually(t, "the node is ready", func() bool { return ready(t, p.url) == "200 ready" })
	}
	who := admin(t, door.url)
	queues := []string{"north", "south"}
	for _, id := range queues {
		who.must(t, door.url, http.MethodPost, "/queues", `{"id":"`+id+`"}`)
	}
	s := startSender(t, broker, queues)
	s.after(200)
	s.prove(door, who)

	// With TLS 1.3 a client learns only from what it reads that it is not believed.
	if conn, err := tls.Dial("tcp", door.logged("another node can be reached", "addr"), &tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Error(err)
	} else if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("who is no node reaches one: %v", err)
	}
	for _, p := range []*process{house, mouth} {
		for _, path := range []string{"/api/v1/queues", "/api/v1/auth/login", "/", "/api/v1/ws"} {
			if a := get(t, p.url+path); a.status != http.StatusServiceUnavailable || a.str(t, "code") != "unavailable" || a.header.Get("Retry-After") == "" {
				t.Errorf("%s of a node without gateway: %d %s", path, a.status, a.body)
			}
		}
		conn, ctx := p.grpcClient(who.token, insecure.NewCredentials())
		if _, err := v1.NewQueuesClient(conn).GetQueue(ctx, &v1.GetQueueRequest{Queue: "north"}); status.Code(err) != codes.Unavailable {
			t.Errorf("gRPC of a node without gateway: %v", err)
		}
		if a := get(t, p.url+"/livez"); a.status != http.StatusOK {
			t.Errorf("/livez of a node without gateway: %d", a.status)
		}
	}
	for _, c := range []struct {
		node *process
		role string
		here []string
	}{
		{door, "gateway", []string{"nowserving_active_queues 0\n"}},
		{house, "actors", []string{"nowserving_active_queues 2\n", "nowserving_events_not_followed{follower=\"history\"}", "{follower=\"events\"}"}},
		{mouth, "ingest", []string{"nowserving_active_queues 0\n", `nowserving_ingest_requests_total{result="accepted"}`}},
	} {
		metrics := get(t, c.node.logged("operators are served", "url")+"/metrics").body
		for _, want := range c.here {
			if !strings.Contains(metrics, want) {
				t.Errorf("%s has no %q", c.role, want)
			}
		}
		if strings.Contains(metrics, "ingest_requests") != (c.role == "ingest") || strings.Contains(metrics, "not_followed") != (c.role == "actors") {
			t.Errorf("%s does what others are for:\n%s", c.role, metrics)
		}
	}
	for _, c := range []struct {
		node *process
		name string
		zero bool
	}{
		{mouth, `nowserving_commands_total{code="ok",command="enqueue",way="amqp"}`, false},
		{mouth, `nowserving_commands_total{code="invalid",command="enqueue",way="amqp"}`, false},
		{mouth, `nowserving_dead_letters_total{code="invalid"}`, false},
		{mouth, "nowserving_ingest_oldest_seconds", true},
		{mouth, `nowserving_cluster_requests_total{result="answered"}`, false},
		{house, `nowserving_queue_waiting_tickets{queue="north"}`, false},
		{house, `nowserving_follower_lag_seconds{follower="history"}`, true},
	} {
		eventually(t, c.name, func() bool { return (metric(t, c.node.ops(), c.name) == "0") == c.zero })
	}
	for _, p := range []*process{mouth, door, house} {
		if code, took := p.stop(); code != 0 {
			t.Errorf("exit code %d after %s", code, took)
		}
	}
}
