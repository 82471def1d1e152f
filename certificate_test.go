package main

import (
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"nowserving/cluster/certtest"
)

// A certificate is renewed under a running node: who is connected stays so, and
// who comes next sees the new one. What does not fit together changes nothing.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	authority, dir := certtest.New(t), t.TempDir()
	issue := func(serial int64) certtest.Issued {
		return authority.Issue(t, &x509.Certificate{SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	}
	f := authority.Write(t, dir, issue(1))
	p := startNode(t, t.TempDir(), "--tls-cert", f.Certificate, "--tls-key", f.Key)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM)
	shown := func() int64 {
		t.Helper()
		conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	c := &caller{Client: http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}}
	t.Cleanup(c.CloseIdleConnections)
	a := c.must(t, p.url, "POST", "/auth/login", `{"email":"admin@localhost","password":"`+adminPassword+`"}`)
	if got := a.header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("Strict-Transport-Security: %q", got)
	}
	c.token = a.str(t, "access_token")
	s := c.dial(t, p.url)
	if n := shown(); n != 1 {
		t.Errorf("certificate %d", n)
	}
	authority.Write(t, dir, issue(2))
	eventually(t, "the new certificate is shown", func() bool { return shown() == 2 })

	next := issue(3)
	if err := os.WriteFile(f.Key, next.Key, 0o600); err != nil { // half of a renewal
		t.Fatal(err)
	}
	eventually(t, "the node says that it cannot be", func() bool {
		if n := shown(); n != 2 {
			t.Errorf("certificate %d", n)
		}
		return strings.Contains(p.log(), "cannot be read again")
	})
	if err := os.Remove(f.Certificate); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node says why not", func() bool { return shown() == 2 && strings.Contains(p.log(), "no such file") })
	if err := os.WriteFile(f.Certificate, next.Certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the whole one is shown", func() bool { return shown() == 3 })
	s.send(`{"type":"ping"}`) // over the connection from before
	s.next("pong")

	for version, good := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: version})
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != good {
			t.Errorf("TLS %x: %v", version, err)
		}
	}
}

func TestEmptyCertificate(t *testing.T) {
	t.Parallel()
	if _, err := openCertificate(os.DevNull, os.DevNull); err == nil {
		t.Error("nothing is a certificate")
	}
}

// Secrets on the command line are taken, as they always were, and warned of.
func TestExposedSecrets(t *testing.T) {
	t.Parallel()
	p := startNode(t, t.TempDir(), "--data-keys", testRing)
	const warning = "secrets stand on the command line, where every user of this machine can read them: give them by a file or a variable"
	eventually(t, "the node warns", func() bool { return strings.Contains(p.log(), warning) })
	if flags := p.logged(warning, "flags"); flags != "--data-keys" {
		t.Errorf("%q are warned of:\n%s", flags, p.log())
	}
	file := t.TempDir() + "/ring"
	if err := os.WriteFile(file, []byte(testRing), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--redis-url redis://127.0.0.1:1": "",
		"--redis-url redis://:SECRET@127.0.0.1:1 --database-url mysql://u:SECRET@h/n --amqp-url amqp://u@h": "--redis-url --database-url",
		"--token-keys-file " + file + " --data-keys " + testRing:                                            "--data-keys",
		"--token-keys-file " + file: "",
	} {
		c, err := readConfig(strings.Fields(args), func(string) string { return "" })
		if got := strings.Join(c.Exposed, " "); err != nil || got != want {
			t.Errorf("%s: %q %v", args, got, err)
		}
	}
	env := map[string]string{"NOWSERVING_DATA_KEYS": testRing}
	if c, err := readConfig(nil, func(name string) string { return env[name] }); err != nil || len(c.Exposed) > 0 {
		t.Errorf("a variable is no flag: %v %v", c.Exposed, err)
	}
}
