package cluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/members.lua
var membersLua string

// leases is the membership as Redis has it. Whether a lease has ended is told
// by Redis's clock, so that the members' clocks need not agree.
type leases struct {
	rdb    *redis.Client
	script *redis.Script
	key    string
}

// errNoMember: that life is not a member, or not any more.
var errNoMember = errors.New("cluster: no such member")

func newLeases(redisURL, name string) (*leases, error) {
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		return nil, errors.New("cluster: it is not a redis://, rediss:// or unix:// URL")
	}
	// A command that is repeated by itself might renew a lease much later than
	// its caller believes.
	o.MaxRetries = -1
	o.PoolSize, o.MinIdleConns = 4, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = leaseCallWithin, leaseCallWithin, leaseCallWithin
	o.ContextTimeoutEnabled = true
	return &leases{rdb: redis.NewClient(o), script: redis.NewScript(membersLua), key: name + ":members"}, nil
}

func (l *leases) close() error { return l.rdb.Close() }

func (l *leases) join(ctx context.Context, m Member) (*View, error) { return l.put(ctx, "join", m) }

// renew is errNoMember where the lease has ended or was taken away.
func (l *leases) renew(ctx context.Context, m Member) (*View, error) { return l.put(ctx, "renew", m) }

func (l *leases) put(ctx context.Context, what string, m Member) (*View, error) {
	leaving := 0
	if m.Leaving {
		leaving = 1
	}
	return l.run(ctx, what, m, leaving, leaseTime.Milliseconds(), strings.Join(m.Roles, ","))
}

func (l *leases) leave(ctx context.Context, m Member) error {
	_, err := l.run(ctx, "leave", m)
	return err
}

// evict takes the lease from a member that has not renewed it for that long;
// errNoMember where it has, or is gone already.
func (l *leases) evict(ctx context.Context, m Member, silent time.Duration) (*View, error) {
	return l.run(ctx, "evict", m, silent.Milliseconds())
}

func (l *leases) view(ctx context.Context) (*View, error) { return l.run(ctx, "view", Member{}) }

// run gives the view even with errNoMember.
func (l *leases) run(ctx context.Context, what string, m Member, args ...any) (*View, error) {
	answer, err := l.script.Run(ctx, l.rdb, []string{l.key}, append([]any{what, m.Addr, m.Life}, args...)...).Slice()
	if err != nil {
		return nil, fmt.Errorf("cluster: membership: %w", err)
	}
	v, err := viewOf(answer)
	if err != nil {
		return nil, err
	}
	if done, _ := answer[0].(int64); done == 0 {
		return v, errNoMember
	}
	return v, nil
}

var errMembershipAnswer = errors.New("cluster: membership: an answer that cannot be understood")

func viewOf(answer []any) (*View, error) {
	const perMember = 4
	if len(answer) < 2 || (len(answer)-2)%perMember != 0 {
		return nil, errMembershipAnswer
	}
	text := make([]string, len(answer))
	for i, a := range answer[1:] {
		s, ok := a.(string)
		if !ok {
			return nil, errMembershipAnswer
		}
		text[i+1] = s
	}
	number, err := strconv.ParseUint(text[1], 10, 64)
	if err != nil {
		return nil, errMembershipAnswer
	}
	var members []Member
	for rest := text[2:]; len(rest) > 0; rest = rest[perMember:] {
		members = append(members, Member{
			Addr: rest[0], Life: rest[1], Leaving: rest[2] == "1",
			Roles: strings.FieldsFunc(rest[3], func(r rune) bool { return r == ',' }),
		})
	}
	return newView(number, members), nil
}
