package main

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nowserving/cluster/certtest"
)

// What every node of a cluster is given.
const testStores = "--redis-url redis://127.0.0.1:1 --database-url mysql://u:SECRET@127.0.0.1:1/n"

var testCluster = "--cluster-provider redis " + testStores + " --token-keys " + testRing + " --data-keys " + testRing

// wrongStarts are command lines that must end with one line and exit code 2.
// An argument NAME=value is a variable.
var wrongStarts = []struct{ args, says string }{
	{"--http-addr nowhere", `--http-addr: "nowhere" is not of the form host:port`},
	{"--http-addr 127.0.0.1:99999", "the port is a number from 0 to 65535"},
	{"--http-addr 127.0.0.1:http", "the port is a number from 0 to 65535"},
	{"--http-addr 192.0.2.1:0", "--http-addr: listen tcp 192.0.2.1:0"},
	{"NOWSERVING_HTTP_ADDR=nowhere", "NOWSERVING_HTTP_ADDR: "},
	{"--ops-addr 8081", "--ops-addr: "},
	{"--http-addr=", "--http-addr: it is empty"},
	{"--roles=", "--roles: it is empty"},
	{"--cluster-name=", "--cluster-name: it is empty"},
	{"--data-dir /dev/null", "--data-dir: "},
	{"--cluster-provider etcd", `"etcd" is neither single nor redis`},
	{"--cluster-provider redis", "--cluster-provider: more than one node needs the same stores and keys in each: --data-keys, --database-url, --redis-url, --token-keys"},
	{"--cluster-provider redis " + testStores, "--cluster-provider: more than one node needs the same stores and keys in each: --data-keys, --token-keys"},
	{testCluster + " --roles ,", "--roles: a node without any does nothing"},
	{testCluster + " --roles actors,ingest", "--roles: ingest needs --amqp-url"},
	{testCluster + " --roles gateway,cook", `--roles: "cook" is none of`},
	{testCluster + " --cluster-addr :7000", "--cluster-addr: at :7000 no other node can reach this one"},
	{testCluster + " --cluster-addr 0.0.0.0:7000 --cluster-insecure", "--cluster-addr: at 0.0.0.0:7000 no other node can reach this one"},
	{testCluster + " --cluster-addr [::]:7000 --cluster-insecure", "--cluster-addr: at [::]:7000 no other node can reach this one"},
	{testCluster + " --cluster-addr node-1.example:7000", "is not loopback, and without mutual TLS"},
	{"--cluster-tls-cert a", "--cluster-tls-cert, --cluster-tls-key, --cluster-tls-ca: all three are needed"},
	{"--cluster-tls-cert a --cluster-tls-ca c", "all three are needed"},
	{"--cluster-tls-key b --cluster-tls-ca c", "all three are needed"},
	{"--cluster-tls-cert /nonexistent --cluster-tls-key b --cluster-tls-ca c", "--cluster-tls-cert: stat /nonexistent"},
	{"--cluster-addr 10.0.0.1:7000", "--cluster-addr: 10.0.0.1:7000 is not loopback"},
	{"--cluster-addr :7000", "no other node can reach this one"},
	{testCluster + " --cluster-addr 192.0.2.1:7000 --cluster-insecure", "--cluster-addr: listen tcp 192.0.2.1:7000"},
	{"--cluster-insecure=perhaps", "neither true nor false"},
	{"--cluster-name a{b", "other characters"},
	{"--roles gateway,cook", `--roles: "cook" is none of`},
	{"--roles gateway", "needs both gateway and actors"},
	{"--roles ,", "needs both gateway and actors"},
	{"--tls-cert cert.pem", "--tls-cert: it needs --tls-key"},
	{"--tls-key key.pem", "--tls-key: it needs --tls-cert"},
	{"--tls-cert /nonexistent --tls-key /nonexistent", "--tls-cert: open /nonexistent"},
	{"--allowed-origins https://a.example,b.example", `"b.example" is not of the form https://host`},
	{"--allowed-origins *", `"*" is not of the form`},
	{"--trusted-proxies 10.0.0.0/33", `"10.0.0.0/33" is not a network`},
	{"--checkin-rate 0", "not a number from 1"},
	{"--checkin-rate many", "not a number from 1"},
	{"--trace-endpoint collector:4318", "--trace-endpoint: it is not of the form http://host:4318"},
	{"--trace-endpoint http://u:SECRET@collector:4318", "--trace-endpoint: a login does not stand in it"},
	{"--trace-ratio 1.5", `--trace-ratio: "1.5" is not a number from 0 to 1`},
	{"--trace-ratio NaN", `"NaN" is not a number from 0 to 1`},
	{"--trace-endpoint http://c OTEL_EXPORTER_OTLP_PROTOCOL=grpc", `OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" is not spoken`},
	{"--redis-url http://:SECRET@127.0.0.1", "--redis-url: it is not a redis://"},
	{"--redis-url redis://:SECRET%@127.0.0.1", "--redis-url: it is not a redis://"},
	{"--redis-url-file /nonexistent", "--redis-url-file: open /nonexistent"},
	{"NOWSERVING_REDIS_URL_FILE=/nonexistent", "NOWSERVING_REDIS_URL_FILE: open /nonexistent"},
	{"--redis-url redis://127.0.0.1 --redis-url-file /nonexistent", "are both given"},
	{"--token-keys k1:SECRET", "--token-keys: bad key ring: key 1: "},
	{"NOWSERVING_DATA_KEYS=SECRET", "NOWSERVING_DATA_KEYS: bad key ring: key 1: "},
	{"--data-keys-file /dev/null", "--data-keys-file: /dev/null is empty"},
	{"NOWSERVING_ADMIN_EMAIL=root", "NOWSERVING_ADMIN_EMAIL: "},
	{"--database-url postgres://u:SECRET@h/n", "--database-url: directory: invalid: it is not of the form mysql://"},
	{"--database-url mysql://u:SECRET%@h/n", "--database-url: directory: invalid: it is not of the form mysql://"},
	{"--database-url mysql://u:SECRET@h", "--database-url: directory: invalid: it names no database"},
	{"NOWSERVING_DATABASE_URL=mysql://u:SECRET@h/n?charset=SECRET", "NOWSERVING_DATABASE_URL: directory: invalid: only tls may follow ?"},
	{"--database-url-file /dev/null", "--database-url-file: /dev/null is empty"},
	{"user list --database-url mysql://u:SECRET@h", "--database-url: directory: invalid: it names no database"},
	{"--amqp-url http://u:SECRET@h", "--amqp-url: "},
	{"--amqp-url amqp://u:SECRET%@h", "--amqp-url: "},
	{"--amqp-url http://u:SECRET@h", "--amqp-url: it is not an amqp:// or amqps:// URL"},
	{"--grpc-addr 9090", `--grpc-addr: "9090" is not of the form host:port`},
	{"--grpc-addr :9090", "--grpc-addr: :9090 is not loopback, and without --tls-cert"},
	{"--grpc-addr 0.0.0.0:9090", "--grpc-addr: 0.0.0.0:9090 is not loopback"},
	{"--grpc-addr node.example:9090", "is not loopback, and without --tls-cert"},
	{"--no-such-flag", "no-such-flag"},
	{"--http-addr", "flag needs an argument"},
	{"serve now", `unexpected argument "now"`},
	{"sevre", `unknown command "sevre"`},
	{"demo now", `unexpected argument "now"`},
	{"demo --http-addr nowhere", `--http-addr: "nowhere" is not of the form host:port`},
	{"demo --http-addr 192.0.2.1:0", "--http-addr: listen tcp 192.0.2.1:0"},
	{"demo --grpc-addr 0.0.0.0:9090", "--grpc-addr: 0.0.0.0:9090 is not loopback"},
	{"demo --data-dir data", "flag provided but not defined: -data-dir"},
	{"restored --lost-events 0", "--lost-events: not a number from 1"},
	{"restored --lost-events 100001", "--lost-events: not a number from 1"},
	{"restored --amqp-url x", "flag provided but not defined"},
	{"keys", "keys rotate is needed"},
	{"keys rotate --data-dir /nonexistent", "--data-dir: "},
	{"keys rotate --data-keys SECRET", "--data-keys: bad key ring"},
	{"version 2", "version takes no arguments"},
	{"user", "user add, user list or user passwd"},
	{"user remove", "user add, user list or user passwd"},
	{"user add --email nobody", "--email: "},
	{"user add --email a@b.c --level king", "--level: "},
	{"user add --email a@b.c --queues A!", "--queues: "},
	{"user add --email a@b.c --password SECRET", "flag provided but not defined: -password"},
	{"user add --email a@b.c --password-file /dev/null", "--password-file: /dev/null is empty"},
	{"user list --data-dir /nonexistent", "--data-dir: "},
}

func TestWrongStarts(t *testing.T) {
	t.Parallel()
	for _, wrong := range wrongStarts {
		t.Run(wrong.args, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			env, args := []string{"NOWSERVING_DATA_DIR=" + dir}, []string(nil)
			if !strings.Contains(wrong.args, "HTTP_ADDR") {
				env = append(env, "NOWSERVING_HTTP_ADDR=127.0.0.1:0")
			}
			for word := range strings.FieldsSeq(wrong.args) {
				if strings.HasPrefix(word, "NOWSERVING_") || strings.HasPrefix(word, "OTEL_") {
					env = append(env, word)
				} else {
					args = append(args, word)
				}
			}
			o := runProgram(t, "", env, args...)
			if o.code != exitUsage || o.stdout != "" || strings.Count(o.stderr, "\n") != 1 || !strings.Contains(o.stderr, wrong.says) {
				t.Errorf("exit code %d, said %q", o.code, o.stdout+o.stderr)
			}
			if strings.Contains(o.stderr, "SECRET") {
				t.Errorf("a secret is shown: %q", o.stderr)
			}
			if _, err := os.Stat(filepath.Join(dir, "directory.db")); err == nil {
				t.Error("data were made")
			}
		})
	}
}

// With mutual TLS the cluster address may be open to other machines; with a
// certificate that the other nodes would refuse the node does not start.
func TestMutualTLSOpensTheClusterAddress(t *testing.T) {
	t.Parallel()
	ours, theirs := certtest.New(t), certtest.New(t)
	issued := ours.Issue(t, &x509.Certificate{})
	for says, f := range map[string]certtest.Files{
		"": ours.Write(t, t.TempDir(), issued), "unknown authority": theirs.Write(t, t.TempDir(), issued),
	} {
		args := append(strings.Fields(testCluster), "--cluster-addr", "192.0.2.1:7000",
			"--cluster-tls-cert", f.Certificate, "--cluster-tls-key", f.Key, "--cluster-tls-ca", f.Authority)
		c, err := readConfig(args, func(string) string { return "" })
		if says == "" && (err != nil || c.ClusterTLS == nil) || says != "" && (!errors.Is(err, errUsage) || !strings.Contains(err.Error(), says)) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

func TestAddressInUseIsOneLine(t *testing.T) {
	t.Parallel()
	p := startNode(t, t.TempDir())
	o := runProgram(t, "", nil, "--data-dir", t.TempDir(), "--http-addr", strings.TrimPrefix(p.url, "http://"))
	if o.code != exitUsage || strings.Count(o.stderr, "\n") != 1 || !strings.Contains(o.stderr, "address already in use") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}

func TestDataDirInUseIsOneLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	startNode(t, dir)
	o := runProgram(t, "", nil, "--data-dir", dir, "--http-addr", "127.0.0.1:0")
	if o.code != exitFailed || strings.Count(o.stderr, "\n") != 1 || !strings.Contains(o.stderr, "in use by another node") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}

// Keys that are given are used, and then none are made in the data dir.
func TestKeyRingsFromOutside(t *testing.T) {
	t.Parallel()
	dir, keys := t.TempDir(), filepath.Join(t.TempDir(), "keys")
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	if err := os.WriteFile(keys, []byte("k1:"+base64.StdEncoding.EncodeToString(secret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startNode(t, dir, "--token-keys-file", keys, "--data-keys-file", keys)
	admin(t, p.url)
	for _, name := range []string{"token.keys", "data.keys"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
}

func TestEverythingInTheDataDirIsPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	startNode(t, dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, entry := range entries {
		names += entry.Name() + " "
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", entry.Name(), info.Mode().Perm())
		}
	}
	for _, name := range []string{"journal.db", "directory.db", "token.keys", "data.keys"} {
		if !strings.Contains(names, name+" ") {
			t.Errorf("%s is missing: %s", name, names)
		}
	}
}
