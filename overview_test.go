package main

import (
	"strings"
	"testing"
	"time"

	"nowserving/messages"
	"nowserving/persistence/directory"
)

// The overview follows what is done in a queue, and a queue that a version before
// this one has listed is described at the start.
func TestOverviewFollows(t *testing.T) {
	dir := t.TempDir()
	node := startNode(t, dir)
	url := node.url
	c := admin(t, url)
	zone := "UTC"
	if time.Now().UTC().Hour() == 23 { // today must not end meanwhile
		zone = "Etc/GMT+12"
	}
	c.must(t, url, "POST", "/queues", `{"id":"a","target_wait_seconds":3600,"max_active":9,"timezone":"`+zone+`"}`)
	since := c.must(t, url, "POST", "/queues/a/tickets", "").str(t, "enqueued_at")
	for range 4 { // each goes before that one
		c.must(t, url, "POST", "/queues/a/tickets", `{"priority":5}`)
	}
	called := make([]string, 4)
	for i := range called {
		called[i] = c.must(t, url, "POST", "/queues/a/call-next", "").str(t, "id")
	}
	for i, verb := range []string{"start", "hold", "complete"} {
		c.must(t, url, "POST", "/queues/a/tickets/"+called[i]+"/"+verb, "")
	}
	want := `{"id":"a","name":"a","status":"open","target_wait_seconds":3600,"waiting_since":"` + since +
		`","waiting":1,"called":1,"serving":1,"held":1,"attendants":1,"served_today":1,"within_target_today":1}`
	shows := func() bool {
		a, err := c.call(url, "GET", "/overview", "", "")
		return err == nil && strings.Contains(a.body, want)
	}
	eventually(t, "the overview shows what was done", shows)
	if code, _ := node.stop(); code != 0 {
		t.Fatal(code)
	}

	d, err := directory.Open(t.Context(), directory.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	row, err := d.GetQueue(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	row.Line = new(directory.QueueLine) // as the migration leaves it
	if err := d.PutQueue(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	node = startNode(t, dir)
	url = node.url
	c = admin(t, url)
	eventually(t, "the queue was described at the start", shows)
	c.must(t, url, "POST", "/queues/a/tickets/"+called[0]+"/complete", "")
	want = strings.NewReplacer(`"serving":1`, `"serving":0`, `"served_today":1`, `"served_today":2`).Replace(want)
	began := time.Now()
	eventually(t, "the overview follows", shows)
	t.Log("it followed after", time.Since(began))
}

// What an older node tells of a queue is not taken for an empty line.
func TestLineOfOlderNode(t *testing.T) {
	for want, views := range map[bool][]*messages.View{
		true: {
			{Version: 9}, {Version: 9, Waiting: 1, WaitingSince: 5}, {Version: 9, Active: 3, Called: 1, Serving: 2},
			{Version: 9, Problem: &messages.Problem{Code: "queue_not_found"}},
		},
		false: {{Version: 9, Waiting: 1}, {Version: 9, Active: 3}, {Version: 9, Waiting: 1, WaitingSince: 5, Active: 1}},
	} {
		for _, v := range views {
			if row := rowOf("a", v); (row.Line != nil) != want || row.Version != 9 {
				t.Errorf("%v gives %+v", v, row)
			}
		}
	}
}
