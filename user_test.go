package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUsersBesideARunningNode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startNode(t, dir)
	env := []string{"NOWSERVING_DATA_DIR=" + dir}
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := func(stdin string, args ...string) string {
		t.Helper()
		o := runProgram(t, stdin, env, append([]string{"user"}, args...)...)
		if o.code != 0 || o.stderr != "" {
			t.Fatalf("%v: exit code %d: %s", args, o.code, o.stderr)
		}
		return o.stdout
	}
	good("", "add", "--email", "Bob@example.org", "--name", "Bob Lovelace", "--queues", "post,tax", "--password-file", file)
	bob := login(t, p.url, "bob@example.org", "from a file")
	if me := bob.must(t, p.url, "GET", "/me", "").body; !strings.Contains(me, `"level":"attendant","queues":["post","tax"]`) {
		t.Errorf("/me: %s", me)
	}
	if text := good("", "list"); !strings.Contains(text, "bob@example.org") || !strings.Contains(text, "admin@localhost") {
		t.Errorf("user list: %s", text)
	}
	good("typed in\n", "passwd", "--email", "bob@example.org")
	login(t, p.url, "bob@example.org", "typed in")
	a, err := bob.call(p.url, "POST", "/auth/login", `{"email":"bob@example.org","password":"from a file"}`, "")
	if err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("the old password: %v %d %s", err, a.status, a.body)
	}
	// Each is in the audit log, as nobody's who is logged in.
	admin := login(t, p.url, defaultAdmin, adminPassword)
	trail := admin.must(t, p.url, "GET", "/audit", "").body
	if strings.Count(trail, `"user":null`) != 3 || strings.Count(trail, `"action":"user.created"`) != 2 || !strings.Contains(trail, `"details":{"password":null}`) {
		t.Errorf("the audit log has %s", trail)
	}
	for args, password := range map[string]string{
		"add --email x@example.org":                 "password1",
		"add --email lovelace@example.org":          "lovelace1",
		"add --email x@example.org --name Lovelace": "lovelace2",
		"passwd --email bob@example.org":            "1234567",
	} {
		o := runProgram(t, password+"\n", env, append([]string{"user"}, strings.Fields(args)...)...)
		if o.code != exitUsage || !strings.Contains(o.stderr, "the password ") || strings.Contains(o.stderr, password) {
			t.Errorf("%s with %s: exit code %d: %s", args, password, o.code, o.stderr)
		}
	}
	for args, says := range map[string]string{
		"add --email bob@example.org":  "there is a user bob@example.org already",
		"passwd --email x@example.org": "there is no user x@example.org",
	} {
		o := runProgram(t, "walnut tram\n", env, append([]string{"user"}, strings.Fields(args)...)...)
		if o.code != exitFailed || !strings.Contains(o.stderr, says) {
			t.Errorf("%s: exit code %d: %s", args, o.code, o.stderr)
		}
	}
}

func TestFirstAdmin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startNodeWith(t, []string{"NOWSERVING_ADMIN_EMAIL=root@example.org"}, dir)
	var password string
	eventually(t, "the password is printed", func() bool {
		_, rest, found := strings.Cut(p.log(), "admin root@example.org has the password ")
		password, _, _ = strings.Cut(rest, " ")
		return found
	})
	login(t, p.url, "root@example.org", password)
	if code, _ := p.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	again := startNode(t, dir)
	if code, _ := again.stop(); code != 0 || strings.Contains(again.log(), password) || strings.Contains(again.log(), "has the password") {
		t.Errorf("exit code %d, and said again: %s", code, again.log())
	}
}

func TestUserBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := runProgram(t, "walnut tram\n", nil, "user", "add", "--data-dir", dir, "--email", "eve@example.org", "--level", "admin")
	if o.code != 0 {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	p := startNode(t, dir)
	login(t, p.url, "eve@example.org", "walnut tram")
	a, err := (&caller{}).call(p.url, "POST", "/auth/login", `{"email":"admin@localhost","password":"`+adminPassword+`"}`, "")
	if err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("an admin was made beside her: %v %d", err, a.status)
	}
}
