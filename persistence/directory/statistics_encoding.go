package directory

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// errStatistics: a row of statistics does not hold what is written there.
var errStatistics = fmt.Errorf("%w: damaged statistics", ErrUnavailable)

// pair is how often a value occurred.
type pair struct{ value, count int64 }

// A histogram is stored as its values in ascending order, each as its distance
// from the one before (the first: from 0), doubled, plus one where a count
// follows; a count that does not follow is 1. All are uvarints.

func appendPair(dst []byte, distance, count int64) []byte {
	if count == 1 {
		return binary.AppendUvarint(dst, uint64(distance)<<1)
	}
	dst = binary.AppendUvarint(dst, uint64(distance)<<1|1)
	return binary.AppendUvarint(dst, uint64(count))
}

// eachPair gives the entries of a stored histogram in ascending order.
func eachPair(stored []byte, each func(value, count int64)) error {
	value := int64(0)
	for at := 0; at < len(stored); {
		head, n := binary.Uvarint(stored[at:])
		if n <= 0 {
			return errStatistics
		}
		at += n
		value += int64(head >> 1)
		count := uint64(1)
		if head&1 == 1 {
			if count, n = binary.Uvarint(stored[at:]); n <= 0 {
				return errStatistics
			}
			at += n
		}
		each(value, int64(count))
	}
	return nil
}

// changeHistogram gives a stored histogram with changes applied. A count does
// not fall below zero.
func changeHistogram(stored []byte, changes map[int64]int64) ([]byte, error) {
	if len(changes) == 0 && stored != nil {
		return stored, nil
	}
	pairs := pairsOf(changes)
	dst, last := make([]byte, 0, len(stored)+4*len(pairs)), int64(0)
	put := func(value, count int64) {
		if count > 0 {
			dst = appendPair(dst, value-last, count)
			last = value
		}
	}
	err := eachPair(stored, func(value, count int64) {
		for len(pairs) > 0 && pairs[0].value < value {
			put(pairs[0].value, pairs[0].count)
			pairs = pairs[1:]
		}
		if len(pairs) > 0 && pairs[0].value == value {
			count += pairs[0].count
			pairs = pairs[1:]
		}
		put(value, count)
	})
	for _, p := range pairs {
		put(p.value, p.count)
	}
	return dst, err
}

func pairsOf(counts map[int64]int64) []pair {
	pairs := make([]pair, 0, len(counts))
	for value, count := range counts {
		pairs = append(pairs, pair{value, count})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Compare(a.value, b.value) })
	return pairs
}

// A moment is stored as the milliseconds since its quarter of an hour began,
// times 16, plus twice its kind, plus one where it takes back; of a ticket that
// finished, its wait and handle follow, each plus one. All are uvarints.

func appendMoment(dst []byte, c statChange) []byte {
	head := uint64(c.at%quarter)<<4 | uint64(c.kind)<<1
	if c.sign < 0 {
		head |= 1
	}
	dst = binary.AppendUvarint(dst, head)
	if c.kind == statArrival {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(max(c.wait, -1)+1))
	return binary.AppendUvarint(dst, uint64(max(c.handle, -1)+1))
}

// eachMoment gives the stored moments of a quarter of an hour.
func eachMoment(stored []byte, slot int64, each func(statChange)) error {
	for at := 0; at < len(stored); {
		var numbers [3]uint64
		for i := range numbers {
			number, n := binary.Uvarint(stored[at:])
			if n <= 0 {
				return errStatistics
			}
			numbers[i], at = number, at+n
			if i == 0 && statKind(numbers[0]>>1&7) == statArrival {
				break
			}
		}
		c := statChange{
			kind: statKind(numbers[0] >> 1 & 7), at: slot*quarter + int64(numbers[0]>>4), sign: 1,
			wait: int64(numbers[1]) - 1, handle: int64(numbers[2]) - 1,
		}
		if c.kind < statArrival || c.kind > statTransferred {
			return errStatistics
		}
		if numbers[0]&1 == 1 {
			c.sign = -1
		}
		each(c)
	}
	return nil
}
