package gateway

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// guarded are the headers of every answer, whatever it is.
var guarded = map[string]string{
	"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "X-Frame-Options": "DENY",
	"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
	"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
	"Strict-Transport-Security": "", "Server": "",
}

func TestGuards(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a", `,"public":true`)
	token := e.checkIn("a", person)
	for _, c := range []call{
		{method: "GET", path: "/livez"}, {method: "GET", path: "/me"}, {method: "GET", path: "/me", as: "-"}, {method: "GET", path: "/nothing"},
		{method: "PUT", path: "/queues"}, {method: "GET", path: "/queues/a/tickets"}, {method: "GET", path: "/history", header: http.Header{"Accept": {"text/csv"}}},
		{method: "GET", path: "/public/tickets/" + token, as: "-"}, {method: "DELETE", path: "/public/tickets/" + token, as: "-"}, {method: "GET", path: "/ws"},
		{method: "POST", path: "/queues/a/tickets", body: strings.Repeat("x", 300<<10)}, {method: "POST", path: "/queues/a/call-next"},
	} {
		r := e.do(c)
		for name, want := range guarded {
			if got := strings.Join(r.header.Values(name), "|"); got != want {
				t.Errorf("%s %s %d: %s: %q, want %q", c.method, c.path, r.status, name, got, want)
			}
		}
	}
	// What is nobody's may be kept, and is asked for again; the page may load its own.
	for path, policy := range map[string]string{
		"/": pagePolicy, "/icon.svg": pagePolicy, "/checkin/post": pagePolicy, "/api/v1/openapi.yaml": guarded["Content-Security-Policy"], "/api/v1/asyncapi.yaml": guarded["Content-Security-Policy"],
	} {
		r, err := e.client.Get(e.url + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		for name, want := range guarded {
			switch name {
			case "Cache-Control":
				want = "no-cache"
			case "Content-Security-Policy":
				want = policy
			}
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", path, name, got, want)
			}
		}
	}
}

// Over TLS, and only there, a browser is told to stay with it. Those who answer
// before the gateway can say the same.
func TestStrictTransport(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) {
		o.TLS = &tls.Config{Certificates: []tls.Certificate{{}}, MinVersion: tls.VersionTLS12}
	})
	response, err := e.gateway.App().Test(httptest.NewRequest(http.MethodGet, "/livez", http.NoBody))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if got := response.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("%q", got)
	}
	for _, over := range []bool{false, true} {
		r, w := httptest.NewRequest(http.MethodGet, "/", http.NoBody), httptest.NewRecorder()
		if over {
			r.TLS = &tls.ConnectionState{}
		}
		Guarded(Unavailable("Not yet.")).ServeHTTP(w, r)
		for name, want := range guarded {
			if name == "Strict-Transport-Security" && over {
				want = "max-age=31536000"
			}
			if got := w.Header().Get(name); got != want {
				t.Errorf("TLS %v: %s: %q, want %q", over, name, got, want)
			}
		}
	}
}
