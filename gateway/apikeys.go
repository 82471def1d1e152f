package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"nowserving/actors/queue"
)

// API keys are for programs and displays: long-lived, of users of the levels
// integration and viewer alone, and good wherever an access token is.

const (
	keyMark = "nsk_"
	// keyHolds is for how long a key that was good counts without another look
	// at the directory, while that is away or a session is open.
	keyHolds = 12 * time.Hour
	// keyRecheck is below the time for which ended access is remembered.
	keyRecheck = accessLife / 3
	keysAsked  = 4
	maxKeyName = 100
)

// ErrTooMany is what APIKeys fail with where a user has as many as it may.
var ErrTooMany = errors.New("gateway: too many")

// APIKey is a key as the directory keeps it, by its SHA-256.
type APIKey struct {
	ID        string
	Hash      [32]byte
	UserID    string
	Name      string
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
}

// APIKeys keeps the keys of users. Where there is no such key or user, it fails
// with ErrNotFound. The entry of the audit log is kept if the change is.
type APIKeys interface {
	KeyByHash(ctx context.Context, hash [32]byte) (APIKey, User, error)
	// ListKeys lists by id, which is by creation, those after one.
	ListKeys(ctx context.Context, userID, after string, limit int) ([]APIKey, error)
	// AddKey fails with ErrTooMany as well.
	AddKey(ctx context.Context, k APIKey, e AuditEntry) (APIKey, error)
	// DropKey ends, on every node, what was opened with the key.
	DropKey(ctx context.Context, userID, id string, e AuditEntry) error
}

func isKey(bearer string) bool { return strings.HasPrefix(bearer, keyMark) }

// takesKeys tells whether users of a level may have keys. None may that could do
// more harm than a stolen one is worth.
func (l Level) takesKeys() bool { return l == Integration || l == Viewer }

// byKey tells whose API key it is. The directory is asked again now and then, and
// where access has ended: another level or list of queues ends what a key has
// opened, but not the key.
func (a *Auth) byKey(ctx context.Context, key string) (*Principal, *problem) {
	who := a.seen.get(key)
	if void := who == nil || a.ended.has(who); void || !a.now().Before(who.recheckAt) {
		fresh, p := a.askForKey(ctx, key)
		switch {
		case p == nil:
			who = fresh
			a.seen.put(key, who)
		case void || p.status() < 500:
			return nil, p
		}
	}
	switch {
	case a.ended.has(who):
		return nil, unauthenticated()
	case !a.now().Before(who.ExpiresAt):
		return nil, newProblem(codeTokenExpired, "The API key has ended.")
	}
	return who, nil
}

// askForKey asks the directory, a few at a time: invented keys must not keep
// others from it.
func (a *Auth) askForKey(ctx context.Context, key string) (*Principal, *problem) {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	case <-ctx.Done():
		return nil, unavailable("Too many API keys are being checked just now.")
	}
	k, user, err := a.apiKeys.KeyByHash(ctx, sha256.Sum256([]byte(key)))
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && (user.Disabled || !user.Level.takesKeys()):
		return nil, unauthenticated()
	case err != nil:
		a.log.WarnContext(ctx, "an API key cannot be checked", "error", err)
		return nil, unavailable("API keys cannot be checked just now.")
	}
	now := a.now()
	who := &Principal{
		UserID: user.ID, Name: user.Name, Email: user.Email, Level: user.Level, Queues: user.Queues,
		ExpiresAt: now.Add(keyHolds), family: k.ID, epoch: user.TokenEpoch, keyID: k.ID, recheckAt: now.Add(keyRecheck),
	}
	if !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(who.ExpiresAt) {
		who.ExpiresAt = k.ExpiresAt
	}
	return who, nil
}

func (g *Gateway) listKeys(c *fiber.Ctx, who *Principal) error {
	user, p := g.managed(c, who)
	if p != nil {
		return p
	}
	list := func(ctx context.Context, after string, limit int) ([]APIKey, error) {
		return g.options.APIKeys.ListKeys(ctx, user.ID, after, limit)
	}
	keys, next, p := pageByID(c, list, func(k *APIKey) string { return k.ID }, g.usersAway)
	if p != nil {
		return p
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		return appendPage(dst, keys, next, func(dst []byte, k *APIKey) []byte { return append(appendKey(dst, k), '}') })
	})
}

func (g *Gateway) createKey(c *fiber.Ctx, who *Principal) error {
	user, p := g.managed(c, who)
	if p != nil {
		return p
	}
	var wrong faults
	in := g.body(c, &wrong)
	k := APIKey{UserID: user.ID, Name: in.line("name", 0, maxKeyName, false)}
	if s := in.text("expires_at", 1, maxNamed, true); s != nil {
		var err error
		if k.ExpiresAt, err = time.Parse(time.RFC3339, *s); err != nil || !k.ExpiresAt.After(g.auth.now()) || k.ExpiresAt.Year() > 9999 {
			in.bad("expires_at", "must be a time to come, such as 2030-01-31T00:00:00Z")
		}
	}
	in.close()
	if p := wrong.problem(); p != nil {
		return p
	}
	if !user.Level.takesKeys() {
		return malformed("Only users of the levels integration and viewer have API keys.")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return g.internal(c.UserContext(), "making a key's id", err)
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: it ends the program instead
	key := keyMark + base64.RawURLEncoding.EncodeToString(secret)
	k.ID, k.Hash = id.String(), sha256.Sum256([]byte(key))
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	details := map[string]any{"user": user.ID, "expires_at": nil}
	if !k.ExpiresAt.IsZero() {
		details["expires_at"] = k.ExpiresAt.UTC()
	}
	k, err = g.options.APIKeys.AddKey(ctx, k, g.auditEntry(c, who, "key.created", k.ID, details))
	switch {
	case errors.Is(err, ErrTooMany):
		return malformed("The user has 100 API keys. Delete one first.")
	case err != nil:
		return g.notSaved(err)
	}
	c.Set(fiber.HeaderLocation, "/api/v1/users/"+user.ID+"/keys/"+k.ID)
	return g.sendJSON(c, http.StatusCreated, func(dst []byte) []byte {
		return append(appendString(append(appendKey(dst, &k), `,"key":`...), key), '}')
	})
}

func (g *Gateway) deleteKey(c *fiber.Ctx, who *Principal) error {
	user, p := g.managed(c, who)
	if p != nil {
		return p
	}
	id := c.Params("key")
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	err := g.options.APIKeys.DropKey(ctx, user.ID, id, g.auditEntry(c, who, "key.deleted", id, map[string]any{"user": user.ID}))
	switch {
	case errors.Is(err, ErrNotFound):
		return newProblem(codeNotFound, "The user has no such API key.")
	case err != nil:
		g.log.WarnContext(c.UserContext(), "an API key could not be deleted", "key", id, "error", err)
		return newProblem(string(queue.OutcomeUnknown), "It is not known whether the key was deleted. Try again.")
	}
	g.auth.accessChanged()
	return c.SendStatus(http.StatusNoContent)
}

// appendKey begins the object of a key.
func appendKey(dst []byte, k *APIKey) []byte {
	dst = appendString(append(dst, `{"id":`...), k.ID)
	dst = appendString(append(dst, `,"name":`...), k.Name)
	dst = appendTime(append(dst, `,"created_at":`...), millisOf(k.CreatedAt))
	return appendTime(append(dst, `,"expires_at":`...), millisOf(k.ExpiresAt))
}
