package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Lives of tokens.
const (
	accessLife  = 15 * time.Minute
	refreshLife = 30 * 24 * time.Hour

	tokenIssuer = "nowserving"
	maxToken    = 4096
	// maxQueueClaim bounds the list of queues in a token, in bytes of JSON: a
	// longer one is read from the directory, so that the token fits a header.
	maxQueueClaim = 1024
)

// Auth knows who is asking: it makes access and refresh tokens and checks them.
type Auth struct {
	keys      *tokenKeys
	parser    *jwt.Parser
	directory Directory
	passwords Passwords
	apiKeys   APIKeys
	asking    chan struct{} // has room for those who ask for API keys at once
	throttle  *throttle
	attempts  Attempts
	unended   chan lateEnd
	seen      *tokenCache
	ended     *ended
	changed   chan struct{} // a change was made here
	now       func() time.Time
	log       *slog.Logger
}

func newAuth(o *Options) *Auth {
	return &Auth{
		keys: &tokenKeys{}, directory: o.Directory, passwords: o.Passwords, now: o.Now, log: o.Log,
		apiKeys: o.APIKeys, asking: make(chan struct{}, keysAsked), throttle: newThrottle(o.Now), attempts: o.Attempts, unended: make(chan lateEnd, maxUnended), seen: newTokenCache(),
		ended: newEnded(o.Now()), changed: make(chan struct{}, 1),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), // one, so that no token can choose
			jwt.WithIssuer(tokenIssuer), jwt.WithExpirationRequired(), jwt.WithTimeFunc(o.Now), jwt.WithStrictDecoding()),
	}
}

// claims is what an access token says. Level and queues are as they were when
// it was made: others void it.
type claims struct {
	jwt.RegisteredClaims
	Name   string   `json:"name,omitempty"`
	Level  Level    `json:"lvl"`
	Queues []string `json:"qs"`
	// Cut: the list of queues was too long for a token.
	Cut    bool   `json:"cut,omitempty"`
	Epoch  int64  `json:"ep"`
	Family string `json:"fam"`
}

// Authenticate tells whose access token, or API key, it is. It fails with unauthenticated or
// token_expired, and with unavailable where the directory has to be asked and
// does not answer. It is asked when a token is first seen; what changes later is
// followed. While it is down, the token's own word counts until it ends.
func (a *Auth) Authenticate(ctx context.Context, bearer string) (*Principal, *problem) {
	if bearer == "" || len(bearer) > maxToken {
		return nil, unauthenticated()
	}
	if isKey(bearer) {
		return a.byKey(ctx, bearer)
	}
	who := a.seen.get(bearer)
	if who == nil {
		var p *problem
		keys := a.keys.now.Load()
		if who, p = a.verify(ctx, bearer); p != nil {
			return nil, p
		}
		if a.seen.put(bearer, who); a.keys.now.Load() != keys {
			a.seen.forget() // its key may have gone meanwhile
		}
	}
	switch {
	case a.ended.has(who):
		return nil, unauthenticated()
	case !a.now().Before(who.ExpiresAt):
		return nil, newProblem(codeTokenExpired, "The access token has ended.")
	}
	return who, nil
}

func unauthenticated() *problem {
	return newProblem(codeUnauthenticated, "A valid access token is needed.")
}

// verify checks signature and claims, and asks the directory for its word.
func (a *Auth) verify(ctx context.Context, bearer string) (*Principal, *problem) {
	var c claims
	_, err := a.parser.ParseWithClaims(bearer, &c, a.key)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired): // found only after the signature was good
		return nil, newProblem(codeTokenExpired, "The access token has ended.")
	case err != nil || c.Subject == "":
		return nil, unauthenticated()
	}
	who := &Principal{
		UserID: c.Subject, Name: c.Name, Level: c.Level, Queues: c.Queues, ExpiresAt: c.ExpiresAt.Time,
		family: c.Family, epoch: c.Epoch,
	}
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	user, err := a.directory.UserByID(ctx, who.UserID)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && (user.Disabled || user.TokenEpoch != who.epoch):
		return nil, unauthenticated()
	case err != nil:
		a.log.WarnContext(ctx, "a user cannot be checked; the token's own word counts", "user", who.UserID, "error", err)
		if c.Cut {
			return nil, unavailable("The user's queues cannot be read just now.")
		}
		return who, nil
	}
	who.Name, who.Email, who.Level, who.Queues = user.Name, user.Email, user.Level, user.Queues
	return who, nil
}

func (a *Auth) key(t *jwt.Token) (any, error) {
	id, _ := t.Header["kid"].(string)
	for _, k := range *a.keys.now.Load() {
		if k.ID == id {
			return k.Bytes, nil
		}
	}
	return nil, jwt.ErrTokenUnverifiable
}

// session is what a login or a refresh gives.
type session struct {
	access, refresh string
	user            User
}

// begin starts a family of refresh tokens for a user who has just logged in.
func (a *Auth) begin(ctx context.Context, u User) (*session, error) {
	token, hash := newRefreshToken()
	family := rand.Text()
	err := a.directory.AddRefresh(ctx, RefreshToken{
		Hash: hash, Family: family, UserID: u.ID, UserEpoch: u.TokenEpoch, ExpiresAt: a.now().Add(refreshLife),
	})
	if err != nil {
		return nil, err
	}
	access, err := a.issue(u, family)
	return &session{access: access, refresh: token, user: u}, err
}

// renew takes a refresh token, once, and gives the next pair. A second use within
// the grace is only refused; see refreshGrace. robbed is the user of a token that
// was used a second time.
func (a *Auth) renew(ctx context.Context, old string, grace time.Duration) (s *session, robbed string, p *problem) {
	token, hash := newRefreshToken()
	now := a.now()
	used, user, err := a.directory.RotateRefresh(ctx, hashRefresh(old), hash, now.Add(refreshLife), now, grace)
	switch {
	case errors.Is(err, ErrReused):
		return nil, used.UserID, loggedOut()
	case errors.Is(err, ErrNotFound):
		return nil, "", loggedOut()
	case errors.Is(err, ErrJustUsed):
		return nil, "", unavailable("Another page has just renewed the login. Try again.")
	}
	var access string
	if err == nil {
		access, err = a.issue(user, used.Family)
	}
	if err != nil {
		a.log.WarnContext(ctx, "a login could not be renewed", "error", err)
		return nil, "", unavailable("Logins cannot be renewed just now.")
	}
	return &session{access: access, refresh: token, user: user}, "", nil
}

// issue signs an access token with the first key.
func (a *Auth) issue(u User, family string) (string, error) {
	now := a.now()
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: tokenIssuer, Subject: u.ID, ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(accessLife)),
		},
		Name: u.Name, Level: u.Level, Queues: u.Queues, Epoch: u.TokenEpoch, Family: family,
	}
	if text, _ := json.Marshal(u.Queues); len(text) > maxQueueClaim {
		c.Queues, c.Cut = nil, true
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	key := (*a.keys.now.Load())[0]
	token.Header["kid"] = key.ID
	signed, err := token.SignedString(key.Bytes)
	if err != nil {
		return "", fmt.Errorf("signing an access token: %w", err)
	}
	return signed, nil
}

// newRefreshToken gives 256 random bits and the hash under which they are kept.
func newRefreshToken() (token string, hash [sha256.Size]byte) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: it ends the program instead
	token = "rt_" + base64.RawURLEncoding.EncodeToString(secret)
	return token, hashRefresh(token)
}

func hashRefresh(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }
