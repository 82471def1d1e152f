package queue

import (
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"
)

// ID names a queue.
type ID string

var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Valid tells whether the id has the contract's form.
func (id ID) Valid() bool { return idPattern.MatchString(string(id)) }

// Status is what a queue does with newcomers and callers.
type Status uint8

// A queue's status.
const (
	Open   Status = iota + 1
	Paused        // tickets may join, none is called
	Closed        // none may join; those in line may still be called
)

var statusNames = [...]string{"", "open", "paused", "closed"}

// String gives the status' name in the contract.
func (s Status) String() string { return statusNames[s] }

// ParseStatus is the inverse of String; false for an unknown name.
func ParseStatus(name string) (Status, bool) {
	for i, n := range statusNames {
		if i > 0 && n == name {
			return Status(i), true
		}
	}
	return 0, false
}

// Config is what an administrator sets of a queue. A Config is never changed
// once it stands in a state.
type Config struct {
	Name              string
	Prefix            string
	Capacity          uint32 // waiting tickets at most; 0 is no bound
	Public            bool
	TargetWaitSeconds uint32 // 0 is no target
	MaxActive         uint32
	Timezone          string // IANA name
	Services          []string
	// RetentionDays is for how long personal data of finished tickets is kept; 0
	// is for good.
	RetentionDays uint32
}

// Field is a set of Config fields, for a partial change.
type Field uint16

// The fields of a Config.
const (
	FieldName Field = 1 << iota
	FieldPrefix
	FieldCapacity
	FieldPublic
	FieldTargetWait
	FieldMaxActive
	FieldTimezone
	FieldServices
	FieldRetention
)

// Bounds of the contract, and where it is silent, ours.
const (
	MaxNameLength    = 200
	MaxPrefixLength  = 4
	MaxCapacity      = 10_000_000
	MaxMaxActive     = 1_000
	MaxTargetWait    = 86_400
	MaxServices      = 100
	MaxServiceLength = 100
	MaxDeskLength    = 50
	MaxReasonLength  = 500
	MaxOutcomeLength = 100
	MaxPriority      = 9
	MaxRetention     = 3_650
)

// Defaults fills in what the contract says of fields that were left out.
// The prefix is not among them: it depends on the other queues.
func (c Config) Defaults(id ID) Config {
	if c.Name == "" {
		c.Name = string(id)
	}
	if c.MaxActive == 0 {
		c.MaxActive = 1
	}
	if c.Timezone == "" {
		c.Timezone = "UTC"
	}
	return c
}

// with gives the config with the named fields taken from other.
func (c Config) with(fields Field, other Config) Config {
	set := func(f Field) bool { return fields&f != 0 }
	if set(FieldName) {
		c.Name = other.Name
	}
	if set(FieldPrefix) {
		c.Prefix = other.Prefix
	}
	if set(FieldCapacity) {
		c.Capacity = other.Capacity
	}
	if set(FieldPublic) {
		c.Public = other.Public
	}
	if set(FieldTargetWait) {
		c.TargetWaitSeconds = other.TargetWaitSeconds
	}
	if set(FieldMaxActive) {
		c.MaxActive = other.MaxActive
	}
	if set(FieldTimezone) {
		c.Timezone = other.Timezone
	}
	if set(FieldServices) {
		c.Services = other.Services
	}
	if set(FieldRetention) {
		c.RetentionDays = other.RetentionDays
	}
	return c
}

// validate holds the config against the bounds and names every field that is out of them.
func (c *Config) validate() error {
	var v validation
	v.text("name", c.Name, 1, MaxNameLength)
	if len(c.Prefix) > MaxPrefixLength || !alphanumeric(c.Prefix) {
		v.add("prefix", "must be at most 4 letters or digits")
	}
	if c.Capacity > MaxCapacity {
		v.add("capacity", "must be 1 to 10000000, or null for none")
	}
	if c.TargetWaitSeconds > MaxTargetWait {
		v.add("target_wait_seconds", "must be 1 to 86400, or null for none")
	}
	if c.RetentionDays > MaxRetention {
		v.add("retention_days", "must be 1 to 3650, or null for good")
	}
	if c.MaxActive < 1 || c.MaxActive > MaxMaxActive {
		v.add("max_active", "must be 1 to 1000")
	}
	// "Local" would take the zone of whichever machine the queue runs on.
	if _, err := time.LoadLocation(c.Timezone); err != nil || c.Timezone == "" || c.Timezone == "Local" {
		v.add("timezone", "must be an IANA time zone such as Europe/Berlin")
	}
	if len(c.Services) > MaxServices {
		v.add("services", "must be at most 100 services")
	}
	seen := make(map[string]bool, len(c.Services))
	for i, s := range c.Services {
		field := fmt.Sprintf("services[%d]", i)
		v.text(field, s, 1, MaxServiceLength)
		if seen[s] {
			v.add(field, "is in the list twice")
		}
		seen[s] = true
	}
	return v.err()
}

func alphanumeric(s string) bool {
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return true
}

// validation gathers what is wrong with a command's fields.
type validation struct{ fields []FieldError }

func (v *validation) add(field, message string) {
	v.fields = append(v.fields, FieldError{field, message})
}

// text holds s to a length in characters, and to valid UTF-8 without control characters.
func (v *validation) text(field, s string, min, max int) {
	switch n := utf8.RuneCountInString(s); {
	case !utf8.ValidString(s):
		v.add(field, "must be valid UTF-8")
	case n < min && min == 1:
		v.add(field, "must not be empty")
	case n < min || n > max:
		v.add(field, fmt.Sprintf("must be at most %d characters", max))
	default:
		for _, r := range s {
			if r < ' ' || r == 0x7f {
				v.add(field, "must not hold control characters")
				return
			}
		}
	}
}

func (v *validation) err() error {
	if len(v.fields) == 0 {
		return nil
	}
	return &Error{Code: Invalid, Detail: "Some fields are not as they must be.", Fields: v.fields}
}

// serviceDay is the day, as yyyymmdd, that t falls on in the named timezone.
// The zone's name has been validated; should the machine have lost it since, UTC serves.
func serviceDay(t Time, loc *time.Location) int32 {
	y, m, d := time.UnixMilli(int64(t)).In(loc).Date()
	return int32(y*10000 + int(m)*100 + d)
}

func location(name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	return loc
}
