package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Edges as the clock of the zone shows them.
func TestCalendarEdges(t *testing.T) {
	for _, c := range []struct {
		zone, from, to string
		bucket         Bucket
		want           string
	}{
		{"UTC", "2026-03-01T10:20:00Z", "2026-03-01T12:10:00Z", ByHour, "01T10:20+00 01T11:00+00 01T12:00+00 01T12:10+00"},
		{"Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z", ByHour, "29T01:00+01 29T03:00+02 29T04:00+02"},
		{"Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z", ByHour, "25T02:00+02 25T02:00+01 25T03:00+01"},
		{"Asia/Kathmandu", "2026-03-01T10:15:00Z", "2026-03-01T11:16:00Z", ByHour, "01T16:00+0545 01T17:00+0545 01T17:01+0545"},
		{"Australia/Lord_Howe", "2026-04-04T14:00:00Z", "2026-04-04T16:30:00Z", ByHour, "05T01:00+11 05T01:30+1030 05T02:00+1030 05T03:00+1030"},
		{"Australia/Lord_Howe", "2026-10-03T14:30:00Z", "2026-10-03T17:00:00Z", ByHour, "04T01:00+1030 04T02:30+11 04T03:00+11 04T04:00+11"},
		{"Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-30T22:00:00Z", ByDay, "29T00:00+01 30T00:00+02 31T00:00+02"},
		{"America/St_Johns", "2026-11-01T02:30:00Z", "2026-11-02T03:30:00Z", ByDay, "01T00:00-0230 02T00:00-0330"},
		{"Pacific/Apia", "2011-12-29T10:00:00Z", "2011-12-31T10:00:00Z", ByDay, "29T00:00-10 31T00:00+14 01T00:00+14"},
		{"America/Santiago", "2026-09-05T12:00:00Z", "2026-09-07T12:00:00Z", ByDay, "05T08:00-04 06T01:00-03 07T00:00-03 07T09:00-03"},
		{"Asia/Kathmandu", "2026-03-01T18:14:00Z", "2026-03-15T18:14:00Z", ByWeek, "01T23:59+0545 02T00:00+0545 09T00:00+0545 15T23:59+0545"},
		{"Nowhere/Lost", "2026-03-01T23:00:00Z", "2026-03-02T01:00:00Z", ByDay, "01T23:00+00 02T00:00+00 02T01:00+00"},
	} {
		edges, ok := CalendarOf(c.zone).Edges(c.bucket, parseMoment(t, c.from), parseMoment(t, c.to), 10)
		shown := make([]string, len(edges))
		for i, edge := range edges {
			text := edge.in(location(c.zone)).Format("02T15:04-0700")
			shown[i] = strings.TrimSuffix(text, "00") // of the offset
		}
		if got := strings.Join(shown, " "); !ok || got != c.want {
			t.Errorf("%s by %s:\n got %s\nwant %s", c.zone, c.bucket, got, c.want)
		}
	}
}

func parseMoment(t *testing.T, text string) Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return Time(at.UnixMilli())
}

// Every zone's days over two centuries follow each other without a gap.
func TestCalendarDays(t *testing.T) {
	zones := []string{"UTC", "Europe/London", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Monrovia",
		"America/Santiago", "Asia/Manila", "Pacific/Kwajalein", "America/Havana", "Asia/Kathmandu", "Asia/Pyongyang"}
	for _, zone := range zones {
		calendar, last := CalendarOf(zone), parseMoment(t, "2060-01-01T00:00:00Z")
		for at := parseMoment(t, "1890-01-01T00:00:00Z"); at < last; {
			begins, ends := calendar.Day(at)
			if begins > at || ends <= at || ends-at > 49*Hour {
				t.Fatalf("%s: the day of %s begins %s and ends %s", zone, at.in(time.UTC), begins.in(time.UTC), ends.in(time.UTC))
			}
			if _, again := calendar.Day(ends - 1); again != ends {
				t.Fatalf("%s: the day before %s ends %s", zone, ends.in(time.UTC), again.in(time.UTC))
			}
			at = ends
		}
	}
}

func TestCalendarBounds(t *testing.T) {
	from := parseMoment(t, "2026-01-01T00:00:00Z")
	for _, c := range []struct {
		to   Time
		most int
		ok   bool
	}{{from + 24*Hour, 24, true}, {from + 24*Hour + 1, 24, false}, {from + 1e6*Hour, 1000, false}, {from + 1, 1, true}} {
		edges, ok := CalendarOf("UTC").Edges(ByHour, from, c.to, c.most)
		if ok != c.ok || ok && (edges[0] != from || edges[len(edges)-1] != c.to || !slices.IsSorted(edges)) {
			t.Errorf("%d hours, at most %d: %v %v", (c.to-from)/Hour, c.most, ok, edges)
		}
	}
	for b := ByHour; b <= ByWeek; b++ {
		if parsed, ok := ParseBucket(b.String()); !ok || parsed != b {
			t.Error(b)
		}
	}
	if b, ok := ParseBucket(""); ok {
		t.Error(fmt.Sprint(b))
	}
}
