package cluster

import (
	"crypto/rand"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HostRole is the role of the members on which grains live.
const HostRole = "actors"

// Member is a node in one of its lives: it has a new one each time it joins.
type Member struct {
	Addr    string // where the others reach it
	Life    string
	Roles   []string
	Leaving bool
}

// Since is when this life began, by that node's clock; zero where it does not tell.
func (m Member) Since() time.Time {
	stamp, _, _ := strings.Cut(m.Life, "-")
	ms, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// newLife names one that begins now.
func newLife() string { return strconv.FormatInt(time.Now().UnixMilli(), 10) + "-" + rand.Text() }

func (m Member) has(role string) bool { return slices.Contains(m.Roles, role) }

// same tells whether it is the same node in the same life.
func (m Member) same(o Member) bool { return m.Addr == o.Addr && m.Life == o.Life }

// View is who the members were at one moment. It is never changed.
type View struct {
	Number  uint64 // grows with every change
	Members []Member
	changed chan struct{} // closed when another view has come
}

func newView(number uint64, members []Member) *View {
	slices.SortFunc(members, func(a, b Member) int {
		if a.Addr < b.Addr {
			return -1
		}
		return 1
	})
	return &View{Number: number, Members: members, changed: make(chan struct{})}
}

// has tells whether the member is in the view in that life.
func (v *View) has(m Member) bool { return slices.ContainsFunc(v.Members, m.same) }

// leaves tells whether the member at an address says that it leaves.
func (v *View) leaves(addr string) bool {
	return slices.ContainsFunc(v.Members, func(m Member) bool { return m.Addr == addr && m.Leaving })
}

// Owner is the member on which a grain lives, or would if it was asked.
func (v *View) Owner(kind, identity string) (Member, bool) { return v.owner(grainKey{kind, identity}) }

// owner is the member on which a grain lives: of the hosts the one that ranks
// highest for it, so that a host that comes or goes moves its own grains only.
// Those that leave host nothing, unless nobody else does.
func (v *View) owner(key grainKey) (Member, bool) {
	m, ok := v.highest(key, func(m Member) bool { return !m.Leaving })
	if !ok {
		m, ok = v.highest(key, func(Member) bool { return true })
	}
	return m, ok
}

// before are the members on which a grain may have lived before it came to owner,
// by a join or because one leaves: the one that ranks next, and where that one
// leaves, and may have handed it over, the one after it too.
func (v *View) before(key grainKey, owner string) (had []Member) {
	for {
		m, found := v.highest(key, func(m Member) bool { return m.Addr != owner && !slices.ContainsFunc(had, m.same) })
		if !found {
			return had
		}
		if had = append(had, m); !m.Leaving {
			return had
		}
	}
}

// highest is rendezvous hashing (Thaler and Ravishankar, "A Name-Based Mapping
// Scheme for Rendezvous", 1996).
func (v *View) highest(key grainKey, may func(Member) bool) (best Member, found bool) {
	h := hash(key.kind + "/" + key.identity)
	var most uint64
	for _, m := range v.Members {
		if !m.has(HostRole) || !may(m) {
			continue
		}
		if rank := mixed(h ^ hash(m.Addr)); !found || rank > most {
			best, most, found = m, rank, true
		}
	}
	return best, found
}

// hash is FNV-1a, mixed: alone it tells addresses that differ in a digit of
// their port hardly apart.
func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return mixed(h.Sum64())
}

// mixed is the finalizer of SplitMix64 (Steele, Lea, Flood, 2014).
func mixed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
