package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"nowserving/persistence/directory"
	"nowserving/persistence/mariadbtest"
	"nowserving/persistence/redistest"
	"nowserving/persistence/seal"
)

// accessEndsWithin is the promise: from the change to the last node.
const accessEndsWithin = 2 * time.Second

// Access that ends is over on every node, for requests and for live sessions.
func TestAccessEndsOnEveryNode(t *testing.T) {
	t.Parallel()
	database, redis := mariadbtest.StartWith(t, mariadbtest.Options{}), redistest.Start(t)
	url := database.Database(t)
	var nodes []*process
	for range 2 {
		nodes = append(nodes, startNode(t, t.TempDir(), "--cluster-provider", "redis", "--redis-url", redis,
			"--database-url", url, "--token-keys", testRing, "--data-keys", testRing))
	}
	for _, p := range nodes {
		eventually(t, "the node is ready", func() bool { return ready(t, p.url) == "200 ready" })
	}
	ring, err := seal.ParseRing(testRing)
	if err != nil {
		t.Fatal(err)
	}
	d, err := directory.Open(t.Context(), directory.Options{DatabaseURL: url, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	hash, err := directory.NewHasher().Hash(t.Context(), adminPassword)
	if err != nil {
		t.Fatal(err)
	}
	root := admin(t, nodes[0].url)
	root.must(t, nodes[0].url, http.MethodPost, "/queues", `{"id":"desk"}`)
	stays := root.dial(t, nodes[1].url)

	update := func(p directory.UserPatch) func(context.Context, *caller, string) error {
		return func(ctx context.Context, _ *caller, id string) error {
			_, err := d.UpdateUser(ctx, id, p)
			return err
		}
	}
	yes, level, queues := true, directory.Viewer, []string{}
	ways := map[string]func(ctx context.Context, who *caller, id string) error{
		"level": update(directory.UserPatch{Level: &level}), "queues": update(directory.UserPatch{Queues: &queues}),
		"disabled": update(directory.UserPatch{Disabled: &yes}),
		"deleted":  func(ctx context.Context, _ *caller, id string) error { return d.DeleteUser(ctx, id) },
		"password": func(ctx context.Context, _ *caller, id string) error { return d.SetPassword(ctx, id, hash) },
		"logout": func(_ context.Context, who *caller, _ string) error {
			a, err := who.call(nodes[0].url, http.MethodPost, "/auth/logout", "", "")
			if err == nil && a.status != http.StatusNoContent {
				err = fmt.Errorf("logout: %d", a.status)
			}
			return err
		},
	}
	// begin logs somebody in who is at work on both nodes.
	begin := func(name string) (who *caller, id string, sockets []*socket) {
		email := name + "@example.org"
		u, err := d.CreateUser(t.Context(), directory.User{Email: email, Level: directory.Attendant, Queues: []string{"desk"}, PasswordHash: hash})
		if err != nil {
			t.Fatal(err)
		}
		who = login(t, nodes[0].url, email, adminPassword)
		for _, p := range nodes {
			who.must(t, p.url, http.MethodGet, "/queues/desk", "")
			s := who.dial(t, p.url)
			s.send(`{"type":"subscribe","id":"1","queue":"desk"}`)
			s.next("snapshot")
			sockets = append(sockets, s)
		}
		return who, u.ID, sockets
	}
	ended := func(what string, began time.Time, who *caller, sockets []*socket) {
		for i, s := range sockets {
			s.closedWith(4401)
			if took := time.Since(began); took > accessEndsWithin {
				t.Errorf("%s: the session on node %d ended after %s", what, i, took)
			}
			if a, err := who.call(nodes[i].url, http.MethodGet, "/queues/desk", "", ""); err != nil || a.status != http.StatusUnauthorized {
				t.Errorf("%s: node %d answers %d, %v", what, i, a.status, err)
			}
		}
	}
	for name, end := range ways {
		who, id, sockets := begin(name)
		began := time.Now()
		if err := end(t.Context(), who, id); err != nil {
			t.Fatal(err)
		}
		ended(name, began, who, sockets)
	}

	// Without the database everybody works on, and when it is back access ends again.
	who, id, sockets := begin("outage")
	database.Kill()
	eventually(t, "the nodes miss the database", func() bool {
		return readiness(t, nodes[0].url) == "200 ready [database]" && readiness(t, nodes[1].url) == "200 ready [database]"
	})
	for i, s := range sockets {
		who.must(t, nodes[i].url, http.MethodPost, "/queues/desk/tickets", `{}`)
		s.next("event")
	}
	if err := database.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the database takes the change", func() bool { return d.DeleteUser(t.Context(), id) == nil })
	for _, s := range sockets {
		s.closedWith(4401)
	}
	eventually(t, "the nodes have caught up", func() bool {
		a, err := who.call(nodes[1].url, http.MethodGet, "/queues/desk", "", "")
		return err == nil && a.status == http.StatusUnauthorized
	})
	stays.send(`{"type":"ping"}`)
	stays.next("pong")
}
