package webhook

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func send(t *testing.T, o Options, url string) Result {
	t.Helper()
	o.Now = time.Now
	return NewSender(o).Send(t.Context(), Endpoint{URL: url, Secrets: []string{secret}}, "msg_1", []byte("{}"))
}

// No name and no way of writing leads to an address that is not of the internet.
// What counts connections is where each of them would have led.
func TestAddressesThatAreNotCalled(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	tls := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	tls.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			calls.Add(1)
		}
	}
	tls.StartTLS()
	t.Cleanup(tls.Close)
	port := tls.URL[strings.LastIndex(tls.URL, ":"):]
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "0.0.0.0", "127.1", "2130706433", "0x7f000001", "0177.0.0.1",
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "[fd00:ec2::254]", "[fe80::1]", "[fe80::1%25lo]",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]", "224.0.0.1", "255.255.255.255", "198.18.0.1", "[ff02::1]",
		"private.example", "both.example", "mapped.example",
	} {
		r := send(t, Options{Resolver: names(t, map[string][]string{
			"private.example.": {"10.1.2.3"}, "both.example.": {"127.0.0.1", "::1"}, "mapped.example.": {"::ffff:127.0.0.1"},
		})}, "https://"+host+port)
		// Some ways of writing an address are no name of anything, as the system has it.
		if r.Reason != reasonForbidden && r.Reason != reasonName {
			t.Errorf("%s: %+v", host, r)
		}
		if r.Reason == reasonName && strings.Contains(host, "example") {
			t.Errorf("%s was not found", host)
		}
	}
	// Of a private network that may be called, only that.
	for host, may := range map[string]bool{"127.0.0.1": true, "[::ffff:127.0.0.1]": true, "127.0.0.2": false, "[::1]": false, "10.0.0.1": false} {
		o := Options{Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
		if r := send(t, o, "https://"+host+port); (r.Reason == reasonForbidden) == may {
			t.Errorf("%s: %+v", host, r)
		}
	}
	if n := calls.Load(); n != 2 { // the certificate is not believed
		t.Errorf("%d connections", n)
	}
	// Without TLS the internet is not called either.
	if r := send(t, Options{Private: loopback}, "http://203.0.113.1/"); r.Reason != reasonForbidden {
		t.Errorf("%+v", r)
	}
	if r := send(t, Options{Private: loopback, Resolver: names(t, map[string][]string{"public.example.": {"8.8.8.8"}})}, "http://public.example/"); r.Reason != reasonForbidden {
		t.Errorf("%+v", r)
	}
}

// names resolves names as a real DNS server on loopback says.
func names(t *testing.T, known map[string][]string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Authoritative, m.Additionals = true, true, nil
			if known[q.Name.String()] == nil {
				m.RCode = dnsmessage.RCodeNameError
			}
			for _, text := range known[q.Name.String()] {
				ip := netip.MustParseAddr(text)
				var body dnsmessage.ResourceBody
				switch {
				case ip.Is4() && q.Type == dnsmessage.TypeA:
					body = &dnsmessage.AResource{A: ip.As4()}
				case ip.Is6() && q.Type == dnsmessage.TypeAAAA:
					body = &dnsmessage.AAAAResource{AAAA: ip.As16()}
				default:
					continue
				}
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 0}, Body: body})
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// A redirect is an answer like any other, and no proxy is asked.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var calls atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	t.Cleanup(inside.Close)
	t.Setenv("HTTP_PROXY", inside.URL)
	t.Setenv("HTTPS_PROXY", inside.URL)
	outside := httptest.NewTLSServer(http.RedirectHandler(inside.URL, http.StatusTemporaryRedirect))
	t.Cleanup(outside.Close)
	roots := x509.NewCertPool()
	roots.AddCert(outside.Certificate())
	if r := send(t, Options{Private: loopback, Roots: roots}, outside.URL); r.Reason != "http_307" || calls.Load() != 0 {
		t.Errorf("%+v, %d calls", r, calls.Load())
	}
	// By its name, for no proxy is asked for loopback anyway.
	direct := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(direct.Close)
	resolver := names(t, map[string][]string{"direct.example.": {"127.0.0.1"}})
	if r := send(t, Options{Private: loopback, Resolver: resolver}, strings.Replace(direct.URL, "127.0.0.1", "direct.example", 1)); r.Status != 200 || calls.Load() != 0 {
		t.Errorf("%+v, %d calls", r, calls.Load())
	}
	if r := send(t, Options{Private: loopback, Roots: roots}, "https://127.0.0.1:1/"); r.Reason != reasonRefused {
		t.Errorf("%+v", r)
	}
	if r := send(t, Options{Private: loopback}, outside.URL); r.Reason != reasonTLS {
		t.Errorf("%+v", r)
	}
}

// An answer without an end takes no more than was set, and no room.
func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	var written atomic.Int64
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		page := make([]byte, 32<<10)
		for q.Context().Err() == nil {
			n, err := w.Write(page)
			if written.Add(int64(n)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(endless.Close)
	r := send(t, Options{Private: loopback}, endless.URL)
	// The kernel takes some on its own account.
	if r.Status != 200 || r.Reason != "" || written.Load() > 64<<20 {
		t.Errorf("%+v, %d bytes", r, written.Load())
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	public, private := NewSender(Options{}), NewSender(Options{Private: loopback})
	for url, good := range map[string][2]bool{ // without and with a private network
		"https://example.org": {true, true}, "https://example.org:8443/a?b=c": {true, true}, "http://example.org": {false, true},
		"http://127.0.0.1:8080/": {false, true}, "https://127.0.0.1": {false, true}, "https://[::ffff:127.0.0.1]": {false, true}, "https://10.0.0.1/": {false, false}, "https://[::ffff:10.0.0.1]": {false, false},
		"https://8.8.8.8/": {true, true}, "http://8.8.8.8/": {false, false}, "https://u:p@example.org": {}, "https://u@example.org": {}, "https://example.org/#a": {}, "https://example.org/#": {},
		"example.org": {}, "//example.org": {}, "ftp://example.org": {}, "https://": {}, "https:example.org": {}, "https://exa mple.org": {}, "": {},
		"https://example.org/" + strings.Repeat("x", maxURL): {},
	} {
		if got := [2]bool{public.Check(url) == "", private.Check(url) == ""}; got != good {
			t.Errorf("%s: %v, want %v (%s)", url, got, good, private.Check(url))
		}
	}
}
