package gateway

import (
	"fmt"
	"slices"
	"strings"

	"nowserving/actors/queue"
)

// ClaimMap says what a claim of an OpenID provider's makes of a user.
type ClaimMap struct {
	claim string
	rules []claimRule // the first one whose value the claim has
}

type claimRule struct {
	value  string
	level  Level
	queues []string
}

// ParseClaimMap reads "groups; it = admin; leads = supervisor *; desk = attendant
// passports visas": a claim, and for values of it a level and queues.
func ParseClaimMap(text string) (ClaimMap, error) {
	parts := strings.Split(text, ";")
	m := ClaimMap{claim: strings.TrimSpace(parts[0])}
	if m.claim == "" || strings.Contains(m.claim, "=") || len(parts) < 2 {
		return ClaimMap{}, fmt.Errorf("it is not of the form claim; value = level queue …")
	}
	for _, part := range parts[1:] {
		at := strings.LastIndex(part, "=")
		if at < 0 || strings.TrimSpace(part[:at]) == "" || strings.TrimSpace(part[at+1:]) == "" {
			return ClaimMap{}, fmt.Errorf("%q is not of the form value = level queue …", part)
		}
		fields := strings.Fields(part[at+1:])
		r := claimRule{value: strings.TrimSpace(part[:at]), level: Level(fields[0]), queues: fields[1:]}
		if !slices.Contains(mayDo[ReadQueue], r.level) {
			return ClaimMap{}, fmt.Errorf("%q is none of admin, supervisor, attendant, integration and viewer", fields[0])
		}
		for _, id := range r.queues {
			if id != "*" && !queue.ID(id).Valid() {
				return ClaimMap{}, fmt.Errorf("%q is not a queue's id", id)
			}
		}
		if r.level == Admin {
			r.queues = []string{"*"}
		}
		m.rules = append(m.rules, r)
	}
	return m, nil
}

// find gives the level and queues of somebody with these claims; no level where
// none of the values is there.
func (m ClaimMap) find(claims map[string]any) (Level, []string) {
	var values []string
	switch v := claims[m.claim].(type) {
	case string:
		values = []string{v}
	case []any:
		for _, one := range v {
			if s, ok := one.(string); ok {
				values = append(values, s)
			}
		}
	}
	for _, r := range m.rules {
		if slices.Contains(values, r.value) {
			return r.level, r.queues
		}
	}
	return "", nil
}
