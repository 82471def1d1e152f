package gateway

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/gofiber/fiber/v2"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

// Signing in at an OpenID provider: the code flow with PKCE, state and nonce.
// What this node must know again when the browser comes back travels in a sealed
// cookie, so that it may come back to any node.
const (
	flowCookie   = "nowserving_signin"
	flowLife     = 10 * time.Minute
	callbackPath = "/api/v1/auth/oidc/callback"
	maxCode      = 4096

	providerTimeout = 10 * time.Second
	maxProviderBody = 1 << 20
)

// ErrNotAllowed is what a SignIn fails with for somebody who may not come in.
var ErrNotAllowed = errors.New("gateway: this user may not sign in")

// OIDC is the provider at which users may sign in.
type OIDC struct {
	Issuer, ClientID, ClientSecret string
	Map                            ClaimMap
	// StateKeys are 32 bytes each; the first one seals, all open.
	StateKeys []TokenKey
	// SignIn gives the user that somebody is here, made or changed as told.
	SignIn func(ctx context.Context, who ForeignUser) (User, error)
}

// ForeignUser is somebody whom the provider vouches for.
type ForeignUser struct {
	Issuer, Subject string
	Email           string // empty: none that the provider has verified
	Name            string
	Level           Level // empty: nothing is mapped to it, so it may not come in
	Queues          []string
}

// signIn is the gateway's end of it.
type signIn struct {
	OIDC
	client *http.Client
	first  singleflight.Group
	found  atomic.Pointer[oidc.Provider]
	states atomic.Pointer[[]TokenKey]
}

func newSignIn(o *OIDC) *signIn {
	if o == nil {
		return nil
	}
	s := &signIn{OIDC: *o, client: &http.Client{Timeout: providerTimeout, Transport: bounded{http.DefaultTransport}}}
	s.states.Store(&o.StateKeys)
	return s
}

// bounded cuts what a provider answers.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, maxProviderBody), response.Body}
	}
	return response, err
}

func (s *signIn) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, s.client)
}

// provider looks the provider up when it is first needed, for it may come up
// later than the node.
func (s *signIn) provider() (*oidc.Provider, error) {
	if p := s.found.Load(); p != nil {
		return p, nil
	}
	p, err, _ := s.first.Do("", func() (any, error) {
		p, err := oidc.NewProvider(s.context(context.Background()), s.Issuer)
		if err == nil {
			s.found.Store(p)
		}
		return p, err
	})
	if err != nil {
		return nil, err
	}
	return p.(*oidc.Provider), nil
}

func (s *signIn) config(p *oidc.Provider, redirect string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: s.ClientID, ClientSecret: s.ClientSecret, Endpoint: p.Endpoint(), RedirectURL: redirect,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
	}
}

// flow is one sign-in that is under way.
type flow struct {
	State, Nonce, Verifier, Redirect string
	Until                            int64 // Unix milliseconds
}

func (s *signIn) seal(f flow) (string, error) {
	text, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	aead, err := flowAEAD((*s.states.Load())[0])
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, text, nil)), nil
}

func (s *signIn) open(sealed string) (f flow, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return f, false
	}
	for _, key := range *s.states.Load() {
		aead, err := flowAEAD(key)
		if err != nil {
			return f, false
		}
		if text, err := aead.Open(nil, nil, raw, nil); err == nil {
			return f, json.Unmarshal(text, &f) == nil
		}
	}
	return f, false
}

func flowAEAD(key TokenKey) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key.Bytes)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// methods says in which ways one can sign in here.
func (g *Gateway) methods(c *fiber.Ctx) error {
	return g.sendJSON(c, fiber.StatusOK, func(dst []byte) []byte {
		return fmt.Appendf(dst, `{"password":true,"oidc":%t}`, g.signIn != nil)
	})
}

// beginSignIn sends the browser to the provider.
func (g *Gateway) beginSignIn(c *fiber.Ctx) error {
	if g.signIn == nil {
		return fiber.ErrNotFound
	}
	p, err := g.signIn.provider()
	if err != nil {
		g.log.WarnContext(c.UserContext(), "the OpenID provider cannot be reached", "error", err)
		return g.signInEnds(c, "unavailable")
	}
	scheme := "http://"
	if g.secure(c) {
		scheme = "https://"
	}
	f := flow{
		State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		Redirect: scheme + string(c.Context().Host()) + callbackPath, Until: g.options.Now().Add(flowLife).UnixMilli(),
	}
	sealed, err := g.signIn.seal(f)
	if err != nil {
		return err
	}
	g.setFlow(c, sealed)
	return c.Redirect(g.signIn.config(p, f.Redirect).AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), fiber.StatusSeeOther)
}

// setFlow sets the cookie of a sign-in that is under way, or deletes it. It is
// lax, for the browser comes back from another site.
func (g *Gateway) setFlow(c *fiber.Ctx, value string) {
	k := fiber.Cookie{
		Name: g.cookieName(c, flowCookie), Value: value, Path: "/", HTTPOnly: true, Secure: g.secure(c),
		SameSite: fiber.CookieSameSiteLaxMode, SessionOnly: value != "",
	}
	if value == "" {
		k.Expires = time.Unix(1, 0)
	}
	c.Cookie(&k)
}

// endSignIn takes the browser that comes back.
func (g *Gateway) endSignIn(c *fiber.Ctx) error {
	if g.signIn == nil {
		return fiber.ErrNotFound
	}
	f, known := g.signIn.open(g.cookie(c, flowCookie))
	g.setFlow(c, "")
	code := c.Query("code")
	switch {
	case !known || g.options.Now().UnixMilli() >= f.Until || subtle.ConstantTimeCompare([]byte(f.State), []byte(c.Query("state"))) != 1:
		return g.signInEnds(c, "again")
	case code == "" || len(code) > maxCode: // the provider, or the user there, has refused
		return g.signInEnds(c, "refused")
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), loginTimeout)
	defer cancel()
	who, err := g.signIn.identify(ctx, f, code, g.options.Now)
	if err != nil {
		g.log.WarnContext(c.UserContext(), "a sign-in at the OpenID provider has failed", "error", err)
		return g.signInEnds(c, "refused")
	}
	user, err := g.signIn.SignIn(ctx, who)
	switch {
	case errors.Is(err, ErrNotAllowed):
		return g.signInEnds(c, "forbidden")
	case err != nil:
		g.log.WarnContext(c.UserContext(), "a sign-in could not be kept", "error", err)
		return g.signInEnds(c, "unavailable")
	}
	s, err := g.auth.begin(ctx, user)
	if err != nil {
		g.log.WarnContext(c.UserContext(), "a sign-in could not be kept", "user", user.ID, "error", err)
		return g.signInEnds(c, "unavailable")
	}
	g.audit(c, &Principal{UserID: user.ID}, "login.oidc", user.ID, map[string]any{"level": user.Level})
	g.setCookie(c, accessCookie, s.access)
	g.setCookie(c, refreshCookie, s.refresh)
	return g.signInEnds(c, "done")
}

// signInEnds goes back to the page, which knows what the word means.
func (g *Gateway) signInEnds(c *fiber.Ctx, word string) error {
	return c.Redirect("/#sign-in="+word, fiber.StatusSeeOther)
}

// identify gives the one for whom the provider gave a code. An error holds
// neither the code nor a token.
func (s *signIn) identify(ctx context.Context, f flow, code string, now func() time.Time) (ForeignUser, error) {
	p, err := s.provider()
	if err != nil {
		return ForeignUser{}, err
	}
	ctx = s.context(ctx)
	tokens, err := s.config(p, f.Redirect).Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if refused := new(oauth2.RetrieveError); errors.As(err, &refused) {
		return ForeignUser{}, fmt.Errorf("the code is refused: %q", refused.ErrorCode)
	} else if err != nil {
		return ForeignUser{}, err
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := p.VerifierContext(ctx, &oidc.Config{ClientID: s.ClientID, Now: now}).Verify(ctx, raw)
	switch {
	case err != nil:
		return ForeignUser{}, errors.New("the ID token is not good") // the error may quote its claims
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(f.Nonce)) != 1:
		return ForeignUser{}, errors.New("the ID token is of another sign-in")
	case id.Subject == "":
		return ForeignUser{}, errors.New("the ID token names nobody")
	}
	claims := make(map[string]any)
	if p.UserInfoEndpoint() != "" { // what providers leave out of the ID token is here
		info, err := p.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
		if err != nil || info.Subject != id.Subject || info.Claims(&claims) != nil {
			return ForeignUser{}, errors.New("the provider does not tell of the user")
		}
	}
	if err := id.Claims(&claims); err != nil { // signed, so it goes before
		return ForeignUser{}, errors.New("the ID token cannot be read")
	}
	who := ForeignUser{Issuer: id.Issuer, Subject: id.Subject}
	who.Level, who.Queues = s.Map.find(claims)
	who.Name, _ = claims["name"].(string)
	if verified, _ := claims["email_verified"].(bool); verified {
		who.Email, _ = claims["email"].(string)
	}
	return who, nil
}
