package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	fastws "github.com/fasthttp/websocket"
)

func TestLiveLogin(t *testing.T) {
	e := startLive(t)
	attendant, admin := e.token(Attendant), e.token(Admin)
	user, err := e.dir.UserByEmail(context.Background(), "attendant@example.org")
	if err != nil {
		t.Fatal(err)
	}
	auth := func(token string) map[string]any { return map[string]any{"type": "auth", "token": token} }

	t.Run("header", func(t *testing.T) {
		p, _ := e.connect(http.Header{"Authorization": {"Bearer " + attendant}})
		f := p.want("ready")
		if f.sub("user").str("email") != "attendant@example.org" || f.str("session") == "" {
			t.Errorf("%v", f)
		}
		p.send(`{"type":"ping"}`)
		p.want("pong")
	})
	t.Run("header that is not good", func(t *testing.T) {
		for _, header := range []string{"Bearer x", "Basic eDp5", "Bearer " + e.tokenFor(userOf(user), -time.Second)} {
			if _, status := e.connect(http.Header{"Authorization": {header}}); status != http.StatusUnauthorized {
				t.Errorf("%.10s: %d", header, status)
			}
		}
	})
	t.Run("first frame, and renewal", func(t *testing.T) {
		p := e.dial()
		p.send(auth(e.tokenFor(userOf(user), time.Minute)))
		first := p.want("ready")
		p.send(auth(attendant))
		second := p.want("ready")
		if first.str("session") != second.str("session") || first.str("expires_at") >= second.str("expires_at") {
			t.Errorf("%v, then %v", first, second)
		}
		p.send(auth(admin))
		if code := p.closed(); code != 4401 {
			t.Errorf("another user's token: %d", code)
		}
	})
	for name, text := range map[string]string{
		"wrong token": `{"type":"auth","token":"x"}`, "no token": `{"type":"auth"}`, "another frame": `{"type":"ping"}`,
		"no JSON": `hello`, "one field too many": `{"type":"auth","token":"` + attendant + `","id":"1"}`,
	} {
		t.Run("first frame with "+name, func(t *testing.T) {
			p := e.dial()
			p.send(text)
			if code := p.closed(); code != 4401 {
				t.Errorf("closed with %d", code)
			}
		})
	}
	t.Run("first frame that is no text, or too long", func(t *testing.T) {
		for kind, size := range map[int]int{fastws.BinaryMessage: 1, fastws.TextMessage: maxFrame + 1} {
			p := e.dial()
			if err := p.conn.WriteMessage(kind, make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			if code := p.closed(); code != 4401 {
				t.Errorf("kind %d: closed with %d", kind, code)
			}
		}
	})
	t.Run("the token ends", func(t *testing.T) {
		p := e.dial()
		p.send(auth(e.tokenFor(userOf(user), 1500*time.Millisecond)))
		p.want("ready")
		if code := p.closed(); code != 4401 {
			t.Errorf("closed with %d", code)
		}
	})
	t.Run("no frame in time", func(t *testing.T) {
		began := time.Now()
		if code, took := e.dial().closed(), time.Since(began); code != 4408 || took < authWithin || took > authWithin+5*time.Second {
			t.Errorf("closed with %d after %v", code, took)
		}
	})
}

func TestLiveOrigins(t *testing.T) {
	e := startLive(t, func(o *Options) { o.AllowedOrigins = []string{"https://desk.example.org"} })
	for origin, want := range map[string]int{
		"http://" + e.addr: 101, "https://desk.example.org": 101, "https://DESK.example.org": 101, "http://" + e.addr + "0": 403,
		"https://example.org": 403, "null": 403, "https://desk.example.org.evil.example": 403, "http://desk.example.org": 403,
	} {
		if _, status := e.connect(http.Header{"Origin": {origin}}); status != want {
			t.Errorf("%s: %d, want %d", origin, status, want)
		}
	}
	r, err := http.Get("http://" + e.addr + "/api/v1/ws")
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("without an upgrade: %d", r.StatusCode)
	}
}

func TestLiveBadInput(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	p := e.join(Attendant)
	deep := strings.Repeat("[", 1_000) + strings.Repeat("]", 1_000)
	for _, c := range []struct{ text, id, code string }{
		{``, "", "invalid"}, {`hello`, "", "invalid"}, {`[]`, "", "invalid"}, {`"x"`, "", "invalid"}, {`{"type":"ping"`, "", "invalid"},
		{`{"type":"ping"}{}`, "", "invalid"}, {"{\"type\":\"\xff\"}", "", "invalid"}, {`{"type":"ping","a":` + deep + `}`, "", "invalid"},
		{deep, "", "invalid"}, {`{}`, "", "invalid"}, {`{"type":7}`, "", "invalid"}, {`{"type":"nonsense","id":"7"}`, "7", "invalid"},
		{`{"type":"ping","more":1}`, "", "invalid"}, {`{"type":"auth"}`, "", "invalid"}, {`{"type":"subscribe","queue":"a"}`, "", "invalid"},
		{`{"type":"subscribe","id":7,"queue":"a"}`, "", "invalid"}, {`{"type":"subscribe","id":"1"}`, "1", "invalid"},
		{`{"type":"subscribe","id":"1","queue":"a","since":-1}`, "1", "invalid"}, {`{"type":"subscribe","id":"1","queue":"a","since":1.5}`, "1", "invalid"},
		{`{"type":"subscribe","id":"1","queue":"a","epoch":7}`, "1", "invalid"}, {`{"type":"subscribe","id":"1","queue":"a","extra":7}`, "1", "invalid"},
		{`{"type":"subscribe","id":"1","queue":"c","extra":7}`, "1", "queue_not_found"}, // may not be seen, which goes first
		{`{"type":"subscribe","id":"1","queue":"b"}`, "1", "queue_not_found"},           // is not there
		{`{"type":"subscribe","id":"1","queue":"No!"}`, "1", "queue_not_found"},
		{`{"type":"command","id":"1","queue":"a"}`, "1", "invalid"}, {`{"type":"command","id":"1","queue":"a","command":"create"}`, "1", "invalid"},
		{`{"type":"command","id":"1","queue":"a","command":"check_in"}`, "1", "invalid"},
		{`{"type":"command","id":"1","queue":"a","command":"enqueue","args":[]}`, "1", "invalid"},
		{`{"type":"command","id":"1","queue":"a","command":"enqueue","args":{"prioriti":1}}`, "1", "invalid"},
		{`{"type":"command","id":"1","queue":"a","command":"start"}`, "1", "invalid"},
		{`{"type":"command","id":"1","queue":"a","command":"pause","args":{"x":1}}`, "1", "forbidden"},
		{`{"type":"command","id":"1","queue":"a","command":"enqueue","idempotency_key":""}`, "1", "invalid"},
		{`{"type":"command","id":"1","queue":"a","command":"enqueue","args":{"payload":"` + strings.Repeat("x", maxPayload) + `"}}`, "1", "too_large"},
		{`{"type":"command","id":"1","queue":"c","command":"enqueue"}`, "1", "queue_not_found"},
	} {
		f := p.ask(c.text)
		if f["ok"] != false || f.str("id") != c.id || f.code() != c.code {
			t.Errorf("%.80q: %v", c.text, f)
		}
		if c.id == "" && f["id"] != nil {
			t.Errorf("%.80q: an id out of nothing: %v", c.text, f)
		}
	}
	p.send(`{"type":"ping"}`) // the session lives on
	p.want("pong")
	if text := `{"type":"ping"` + strings.Repeat(" ", maxFrame-15) + `}`; len(text) == maxFrame {
		p.send(text)
		p.want("pong")
		p.send(text + " ")
		if code := p.closed(); code != 1009 {
			t.Errorf("too long a frame: %d", code)
		}
	} else {
		t.Fatal(len(text))
	}
	p = e.join(Attendant)
	if err := p.conn.WriteMessage(fastws.BinaryMessage, []byte(`{"type":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	if code := p.closed(); code != 1003 {
		t.Errorf("a binary frame: %d", code)
	}
}

func TestLiveTooFast(t *testing.T) {
	e := startLive(t)
	p := e.join(Admin)
	for i := range framesBurst - 20 { // a burst is fine
		p.send(fmt.Sprintf(`{"type":"unsubscribe","id":"%d","queue":"a"}`, i))
	}
	for range framesBurst - 20 {
		p.want("reply")
	}
	go func() {
		for p.conn.WriteMessage(fastws.TextMessage, []byte(`{"type":"ping"}`)) == nil {
		}
	}()
	if code := p.closed(); code != 4429 {
		t.Errorf("closed with %d", code)
	}
}

func TestLiveSaysGoodbye(t *testing.T) {
	e := startLive(t)
	e.queue("a")
	p, silent, raw := e.join(Admin), e.join(Admin), e.dial()
	p.subscribe("a")
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ended <- e.gateway.Shutdown(ctx)
	}()
	for _, p := range []*peer{p, raw} {
		if code := p.closed(); code != 1012 {
			t.Errorf("closed with %d", code)
		}
	}
	if err := <-ended; err != nil { // silent does not answer the close frame
		t.Error(err)
	}
	if code := silent.closed(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
	if _, err := net.DialTimeout("tcp", e.addr, time.Second); err == nil {
		t.Error("the node still listens")
	}
}

func TestLiveClientCloses(t *testing.T) {
	p := startLive(t).join(Admin)
	if err := p.conn.WriteMessage(fastws.CloseMessage, fastws.FormatCloseMessage(1000, "")); err != nil {
		t.Fatal(err)
	}
	if code := p.closed(); code != 1000 {
		t.Errorf("answered with %d", code)
	}
}
