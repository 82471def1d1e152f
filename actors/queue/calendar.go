package queue

import "time"

// Bucket is a length of time by the clock of a queue's timezone, by which
// statistics are grouped.
type Bucket uint8

// The buckets. A week begins on Monday.
const (
	ByHour Bucket = iota + 1
	ByDay
	ByWeek
)

var bucketNames = [...]string{"", "hour", "day", "week"}

// String gives the bucket's name in the contract.
func (b Bucket) String() string { return bucketNames[b] }

// ParseBucket is the inverse of String; false for an unknown name.
func ParseBucket(name string) (Bucket, bool) {
	for i, n := range bucketNames {
		if i > 0 && n == name {
			return Bucket(i), true
		}
	}
	return 0, false
}

// Calendar tells hours, days and weeks of one timezone.
type Calendar struct{ loc *time.Location }

// CalendarOf gives the calendar of a timezone, that of UTC where this program
// does not know it, as for service days.
func CalendarOf(timezone string) Calendar { return Calendar{location(timezone)} }

// Day gives the beginning of the day that t falls on, and of the one after it.
func (c Calendar) Day(t Time) (begins, ends Time) {
	y, m, d := c.date(t)
	return c.midnight(y, m, d), c.next(ByDay, t)
}

// Edges cuts the time from one moment to a later one wherever a bucket begins.
// It gives the cuts and both ends in order, or false where there would be more
// than a number of buckets.
//
// A day has 23 or 25 hours where the clock is changed. Hours are an hour apart,
// also those that the clock shows twice; but where it is changed by half an
// hour (Australia/Lord_Howe), one has 30 minutes and the next one begins with
// the clock's hour again.
func (c Calendar) Edges(b Bucket, from, to Time, most int) ([]Time, bool) {
	edges := []Time{from}
	for at := from; at < to; {
		if len(edges) > most {
			return nil, false
		}
		at = min(c.next(b, at), to)
		edges = append(edges, at)
	}
	return edges, true
}

// next is when the bucket of t ends.
func (c Calendar) next(b Bucket, t Time) Time {
	if b == ByHour {
		_, offset := t.in(c.loc).Zone()
		past := (t + Time(offset)*1000) % Hour
		if past < 0 {
			past += Hour
		}
		return t + Hour - past
	}
	y, m, d := c.date(t)
	days := 1
	if b == ByWeek {
		days = 7 - (int(t.in(c.loc).Weekday())+6)%7
	}
	for ; ; days++ {
		// A clock that was put back over midnight has had that midnight already.
		if next := c.midnight(y, m, d+days); next > t {
			return next
		}
	}
}

func (c Calendar) date(t Time) (year, month, day int) {
	y, m, d := t.in(c.loc).Date()
	return y, int(m), d
}

// midnight is the first moment at which the clock shows a date or a later one:
// some days begin at 01:00, and Samoa had no 30 December 2011.
func (c Calendar) midnight(year, month, day int) Time {
	shown := Time(time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).UnixMilli())
	const farthest = 26 * Hour // no clock is that far from UTC
	for at := shown - farthest; ; {
		local := at.in(c.loc)
		_, offset := local.Zone()
		begins, until := local.ZoneBounds()
		midnight, ends := shown-Time(offset)*1000, Time(until.UnixMilli())
		if !begins.IsZero() {
			midnight = max(midnight, Time(begins.UnixMilli()))
		}
		if until.IsZero() || ends <= at {
			// The offset stays. (Go 1.26 says of the last day of some leap
			// years that it ended when it began; no clock changes then.)
			ends = at + Day
		}
		if midnight < ends {
			return midnight
		}
		at = ends
	}
}

func (t Time) in(loc *time.Location) time.Time { return time.UnixMilli(int64(t)).In(loc) }
