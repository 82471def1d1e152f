package cluster

import "testing"

// A beat may come between giving the lease back and the end of the beats.
func TestNodeThatHasLeftJoinsNoMore(t *testing.T) {
	w := newWorld(t)
	n := w.start()
	w.together(n)
	n.members.left(t.Context())
	n.members.beat(t.Context())
	if n.Joined() {
		t.Error("it is a member again")
	}
}
