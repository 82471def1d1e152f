// Package demo opens sample queues on a node, and has invented people use them:
// customers who come, wait and give up, and attendants who serve them. They go
// the ways that real ones go, over REST with logins and keys of their own, so
// whatever they do shows what the node does; and they take it when a person at
// a page is quicker than they.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// hashing is how many passwords a node is given at once to hash, which takes
// it memory and time.
const hashing = 4

// troubled is how long people rest who were refused what they did not expect.
const troubled = 10 * time.Second

// Options are a demo's.
type Options struct {
	// URL of a node that has no queues yet.
	URL string
	// Admin is a login of level admin.
	Admin Login
	// HTTP carries all requests.
	HTTP *http.Client
	// Pace is how many times faster than usual people are.
	Pace float64
	Log  *slog.Logger
}

// Login is with what somebody signs in.
type Login struct{ Email, Password string }

// Town is the sample queues with all people around them.
type Town struct {
	// Supervisor and Attendant are for whoever looks on: no invented person uses them.
	Supervisor, Attendant Login
	// DisplayKey is an API key that reads all queues, without customer data.
	DisplayKey string
	// CheckIn names the queues that people may join without a login.
	CheckIn []string

	options  Options
	doorKey  string
	services []*attendant
}

// NewPassword makes one that nobody guesses, and that can be typed.
func NewPassword() string { return strings.ToLower(rand.Text()[:16]) } // 80 random bits

// Open makes the queues, users and API keys, as an admin would.
func Open(ctx context.Context, o Options) (*Town, error) {
	t := &Town{options: o}
	if err := awaitReady(ctx, o.HTTP, o.URL); err != nil {
		return nil, err
	}
	admin := t.client()
	admin.login = o.Admin
	if err := admin.signIn(ctx); err != nil {
		return nil, fmt.Errorf("the demo's admin cannot sign in: %w", err)
	}
	for _, step := range []func(context.Context, *client) error{t.openQueues, t.hire, t.makeKeys} {
		if err := step(ctx, admin); err != nil {
			return nil, fmt.Errorf("the demo cannot be set up: %w", err)
		}
	}
	return t, nil
}

func (t *Town) client() *client { return &client{http: t.options.HTTP, api: t.options.URL + "/api/v1"} }

func (t *Town) openQueues(ctx context.Context, admin *client) error {
	for _, p := range places {
		for _, l := range p.lines {
			if err := admin.do(ctx, http.MethodPost, "/queues", map[string]any{
				"id": l.id, "name": l.name, "prefix": l.prefix, "public": l.public, "capacity": capacity,
				"target_wait_seconds": l.target, "services": l.services,
			}, nil); err != nil {
				return err
			}
			if l.public {
				t.CheckIn = append(t.CheckIn, l.id)
			}
		}
	}
	return nil
}

// account is a user that is made.
type account struct {
	Email    string   `json:"email"`
	Name     string   `json:"name"`
	Level    string   `json:"level"`
	Queues   []string `json:"queues"`
	Password string   `json:"password,omitempty"`
}

// newcomer gives an account for somebody who signs in.
func newcomer(email, name, level string, queues ...string) (account, Login) {
	login := Login{email, NewPassword()}
	return account{email, name, level, queues, login.Password}, login
}

// hire makes all who sign in.
func (t *Town) hire(ctx context.Context, admin *client) error {
	var accounts []account
	add := func(email, name, level string, queues ...string) Login {
		a, login := newcomer(email, name, level, queues...)
		accounts = append(accounts, a)
		return login
	}
	t.Supervisor = add("supervisor@localhost", "Supervisor", "supervisor", "*")
	t.Attendant = add("attendant@localhost", "Attendant", "attendant", "*")
	for _, p := range places {
		var ids []string
		lines := make(map[string]*line)
		for _, l := range p.lines {
			ids, lines[l.id] = append(ids, l.id), l
		}
		for _, c := range p.clerks {
			first, _, _ := strings.Cut(strings.ToLower(c.name), " ")
			a := &attendant{client: t.client(), town: t, desk: c.desk, dice: newDice()}
			a.login = add(plain.Replace(first)+"@demo.example", c.name, "attendant", ids...)
			for _, id := range c.lines {
				a.lines = append(a.lines, lines[id])
			}
			t.services = append(t.services, a)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(hashing)
	for _, a := range accounts {
		group.Go(func() error {
			own := *admin // its login is fresh: none of the copies renews it
			return own.do(ctx, http.MethodPost, "/users", a, nil)
		})
	}
	return group.Wait()
}

// plain makes names that can stand in an e-mail address of plain letters.
var plain = strings.NewReplacer("ê", "e", "í", "i")

// makeKeys makes the key of the display, and that of the door: a machine there
// deals out tickets.
func (t *Town) makeKeys(ctx context.Context, admin *client) error {
	for _, k := range []struct {
		email, name, level string
		into               *string
	}{
		{"display@localhost", "Display", "viewer", &t.DisplayKey},
		{"door@demo.example", "Ticket machines", "integration", &t.doorKey},
	} {
		var user struct{ ID string }
		if err := admin.do(ctx, http.MethodPost, "/users", account{k.email, k.name, k.level, []string{"*"}, ""}, &user); err != nil {
			return err
		}
		var key struct{ Key string }
		if err := admin.do(ctx, http.MethodPost, "/users/"+user.ID+"/keys", map[string]string{"name": "demo"}, &key); err != nil {
			return err
		}
		*k.into = key.Key
	}
	return nil
}

// Run has people come and be served until the context ends.
func (t *Town) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, p := range places {
		for _, l := range p.lines {
			door, visitor := t.client(), t.client()
			door.bearer = t.doorKey
			all.Go(func() { (&crowd{town: t, line: l, door: door, visitor: visitor, dice: newDice()}).run(ctx) })
		}
	}
	for _, a := range t.services {
		all.Go(func() { a.run(ctx) })
	}
	all.Wait()
}

// rest waits for as long as something takes. The error is the context's.
func (t *Town) rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(t.hurry(d))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (t *Town) hurry(d time.Duration) time.Duration {
	return time.Duration(float64(d) / t.options.Pace)
}

// takeIt has somebody go on after a refusal. Only what nobody else can have
// brought about is told.
func (t *Town) takeIt(ctx context.Context, who string, err error) {
	var r *refusal
	if err == nil || ctx.Err() != nil || errors.Is(err, errTaken) || errors.As(err, &r) && r.expected() {
		return
	}
	t.options.Log.Warn("a person of the demo got no answer, and tries again soon", "who", who, "error", err)
	_ = t.rest(ctx, troubled)
}
