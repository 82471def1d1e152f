package gateway

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/persistence/directory"
)

// waysToEnd are those in which access ends, by what they do in the directory.
func waysToEnd(d *directory.Directory) map[string]func(ctx context.Context, id string) error {
	update := func(p directory.UserPatch) func(context.Context, string) error {
		return func(ctx context.Context, id string) error {
			_, err := d.UpdateUser(ctx, id, p)
			return err
		}
	}
	yes, level, queues := true, directory.Viewer, []string{"b"}
	return map[string]func(context.Context, string) error{
		"password": func(ctx context.Context, id string) error { return d.SetPassword(ctx, id, "new") },
		"level":    update(directory.UserPatch{Level: &level}),
		"queues":   update(directory.UserPatch{Queues: &queues}),
		"disabled": update(directory.UserPatch{Disabled: &yes}),
		"deleted":  func(ctx context.Context, id string) error { return d.DeleteUser(ctx, id) },
	}
}

// within is the time in which access must have ended everywhere.
const within = 2 * time.Second

// An idle session and a token that is in use both end in time, on a node that
// is told by the directory alone.
func TestAccessEndsInTime(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	stays := e.join(Admin)
	stays.subscribe("a")
	for name, end := range waysToEnd(e.dir) {
		t.Run(name, func(t *testing.T) {
			who := name + "@example.org"
			u := e.addUser(who, Attendant, "a")
			token, _ := e.tokens.Load(who)
			p := e.dial()
			p.send(map[string]any{"type": "auth", "token": token})
			p.want("ready")
			p.subscribe("a")
			e.ok(call{as: who, method: "GET", path: "/queues/a"})
			began := time.Now()
			if err := end(t.Context(), u.ID); err != nil {
				t.Fatal(err)
			}
			if code := p.closed(); code != 4401 || time.Since(began) > within {
				t.Errorf("closed with %d after %v", code, time.Since(began))
			}
			e.do(call{as: who, method: "GET", path: "/queues/a"}).want(401, "unauthenticated")
			p = e.dial()
			p.send(map[string]any{"type": "auth", "token": token})
			if code := p.closed(); code != 4401 {
				t.Errorf("taken again, then closed with %d", code)
			}
		})
	}
	e.enqueue("a")
	if f := stays.want("event"); f.num("version") != 2 {
		t.Errorf("another's session: %v", f)
	}
}

// One login ends and leaves the user's others.
func TestLogoutEndsItsOwnSessions(t *testing.T) {
	e := startLive(t)
	e.addLogin("ann@example.org")
	join := func(token string) *peer {
		p := e.dial()
		p.send(map[string]any{"type": "auth", "token": token})
		p.want("ready")
		return p
	}
	first, second := e.login("ann@example.org", password), e.login("ann@example.org", password)
	over, stays := join(first.str("access_token")), join(second.str("access_token"))
	e.tokens.Store("ann@example.org", first.str("access_token"))
	if r := e.do(call{as: "ann@example.org", method: "POST", path: "/auth/logout"}); r.status != 204 {
		t.Fatal(r.status)
	}
	if code := over.closed(); code != 4401 {
		t.Errorf("closed with %d", code)
	}
	stays.send(`{"type":"ping"}`)
	stays.want("pong")
	// A refresh token that is used twice was stolen: what came of it ends too.
	e.refresh(second.str("refresh_token")).want(200, "")
	e.refresh(second.str("refresh_token")).want(401, "unauthenticated")
	if code := stays.closed(); code != 4401 {
		t.Errorf("closed with %d", code)
	}
}

// Another level ends the tokens of before, and the login goes on with new ones.
func TestLoginGoesOnWithAnotherLevel(t *testing.T) {
	t.Parallel()
	e := start(t)
	id := e.addLogin("ann@example.org")
	s := e.login("ann@example.org", password)
	level := directory.Viewer
	if _, err := e.dir.UpdateUser(t.Context(), id, directory.UserPatch{Level: &level}); err != nil {
		t.Fatal(err)
	}
	next := e.refresh(s.str("refresh_token")).want(200, "")
	if user, _ := next.json["user"].(map[string]any); user["level"] != "viewer" {
		t.Errorf("%s", next.body)
	}
	e.tokens.Store("ann@example.org", next.str("access_token"))
	e.ok(call{as: "ann@example.org", method: "GET", path: "/me"})
}

// A client that takes a long snapshot slowly gets no more of it once its access,
// or its token, has ended.
func TestAccessEndsInTheMiddleOfASnapshot(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	payload := []byte(`"` + strings.Repeat("x", maxPayload-2) + `"`)
	for range 600 {
		e.enqueueLong("a", payload)
	}
	found, err := e.dir.UserByEmail(t.Context(), "admin@example.org")
	if err != nil {
		t.Fatal(err)
	}
	admin := userOf(found)
	const life = 3 * time.Second
	short := e.tokenFor(admin, life)
	var claimed claims
	if _, err := e.gateway.auth.parser.ParseWithClaims(short, &claimed, e.gateway.auth.key); err != nil {
		t.Fatal(err)
	}
	e.tokens.Store("admin@example.org", short)
	e.endsInTheMiddle(claimed.ExpiresAt.Add(time.Second), func() {}) // looked for each second
	e.tokens.Store("admin@example.org", e.tokenFor(admin, accessLife))
	e.endsInTheMiddle(time.Now(), func() {
		if err := e.dir.DropUserSessions(t.Context(), admin.ID); err != nil {
			t.Error(err)
		}
	})
}

// endsInTheMiddle has a client with a thin line cut off in time after a moment.
func (e *liveEnv) endsInTheMiddle(due time.Time, end func()) {
	e.t.Helper()
	p := e.joinSmall()
	p.send(`{"type":"subscribe","id":"s","queue":"a"}`)
	stop, stopped := make(chan struct{}), make(chan struct{})
	begun := make(chan struct{}, 1)
	go func() {
		defer close(stopped)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if _, err := io.ReadFull(p.conn.NetConn(), make([]byte, 64<<10)); err != nil {
				return
			}
			select {
			case begun <- struct{}{}:
			default:
			}
		}
	}()
	<-begun
	if now := time.Now(); due.Before(now) {
		due = now
	}
	end()
	e.awaitClosing()
	if late := time.Since(due); late > within {
		e.t.Errorf("it ended after %v", late)
	}
	close(stop)
	<-stopped
	e.awaits("the session is gone", func() bool { return len(e.gateway.live.registry.everyone()) == 0 })
}

// everyone gives the sessions that are there.
func (r *registry) everyone() []*liveSession {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all()
}

// What a node has learned holds while the directory is away, for tokens too that
// it has never seen.
func TestAccessStaysEndedWithoutTheDirectory(t *testing.T) {
	t.Parallel()
	var gone atomic.Bool
	e := start(t, func(o *Options) { o.Directory = away{o.Directory, &gone} })
	e.queue("a")
	u := e.addUser("ann@example.org", Attendant, "a")
	e.addUser("bob@example.org", Attendant, "a")
	e.addUser("eve@example.org", Attendant, "a")
	if err := e.dir.DropUserSessions(t.Context(), u.ID); err != nil {
		t.Fatal(err)
	}
	e.awaits("the node knows", func() bool { return e.gateway.auth.ended.has(&Principal{UserID: u.ID}) })
	gone.Store(true)
	e.do(call{as: "ann@example.org", method: "GET", path: "/queues/a"}).want(401, "unauthenticated")
	e.ok(call{as: "bob@example.org", method: "GET", path: "/queues/a"})
	// A logout holds here at once.
	if r := e.do(call{as: "eve@example.org", method: "POST", path: "/auth/logout"}); r.status != 204 {
		t.Fatal(r.status)
	}
	e.do(call{as: "eve@example.org", method: "GET", path: "/queues/a"}).want(401, "unauthenticated")

	// Meanwhile another node, which reaches the directory, ends Bob's access.
	bob, err := e.dir.UserByEmail(t.Context(), "bob@example.org")
	if err == nil {
		err = e.dir.DeleteUser(t.Context(), bob.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	e.ok(call{as: "bob@example.org", method: "GET", path: "/queues/a"})
	gone.Store(false)
	e.awaits("the node has caught up", func() bool {
		return e.do(call{as: "bob@example.org", method: "GET", path: "/queues/a"}).code() == "unauthenticated"
	})
}

// awaits waits for what must come.
func (e *env) awaits(what string, come func() bool) {
	e.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !come(); <-tick.C {
		if time.Now().After(deadline) {
			e.t.Fatalf("it did not come to be: %s", what)
		}
	}
}

func TestEndedIsForgottenWithTheTokens(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	e := newEnded(now)
	e.add(now, AccessChange{UserID: "ann", Epoch: 3}, AccessChange{Family: "f"})
	e.add(now, AccessChange{UserID: "ann", Epoch: 2}) // late
	over := func(user string, epoch int64, family string) bool {
		return e.has(&Principal{UserID: user, epoch: epoch, family: family})
	}
	for _, step := range []struct {
		after time.Duration
		kept  bool
	}{{0, true}, {rememberFor, true}, {rememberFor + 1, true}, {2 * rememberFor, true}, {3 * rememberFor, false}} {
		e.add(now.Add(step.after), AccessChange{Family: "other"})
		if over("ann", 2, "") != step.kept || over("bob", 0, "f") != step.kept || over("ann", 3, "") || over("bob", 0, "g") {
			t.Errorf("after %v: %v, %v", step.after, over("ann", 2, ""), over("bob", 0, "f"))
		}
	}
	for i := range 3 * maxEnded {
		e.add(now, AccessChange{UserID: strconv.Itoa(i), Epoch: 1})
	}
	if n := len(e.newer.users) + len(e.older.users); n > 2*maxEnded || !over(strconv.Itoa(3*maxEnded-1), 0, "") {
		t.Errorf("%d are kept", n)
	}
}

// halfNews is a directory that has, for a user, more changes than one page holds, and
// goes away behind the first.
type halfNews struct {
	Directory
	user atomic.Pointer[string]
	read int
}

func (p *halfNews) AccessChanges(ctx context.Context, after uint64, limit int) ([]AccessChange, uint64, error) {
	user := p.user.Load()
	if user == nil {
		return p.Directory.AccessChanges(ctx, after, limit)
	}
	switch p.read++; p.read {
	case 1:
		changes := make([]AccessChange, limit)
		for i := range changes {
			changes[i] = AccessChange{Revision: after + uint64(i) + 1, UserID: *user, Epoch: 1}
		}
		return changes, after + uint64(limit), nil
	case 2:
		return nil, 0, errAway
	}
	return nil, after, nil
}

// What was learned before the directory went away ends sessions, too.
func TestAccessEndsWithHalfTheNews(t *testing.T) {
	d := &halfNews{}
	e := startLive(t, func(o *Options) { d.Directory, o.Directory = o.Directory, d })
	u := e.addUser("ann@example.org", Attendant, "a")
	token, _ := e.tokens.Load("ann@example.org")
	p := e.dial()
	p.send(map[string]any{"type": "auth", "token": token})
	p.want("ready")
	began := time.Now()
	d.user.Store(&u.ID)
	if code := p.closed(); code != 4401 || time.Since(began) > within {
		t.Errorf("closed with %d after %v", code, time.Since(began))
	}
}

// A token of a node whose clock is ahead lives longer than others, and stays void.
func TestEndedOutlivesTokensOfAFastClock(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	e := newEnded(now)
	e.add(now.Add(rememberFor), AccessChange{Family: "f"})
	for since := time.Duration(0); since < rememberFor; since += time.Minute {
		e.add(now.Add(rememberFor+since), AccessChange{Family: "other"})
		if !e.has(&Principal{family: "f"}) {
			t.Fatalf("forgotten after %v", since)
		}
	}
}

// Who has begun to take an export gets no more of it once its access has ended.
func TestAccessEndsInTheMiddleOfAnExport(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.History = endless{pages: &atomic.Int64{}} })
	u := e.addUser("ann@example.org", Supervisor, "a")
	response, err := e.client.Do(e.request(call{as: "ann@example.org", method: "GET", path: "/history", header: acceptCSV}))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := e.dir.DeleteUser(t.Context(), u.ID); err != nil {
		t.Fatal(err)
	}
	e.awaits("the node knows", func() bool { return e.gateway.auth.ended.has(&Principal{UserID: u.ID}) })
	// More than the buffers of both sides hold.
	if n, err := io.CopyN(io.Discard, response.Body, 64<<20); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes were to be had, %v", n, err)
	}
}
