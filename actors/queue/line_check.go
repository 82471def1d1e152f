package queue

import (
	"errors"
	"fmt"
)

// check reports the first broken promise of the line's structure, for tests and
// fuzzing. O(n).
func (l *line) check() error {
	if l.root.count == 0 {
		if l.root != (node{}) {
			return errors.New("an empty line holds memory")
		}
		return nil
	}
	if l.root.inner != nil && l.root.size() < 2 {
		return errors.New("a root above one child")
	}
	if lf := l.root.leaf; lf != nil && cap(lf.slots) > 4 && len(lf.slots) <= cap(lf.slots)/4 {
		return fmt.Errorf("a sole leaf with room for %d has %d", cap(lf.slots), len(lf.slots))
	}
	_, err := l.root.check(nil, true, true)
	return err
}

// check reports what is wrong in and below n, whose place among the nodes of
// its level is given, and is how many levels stand below it.
func (n node) check(parent *inner, isFirst, isLast bool) (depth int, err error) {
	if (n.leaf == nil) == (n.inner == nil) {
		return 0, errors.New("a node is not either a leaf or an inner node")
	}
	if n.parent() != parent {
		return 0, errors.New("a node names another parent")
	}
	least := n.minimum()
	if isFirst || isLast {
		least = 1
	}
	if n.size() < least || n.size() > n.capacity() {
		return 0, fmt.Errorf("%d entries in a node of %d to %d", n.size(), least, n.capacity())
	}
	measured := n
	if measured.measure(); measured != n {
		return 0, fmt.Errorf("count %d, max %d are known of a node of %d, %d",
			n.count, n.max, measured.count, measured.max)
	}
	if n.leaf != nil {
		return 0, n.leaf.check()
	}
	return n.inner.check(isFirst, isLast)
}

func (p *inner) check(isFirst, isLast bool) (depth int, err error) {
	if cap(p.children) > fanout {
		return 0, fmt.Errorf("room for %d children", cap(p.children))
	}
	for k, c := range p.children {
		d, err := c.check(p, isFirst && k == 0, isLast && k == len(p.children)-1)
		if err != nil {
			return 0, err
		}
		if k > 0 && d != depth {
			return 0, fmt.Errorf("subtrees of %d and %d levels side by side", depth, d)
		}
		depth = d
	}
	for _, c := range p.children[len(p.children):cap(p.children)] {
		if c != (node{}) {
			return 0, errors.New("an inner node keeps a child that has left")
		}
	}
	return depth + 1, nil
}

func (lf *leaf) check() error {
	n := len(lf.slots)
	if len(lf.tickets) != n || len(lf.priorities) != n {
		return fmt.Errorf("columns of %d, %d, %d", n, len(lf.tickets), len(lf.priorities))
	}
	if cap(lf.slots) > leafCap || cap(lf.tickets) > leafCap || cap(lf.priorities) > leafCap {
		return errors.New("a leaf has too much room")
	}
	for i, s := range lf.slots {
		if s.leaf != lf {
			return errors.New("a slot names another leaf")
		}
		if s.ticket != lf.tickets[i] || s.ticket.Priority != lf.priorities[i] {
			return errors.New("a slot and its leaf disagree about the ticket")
		}
	}
	for _, s := range lf.slots[n:cap(lf.slots)] {
		if s != nil {
			return errors.New("a leaf keeps a slot that has left")
		}
	}
	for _, t := range lf.tickets[n:cap(lf.tickets)] {
		if t != nil {
			return errors.New("a leaf keeps a ticket that has left")
		}
	}
	return nil
}
