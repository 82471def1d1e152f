package queue

import (
	"fmt"
	"slices"
)

// line is the order in which waiting tickets are called: a counted B+tree that
// finds a place by its index and an index by its place, both in O(log n). Each
// node knows how many tickets stand below each child and the highest priority
// among them, so that a newcomer's place is found without a walk, although
// moves may have put any ticket anywhere. The nodes themselves are in
// line_node.go.
//
// The zero value is an empty line, and an empty line holds no memory. A line is
// for one goroutine at a time, and must not be copied once used.
type line struct {
	root node // neither leaf nor inner while the line is empty
}

// slot is a ticket's place in one line; it stays valid until removed, whatever
// moves around it. While it stands in a line only the line writes ticket and
// leaf.
type slot struct {
	ticket *Ticket
	leaf   *leaf // where it stands; nil while in no line
	same   *slot // the next older ticket of the same number, see State.numbers; the line does not read it
}

// len is the number of tickets in the line, in O(1).
func (l *line) len() int { return l.root.count }

// insert puts s at index i, 0 to len, and what stood there and behind it moves
// back by one. It panics if i is out of range or s stands in a line already.
// O(log n).
func (l *line) insert(i int, s *slot) {
	if i < 0 || i > l.len() {
		panic(fmt.Sprintf("line: insert at %d of %d", i, l.len()))
	}
	if s.leaf != nil {
		panic("line: insert of a slot that stands in a line")
	}
	if l.len() == 0 {
		l.root.leaf = &leaf{}
	}
	lf, i := l.seekGap(i)
	if len(lf.slots) == leafCap {
		lf, i = l.splitFor(lf, i)
	}
	lf.put(i, s)
	l.climb(lf, +1, 0, s.ticket.Priority)
}

// remove takes s out of the line. It panics if s does not stand in it; where it
// stands in another one, that one is broken then.
// O(log n).
func (l *line) remove(s *slot) {
	lf, i := l.locate(s)
	gone := lf.priorities[i]
	lf.take(i)
	l.climb(lf, -1, gone, 0)
	l.rebalance(node{leaf: lf})
}

// replace puts t where s's ticket stood: tickets are immutable, so a change of
// one is a new value in the same place. It panics if s does not stand in the
// line. O(log n) where the priority differs, else O(1).
func (l *line) replace(s *slot, t *Ticket) {
	lf, i := l.locate(s)
	gone := lf.priorities[i]
	s.ticket, lf.tickets[i], lf.priorities[i] = t, t, t.Priority
	if gone != t.Priority {
		l.climb(lf, 0, gone, t.Priority)
	}
}

// index is where s stands, from 0. It panics if s stands in no line. O(log n).
func (l *line) index(s *slot) int {
	lf, i := l.locate(s)
	below := node{leaf: lf}
	for p := lf.parent; p != nil; p = p.parent {
		for k := range p.children {
			if p.children[k].same(below) {
				break
			}
			i += p.children[k].count
		}
		below = node{inner: p}
	}
	return i
}

// at is the slot at index i; it panics if i is not in 0 to len-1. O(log n).
func (l *line) at(i int) *slot {
	if i < 0 || i >= l.len() {
		panic(fmt.Sprintf("line: slot %d of %d", i, l.len()))
	}
	n := l.root
	for n.inner != nil {
		k := 0
		for i >= n.inner.children[k].count {
			i -= n.inner.children[k].count
			k++
		}
		n = n.inner.children[k]
	}
	return n.leaf.slots[i]
}

// newcomer is the index at which a newcomer of the given priority stands: right
// behind the last ticket whose priority is its own or higher, 0 if there is
// none (the contract's rule of the line). O(log n).
func (l *line) newcomer(priority uint8) int {
	if l.len() == 0 || l.root.max < priority {
		return 0
	}
	// Every node entered has such a ticket, so the last child that has one is
	// looked for from the back, where it most often is.
	n, end := l.root, l.len()
	for n.inner != nil {
		k := len(n.inner.children) - 1
		for n.inner.children[k].max < priority {
			end -= n.inner.children[k].count
			k--
		}
		n = n.inner.children[k]
	}
	for k := len(n.leaf.priorities) - 1; n.leaf.priorities[k] < priority; k-- {
		end--
	}
	return end
}

// each calls fn with the tickets in order from the given index on, until fn is
// false; from len on there are none. fn must not change the line. It panics if
// from is negative. O(log n + k) for k tickets.
func (l *line) each(from int, fn func(*Ticket) bool) {
	if from < 0 {
		panic(fmt.Sprintf("line: each from %d", from))
	}
	if from < l.len() {
		l.root.each(from, fn)
	}
}

// appendTo appends all tickets in order, as a snapshot captures a line. O(n),
// and one copy per leaf: it reads no slot and no ticket.
func (l *line) appendTo(dst []*Ticket) []*Ticket {
	return l.root.appendTo(slices.Grow(dst, l.len()))
}

// locate is the leaf and the index in it at which s stands.
func (l *line) locate(s *slot) (*leaf, int) {
	if s.leaf == nil {
		panic("line: the slot stands in no line")
	}
	return s.leaf, slices.Index(s.leaf.slots, s)
}

// seekGap is the leaf for a newcomer at index i of a line that has one, and the
// index in it. Between two leaves it is the end of the left one, since lines
// grow backwards.
func (l *line) seekGap(i int) (*leaf, int) {
	n := l.root
	for n.inner != nil {
		k := 0
		for i > n.inner.children[k].count {
			i -= n.inner.children[k].count
			k++
		}
		n = n.inner.children[k]
	}
	return n.leaf, i
}

// climb brings what lf's ancestors know of it up to date after delta tickets
// more in it, one of priority gone less and one of priority came more; 0, the
// lowest, stands for none.
func (l *line) climb(lf *leaf, delta int, gone, came uint8) {
	below := node{leaf: lf}
	for p := lf.parent; p != nil; p = p.parent {
		k := p.find(below)
		p.children[k].amend(delta, gone, came)
		below = node{inner: p}
	}
	if !l.root.same(below) {
		panic("line: the slot stands in another line")
	}
	l.root.amend(delta, gone, came)
}

// splitFor makes room in lf, which is full, for a newcomer at its index i, and
// is the leaf and the index in it for that.
func (l *line) splitFor(lf *leaf, i int) (*leaf, int) {
	n := node{leaf: lf}
	at := splitPoint(i, leafCap, leafCap, l.onEdge(n, lastChild))
	right := l.split(n, at)
	if i > at || at == leafCap {
		return right.leaf, i - at
	}
	return lf, i
}

// split moves what n holds from at on to a new node right behind it, and is
// that node. Where n's parent is full, it is split first.
func (l *line) split(n node, at int) node {
	p := n.parent()
	if p == nil {
		p = l.raise()
	} else if len(p.children) == fanout {
		up := node{inner: p}
		// The new node follows n. Each part keeps at least one child, so at
		// the end the split is before n, not behind it.
		l.split(up, splitPoint(p.find(n), fanout, fanout-1, l.onEdge(up, lastChild)))
		p = n.parent()
	}
	k := p.find(n)
	right := n.sprout()
	right.setParent(p)
	n.share(right, at)
	p.children[k].measure()
	right.measure()
	p.children = slices.Insert(makeRoom(p.children, len(p.children)+1), k+1, right)
	return right
}

// splitPoint is how many entries of a full node stay in it when something is to
// come in at index i. Newcomers arrive one behind the other, so what they leave
// behind should be well filled: the split follows them from the middle up to
// three quarters, and at the line's end, which may be sparse, up to most.
func splitPoint(i, capacity, most int, atEnd bool) int {
	if !atEnd {
		most = capacity * 3 / 4
	}
	return min(max(i, capacity/2), most)
}

// raise puts a new root above the old one.
func (l *line) raise() *inner {
	p := &inner{children: append(makeRoom[node](nil, 2), l.root)}
	l.root.setParent(p)
	l.root = node{inner: p, count: l.root.count, max: l.root.max}
	return p
}

// rebalance restores what the tree promises of its nodes' sizes (see minimum)
// after n has lost an entry, and goes on upwards as long as nodes vanish.
func (l *line) rebalance(n node) {
	for p := n.parent(); p != nil; p = n.parent() {
		switch {
		case n.size() == 0:
			p.drop(p.find(n))
		case n.size() >= n.minimum() || l.onEdge(n, firstChild) || l.onEdge(n, lastChild):
			return
		case !p.mend(p.find(n)):
			return
		}
		n = node{inner: p}
	}
	l.settleRoot()
}

// settleRoot lets go of what the root no longer needs: itself when empty or
// above one child only, and most of a leaf that has become far too large, for
// most of the many queues are nearly empty most of the time.
func (l *line) settleRoot() {
	for l.root.inner != nil && len(l.root.inner.children) == 1 {
		l.root = l.root.inner.children[0]
		l.root.setParent(nil)
	}
	if l.root.count == 0 {
		l.root = node{}
	} else if l.root.leaf != nil {
		l.root.leaf.shrink()
	}
}

// onEdge tells whether n is the first or the last of all nodes of its level.
func (l *line) onEdge(n node, end func(*inner) node) bool {
	for p := n.parent(); p != nil; p = p.parent {
		if !end(p).same(n) {
			return false
		}
		n = node{inner: p}
	}
	return true
}
