package actors

import (
	"context"
	"time"

	"nowserving/messages"
)

// ReadJournal gives every event after a version.
func ReadJournal(ctx context.Context, j Journal, id string, after uint64) ([]*messages.Event, error) {
	var all []*messages.Event
	for {
		entries, err := j.Read(ctx, id, after, readEntries)
		if err != nil || len(entries) == 0 {
			return all, err
		}
		for _, entry := range entries {
			events, err := decodeEntry(entry)
			if err != nil {
				return nil, err
			}
			for _, e := range events {
				if e.Version > after {
					all = append(all, e)
				}
			}
			after = entry.Last
		}
	}
}

// MaxOfQueue is maxOfQueue.
const MaxOfQueue = maxOfQueue

// BatchWithin is batchWithin.
const BatchWithin = batchWithin

// MaxHanded is maxHanded.
const MaxHanded = maxHanded

// EncodeRecord is encodeRecord, for records that a test makes.
var EncodeRecord = encodeRecord

// DecodeRecord is decodeRecord.
var DecodeRecord = decodeRecord

// SweepEvery has a follower look at all journals that often.
func (f *JournalFollower) SweepEvery(d time.Duration) { f.sweepEvery = d }

// FairShare is fairShare among queues with so many events each.
func FairShare(behind []uint64, events int) int {
	hand := make([]*news, len(behind))
	for i, n := range behind {
		hand[i] = &news{picked: n + 7, at: 7}
	}
	return fairShare(hand, events)
}

// Held counts what watches hold for those who watch.
func (m *Watches) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.lines) + len(m.ofTicket) + m.count
}
