package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"nowserving/actors/queue"
	"nowserving/persistence/directory"
)

// stored is the directory itself.
type stored struct{ d *directory.Directory }

// list writes a place as its time and id.
func (s stored) list(ctx context.Context, f directory.HistoryFilter, after string) (string, error) {
	var place *directory.HistoryPlace
	if after != "" {
		at, id, _ := strings.Cut(after, " ")
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return "", err
		}
		place = &directory.HistoryPlace{FinishedAt: queue.Time(ms)}
		if _, err := hex.Decode(place.ID[:], []byte(id)); err != nil {
			return "", err
		}
	}
	_, next, err := s.d.ListHistory(ctx, f, place, page)
	if err != nil || next == nil {
		return "", err
	}
	return fmt.Sprintf("%d %x", next.FinishedAt, next.ID[:]), nil
}

func (s stored) count(ctx context.Context, l *line, bucket queue.Bucket, from, to queue.Time) error {
	cuts, ok := queue.CalendarOf(l.timezone).Edges(bucket, from, to, 1000)
	if !ok {
		return errors.New("too many buckets")
	}
	edges := make([]time.Time, len(cuts))
	for i, cut := range cuts {
		edges[i] = time.UnixMilli(int64(cut))
	}
	_, total, err := s.d.Statistics(ctx, directory.StatisticsQuery{Queue: l.id, Edges: edges, Target: 900})
	if err == nil && to-from >= 30*queue.Day && total.Served == 0 {
		err = fmt.Errorf("nothing happened in %s", l.id)
	}
	return err
}

// node is a running node over that directory.
type node struct {
	url, token string
	http       http.Client
}

func openNode(ctx context.Context, c config) (*node, error) {
	n := &node{url: c.url + "/api/v1", http: http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: c.callers}}}
	body, err := json.Marshal(map[string]string{"email": c.email, "password": c.password})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := n.call(ctx, "POST", "/auth/login", body, &answer); err != nil {
		return nil, err
	}
	n.token = answer.Token
	return n, nil
}

// prepare makes the queues: a node knows the timezone of none that it never had.
func (n *node) prepare(ctx context.Context, p *past) error {
	for _, l := range p.queues {
		body := fmt.Appendf(nil, `{"id":%q,"timezone":%q,"target_wait_seconds":900}`, l.id, l.timezone)
		if err := n.call(ctx, "POST", "/queues", body, nil); err != nil && !strings.HasPrefix(err.Error(), "409 ") {
			return err
		}
	}
	return nil
}

func (n *node) list(ctx context.Context, f directory.HistoryFilter, after string) (string, error) {
	values := url.Values{}
	set := func(name, value string) {
		if value != "" {
			values.Set(name, value)
		}
	}
	if len(f.Queues) > 0 {
		set("queue", f.Queues[0])
	}
	set("attendant", f.Attendant)
	set("outcome", f.Outcome)
	set("from", shown(f.From))
	set("to", shown(f.To))
	set("after", after)
	var answer struct{ Next string }
	err := n.call(ctx, "GET", "/history?"+values.Encode(), nil, &answer)
	return answer.Next, err
}

func (n *node) count(ctx context.Context, l *line, bucket queue.Bucket, from, to queue.Time) error {
	values := url.Values{"from": {shown(from)}, "to": {shown(to)}, "bucket": {bucket.String()}}
	return n.call(ctx, "GET", "/queues/"+l.id+"/statistics?"+values.Encode(), nil, nil)
}

func shown(at queue.Time) string {
	if at == 0 {
		return ""
	}
	return time.UnixMilli(int64(at)).UTC().Format(time.RFC3339Nano)
}

func (n *node) call(ctx context.Context, method, path string, body []byte, answer any) error {
	r, err := http.NewRequestWithContext(ctx, method, n.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if n.token != "" {
		r.Header.Set("Authorization", "Bearer "+n.token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := n.http.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode >= 300:
		return fmt.Errorf("%s %s: %.300s", response.Status, path, text)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(text, answer)
}
