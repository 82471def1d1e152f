package queue

import "slices"

// The sizes of a line's nodes. Larger leaves make the tree smaller and each
// change dearer. 64 pointers are eight cache lines, and a million tickets stand
// three levels below the root. Both are powers of two, as makeRoom needs.
const (
	leafCap = 64
	fanout  = 32
)

// leaf holds neighbouring tickets of a line: three columns of equal length.
// The tickets stand here beside their slots so that a walk reads the leaf alone,
// and so do their priorities, so that a maximum is found in one cache line.
type leaf struct {
	parent     *inner // nil for the root
	slots      []*slot
	tickets    []*Ticket
	priorities []uint8
}

// inner is a node above leaves or above other inner nodes, never both.
type inner struct {
	parent   *inner // nil for the root
	children []node
}

// node is a leaf or an inner node with what is known of it: how many tickets
// stand in and below it, and their highest priority. As a parent's entry (and
// the line's root) both are kept up to date; elsewhere a node is only a name.
type node struct {
	count int
	max   uint8 // 0 where there are no tickets
	leaf  *leaf
	inner *inner
}

func (n node) same(o node) bool { return n.leaf == o.leaf && n.inner == o.inner }

func (n node) parent() *inner {
	if n.leaf != nil {
		return n.leaf.parent
	}
	return n.inner.parent
}

func (n node) setParent(p *inner) {
	if n.leaf != nil {
		n.leaf.parent = p
	} else {
		n.inner.parent = p
	}
}

// size is how many entries n itself has, slots or children.
func (n node) size() int {
	if n.leaf != nil {
		return len(n.leaf.slots)
	}
	return len(n.inner.children)
}

// capacity is how many entries n itself may have.
func (n node) capacity() int {
	if n.leaf != nil {
		return leafCap
	}
	return fanout
}

// minimum is how many entries n has at least, unless it is the first or last
// node of its level. Those may be as sparse as one entry: a line is filled at
// one end and emptied at the other, and rebalancing there would be for nothing.
// They are two per level, so the tree as a whole stays at least a quarter full.
func (n node) minimum() int { return n.capacity() / 4 }

// sprout is a new, empty node of n's kind.
func (n node) sprout() node {
	if n.leaf != nil {
		return node{leaf: &leaf{}}
	}
	return node{inner: &inner{}}
}

// share divides the entries of n and of right, the node behind it, anew so that
// want of them are in n.
func (n node) share(right node, want int) {
	if n.leaf != nil {
		n.leaf.share(right.leaf, want)
	} else {
		n.inner.share(right.inner, want)
	}
}

// measure counts n's tickets and finds their highest priority from its entries.
func (n *node) measure() {
	n.max = n.highest(255)
	if n.leaf != nil {
		n.count = len(n.leaf.slots)
		return
	}
	n.count = 0
	for k := range n.inner.children {
		n.count += n.inner.children[k].count
	}
}

// highest is the highest priority among n's entries; none is above bound, so
// that the search ends where it is met.
func (n *node) highest(bound uint8) uint8 {
	top := uint8(0)
	if n.leaf != nil {
		for _, p := range n.leaf.priorities {
			if top = max(top, p); top == bound {
				break
			}
		}
		return top
	}
	for k := range n.inner.children {
		if top = max(top, n.inner.children[k].max); top == bound {
			break
		}
	}
	return top
}

// amend brings what is known of n up to date, as line.climb describes it. Its
// entries must be up to date already. They are looked at only where the highest
// priority may have gone.
func (n *node) amend(delta int, gone, came uint8) {
	n.count += delta
	switch {
	case came >= n.max:
		n.max = came
	case gone == n.max:
		n.max = n.highest(n.max)
	}
}

// each is line.each in n, from an index that is in it.
func (n node) each(from int, fn func(*Ticket) bool) bool {
	if n.leaf != nil {
		for _, t := range n.leaf.tickets[from:] {
			if !fn(t) {
				return false
			}
		}
		return true
	}
	for k := range n.inner.children {
		c := &n.inner.children[k]
		if from >= c.count {
			from -= c.count
			continue
		}
		if !c.each(from, fn) {
			return false
		}
		from = 0
	}
	return true
}

func (n node) appendTo(dst []*Ticket) []*Ticket {
	if n.leaf != nil {
		return append(dst, n.leaf.tickets...)
	}
	if n.inner != nil {
		for k := range n.inner.children {
			dst = n.inner.children[k].appendTo(dst)
		}
	}
	return dst
}

func firstChild(p *inner) node { return p.children[0] }
func lastChild(p *inner) node  { return p.children[len(p.children)-1] }

// find is the index of n among p's children.
func (p *inner) find(n node) int {
	for k := range p.children {
		if p.children[k].same(n) {
			return k
		}
	}
	panic("line: a node that its parent does not know")
}

// drop takes out child k.
func (p *inner) drop(k int) { p.children = slices.Delete(p.children, k, k+1) }

// mend brings child k, which has become too small, together with a neighbour:
// into one node if that leaves it room to grow, else by sharing evenly, which
// leaves both far from the minimum. It reports whether a child has vanished.
// There is a neighbour, since only a node on the edge may be an only child.
func (p *inner) mend(k int) bool {
	k = max(k-1, 0)
	left, right := &p.children[k], &p.children[k+1]
	sum := left.size() + right.size()
	if sum <= left.capacity()*3/4 {
		left.share(*right, sum)
		left.measure()
		p.drop(k + 1)
		return true
	}
	left.share(*right, sum/2)
	left.measure()
	right.measure()
	return false
}

func (p *inner) share(right *inner, want int) {
	had := len(p.children)
	p.children, right.children = shareEntries(p.children, right.children, want)
	for k := had; k < want; k++ {
		p.children[k].setParent(p)
	}
	for k := range had - want {
		right.children[k].setParent(right)
	}
}

// put inserts s at index i of a leaf that has room.
func (lf *leaf) put(i int, s *slot) {
	n := len(lf.slots) + 1
	lf.slots = slices.Insert(makeRoom(lf.slots, n), i, s)
	lf.tickets = slices.Insert(makeRoom(lf.tickets, n), i, s.ticket)
	lf.priorities = slices.Insert(makeRoom(lf.priorities, n), i, s.ticket.Priority)
	s.leaf = lf
}

// take removes the slot at index i.
func (lf *leaf) take(i int) {
	lf.slots[i].leaf = nil
	lf.slots = slices.Delete(lf.slots, i, i+1)
	lf.tickets = slices.Delete(lf.tickets, i, i+1)
	lf.priorities = slices.Delete(lf.priorities, i, i+1)
}

func (lf *leaf) share(right *leaf, want int) {
	had := len(lf.slots)
	lf.slots, right.slots = shareEntries(lf.slots, right.slots, want)
	lf.tickets, right.tickets = shareEntries(lf.tickets, right.tickets, want)
	lf.priorities, right.priorities = shareEntries(lf.priorities, right.priorities, want)
	for k := had; k < want; k++ {
		lf.slots[k].leaf = lf
	}
	for k := range had - want {
		right.slots[k].leaf = right
	}
}

// shrink gives back memory where at most a quarter is in use; to half of it, so
// that the next newcomers need not take it again.
func (lf *leaf) shrink() {
	if n, room := len(lf.slots), cap(lf.slots); room > 4 && n <= room/4 {
		lf.slots = append(makeRoom[*slot](nil, 2*n), lf.slots...)
		lf.tickets = append(makeRoom[*Ticket](nil, 2*n), lf.tickets...)
		lf.priorities = append(makeRoom[uint8](nil, 2*n), lf.priorities...)
	}
}

// shareEntries moves entries between the end of left and the start of right so
// that left has want of them. What is left behind is zeroed, so that it keeps
// nothing alive.
func shareEntries[T any](left, right []T, want int) ([]T, []T) {
	had := len(left)
	if want < had {
		right = makeRoom(right, len(right)+had-want)
		right = slices.Insert(right, 0, left[want:]...)
		clear(left[want:])
		return left[:want], right
	}
	left = append(makeRoom(left, want), right[:want-had]...)
	return left, slices.Delete(right, 0, want-had)
}

// makeRoom makes room for n entries in all: the next power of two, and at least
// four. append alone would go beyond a node's capacity, which is such a power.
func makeRoom[T any](s []T, n int) []T {
	if n <= cap(s) {
		return s
	}
	room := 4
	for room < n {
		room *= 2
	}
	return append(make([]T, 0, room), s...)
}
