package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// auth logs the load's one user in, and shares the tokens between its clients.
type auth struct {
	email, password string
	client          http.Client

	mu     sync.Mutex
	tokens map[string]string // by node
	last   string
}

func newAuth(email, password string) *auth {
	return &auth{email: email, password: password, client: http.Client{Timeout: attemptWithin}, tokens: make(map[string]string)}
}

// token gives one that the node may take; any node's is good on every other.
func (a *auth) token(url string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tokens[url]; t != "" {
		return t
	}
	return a.last
}

// renew logs in at a node that did not take the token.
func (a *auth) renew(at string) error {
	body := fmt.Sprintf(`{"email":%q,"password":%q}`, a.email, a.password)
	response, err := a.client.Post(at+"/api/v1/auth/login", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var told struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&told); err != nil || told.AccessToken == "" {
		return fmt.Errorf("login: %d %w", response.StatusCode, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens[at], a.last = told.AccessToken, told.AccessToken
	return nil
}

// rest is commands over REST.
type rest struct {
	auth   *auth
	client *http.Client
}

func newREST(a *auth) *rest {
	return &rest{auth: a, client: &http.Client{Timeout: attemptWithin, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}}
}

func (r *rest) close() { r.client.CloseIdleConnections() }

// request gives method, path and body of an operation.
func request(o *Op) (method, path, body string) {
	queue := "/queues/" + o.Queue
	ticket := queue + "/tickets/" + o.Ticket
	switch o.Command {
	case "create":
		return http.MethodPost, "/queues", o.Mark
	case "enqueue":
		return http.MethodPost, queue + "/tickets", arguments(o)
	case "call_next":
		return http.MethodPost, queue + "/call-next", arguments(o)
	case "remove":
		return http.MethodDelete, ticket + "?reason=" + url.QueryEscape(o.Mark), ""
	case "update":
		return http.MethodPatch, ticket, arguments(o)
	}
	return http.MethodPost, ticket + "/" + strings.ReplaceAll(o.Command, "_", "-"), arguments(o)
}

// arguments are an operation's, as the body of a REST call has them.
func arguments(o *Op) string {
	switch o.Command {
	case "enqueue":
		return fmt.Sprintf(`{"service":%q,"priority":%d,"customer":{"name":"Ada Marsh"},"payload":{"n":1}}`, o.Mark, o.Priority)
	case "call", "call_next":
		return fmt.Sprintf(`{"desk":%q}`, o.Mark)
	case "complete":
		return fmt.Sprintf(`{"outcome":%q}`, o.Mark)
	case "remove":
		return fmt.Sprintf(`{"reason":%q}`, o.Mark)
	case "update":
		return fmt.Sprintf(`{"priority":%d}`, o.Priority)
	case "move", "requeue":
		return fmt.Sprintf(`{"position":%d}`, o.Position)
	case "transfer":
		return fmt.Sprintf(`{"queue":%q}`, o.Target)
	}
	return "{}"
}

func (r *rest) try(at string, o *Op) (answer, error) {
	method, path, body := request(o)
	re, err := r.call(at, method, path, body, o.Key)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: re.status, replayed: re.header.Get("Idempotent-Replayed") != ""}
	if a.status == http.StatusNoContent {
		return a, nil
	}
	if a.status < 300 {
		a.version = re.version()
		return a, json.Unmarshal(re.text, &a.ticket)
	}
	a.code = re.code()
	return a, nil
}

// reply is what came back of one request.
type reply struct {
	status int
	header http.Header
	text   []byte
}

func (r *reply) version() uint64 {
	v, _ := strconv.ParseUint(strings.Trim(r.header.Get("ETag"), `"`), 10, 64)
	return v
}

// code is the problem's.
func (r *reply) code() string {
	var p struct{ Code string }
	_ = json.Unmarshal(r.text, &p)
	return p.Code
}

// call sends one request. The error is errNotSent where no node took it.
func (r *rest) call(at, method, path, body, key string) (*reply, error) {
	if at == "" {
		return nil, errNotSent // there is no node
	}
	q, err := http.NewRequest(method, at+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Authorization", "Bearer "+r.auth.token(at))
	if key != "" {
		q.Header.Set("Idempotency-Key", key)
	}
	response, err := r.client.Do(q)
	if err != nil {
		return nil, sentOrNot(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return &reply{response.StatusCode, response.Header, text}, err
}

// sentOrNot tells a connection that was refused from one that broke.
func sentOrNot(err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return errNotSent
	}
	return err
}

// read reads a queue's lists, up to a number of tickets, and writes down what
// it was shown. It gives nil where it was not answered.
func (c *client) read(queue string, limit int) *Read {
	r := &Read{Queue: queue, Sent: c.o.History.Now(), States: make(map[string]string), Priorities: make(map[string]int)}
	at := c.nodes.pick(c.random)
	re, err := c.reader.call(at, http.MethodGet, fmt.Sprintf("/queues/%s/tickets?limit=%d", queue, limit), "", "")
	r.Answered = c.o.History.Now()
	switch {
	case errors.Is(err, errNotSent):
		c.figures.failed("refused")
		c.nodes.failed(at)
		return nil
	case err != nil:
		c.figures.broken(at, err)
		return nil
	case re.status == http.StatusUnauthorized:
		_ = c.auth.renew(at)
		return nil
	case re.status != http.StatusOK:
		c.figures.failed(re.code())
		return nil
	}
	var page struct {
		Items []Ticket
		Next  *string
	}
	if err := json.Unmarshal(re.text, &page); err != nil {
		c.figures.unexpected("a list of %s: %v", queue, err)
		return nil
	}
	r.Version, r.Whole = re.version(), page.Next == nil
	for _, t := range page.Items {
		if t.State == "waiting" {
			r.Waiting = append(r.Waiting, t.ID)
		}
		r.States[t.ID], r.Priorities[t.ID] = t.State, t.Priority
	}
	c.figures.latency(r.Answered - r.Sent)
	c.o.History.addRead(r)
	return r
}

// readUntil reads until it is answered, or gives nil after a while.
func (c *client) readUntil(queue string, limit int) *Read {
	for began := c.o.History.Now(); c.o.History.Now()-began < giveUpAfter; {
		if r := c.read(queue, limit); r != nil {
			return r
		}
		time.Sleep(retryAfter)
	}
	return nil
}
