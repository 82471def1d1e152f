package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"time"
)

// proveStatistics holds the statistics of a queue, whose history is as it must
// be, against what its tickets themselves say: in all, and cut right where one
// of them finished.
func (s *servers) proveStatistics(id string, finished map[string]map[string]any, arrivals []map[string]any) {
	s.t.Helper()
	const target = 1
	s.admin.must(s.t, s.url(), "PATCH", "/queues/"+id, fmt.Sprintf(`{"target_wait_seconds":%d}`, target))
	ends := slices.Sorted(maps.Keys(countedBy(finished)))
	begin, middle, end := arrivals[0]["enqueued_at"].(string), ends[len(ends)/2], "2100-01-01T00:00:00.000Z"
	for _, span := range [][2]string{{begin, end}, {begin, middle}, {middle, end}} {
		values := url.Values{"from": span[:1], "to": span[1:], "bucket": {"week"}}
		if span[1] == end { // up to the end of today
			values.Del("to")
		}
		var got struct{ Total map[string]any }
		a := s.admin.must(s.t, s.url(), "GET", "/queues/"+id+"/statistics?"+values.Encode(), "")
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			s.t.Fatal(err)
		}
		delete(got.Total, "from")
		if want := naiveStatistics(finished, arrivals, span[0], span[1], target); !reflect.DeepEqual(got.Total, want) {
			s.t.Errorf("%s from %s to %s:\n got %v\nwant %v", id, span[0], span[1], got.Total, want)
		}
	}
}

func countedBy(finished map[string]map[string]any) map[string]bool {
	ends := make(map[string]bool)
	for _, ticket := range finished {
		ends[ticket["finished_at"].(string)] = true
	}
	return ends
}

// naiveStatistics is what the contract says that they are. Times compare as
// they are written.
func naiveStatistics(finished map[string]map[string]any, arrivals []map[string]any, from, to string, target float64) map[string]any {
	counts := map[any]float64{}
	var waits, handles []float64
	for _, ticket := range arrivals {
		if at := ticket["enqueued_at"].(string); from <= at && at < to {
			counts["arrived"]++
		}
	}
	for _, ticket := range finished {
		if at := ticket["finished_at"].(string); at < from || to <= at {
			continue
		}
		counts[ticket["state"]]++
		waits = appendSeconds(waits, ticket, "enqueued_at", "called_at")
		handles = appendSeconds(handles, ticket, "started_at", "finished_at")
	}
	var share any
	if len(waits) > 0 {
		within := 0.0
		for _, wait := range waits {
			if wait <= target {
				within++
			}
		}
		share = within / float64(len(waits))
	}
	return map[string]any{
		"arrivals": counts["arrived"], "served": counts["completed"], "no_shows": counts["no_show"], "removed": counts["removed"],
		"wait": naiveDurations(waits), "handle": naiveDurations(handles), "within_target": share,
	}
}

func appendSeconds(all []float64, ticket map[string]any, from, to string) []float64 {
	begin, began := ticket[from].(string)
	end, ended := ticket[to].(string)
	if !began || !ended {
		return all
	}
	first, _ := time.Parse(time.RFC3339, begin)
	last, _ := time.Parse(time.RFC3339, end)
	return append(all, float64(last.Sub(first)/time.Second))
}

func naiveDurations(all []float64) map[string]any {
	if len(all) == 0 {
		return map[string]any{"mean": nil, "p50": nil, "p90": nil, "p99": nil}
	}
	slices.Sort(all)
	sum := 0.0
	for _, seconds := range all {
		sum += seconds
	}
	rank := func(percent int) any { return all[(percent*len(all)+99)/100-1] }
	mean := float64(int(sum/float64(len(all)) + 0.5))
	return map[string]any{"mean": mean, "p50": rank(50), "p90": rank(90), "p99": rank(99)}
}
