package directory

import "gorm.io/gorm"

// statChange is what one event of a queue changes in its statistics.
type statChange struct {
	queue string
	kind  statKind
	at    int64 // Unix milliseconds: of the enqueueing for an arrival, else of the finish
	// sign is 1, or -1 where a finished ticket was requeued and what it had
	// counted is taken back.
	sign int64
	// wait and handle are in whole seconds, -1 where the ticket has none.
	wait, handle int64
}

type statKind uint8

const (
	statArrival statKind = iota + 1
	statServed
	statNoShow
	statRemoved
	statTransferred
)

// recordStatistics adds changes, within the transaction that moves the
// history's checkpoint.
func recordStatistics(_ *gorm.DB, _ []statChange) error { return nil }
