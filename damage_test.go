package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A queue whose journal is damaged is out of service; its neighbours are not.
func TestDamagedJournalEntry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startNode(t, dir)
	c := admin(t, p.url)
	for _, id := range []string{"hurt", "sound"} {
		c.must(t, p.url, "POST", "/queues", `{"id":"`+id+`"}`)
		c.must(t, p.url, "POST", "/queues/"+id+"/tickets", `{"customer":{"name":"Ada Marsh"}}`)
	}
	if code, _ := p.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	flipBytes(t, dir, "hurt")

	p = startNode(t, dir)
	for _, o := range []operation{
		{method: "GET", path: "/queues/hurt"},
		{method: "POST", path: "/queues/hurt/tickets"},
		{method: "POST", path: "/queues/hurt/call-next"},
	} {
		a, err := c.call(p.url, o.method, o.path, "", "")
		if err != nil || a.status != http.StatusServiceUnavailable || a.str(t, "code") != "unavailable" || a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: %v %d %s", o.method, o.path, err, a.status, a.body)
		}
	}
	if n := c.must(t, p.url, "POST", "/queues/sound/tickets", "").str(t, "number"); !strings.HasSuffix(n, "002") {
		t.Errorf("number %s", n)
	}
	eventually(t, "the node is ready", func() bool { return ready(t, p.url) == "200 ready" })
	if strings.Contains(p.log(), "Ada") {
		t.Error("customer data is in the log")
	}
	if !strings.Contains(p.log(), "damaged") {
		t.Errorf("the log does not tell of the damage:\n%s", p.log())
	}
}

// flipBytes damages the last entry of a queue in a stopped node's journal.
func flipBytes(t *testing.T, dir, id string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var rowid int64
	var data []byte
	err = db.QueryRow(`SELECT e.rowid, e.data FROM entries e JOIN heads h ON h.id = e.head
		WHERE h.queue = ? ORDER BY e.last DESC LIMIT 1`, id).Scan(&rowid, &data)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "Ada") {
		t.Error("customer data is not sealed in the journal")
	}
	for i := range data {
		data[i] ^= 0xff
	}
	if _, err := db.Exec("UPDATE entries SET data = ? WHERE rowid = ?", data, rowid); err != nil {
		t.Fatal(err)
	}
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	cert, key, roots := certificate(t)
	p := startNode(t, t.TempDir(), "--tls-cert", cert, "--tls-key", key)
	c := &caller{Client: http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}}
	t.Cleanup(c.CloseIdleConnections)
	if !strings.HasPrefix(p.url, "https://") {
		t.Fatalf("the node serves %s", p.url)
	}
	c.token = c.must(t, p.url, "POST", "/auth/login", `{"email":"admin@localhost","password":"`+adminPassword+`"}`).str(t, "access_token")
	c.must(t, p.url, "POST", "/queues", `{"id":"post"}`)
	s := c.dial(t, p.url)
	s.send(`{"type":"subscribe","id":"1","queue":"post"}`)
	s.next("snapshot")
	c.must(t, p.url, "POST", "/queues/post/tickets", "")
	s.next("event")
	if code, _ := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// certificate makes one for 127.0.0.1 that vouches for itself.
func certificate(t *testing.T) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	parsed, err := x509.ParseCertificate(public)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return write("cert.pem", "CERTIFICATE", public), write("key.pem", "PRIVATE KEY", secret), roots
}
