package gateway

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"nowserving/actors/queue"
)

// A browser's login: the same two tokens, in cookies that no script can read. A
// browser sends cookies whoever made it ask, so what they log in must also show
// that a page of this host, or of an allowed origin, asked.
const (
	accessCookie  = "nowserving_access"
	refreshCookie = "nowserving_refresh"
	// hostPrefix has browsers take a cookie over HTTPS from this very host only,
	// RFC 6265bis, section 4.1.3.2.
	hostPrefix = "__Host-"
	// pageHeader is one that a form cannot send, nor a page of an origin that is
	// not allowed, without asking first; its value is of no interest.
	pageHeader    = "X-Requested-With"
	fetchSite     = "Sec-Fetch-Site"
	forwardedKind = "X-Forwarded-Proto"
	// refreshGrace: pages of one browser share a cookie, and may renew it at once.
	refreshGrace = 10 * time.Second
)

// cookieName depends on how the browser reached this host.
func (g *Gateway) cookieName(c *fiber.Ctx, name string) string {
	if g.secure(c) {
		return hostPrefix + name
	}
	return name
}

// secure tells whether the browser speaks HTTPS, to this node or to a trusted proxy.
func (g *Gateway) secure(c *fiber.Ctx) bool {
	return g.options.TLS != nil || g.trusts(remoteAddr(c)) && strings.EqualFold(c.Get(forwardedKind), "https")
}

func (g *Gateway) cookie(c *fiber.Ctx, name string) string { return c.Cookies(g.cookieName(c, name)) }

// setCookie sets one for as long as the browser runs; an empty value deletes it.
func (g *Gateway) setCookie(c *fiber.Ctx, name, value string) {
	k := fiber.Cookie{
		Name: g.cookieName(c, name), Value: value, Path: "/", HTTPOnly: true, Secure: g.secure(c),
		SameSite: fiber.CookieSameSiteStrictMode, SessionOnly: value != "",
	}
	if value == "" {
		k.Expires = time.Unix(1, 0)
	}
	c.Cookie(&k)
}

// whoAsks is the one who is logged in by the Authorization header or, without
// one, by a cookie.
func (g *Gateway) whoAsks(c *fiber.Ctx) (*Principal, *problem) {
	if c.Get(fiber.HeaderAuthorization) != "" {
		return g.auth.Authenticate(c.UserContext(), bearerOf(c))
	}
	who, p := g.auth.Authenticate(c.UserContext(), g.cookie(c, accessCookie))
	if p == nil {
		p = g.fromPage(c)
	}
	return who, p
}

// fromPage refuses what some other site's page had the browser send. What
// changes nothing may come without the header: a link to a file, say.
func (g *Gateway) fromPage(c *fiber.Ctx) *problem {
	origin, site := c.Get(fiber.HeaderOrigin), c.Get(fetchSite)
	good := g.knownOrigin(origin, string(c.Context().Host()))
	if origin == "" {
		good = site == "" || site == "same-origin" || site == "none"
	}
	if method := c.Method(); method != fiber.MethodGet && method != fiber.MethodHead {
		good = good && c.Get(pageHeader) != ""
	}
	if !good {
		return newProblem(string(queue.Forbidden), "With a cookie, a request must come from a page of this host and bear "+pageHeader+".")
	}
	return nil
}

// knownOrigin tells whether a browser's page is one of this host, or of an
// allowed origin.
func (g *Gateway) knownOrigin(origin, host string) bool {
	if u, err := url.Parse(origin); err == nil && u.Host != "" && strings.EqualFold(u.Host, host) {
		return true
	}
	for _, allowed := range g.options.AllowedOrigins {
		if strings.EqualFold(strings.TrimSuffix(allowed, "/"), origin) {
			return true
		}
	}
	return false
}

// sendCookies logs a browser in, or renews its login. No token is in the answer.
func (g *Gateway) sendCookies(c *fiber.Ctx, s *session) error {
	g.setCookie(c, accessCookie, s.access)
	g.setCookie(c, refreshCookie, s.refresh)
	return g.sendJSON(c, fiber.StatusOK, func(dst []byte) []byte {
		dst = append(dst, `{"token_type":"Cookie","expires_in":900,"user":`...)
		return append(appendUser(dst, &s.user), '}')
	})
}

func (g *Gateway) dropCookies(c *fiber.Ctx) {
	for _, name := range []string{accessCookie, refreshCookie} {
		if g.cookie(c, name) != "" {
			g.setCookie(c, name, "")
		}
	}
}

// renewCookies renews a browser's login.
func (g *Gateway) renewCookies(ctx context.Context, c *fiber.Ctx) error {
	if p := g.fromPage(c); p != nil {
		return p
	}
	old := g.cookie(c, refreshCookie)
	if old == "" {
		return loggedOut()
	}
	s, p := g.renew(ctx, c, old, refreshGrace)
	if p != nil {
		if p.Code == codeUnauthenticated {
			g.dropCookies(c)
		}
		return p
	}
	return g.sendCookies(c, s)
}
