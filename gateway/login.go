package gateway

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/gofiber/fiber/v2"

	"nowserving/actors/queue"
)

// Bounds of what is sent to log in.
const (
	maxEmail    = 254
	maxPassword = 1024
	maxRefresh  = 4096

	// unknownEmail stands for an address that cannot be read.
	unknownEmail = "unknown@invalid"
)

func (g *Gateway) login(c *fiber.Ctx) (err error) {
	defer func() { g.options.Hooks.Login(codeOf(err)) }()
	var wrong faults
	in := g.body(c, &wrong)
	email, password := in.text("email", 1, maxEmail, false), in.text("password", 1, maxPassword, false)
	cookie := in.flag("cookie")
	in.require("email", "password")
	in.close()
	if p := wrong.problem(); p != nil {
		return p
	}
	if cookie {
		if p := g.fromPage(c); p != nil {
			return p
		}
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), loginTimeout)
	defer cancel()
	end, wait, err := g.auth.throttle.begin(ctx, *email, g.clientAddr(c))
	switch {
	case err != nil:
		return unavailable("Too many logins are under way.")
	case end == nil:
		return tooManyAttempts(wait)
	}
	failed := false
	defer func() { end(failed) }() // after a panic too: it must not count as under way for ever
	attempt, everywhere, err := g.auth.beginEverywhere(ctx, *email, g.clientAddr(c))
	switch {
	case err != nil:
		return unavailable("Too many logins are under way.")
	case everywhere == nil:
		return tooManyAttempts(attempt.Wait)
	}
	defer func() { everywhere(failed) }()
	s, user, p := g.auth.login(ctx, *email, *password)
	failed = p != nil && p.Code == codeBadCredentials
	if failed {
		g.auditHeldBack(c, attempt, user)
	}
	if p != nil {
		return p
	}
	if cookie {
		return g.sendCookies(c, s)
	}
	return g.sendSession(c, s)
}

// codeOf is that of a refusal, empty where there is none.
func codeOf(err error) string {
	if err == nil {
		return ""
	}
	var p *problem
	if errors.As(err, &p) {
		return p.Code
	}
	return codeInternal
}

func tooManyAttempts(wait time.Duration) *problem {
	p := newProblem(codeTooManyAttempts, "Too many logins failed. Try again later.")
	p.retryAfter = int(math.Ceil(max(wait, time.Second).Seconds()))
	return p
}

// auditHeldBack records that the user, whose id is empty for an address that is
// nobody's, or the network address cannot log in for a while. The answer does not
// wait for it: that it takes longer would tell whose address is somebody's.
func (g *Gateway) auditHeldBack(c *fiber.Ctx, attempt Login, user string) {
	if attempt.LastOfEmail && user != "" {
		g.options.Audit.later(g.auditEntry(c, &Principal{}, "login.held_back", user, map[string]string{"after": "failures of one user"}))
	}
	if attempt.LastOfAddress {
		g.options.Audit.later(g.auditEntry(c, &Principal{}, "login.held_back", "", map[string]string{"after": "failures of one address"}))
	}
}

// login does the same work whether or not somebody has the address. It gives the
// id of the user who has it, also where the password is wrong.
func (a *Auth) login(ctx context.Context, email, password string) (s *session, whose string, p *problem) {
	user, err := a.directory.UserByEmail(ctx, email)
	if err != nil && !errors.Is(err, ErrNotFound) {
		a.log.WarnContext(ctx, "a login could not be checked", "error", err)
		return nil, "", unavailable("Logins cannot be checked just now.")
	}
	known := err == nil && !user.Disabled
	hash := ""
	if known {
		hash = user.PasswordHash
	}
	good, err := a.passwords.Verify(ctx, hash, password)
	switch {
	case err != nil:
		a.log.WarnContext(ctx, "a password could not be checked", "error", err)
		return nil, "", unavailable("Logins cannot be checked just now.")
	case !good || !known:
		return nil, user.ID, newProblem(codeBadCredentials, "No user has this e-mail address and password.")
	}
	a.rehash(ctx, &user, password)
	if s, err = a.begin(ctx, user); err != nil {
		a.log.WarnContext(ctx, "a login could not be kept", "user", user.ID, "error", err)
		return nil, user.ID, unavailable("Logins cannot be kept just now.")
	}
	return s, user.ID, nil
}

// rehash has a password that was good kept at today's costs. It does not matter
// where that fails.
func (a *Auth) rehash(ctx context.Context, user *User, password string) {
	if !a.passwords.NeedsRehash(user.PasswordHash) {
		return
	}
	hash, err := a.passwords.Hash(ctx, password)
	if err == nil {
		err = a.directory.RehashPassword(ctx, user.ID, user.PasswordHash, hash)
	}
	if err != nil {
		a.log.InfoContext(ctx, "a password stays hashed as it was", "user", user.ID, "error", err)
	}
}

func (g *Gateway) refresh(c *fiber.Ctx) error {
	if wait := g.renewals.take(g.clientAddr(c)); wait > 0 {
		return tooFast("Too many logins were renewed from this address.", wait)
	}
	var wrong faults
	in := g.body(c, &wrong)
	token := in.text("refresh_token", 1, maxRefresh, false)
	cookie := in.flag("cookie")
	if cookie && token != nil {
		in.bad("refresh_token", "is in the cookie")
	} else if !cookie {
		in.require("refresh_token")
	}
	in.close()
	if p := wrong.problem(); p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	if cookie {
		return g.renewCookies(ctx, c)
	}
	s, p := g.renew(ctx, c, *token, 0)
	if p != nil {
		return p
	}
	return g.sendSession(c, s)
}

// renew renews a login, and records a token that was used twice: somebody else had it.
func (g *Gateway) renew(ctx context.Context, c *fiber.Ctx, old string, grace time.Duration) (*session, *problem) {
	s, robbed, p := g.auth.renew(ctx, old, grace)
	if robbed != "" {
		g.audit(c, &Principal{}, "login.reused", robbed, nil)
	}
	return s, p
}

func loggedOut() *problem {
	return newProblem(codeUnauthenticated, "The refresh token is not good any more. Log in again.")
}

func (g *Gateway) logout(c *fiber.Ctx, who *Principal) error {
	if who.keyID != "" {
		return newProblem(string(queue.Forbidden), "An API key is no login. It ends when an admin deletes it.")
	}
	var wrong faults
	g.body(c, &wrong).close()
	if p := wrong.problem(); p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	if err := g.auth.directory.DropFamily(ctx, who.family); err != nil {
		g.log.WarnContext(c.UserContext(), "a login could not be ended", "user", who.UserID, "error", err)
		return unavailable("Logins cannot be ended just now.")
	}
	g.auth.ended.add(g.auth.now(), AccessChange{Family: who.family}) // here at once
	g.auth.accessChanged()
	g.dropCookies(c)
	return c.SendStatus(fiber.StatusNoContent)
}

func (g *Gateway) me(c *fiber.Ctx, who *Principal) error {
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	user, err := g.auth.directory.UserByID(ctx, who.UserID)
	switch {
	case errors.Is(err, ErrNotFound):
		return unauthenticated()
	case err != nil:
		g.log.WarnContext(c.UserContext(), "a user cannot be read", "user", who.UserID, "error", err)
		return unavailable("Users cannot be read just now.")
	}
	return g.sendJSON(c, fiber.StatusOK, func(dst []byte) []byte { return appendUser(dst, &user) })
}

func (g *Gateway) sendSession(c *fiber.Ctx, s *session) error {
	return g.sendJSON(c, fiber.StatusOK, func(dst []byte) []byte {
		dst = append(dst, `{"access_token":`...)
		dst = appendString(dst, s.access)
		dst = append(dst, `,"token_type":"Bearer","expires_in":900,"refresh_token":`...)
		dst = appendString(dst, s.refresh)
		dst = append(dst, `,"user":`...)
		return append(appendUser(dst, &s.user), '}')
	})
}

func appendUser(dst []byte, u *User) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, u.ID)
	dst = append(dst, `,"email":`...)
	email := u.Email
	if email == "" { // the key that sealed it is lost
		email = unknownEmail
	}
	dst = appendString(dst, email)
	dst = append(dst, `,"name":`...)
	dst = appendString(dst, u.Name)
	dst = append(dst, `,"level":`...)
	dst = appendString(dst, string(u.Level))
	dst = append(dst, `,"queues":`...)
	return append(appendStrings(dst, u.Queues), '}')
}
