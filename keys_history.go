package main

import (
	"bytes"
	"context"
	"log/slog"

	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

// resealHistory gives finished tickets data keys that the ring itself sealed:
// before there were data keys, or while none could be had.
func (r *rotation) resealHistory(ctx context.Context) error {
	keys := seal.NewDataKeys(r.ring, r.directory, slog.New(slog.DiscardHandler), r.now)
	var after []byte
	for {
		rows, last, err := r.directory.SealedDirectly(ctx, after, historyAtOnce)
		if err != nil {
			return err
		}
		changed := make([]directory.Resealed, 0, len(rows))
		for _, row := range rows {
			if anew := r.resealRow(keys, row); anew != nil {
				changed = append(changed, *anew)
			}
		}
		n, err := r.directory.PutResealed(ctx, changed)
		if err != nil {
			return err
		}
		r.resealed += n
		if last == nil {
			return nil
		}
		after = last
	}
}

// resealRow gives nil where nothing can be done. It counts what stays as it was.
func (r *rotation) resealRow(keys *seal.DataKeys, row directory.SealedRow) *directory.Resealed {
	anew := directory.Resealed{SealedRow: row, NewCustomer: row.Customer, NewPayload: row.Payload}
	for _, v := range []struct {
		field string
		was   []byte
		is    *[]byte
	}{{"customer", row.Customer, &anew.NewCustomer}, {"payload", row.Payload, &anew.NewPayload}} {
		id, direct := seal.DirectKey(v.was)
		if !direct {
			continue
		}
		plain, err := r.ring.Open(v.field, row.Visit, v.was)
		if err != nil {
			r.history[id]++
			continue
		}
		sealed := keys.Seal(row.Queue, v.field, row.Visit, plain)
		if now, still := seal.DirectKey(sealed); still && now == id {
			continue // there is no data key for it, as for a queue that was deleted
		}
		*v.is = sealed
	}
	if bytes.Equal(anew.NewCustomer, row.Customer) && bytes.Equal(anew.NewPayload, row.Payload) {
		return nil
	}
	return &anew
}
