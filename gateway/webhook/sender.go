// Package webhook delivers events to receivers outside over HTTP, signed by the
// convention of https://www.standardwebhooks.com.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Bounds of an attempt.
const (
	within       = 15 * time.Second // from the look-up of the name to the answer's end
	dialWithin   = 10 * time.Second
	maxHeader    = 64 << 10
	maxAnswer    = 64 << 10 // read so that the connection can be used again; nothing of it is kept
	keptIdle     = 30 * time.Second
	maxURL       = 2_048
	maxRetryWait = time.Hour // of a receiver's Retry-After
)

// Why an attempt failed, beside http_<status>.
const (
	reasonTimeout   = "timeout"
	reasonName      = "no_such_host"
	reasonForbidden = "forbidden_address"
	reasonRefused   = "connection_refused"
	reasonTLS       = "tls"
	reasonOther     = "connection"
)

// errForbidden: the address that a name led to may not be called.
var errForbidden = errors.New("webhook: the address is not one that may be called")

// Endpoint is where to, and signed with what: the newest secret first.
type Endpoint struct {
	URL     string
	Secrets []string
}

// Options of a Sender.
type Options struct {
	// Private are networks that may be called although they are not of the
	// internet, and without TLS.
	Private []netip.Prefix
	Version string // of this program
	Now     func() time.Time
	// Nil: the system's.
	Roots    *x509.CertPool
	Resolver *net.Resolver
}

// Sender sends to any receiver on the internet, over HTTPS, and to those in the
// networks that it was told of. What counts is the address that is dialled,
// whatever the name, and no redirect is followed.
type Sender struct {
	options       Options
	guardian      *ssrf.Guardian
	secure, plain *http.Client
}

// Result is what became of an attempt.
type Result struct {
	Status     int           // 0: no answer
	Reason     string        // empty: it was delivered
	RetryAfter time.Duration // what the receiver asks for; 0: nothing
}

// NewSender makes a sender. It keeps some connections open for a while.
func NewSender(o Options) *Sender {
	s := &Sender{options: o, guardian: ssrf.New(ssrf.WithAnyPort())}
	s.secure, s.plain = s.client(true), s.client(false)
	return s
}

func (s *Sender) client(secure bool) *http.Client {
	dialer := net.Dialer{
		Timeout: dialWithin, Resolver: s.options.Resolver,
		Control: func(network, address string, conn syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || s.mayCall(to.Addr(), secure) != nil {
				return errForbidden
			}
			return nil
		},
	}
	return &http.Client{
		Timeout:       within,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ // without a proxy
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.options.Roots},
			DisableCompression:  true,
			TLSHandshakeTimeout: dialWithin, IdleConnTimeout: keptIdle, MaxIdleConnsPerHost: atOnce, MaxResponseHeaderBytes: maxHeader,
		},
	}
}

// mayCall fails for an address that is not of the internet, or, without TLS, for
// any, unless it is in a network that was named.
func (s *Sender) mayCall(to netip.Addr, secure bool) error {
	to = to.Unmap()
	if slices.ContainsFunc(s.options.Private, func(p netip.Prefix) bool { return p.Contains(to) }) {
		return nil
	}
	if !secure {
		return errForbidden
	}
	return s.guardian.SafeAddr(to)
}

// Check says what is wrong with an address, as far as can be told without asking
// anybody; empty for nothing.
func (s *Sender) Check(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > maxURL || u.Hostname() == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http":
		return "must be a URL such as https://example.org/hooks"
	case u.User != nil || u.Fragment != "" || strings.HasSuffix(text, "#"):
		return "must have no user, password or fragment"
	case u.Scheme == "http" && len(s.options.Private) == 0:
		return "must begin with https://"
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && s.mayCall(ip, u.Scheme == "https") != nil {
		return "must be an address that may be called"
	}
	return ""
}

// Send attempts to deliver a body.
func (s *Sender) Send(ctx context.Context, to Endpoint, id string, body []byte) Result {
	now := s.options.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(body))
	if err != nil || len(to.Secrets) == 0 { // what was sealed does not open
		return Result{Reason: reasonOther}
	}
	var signatures []string
	for _, secret := range to.Secrets {
		signer, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return Result{Reason: reasonOther}
		}
		signature, err := signer.Sign(id, now, body)
		if err != nil {
			return Result{Reason: reasonOther}
		}
		signatures = append(signatures, signature)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "nowserving/"+s.options.Version)
	request.Header.Set(standardwebhooks.HeaderWebhookID, id)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	// Not sent: it has a connection that the receiver has just closed replaced by
	// another one, for the receiver can tell by the id what it has had.
	request.Header["Idempotency-Key"] = []string{}
	client := s.secure
	if request.URL.Scheme != "https" {
		client = s.plain
	}
	answer, err := client.Do(request)
	if err != nil {
		return Result{Reason: reasonOf(err)}
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	r := Result{Status: answer.StatusCode}
	if r.Status < 200 || r.Status > 299 {
		r.Reason = fmt.Sprintf("http_%d", r.Status)
		r.RetryAfter = retryAfter(answer.Header.Get("Retry-After"), now)
	}
	return r
}

// reasonOf says why in one word: an error's text may hold the address.
func reasonOf(err error) string {
	var (
		name        *net.DNSError
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
		record      tls.RecordHeaderError
		timeout     interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, errForbidden):
		return reasonForbidden
	case errors.As(err, &timeout) && timeout.Timeout():
		return reasonTimeout
	case errors.As(err, &name):
		return reasonName
	case errors.Is(err, syscall.ECONNREFUSED):
		return reasonRefused
	case errors.As(err, &certificate), errors.As(err, &alert), errors.As(err, &record):
		return reasonTLS
	}
	return reasonOther
}

// retryAfter reads seconds or a date, up to a bound.
func retryAfter(text string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryWait)
}
