package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	transport "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"nowserving/cluster/certtest"
	v1 "nowserving/messages/nowserving/v1"
)

// grpcClient is a client of a node's gRPC API, as that user.
func (p *process) grpcClient(token string, secure transport.TransportCredentials) (*grpc.ClientConn, context.Context) {
	p.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+p.logged("gRPC is served", "address"), grpc.WithTransportCredentials(secure))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	p.t.Cleanup(cancel)
	return conn, metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// A node that is stopped sends away who watches, and whoever comes back misses
// nothing; its health says so all the while.
func TestGRPCOutlivesItsNode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startNode(t, dir, "--grpc-addr", "127.0.0.1:0")
	c := admin(t, p.url)
	c.must(t, p.url, "POST", "/queues", `{"id":"a"}`)
	conn, ctx := p.grpcClient(c.token, insecure.NewCredentials())
	eventually(t, "it is healthy", func() bool {
		is, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		return err == nil && is.Status == grpc_health_v1.HealthCheckResponse_SERVING
	})
	queues := v1.NewQueuesClient(conn)
	watch, err := queues.Watch(ctx, &v1.WatchRequest{Queue: "a"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := watch.Recv()
	snapshot := m.GetSnapshot()
	if err != nil || snapshot == nil {
		t.Fatalf("%v, %v", m, err)
	}
	made, err := queues.Enqueue(ctx, &v1.EnqueueRequest{Queue: "a", IdempotencyKey: "k", Customer: &v1.Customer{Name: "Ada"}})
	if err != nil || made.Ticket.Source != v1.Source_SOURCE_GRPC {
		t.Fatalf("%v, %v", made, err)
	}
	if m, err = watch.Recv(); m.GetEvent().GetVersion() != made.Version {
		t.Fatalf("%v, %v", m, err)
	}
	if code, took := p.stop(); code != 0 {
		t.Errorf("exit code %d after %s", code, took)
	}
	if _, err = watch.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "The node is leaving") {
		t.Errorf("the watch ended with %v", err)
	}

	p = startNode(t, dir, "--grpc-addr", "127.0.0.1:0")
	conn, ctx = p.grpcClient(admin(t, p.url).token, insecure.NewCredentials())
	queues = v1.NewQueuesClient(conn)
	again, err := queues.Enqueue(ctx, &v1.EnqueueRequest{Queue: "a", IdempotencyKey: "k", Customer: &v1.Customer{Name: "Ada"}})
	if err != nil || !again.Replayed || again.Ticket.Id != made.Ticket.Id {
		t.Errorf("%v, %v", again, err)
	}
	if watch, err = queues.Watch(ctx, &v1.WatchRequest{Queue: "a", Since: &snapshot.Queue.Version, Epoch: snapshot.Epoch}); err != nil {
		t.Fatal(err)
	}
	if m, err = watch.Recv(); m.GetResumed().GetVersion() != snapshot.Queue.Version {
		t.Errorf("%v, %v", m, err)
	}
	if m, err = watch.Recv(); m.GetEvent().GetTicket().GetId() != made.Ticket.Id {
		t.Errorf("%v, %v", m, err)
	}
}

// A Node program that has nothing but the .proto works with queues, over TLS.
func TestGRPCFromAnotherLanguage(t *testing.T) {
	t.Parallel()
	program := npm(t, "gateway/grpctest")
	authority, dir := certtest.New(t), t.TempDir()
	issue := func(serial int64) certtest.Issued {
		return authority.Issue(t, &x509.Certificate{SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	}
	f := authority.Write(t, dir, issue(1))
	p := startNode(t, t.TempDir(), "--grpc-addr", "127.0.0.1:0", "--tls-cert", f.Certificate, "--tls-key", f.Key)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM)
	c := &caller{Client: http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}}
	t.Cleanup(c.CloseIdleConnections)
	c.token = c.must(t, p.url, "POST", "/auth/login", `{"email":"admin@localhost","password":"`+adminPassword+`"}`).str(t, "access_token")
	c.must(t, p.url, "POST", "/queues", `{"id":"post"}`)
	c.must(t, p.url, "POST", "/queues", `{"id":"nobodys"}`)
	user := c.must(t, p.url, "POST", "/users", `{"email":"kiosk@example.org","level":"integration","queues":["post"],"password":"7 otters on a raft"}`).str(t, "id")
	key := c.must(t, p.url, "POST", "/users/"+user+"/keys", `{"name":"kiosk"}`).str(t, "key")

	ca := filepath.Join(dir, "authority.pem")
	if err := os.WriteFile(ca, authority.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	api, err := filepath.Abs("messages")
	if err != nil {
		t.Fatal(err)
	}
	addr := p.logged("gRPC is served", "address")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	said, err := exec.CommandContext(ctx, "node", filepath.Join(program, "client.js"), api, addr, ca, key, "post").Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		t.Fatalf("%v: %s", err, failed.Stderr)
	}
	var ids []string
	if err := json.Unmarshal(said, &ids); err != nil || len(ids) != 3 {
		t.Fatalf("%v: %s", err, said)
	}
	for _, id := range ids {
		if source := c.must(t, p.url, "GET", "/queues/post/tickets/"+id, "").str(t, "source"); source != "grpc" {
			t.Errorf("the ticket came by %s", source)
		}
	}

	shown := func() int64 {
		t.Helper()
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := shown(); n != 1 {
		t.Errorf("certificate %d", n)
	}
	authority.Write(t, dir, issue(2))
	eventually(t, "the new certificate is shown", func() bool { return shown() == 2 })
	if conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

// npm installs what a package is locked to, outside the tree, and gives the folder.
func npm(t *testing.T, pkg string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(pkg)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts")
	install.Dir = dir
	if said, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v: %s", err, said)
	}
	return dir
}
