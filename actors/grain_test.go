package actors_test

import (
	"bytes"
	"testing"
)

func TestGrainServesAndComesBack(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	n := startNode(t, j)
	if v := n.do(t, "a", create(2)).Version; v != 1 {
		t.Fatalf("a new queue's version is %d, want 1", v)
	}
	first := n.do(t, "a", enqueue()).Event
	if first.Ticket.Number != "A001" || first.Position != 1 {
		t.Fatalf("first ticket: %v", first)
	}
	n.do(t, "a", enqueue())
	called := n.do(t, "a", callNext()).Event
	if !bytes.Equal(called.Ticket.Id, first.Ticket.Id) {
		t.Fatal("call-next called another than the first")
	}
	n.passivate(t)
	if v := n.describe("a"); v.Problem != nil || v.Version != 4 || v.Waiting != 1 || v.Active != 1 {
		t.Fatalf("after passivation: %v", v)
	}
}

func TestTransferArrivesOnce(t *testing.T) {
	t.Parallel()
	j := sqliteJournal(t, t.TempDir())
	t.Cleanup(func() { _ = j.Close() })
	n := startNode(t, j)
	n.do(t, "a", create(1))
	n.do(t, "b", create(1))
	ticket := n.do(t, "a", enqueue()).Event.Ticket
	command := transfer(ticket.Id, "b")
	command.Keyed, command.Fingerprints = true, []uint64{7}
	first := n.do(t, "a", command)
	if first.Arrival == nil || first.Arrival.Ticket.Number != ticket.Number || !bytes.Equal(first.Arrival.Ticket.TransferredFrom, ticket.Id) {
		t.Fatalf("the transfer's answer: %v", first)
	}
	again := n.do(t, "a", command)
	if !again.Replayed || !bytes.Equal(again.Arrival.Ticket.Id, first.Arrival.Ticket.Id) || again.Version != first.Version {
		t.Fatalf("the replay: %v", again)
	}
	if v := n.describe("b"); v.Waiting != 1 || v.Version != 2 {
		t.Fatalf("the target: %v", v)
	}
}
