package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
)

// What all requests have in common: guarding, errors, bodies and answers.

const mimeProblem = "application/problem+json"

// oversize marks a request whose body the server did not read to its end.
const oversize = "nowserving.oversize"

// guard turns a panic into a problem and sets what every answer bears.
func (g *Gateway) guard(c *fiber.Ctx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			// The value may hold anything, so only where it came from is logged.
			g.log.ErrorContext(c.UserContext(), "a request panicked", "method", c.Method(), "route", c.Route().Path, "stack", string(debug.Stack()))
			err = newProblem(codeInternal, "Something went wrong here.")
		}
	}()
	g.setGuards(c)
	return c.Next()
}

// setGuards sets what every answer bears.
func (g *Gateway) setGuards(c *fiber.Ctx) { guards(c.Set, g.options.TLS != nil) }

// sendError renders whatever ended a handler.
func (g *Gateway) sendError(c *fiber.Ctx, err error) error {
	if errors.Is(err, fiber.ErrRequestEntityTooLarge) && c.Context().UserValue(oversize) == nil {
		// The server gave up reading before any handler ran. The handlers run
		// all the same, so that other refusals go before this one. They cannot
		// where the body came in chunks: of such a request nothing is left.
		c.Context().SetUserValue(oversize, true)
		if c.Request().Header.ContentLength() > 0 {
			c.Context().Request.ResetBody()
			g.app.Handler()(c.Context())
		} else {
			g.sendProblem(c, g.problemOfError(c.UserContext(), err))
		}
		drain(c)
		return nil
	}
	g.sendProblem(c, g.problemOfError(c.UserContext(), err))
	return nil
}

func (g *Gateway) sendProblem(c *fiber.Ctx, p *problem) {
	p = g.inTrace(c.UserContext(), p)
	g.setGuards(c)
	c.Status(p.status())
	c.Set(fiber.HeaderContentType, mimeProblem)
	if p.status() == http.StatusUnauthorized {
		c.Set(fiber.HeaderWWWAuthenticate, "Bearer")
	}
	if seconds := p.retrySeconds(); seconds > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(seconds))
	}
	c.Response().SetBody(appendProblem(nil, p))
}

// Bounds of drain.
const (
	drainBytes = 8 << 20
	drainFor   = 2 * time.Second
	drainIdle  = 50 * time.Millisecond
)

// drain takes what the client still sends of a body that was refused unread. A
// connection that is closed with unread bytes is reset, and the answer lost.
func drain(c *fiber.Ctx) {
	conn := c.Context().Conn()
	if conn == nil {
		return
	}
	until := time.Now().Add(drainFor)
	left := drainBytes
	if n := c.Request().Header.ContentLength(); n > 0 {
		left = min(left, n) // up to readBuffer of them were read before
	}
	sink := make([]byte, 32<<10)
	for left > 0 && time.Now().Before(until) {
		if conn.SetReadDeadline(time.Now().Add(drainIdle)) != nil {
			return
		}
		n, err := conn.Read(sink[:min(len(sink), left)])
		if left -= n; err != nil {
			return
		}
	}
}

// problemOfError never says more of a foreign error than its kind.
func (g *Gateway) problemOfError(ctx context.Context, err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	var f *fiber.Error
	if !errors.As(err, &f) {
		return g.internal(ctx, "a request failed", err)
	}
	switch {
	case f.Code == http.StatusNotFound:
		return newProblem(codeNotFound, "There is nothing at this path.")
	case f.Code == http.StatusMethodNotAllowed:
		return newProblem(codeMethodNotAllowed, "This path does not take this method.")
	case f.Code == http.StatusRequestEntityTooLarge:
		return newProblem(codeTooLarge, "The body is over 65,536 bytes.")
	case f.Code >= 400 && f.Code < 500: // not even HTTP, or not sent in time
		p := malformed("The request could not be read.")
		p.httpStatus = f.Code
		return p
	}
	return g.internal(ctx, "a request failed", err)
}

// internal logs what happened and says nothing of it.
func (g *Gateway) internal(ctx context.Context, what string, err error) *problem {
	g.log.ErrorContext(ctx, what, "error", err)
	return newProblem(codeInternal, "Something went wrong here.")
}

// authenticated lets a handler run for whoever is logged in.
func (g *Gateway) authenticated(handle func(c *fiber.Ctx, who *Principal) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		who, p := g.whoAsks(c)
		if p != nil {
			return p
		}
		return handle(c, who)
	}
}

// bearerOf gives the token of the Authorization header, empty where there is none.
func bearerOf(c *fiber.Ctx) string {
	return bearerIn(c.Get(fiber.HeaderAuthorization))
}

func bearerIn(authorization string) string {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// clientAddr is where a request came from.
func (g *Gateway) clientAddr(c *fiber.Ctx) netip.Addr {
	return g.believed(remoteAddr(c), headerValues(c, fiber.HeaderXForwardedFor))
}

// believed is where what came from remote began. Of X-Forwarded-For, the
// addresses that trusted proxies added are believed, from the right; the first
// that is no trusted proxy's is the client.
func (g *Gateway) believed(remote netip.Addr, forwarded []string) netip.Addr {
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0 && g.trusts(remote); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		remote = hop.Unmap().WithZone("")
	}
	return remote
}

// remoteAddr is the other end of the connection.
func remoteAddr(c *fiber.Ctx) netip.Addr {
	remote, _ := netip.AddrFromSlice(c.Context().RemoteIP())
	return remote.Unmap()
}

func (g *Gateway) trusts(a netip.Addr) bool {
	for _, network := range g.options.TrustedProxies {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// headerValues gives each value of a header that may stand several times.
func headerValues(c *fiber.Ctx, name string) []string {
	var values []string
	for _, v := range c.Request().Header.PeekAll(name) {
		values = append(values, string(v))
	}
	return values
}

// rawBody gives the body as it was sent, never unpacked; false where it is
// over its bound.
func rawBody(c *fiber.Ctx) ([]byte, bool) {
	body := c.Request().Body()
	if len(body) > maxBody || c.Context().UserValue(oversize) != nil {
		return nil, false
	}
	return body, true
}

// body opens the body of a request that is no command.
func (g *Gateway) body(c *fiber.Ctx, wrong *faults) *object {
	body, ok := rawBody(c)
	if !ok {
		wrong.refusal = newProblem(codeTooLarge, "The body is over 65,536 bytes.")
		return &object{wrong: wrong}
	}
	return wrong.parse(body)
}

// buffers are what answers are rendered in; the server copies them.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// maxKept keeps a rare large answer from staying in the pool.
const maxKept = 64 << 10

// sendJSON renders an answer.
func (g *Gateway) sendJSON(c *fiber.Ctx, status int, render func(dst []byte) []byte) error {
	b := buffers.Get().(*[]byte)
	*b = render((*b)[:0])
	c.Status(status)
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	c.Response().SetBody(*b)
	if cap(*b) <= maxKept {
		buffers.Put(b)
	}
	return nil
}

// setVersion gives an answer its entity tag.
func setVersion(c *fiber.Ctx, version uint64) {
	c.Set(fiber.HeaderETag, `"`+strconv.FormatUint(version, 10)+`"`)
}
