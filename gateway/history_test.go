package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nowserving/actors"
	"nowserving/actors/queue"
	"nowserving/persistence/directory"
)

// historyOf is what main's adapter is.
type historyOf struct{ d *directory.Directory }

func (h historyOf) ListHistory(ctx context.Context, f HistoryFilter, after *HistoryPlace, limit int) (rows []HistoryRow, next *HistoryPlace, err error) {
	var from, behind *directory.HistoryPlace
	if after != nil {
		from = &directory.HistoryPlace{FinishedAt: queue.Time(after.FinishedAt), ID: after.ID}
	}
	found, behind, err := h.d.ListHistory(ctx, directory.HistoryFilter{
		Queues: f.Queues, Attendant: f.Attendant, Outcome: f.Outcome, From: queue.Time(f.From), To: queue.Time(f.To),
	}, from, limit)
	for _, row := range found {
		rows = append(rows, HistoryRow{string(row.Queue), actors.TicketToMessage(row.Ticket)})
	}
	if behind != nil {
		next = &HistoryPlace{int64(behind.FinishedAt), behind.ID}
	}
	return rows, next, err
}

func (h historyOf) KnowsQueue(ctx context.Context, id string) (bool, error) {
	return h.d.KnowsQueue(ctx, id)
}

// epochOfTests is when the tickets below begin to finish, in Unix milliseconds.
var epochOfTests = time.Date(2026, 11, 3, 9, 0, 0, 0, time.UTC).UnixMilli()

// past is a ticket that was completed n milliseconds after the epoch of tests.
func past(n int) *queue.Ticket {
	id := queue.TicketID{6: 0x70, 8: 0x80}
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	at := queue.Time(epochOfTests + int64(n))
	return &queue.Ticket{
		ID: id, Visit: id, Number: fmt.Sprintf("A%03d", n), State: queue.Completed, Source: queue.FromREST,
		Attendant: "ann", Calls: 1, EnqueuedAt: at - 3000, CalledAt: at - 2000, StartedAt: at - 1000, FinishedAt: at,
	}
}

// finish puts finished tickets of a queue into the history.
func (e *env) finish(id string, tickets ...*queue.Ticket) {
	e.t.Helper()
	at, err := e.dir.HistoryCheckpoints(context.Background(), []string{id})
	if err != nil {
		e.t.Fatal(err)
	}
	p := directory.HistoryPart{Queue: id, After: at[0], Upto: at[0] + uint64(len(tickets))}
	for _, t := range tickets {
		p.Changes = append(p.Changes, directory.HistoryChange{Finished: t})
	}
	if err := e.dir.TakeHistory(context.Background(), []directory.HistoryPart{p}); err != nil {
		e.t.Fatal(err)
	}
}

// pastNumbers gives the numbers of a page, without the A.
func (r *reply) pastNumbers() (string, string) {
	var numbers []string
	for _, item := range r.json["items"].([]any) {
		numbers = append(numbers, strings.TrimLeft(item.(map[string]any)["number"].(string), "A0"))
	}
	return strings.Join(numbers, " "), r.str("next")
}

func TestHistoryList(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, id := range []string{"a", "b", "c"} {
		e.queue(id)
	}
	resolved, absent := past(2), past(3)
	resolved.Outcome, resolved.Attendant = "resolved & glad", "bob"
	absent.State, absent.StartedAt = queue.NoShow, 0
	e.finish("a", past(1), resolved, past(7))
	e.finish("b", absent)
	e.finish("c", past(5))
	e.finish("gone", past(6)) // a queue that was deleted, and fell out of the list
	at := func(n int) string {
		return time.UnixMilli(epochOfTests + int64(n)).UTC().Format("2006-01-02T15:04:05.000Z")
	}
	for query, want := range map[string]string{
		"": "7 6 5 3 2 1", "queue=a": "7 2 1", "queue=gone": "6", "queue=b&attendant=ann": "3", "attendant=bob": "2", "attendant=nobody": "",
		"outcome=completed": "7 6 5 1", "outcome=no_show": "3", "outcome=resolved+%26+glad": "2", "outcome=resolved": "",
		"queue=a&outcome=completed": "7 1", "queue=a&attendant=ann&outcome=completed": "7 1", "attendant=ann&outcome=completed": "7 6 5 1",
		"from=" + at(3): "7 6 5 3", "to=" + at(3): "2 1", "from=" + at(2) + "&to=" + at(6): "5 3 2", "from=" + at(3) + "&to=" + at(3): "",
		"from=2026-11-03T10:00:00.005%2B01:00": "7 6 5", "from=2026-11-03T09:00:00.0049Z": "7 6 5", "to=2026-11-03T09:00:00.0021Z": "2 1",
		"to=1969-01-01T00:00:00Z": "", "from=1969-01-01T00:00:00Z": "7 6 5 3 2 1", "from=2027-01-01T00:00:00Z": "",
	} {
		if got, next := e.get("/history?"+query).want(200, "").pastNumbers(); got != want || next != "" {
			t.Errorf("%q: %q, next %q, want %q", query, got, next, want)
		}
	}
	var pages []string
	for query := "limit=2"; ; {
		got, next := e.get("/history?" + query).pastNumbers()
		pages = append(pages, got)
		if next == "" {
			break
		}
		query = "limit=2&after=" + next
	}
	if got := strings.Join(pages, "|"); got != "7 6|5 3|2 1" {
		t.Errorf("pages: %q", got)
	}
}

func TestHistoryAccess(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, id := range []string{"a", "b", "c"} {
		e.queue(id)
	}
	e.addUser("all@example.org", Supervisor, "*")
	e.addUser("none@example.org", Supervisor)
	e.addUser("past@example.org", Supervisor, "gone", "never")
	e.finish("a", past(1))
	e.finish("b", past(2))
	e.finish("c", past(3))
	e.finish("gone", past(4))
	for _, c := range []struct {
		as, query string
		status    int
		numbers   string // or the problem's code
	}{
		{"supervisor", "", 200, "2 1"}, {"supervisor", "attendant=ann", 200, "2 1"}, {"supervisor", "queue=a", 200, "1"},
		{"supervisor", "queue=c", 404, "queue_not_found"}, {"supervisor", "queue=gone", 404, "queue_not_found"},
		{"supervisor", "queue=c&limit=0", 404, "queue_not_found"},
		{"all@example.org", "", 200, "4 3 2 1"}, {"all@example.org", "queue=gone", 200, "4"}, {"none@example.org", "", 200, ""},
		{"past@example.org", "", 200, "4"}, {"past@example.org", "queue=never", 404, "queue_not_found"},
		{"admin", "queue=zzz", 404, "queue_not_found"}, {"admin", "queue=", 404, "queue_not_found"}, {"admin", "queue=A", 404, "queue_not_found"},
		{"attendant", "", 403, "forbidden"}, {"attendant", "queue=a", 403, "forbidden"}, {"attendant", "queue=a&limit=0", 403, "forbidden"},
		{"attendant", "queue=c", 404, "queue_not_found"}, {"integration", "queue=a", 403, "forbidden"}, {"viewer", "", 403, "forbidden"},
		{"-", "queue=a", 401, "unauthenticated"},
	} {
		r := e.do(call{as: c.as, method: "GET", path: "/history?" + c.query})
		if c.status != 200 {
			r.want(c.status, c.numbers)
		} else if got, _ := r.want(200, "").pastNumbers(); got != c.numbers {
			t.Errorf("%s, %q: %q, want %q", c.as, c.query, got, c.numbers)
		}
		if r := e.do(call{as: c.as, method: "GET", path: "/history?" + c.query, header: http.Header{"Accept": {"text/csv"}}}); r.status != c.status {
			t.Errorf("%s, %q: as CSV %d, want %d", c.as, c.query, r.status, c.status)
		}
	}
	_, next := e.get("/history?limit=1").pastNumbers()
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=1001": "limit", "after=": "after", "after=x": "after", "after=" + next + "A": "after", "after=cTpB": "after",
		"after=" + next + "&after=" + next: "after", "from=yesterday": "from", "to=2026-11-03": "to", "from=": "from",
		"from=2026-11-03T09:00:00Z&to=2026-11-03T08:00:00Z": "to", "attendant=": "attendant", "attendant=" + strings.Repeat("a", 65): "attendant",
		"outcome=": "outcome", "outcome=%ff": "outcome", "outcome=" + strings.Repeat("o", 101): "outcome", "queue=a&queue=b": "queue",
		"outcome=&limit=x&from=1": "limit outcome from", "format=xml": "format", "format=": "format",
	} {
		for _, accept := range []string{"application/json", "text/csv"} {
			r := e.do(call{method: "GET", path: "/history?" + query, header: http.Header{"Accept": {accept}}}).want(422, "invalid")
			if r.fields() != field {
				t.Errorf("%q complains of %q, want %q", query, r.fields(), field)
			}
		}
	}
}

// A row has all that a ticket has, and personal data for those who see it here.
func TestHistoryRowIsATicket(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	ticket := past(1)
	ticket.State, ticket.Reason, ticket.Priority = queue.Transferred, "moved", 4
	ticket.Visit, ticket.TransferredFrom, ticket.TransferredTo, ticket.TransferQueue = past(8).ID, past(8).ID, past(9).ID, "b"
	ticket.Customer = e.gateway.sealer.Seal("a", sealedCustomer, ticket.Visit, []byte(`{"name":"Ada","phone":null,"email":null,"ref":null}`))
	ticket.Payload = e.gateway.sealer.Seal("a", sealedPayload, ticket.Visit, []byte(`[-1]`))
	e.finish("a", ticket)
	want := `{"id":"00000000-0000-7000-8000-000000000001","queue":"a","number":"A001","state":"transferred","position":null,"priority":4,` +
		`"service":null,"customer":{"name":"Ada","phone":null,"email":null,"ref":null},"payload":[-1],"source":"rest",` +
		`"visit":"00000000-0000-7000-8000-000000000008","attendant":"ann","desk":null,"calls":1,"enqueued_at":"2026-11-03T08:59:57.001Z",` +
		`"called_at":"2026-11-03T08:59:58.001Z","started_at":"2026-11-03T08:59:59.001Z","finished_at":"2026-11-03T09:00:00.001Z",` +
		`"transferred_from":"00000000-0000-7000-8000-000000000008","transferred_to":"00000000-0000-7000-8000-000000000009",` +
		`"reason":"moved","outcome":"transferred"}`
	for _, as := range []string{"admin", "supervisor"} {
		r := e.ok(call{as: as, method: "GET", path: "/history"})
		if got := string(r.body); got != `{"items":[`+want+`],"next":null}` {
			t.Errorf("%s sees %s", as, got)
		}
	}
}

var acceptCSV = http.Header{"Accept": {"text/csv"}}

func TestHistoryCSV(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.queue("a")
	nasty := past(1)
	nasty.Desk, nasty.Service, nasty.Reason, nasty.Outcome = "=1+1", "-2+3", "@x, \"quoted\"\r\nline", "+49"
	nasty.Customer = e.gateway.sealer.Seal("a", sealedCustomer, nasty.Visit, []byte(`{"name":"=Ada, \"A\"","phone":"+49","email":null,"ref":null}`))
	nasty.Payload = e.gateway.sealer.Seal("a", sealedPayload, nasty.Visit, []byte(`-5`))
	tickets := []*queue.Ticket{nasty}
	for n := 2; n <= 2*exportPage+50; n++ {
		ticket := past(n)
		ticket.Service = strings.Repeat("Ä", 100)
		tickets = append(tickets, ticket)
	}
	e.finish("a", tickets...)
	r := e.ok(call{as: "supervisor", method: "GET", path: "/history?queue=a", header: acceptCSV})
	if kind := r.header.Get("Content-Type"); kind != "text/csv; charset=utf-8; header=present" || r.header.Get("Vary") != "Accept" {
		t.Errorf("headers %v", r.header)
	}
	records, err := csv.NewReader(bytes.NewReader(r.body)).ReadAll()
	if err != nil || len(records) != len(tickets)+1 || bytes.Count(r.body, []byte("\r\n")) != len(records)+1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	// The names are those of a ticket's JSON, in its order.
	var names []string
	d := json.NewDecoder(bytes.NewReader(e.gateway.appendTicket(nil, actors.TicketToMessage(past(1)), "a", 0, true)))
	for token, err := d.Token(); err == nil; token, err = d.Token() {
		if name, ok := token.(string); ok {
			names = append(names, name)
			_, _ = d.Token()
		}
	}
	if !slices.Equal(records[0], names) {
		t.Errorf("the head line is %v", records[0])
	}
	for i, record := range records[1:] {
		if want := fmt.Sprintf("A%03d", len(tickets)-i); record[2] != want {
			t.Fatalf("record %d is of %s, want %s", i, record[2], want)
		}
	}
	last := records[len(records)-1]
	want := []string{
		"00000000-0000-7000-8000-000000000001", "a", "A001", "completed", "", "0", "'-2+3", `{"name":"=Ada, \"A\"","phone":"+49","email":null,"ref":null}`, "-5",
		"rest", "00000000-0000-7000-8000-000000000001", "ann", "'=1+1", "1", "2026-11-03T08:59:57.001Z", "2026-11-03T08:59:58.001Z",
		"2026-11-03T08:59:59.001Z", "2026-11-03T09:00:00.001Z", "", "", "'@x, \"quoted\"\nline", "'+49", // the reader makes LF of CRLF
	}
	if !slices.Equal(last, want) {
		t.Errorf("the last record is\n%q, want\n%q", last, want)
	}
	for query, want := range map[string]int{"limit=10": 10, "limit=300": 300, "limit=1000": len(tickets), "outcome=nothing": 0, "outcome=%2B49": 1} {
		r := e.ok(call{method: "GET", path: "/history?" + query, header: acceptCSV})
		if records, err := csv.NewReader(bytes.NewReader(r.body)).ReadAll(); err != nil || len(records) != want+1 {
			t.Errorf("%s: %d records, %v", query, len(records), err)
		}
	}
	for query, want := range map[string]string{"format=csv": "text/csv", "format=json": "application/json"} {
		for _, accept := range []string{"*/*", "application/json", "text/csv"} {
			r := e.do(call{method: "GET", path: "/history?limit=1&" + query, header: http.Header{"Accept": {accept}}})
			if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), want) {
				t.Errorf("%s with %s: %d, %s", query, accept, r.status, r.header.Get("Content-Type"))
			}
		}
	}
	_, next := e.get("/history?limit=500").pastNumbers()
	r = e.ok(call{method: "GET", path: "/history?after=" + next, header: acceptCSV})
	if n := bytes.Count(r.body, []byte("\r\nA")) + bytes.Count(r.body, []byte(",A0")); n != len(tickets)-500 {
		t.Errorf("%d rows after the first 500", n)
	}
}

func TestWhoWantsCSV(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "text/csv": true, "Text/CSV; charset=utf-8": true, "text/csv, */*": true,
		"*/*, text/csv;q=0.5": false, "application/json;q=0.5, text/csv": true, "application/json, text/csv": false, "text/csv, application/json": true,
		"text/csv;q=0": false, "text/html,*/*;q=0.8": false, "text/csv;q=x": true, "/;,": false, "application/xml, text/csv;q=0.1": true,
	} {
		if got := wantsCSV([]string{accept}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

// endless is a history without an end, until it fails.
type endless struct {
	pages  *atomic.Int64
	failAt int64 // 0: never
}

func (h endless) ListHistory(_ context.Context, _ HistoryFilter, _ *HistoryPlace, limit int) ([]HistoryRow, *HistoryPlace, error) {
	if n := h.pages.Add(1); n == h.failAt {
		return nil, nil, errAway
	}
	rows := make([]HistoryRow, limit)
	for i := range rows {
		rows[i] = HistoryRow{"a", actors.TicketToMessage(past(i))}
	}
	return rows, &HistoryPlace{}, nil
}

func (endless) KnowsQueue(context.Context, string) (bool, error) { return true, nil }

// An export whose client goes away, or does not read, reads no more either.
func TestExportStopsWithItsClient(t *testing.T) {
	t.Parallel()
	pages := &atomic.Int64{}
	e := start(t, func(o *Options) { o.History = endless{pages: pages} })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	response, err := e.client.Do(e.request(call{method: "GET", path: "/history", header: acceptCSV}).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.CopyN(io.Discard, response.Body, 5<<20); err != nil {
		t.Fatal(err)
	}
	still(t, "a client does not read", pages)
	read := pages.Load()
	// More than the buffers of both sides hold.
	if _, err := io.CopyN(io.Discard, response.Body, 48<<20); err != nil || pages.Load() == read {
		t.Fatalf("the export does not go on: %v", err)
	}
	cancel()
	still(t, "the client has gone", pages)
}

// still waits until a count stands still.
func still(t *testing.T, when string, count *atomic.Int64) {
	t.Helper()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	last := int64(-1)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		if n := count.Load(); n == last {
			return
		}
		last = count.Load()
	}
	t.Fatalf("pages are read on and on although %s", when)
}

// An export that cannot be read to its end does not look whole.
func TestExportThatIsCutShort(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.History = endless{pages: &atomic.Int64{}, failAt: 4} })
	response, err := e.client.Do(e.request(call{method: "GET", path: "/history", header: acceptCSV}))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if response.StatusCode != 200 || !errors.Is(err, io.ErrUnexpectedEOF) || n == 0 {
		t.Errorf("%d, %d bytes, %v", response.StatusCode, n, err)
	}
}

func TestHistoryAway(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *Options) { o.History = endless{pages: &atomic.Int64{}, failAt: 1} })
	e.queue("a")
	if r := e.get("/history").want(503, "unavailable"); r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if err := e.dir.Close(); err != nil {
		t.Fatal(err)
	}
	e.gateway.options.History = historyOf{e.dir}
	for _, query := range []string{"", "?queue=a"} {
		for _, accept := range []http.Header{nil, acceptCSV} {
			if r := e.do(call{method: "GET", path: "/history" + query, header: accept}).want(503, "unavailable"); r.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	e.do(call{as: "attendant", method: "GET", path: "/history?queue=a"}).want(403, "forbidden")
	e.do(call{method: "GET", path: "/history?limit=0"}).want(422, "invalid")
}
