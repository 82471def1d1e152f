// Package oidctest runs a real OpenID provider for tests.
package oidctest

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// User is somebody whom the provider knows, by a password that is the user's id.
type User struct {
	ID, Name, Email string
	Verified        bool
	Groups          []string
}

// Provider is one that runs until the test's end.
type Provider struct {
	Issuer string

	id, secret string
	mu         sync.Mutex
	users      map[string]User
	redirects  []string
	*storage.Storage
}

// Start runs a provider that has one client.
func Start(t testing.TB, clientID, secret string, users ...User) *Provider {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	p := &Provider{Issuer: "http://" + server.Listener.Addr().String(), id: clientID, secret: secret, users: make(map[string]User)}
	p.Storage = storage.NewStorageWithClients(p, nil)
	for _, u := range users {
		p.Put(u)
	}
	c := &op.Config{CodeMethodS256: true}
	_, _ = rand.Read(c.CryptoKey[:])
	provider, err := op.NewProvider(c, p, op.StaticIssuer(p.Issuer), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", provider)
	mux.Handle("POST /login/username", op.NewIssuerInterceptor(provider.IssuerFromRequest).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := r.URL.Query().Get("authRequestID")
		if err := p.CheckUsernamePassword(r.PostFormValue("user"), r.PostFormValue("user"), request); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, op.AuthCallbackURL(provider)(r.Context(), request), http.StatusFound)
	})))
	server.Config.Handler = mux
	server.Start()
	t.Cleanup(server.Close)
	return p
}

// Put adds or changes a user.
func (p *Provider) Put(u User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[u.ID] = u
}

// Allow lets the client have browsers sent back to an address.
func (p *Provider) Allow(redirect string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.redirects = append(p.redirects, redirect)
}

// GetUserByID is for the library's storage, like the next two.
func (p *Provider) GetUserByID(id string) *storage.User {
	p.mu.Lock()
	defer p.mu.Unlock()
	u, ok := p.users[id]
	if !ok {
		return nil
	}
	return &storage.User{ID: u.ID, Username: u.ID, Password: u.ID, FirstName: u.Name, Email: u.Email, EmailVerified: u.Verified}
}

// GetUserByUsername finds a user to log in.
func (p *Provider) GetUserByUsername(name string) *storage.User { return p.GetUserByID(name) }

// ExampleClientID is of no use here.
func (p *Provider) ExampleClientID() string { return "" }

// GetClientByClientID gives the one client.
func (p *Provider) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id != p.id {
		return nil, errors.New("no such client")
	}
	return storage.WebClient(p.id, p.secret, slices.Clone(p.redirects)...), nil
}

// AuthorizeClientIDSecret checks the client's secret.
func (p *Provider) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if id != p.id || secret != p.secret {
		return errors.New("wrong secret")
	}
	return nil
}

// SetUserinfoFromToken tells of groups too, which are so not in the ID token.
func (p *Provider) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	if err := p.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	info.AppendClaims("groups", p.users[subject].Groups)
	return nil
}

// Approve is what a user does at the provider to which a browser was sent: it
// logs in there, and the address comes back to which the browser is sent then.
func (p *Provider) Approve(t testing.TB, address, user string) *url.URL {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for i, send := range []func(string) (*http.Response, error){
		client.Get,
		func(login string) (*http.Response, error) {
			return client.PostForm(login, url.Values{"user": {user}})
		},
		client.Get,
	} {
		response, err := send(at.String())
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		next, err := response.Location()
		if err != nil {
			t.Fatalf("step %d at the provider: %d %s", i, response.StatusCode, text)
		}
		at = next
	}
	return at
}
