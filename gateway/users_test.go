package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"nowserving/persistence/directory"
)

// userStore is what main's adapter is.
type userStore struct{ d *directory.Directory }

func (a userStore) ListUsers(ctx context.Context, after string, limit int) ([]User, error) {
	found, err := a.d.ListUsers(ctx, after, limit)
	var list []User
	for _, u := range found {
		list = append(list, userOf(u))
	}
	return list, adapted(err)
}

func (a userStore) ListOperators(ctx context.Context, queue, after string, limit int) ([]User, error) {
	found, err := a.d.ListOperators(ctx, queue, after, limit)
	list := make([]User, len(found))
	for i, u := range found {
		list[i] = User{ID: u.ID, Name: u.Name}
	}
	return list, adapted(err)
}

func (a userStore) CreateUser(ctx context.Context, u User, e AuditEntry) (User, error) {
	kept, err := a.d.CreateUser(ctx, directory.User{
		ID: u.ID, Email: u.Email, Name: u.Name, Level: directory.Level(u.Level), Queues: u.Queues, PasswordHash: u.PasswordHash,
	}, directory.AuditEntry(e))
	return userOf(kept), adapted(err)
}

func (a userStore) UpdateUser(ctx context.Context, id string, p UserPatch, e AuditEntry) (User, error) {
	u, err := a.d.UpdateUser(ctx, id, directory.UserPatch{
		Email: p.Email, Name: p.Name, Level: (*directory.Level)(p.Level), Queues: p.Queues, Disabled: p.Disabled, PasswordHash: p.PasswordHash,
	}, directory.AuditEntry(e))
	return userOf(u), adapted(err)
}

func (a userStore) DeleteUser(ctx context.Context, id string, e AuditEntry) error {
	return adapted(a.d.DeleteUser(ctx, id, directory.AuditEntry(e)))
}

const goodPassword = "walnut-tram-quietly"

// person makes a user over REST and gives its id.
func (e *env) person(email string, level Level, more string) string {
	e.t.Helper()
	body := fmt.Sprintf(`{"email":%q,"level":%q,"password":%q%s}`, email, level, goodPassword, more)
	return e.ok(call{method: "POST", path: "/users", body: body}).str("id")
}

func (e *env) patch(id, body string) *reply {
	e.t.Helper()
	return e.do(call{method: "PATCH", path: "/users/" + id, body: body})
}

func TestUsersOverREST(t *testing.T) {
	t.Parallel()
	e := start(t)
	made := e.ok(call{method: "POST", path: "/users", body: `{"email":"Ada@Example.org","name":"Ada","level":"attendant","queues":["a"],"password":"` + goodPassword + `"}`})
	id := made.str("id")
	if made.status != 201 || made.header.Get("Location") != "/api/v1/users/"+id || made.str("email") != "ada@example.org" || made.json["disabled"] != false {
		t.Fatalf("%d %v %s", made.status, made.header, made.body)
	}
	login := e.login("ada@example.org", goodPassword).want(200, "")
	e.tokens.Store("ada@example.org", login.str("access_token"))
	if me := e.do(call{as: "ada@example.org", method: "GET", path: "/me"}); me.str("id") != id || strings.Contains(string(me.body), "disabled") {
		t.Errorf("%s", me.body)
	}
	if got := e.get("/users/" + id); string(got.body) != string(made.body) {
		t.Errorf("%s, want %s", got.body, made.body)
	}

	changed := e.patch(id, `{"name":"","level":"supervisor","queues":["*"],"email":"ada@example.net"}`).want(200, "")
	if changed.str("level") != "supervisor" || changed.str("email") != "ada@example.net" || fmt.Sprint(changed.json["queues"]) != "[*]" || changed.str("name") != "" {
		t.Errorf("%s", changed.body)
	}
	e.login("ada@example.org", goodPassword).want(401, "bad_credentials")

	// A new password ends the sessions; the old one is good no more.
	fresh := e.login("ada@example.net", goodPassword).want(200, "")
	e.patch(id, `{"password":"another-good-one"}`).want(200, "")
	e.do(call{as: "-", method: "POST", path: "/auth/refresh", body: `{"refresh_token":"` + fresh.str("refresh_token") + `"}`}).want(401, "unauthenticated")
	e.login("ada@example.net", goodPassword).want(401, "bad_credentials")
	e.login("ada@example.net", "another-good-one").want(200, "")
	e.patch(id, `{"disabled":true}`).want(200, "")
	e.login("ada@example.net", "another-good-one").want(401, "bad_credentials")
	e.patch(id, `{"disabled":false}`).want(200, "")
	e.login("ada@example.net", "another-good-one").want(200, "")

	e.do(call{method: "DELETE", path: "/users/" + id}).want(204, "")
	e.do(call{method: "DELETE", path: "/users/" + id}).want(404, "not_found")
	e.get("/users/"+id).want(404, "not_found")
	e.patch(id, `{"level":"x"}`).want(404, "not_found") // which goes before what is malformed
	e.login("ada@example.net", "another-good-one").want(401, "bad_credentials")

	if got := e.actions("target=" + id); got != "user.created "+id+", "+strings.Repeat("user.changed "+id+", ", 4)+"user.deleted "+id {
		t.Errorf("the audit log has %s", got)
	}
	text, _ := json.Marshal(e.audited(""))
	if strings.Contains(string(text), "example") || strings.Contains(string(text), "Ada") || strings.Contains(string(text), goodPassword) {
		t.Errorf("the audit log tells of a person: %s", text)
	}
	if !strings.Contains(string(text), `"email":null,"level":"supervisor","name":null,"queues":["*"]`) {
		t.Errorf("the audit log does not say what was changed: %s", text)
	}
	if strings.Contains(e.log.String(), "example") {
		t.Errorf("the program's log has an address: %s", e.log)
	}
}

func TestUserPagesOverREST(t *testing.T) {
	t.Parallel()
	e := start(t)
	for i := range 4 {
		e.person(fmt.Sprintf("u%d@example.org", i), Viewer, "")
	}
	var seen []string
	for after := ""; ; {
		page := e.get("/users?limit=3"+after).want(200, "")
		for _, item := range page.json["items"].([]any) {
			seen = append(seen, strings.TrimSuffix(item.(map[string]any)["email"].(string), "@example.org"))
		}
		if page.json["next"] == nil {
			break
		}
		after = "&after=" + page.str("next")
	}
	if got := strings.Join(seen, " "); got != "admin supervisor attendant integration viewer u0 u1 u2 u3" {
		t.Error(got)
	}
}

func TestUsersAreForAdmins(t *testing.T) {
	t.Parallel()
	e := start(t)
	id := e.id(Viewer)
	for _, level := range levels[1:] {
		for _, c := range []call{
			{method: "GET", path: "/users"}, {method: "POST", path: "/users", body: `{`}, {method: "GET", path: "/users/" + id},
			{method: "PATCH", path: "/users/" + id, body: `{`}, {method: "DELETE", path: "/users/" + id}, {method: "GET", path: "/users/nobody"},
		} {
			c.as = string(level)
			e.do(c).want(403, "forbidden")
		}
	}
	e.do(call{as: "-", method: "GET", path: "/users"}).want(401, "unauthenticated")
}

func TestBadUsers(t *testing.T) {
	t.Parallel()
	e := start(t)
	full := `"email":"x@example.org","level":"viewer","password":"` + goodPassword + `"`
	for body, fields := range map[string]string{
		``: "email level", `{}`: "email level", `{"email":"x","level":"root"}`: "email level",
		`{"email":"x@example.org","level":"attendant"}`: "password", // who logs in as a person needs one
		`{` + full + `,"id":"1"}`:                       "id", `{` + full + `,"disabled":true}`: "disabled",
		`{` + full + `,"queues":["*","a"]}`: "queues", `{` + full + `,"queues":["A"]}`: "queues[0]", `{` + full + `,"queues":["a","a"]}`: "queues[1]",
		`{` + full + `,"queues":null}`: "queues", `{` + full + `,"name":"` + strings.Repeat("n", 201) + `"}`: "name", `{` + full + `,"name":"a\nb"}`: "name",
		`{"email":"x@example.org","level":"viewer","password":"1234567"}`:                          "password",
		`{"email":"x@example.org","level":"viewer","password":"` + strings.Repeat("é", 600) + `"}`: "password",
		`{"email":"x y@example.org","level":"viewer"}`:                                             "email", `{"email":"@example.org","level":"viewer"}`: "email",
		`{"email":"` + strings.Repeat("é", 130) + `@x","level":"viewer"}`: "email",
	} {
		if r := e.do(call{method: "POST", path: "/users", body: body}).want(422, "invalid"); r.fields() != fields {
			t.Errorf("%.80s complains of %q, want %q", body, r.fields(), fields)
		}
	}
	id := e.person("bob@example.org", Integration, "")
	for body, fields := range map[string]string{
		``: "", `{}`: "", `{"x":1}`: "x", `{"level":null}`: "level", `{"disabled":1}`: "disabled", `{"disabled":null}`: "disabled", `{"password":null}`: "password",
		`{"password":"1234567"}`: "password",
	} {
		if r := e.patch(id, body).want(422, "invalid"); r.fields() != fields {
			t.Errorf("%s complains of %q, want %q", body, r.fields(), fields)
		}
	}
	e.do(call{method: "POST", path: "/users", body: `{"email":"BOB@example.org","level":"viewer"}`}).want(409, "user_exists")
	e.patch(e.id(Viewer), `{"email":"Bob@example.org"}`).want(409, "user_exists")
	if got := e.actions("target=" + e.id(Viewer)); got != "" {
		t.Errorf("what was refused is in the audit log: %s", got)
	}
	// Without a password nobody gets in.
	e.ok(call{method: "POST", path: "/users", body: `{"email":"kiosk@example.org","level":"integration"}`})
	e.login("kiosk@example.org", "anything").want(401, "bad_credentials")
}

func TestTheLastAdminStays(t *testing.T) {
	t.Parallel()
	e := start(t)
	admin := e.id(Admin)
	for _, body := range []string{`{"level":"supervisor"}`, `{"disabled":true}`, `{"level":"viewer","name":"x"}`} {
		e.patch(admin, body).want(409, "last_admin")
	}
	e.do(call{method: "DELETE", path: "/users/" + admin}).want(409, "last_admin")
	other := e.person("two@example.org", Admin, "")
	e.patch(other, `{"disabled":true}`).want(200, "")
	e.patch(admin, `{"disabled":true}`).want(409, "last_admin") // one who is disabled does not count
	e.patch(other, `{"disabled":false}`).want(200, "")
	if got := e.actions("target=" + admin); got != "" {
		t.Errorf("what was refused is in the audit log: %s", got)
	}
}
