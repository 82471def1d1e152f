package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"nowserving/cluster/certtest"
)

var silent = slog.New(slog.DiscardHandler)

func load(t *testing.T, f certtest.Files) *Credentials {
	t.Helper()
	c, err := LoadCredentials(f.Certificate, f.Key, f.Authority)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func node(t *testing.T, a *certtest.Authority) *Credentials {
	t.Helper()
	return load(t, a.Write(t, t.TempDir(), a.Issue(t, &x509.Certificate{})))
}

// by hand is what somebody else would use.
func byHand(t *testing.T, issued certtest.Issued) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(issued.Certificate, issued.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}
}

// shake connects; both sides must be content. It gives the serial number of the
// certificate that the server showed.
func shake(t *testing.T, server, client *tls.Config) (*big.Int, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, err = tls.Server(conn, server).Write([]byte{1}) // shakes hands first
		}
		served <- err
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err != nil {
		return nil, errors.Join(err, <-served)
	}
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 1)) // with TLS 1.3 only this tells of a refusal
	if err := errors.Join(err, <-served); err != nil {
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates[0].SerialNumber, nil
}

func TestOnlyNodesTalkToEachOther(t *testing.T) {
	t.Parallel()
	ours, theirs := certtest.New(t), certtest.New(t)
	one, other := node(t, ours), node(t, ours)
	old := ours.Issue(t, &x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	for name, c := range map[string]struct {
		server, client *tls.Config
		says           string // empty: they talk
	}{
		"two nodes":                    {one.Server(silent), other.Client(silent), ""},
		"a client without certificate": {one.Server(silent), &tls.Config{InsecureSkipVerify: true}, "didn't provide a certificate"},
		"a client of others":           {one.Server(silent), byHand(t, theirs.Issue(t, &x509.Certificate{})), "unknown authority"},
		"a client that has expired":    {one.Server(silent), byHand(t, old), "expired"},
		"a server's certificate alone": {one.Server(silent), byHand(t, ours.Issue(t, &x509.Certificate{
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})), "incompatible key usage"},
		"an old version":          {one.Server(silent), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, "protocol version"},
		"a server of others":      {byHand(t, theirs.Issue(t, &x509.Certificate{})), one.Client(silent), "unknown authority"},
		"a server that expired":   {byHand(t, old), one.Client(silent), "expired"},
		"a server that is old":    {old12(byHand(t, ours.Issue(t, &x509.Certificate{}))), one.Client(silent), "protocol version"},
		"a server for mail alone": {byHand(t, ours.Issue(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}})), one.Client(silent), "incompatible key usage"},
	} {
		_, err := shake(t, c.server, c.client)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

func old12(c *tls.Config) *tls.Config {
	c.MaxVersion = tls.VersionTLS12
	return c
}

func TestPlainTextIsRefused(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := client.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := tls.Server(conn, node(t, certtest.New(t)).Server(silent)).Handshake(); err == nil {
		t.Error("plain text was taken for a node")
	}
}

// Certificates and the authority are renewed under a running node, and a renewal
// that has come half way does not cut it off.
func TestCredentialsAreReadAgain(t *testing.T) {
	t.Parallel()
	before, after := certtest.New(t), certtest.New(t)
	dir := t.TempDir()
	first := before.Issue(t, &x509.Certificate{SerialNumber: big.NewInt(1)})
	files := before.Write(t, dir, first)
	renewed := load(t, files)
	server, client := renewed.Server(silent), renewed.Client(silent)
	talks := func(other *Credentials, serial int64) {
		t.Helper()
		shown, err := shake(t, server, other.Client(silent))
		if err != nil || shown.Int64() != serial {
			t.Errorf("the server shows %v: %v; want %d", shown, err, serial)
		}
		if _, err := shake(t, other.Server(silent), client); err != nil {
			t.Error(err)
		}
	}
	talks(node(t, before), 1)

	second := before.Issue(t, &x509.Certificate{SerialNumber: big.NewInt(2)})
	if err := os.WriteFile(files.Key, second.Key, 0o600); err != nil { // of another certificate
		t.Fatal(err)
	}
	talks(node(t, before), 1)
	before.Write(t, dir, second)
	talks(node(t, before), 2)
	resumed := node(t, before).Client(silent)
	resumed.VerifyConnection, resumed.ClientSessionCache = nil, tls.NewLRUClientSessionCache(1)
	resumed.ServerName = "node" // names what is kept
	if _, err := shake(t, server, resumed); err != nil {
		t.Fatal(err)
	}

	after.Write(t, dir, after.Issue(t, &x509.Certificate{SerialNumber: big.NewInt(3)}))
	if _, err := shake(t, node(t, after).Server(silent), client); err != nil {
		t.Error(err)
	}
	talks(node(t, after), 3)
	if _, err := shake(t, server, node(t, before).Client(silent)); err == nil {
		t.Error("a node of the authority before is still believed")
	}
	if _, err := shake(t, server, resumed); err == nil {
		t.Error("a session of a node of the authority before was taken up again")
	}
	for _, file := range []string{files.Certificate, files.Key, files.Authority} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	talks(node(t, after), 3)
}

func TestCredentialsThatNobodyWouldBelieve(t *testing.T) {
	t.Parallel()
	ours, theirs := certtest.New(t), certtest.New(t)
	good := ours.Issue(t, &x509.Certificate{})
	for says, c := range map[string]struct {
		by     *certtest.Authority
		issued certtest.Issued
	}{
		"unknown authority": {theirs, good},
		"expired":           {ours, ours.Issue(t, &x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})},
		"incompatible key usage": {ours, ours.Issue(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{
			x509.ExtKeyUsageServerAuth}})},
		"does not match":          {ours, certtest.Issued{Certificate: good.Certificate, Key: ours.Issue(t, &x509.Certificate{}).Key}},
		"failed to find any PEM":  {ours, certtest.Issued{}},
		"it holds no certificate": {&certtest.Authority{PEM: []byte("none")}, good},
	} {
		f := c.by.Write(t, t.TempDir(), c.issued)
		if _, err := LoadCredentials(f.Certificate, f.Key, f.Authority); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	f := ours.Write(t, t.TempDir(), good)
	if _, err := LoadCredentials(f.Certificate, f.Key, f.Authority+"?"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// A file that is away for a moment must not make a renewal of the others forgotten.
func TestRenewalWhileAFileIsAway(t *testing.T) {
	t.Parallel()
	dir, authority := t.TempDir(), certtest.New(t)
	f := authority.Write(t, dir, authority.Issue(t, &x509.Certificate{}))
	c := load(t, f)
	before := c.current(silent)
	if err := os.Rename(f.Authority, f.Authority+".away"); err != nil {
		t.Fatal(err)
	}
	renewed := authority.Issue(t, &x509.Certificate{})
	if err := errors.Join(os.WriteFile(f.Certificate, renewed.Certificate, 0o600), os.WriteFile(f.Key, renewed.Key, 0o600)); err != nil {
		t.Fatal(err)
	}
	if c.current(silent) != before {
		t.Fatal("it was read without its authority")
	}
	if err := os.Rename(f.Authority+".away", f.Authority); err != nil {
		t.Fatal(err)
	}
	if c.current(silent) == before {
		t.Error("the new certificate is never read")
	}
}
