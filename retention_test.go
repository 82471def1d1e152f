package main

import (
	"strings"
	"testing"
	"time"

	"nowserving/persistence/directory"
)

// What has reached its age is gone from the history, and cannot be opened any
// more wherever else it stands; who waits for longer keeps what is known of them.
func TestRetention(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startNode(t, dir)
	c := admin(t, p.url)
	c.must(t, p.url, "POST", "/queues", `{"id":"short","retention_days":2}`)
	c.must(t, p.url, "POST", "/queues", `{"id":"long","retention_days":9}`)
	c.must(t, p.url, "POST", "/queues", `{"id":"busy","retention_days":2}`)
	const ada = `{"customer":{"name":"Ada Marsh"},"payload":{"wish":"a quiet room"}}`
	done := map[string]string{}
	c.must(t, p.url, "POST", "/queues", `{"id":"gone","retention_days":2}`)
	for _, queue := range []string{"short", "long", "busy", "gone"} {
		done[queue] = c.must(t, p.url, "POST", "/queues/"+queue+"/tickets", ada).str(t, "id")
		c.must(t, p.url, "DELETE", "/queues/"+queue+"/tickets/"+done[queue], "")
	}
	c.must(t, p.url, "DELETE", "/queues/gone", "")
	waits := "/queues/busy/tickets/" + c.must(t, p.url, "POST", "/queues/busy/tickets", ada).str(t, "id")
	known := func(queue string) bool {
		return strings.Contains(c.must(t, p.url, "GET", "/history/"+done[queue], "").body, "Ada Marsh")
	}
	eventually(t, "the history has them", func() bool {
		return strings.Count(c.must(t, p.url, "GET", "/history", "").body, "Ada Marsh") == 4
	})
	p.stop()
	d, err := directory.Open(t.Context(), directory.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.AddRefresh(t.Context(), directory.RefreshToken{Family: "ended", UserID: "nobody", ExpiresAt: time.Now()}); err != nil {
		t.Fatal(err)
	}

	p = startNodeWith(t, []string{testClock + "=96h"}, dir)
	c = admin(t, p.url)
	eventually(t, "three queues have let go", func() bool {
		return strings.Count(c.must(t, p.url, "GET", "/audit?action=retention.applied", "").body, "retention.applied") == 3
	})
	if left, err := d.SweepRefresh(t.Context(), time.Now()); left != 0 || err != nil {
		t.Errorf("%d ended logins are left, %v", left, err)
	}
	if known("short") || known("busy") || !known("long") || known("gone") {
		t.Errorf("known are short %v, busy %v, long %v, gone %v", known("short"), known("busy"), known("long"), known("gone"))
	}
	// In the queue itself, which nothing has happened in, it stands and does not open.
	if got := c.must(t, p.url, "GET", "/queues/short/tickets/"+done["short"], "").body; strings.Contains(got, "Ada") || !strings.Contains(got, `"customer":null`) {
		t.Errorf("the queue gives %s", got)
	}
	if got := c.must(t, p.url, "GET", waits, "").body; !strings.Contains(got, "Ada Marsh") {
		t.Errorf("who waits is %s", got)
	}
	if got := c.must(t, p.url, "GET", "/queues/short", "").fields(t)["retention_days"]; got != 2.0 {
		t.Errorf("retention_days is %v", got)
	}
}
