package seal

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// Run makes the keys that will be needed, has those at hand that others made,
// and forgets those that were deleted, until ctx is over. It gives nil.
func (d *DataKeys) Run(ctx context.Context) error {
	tick := time.NewTicker(workEvery)
	defer tick.Stop()
	since := d.now().Add(-2 * msPerDay * time.Millisecond) // the keys of today and tomorrow
	var refreshed, forgot time.Time
	for {
		began, now := time.Now(), d.now()
		err := d.makeWanted(ctx)
		if err == nil && (d.away.Load() || began.Sub(refreshed) >= refreshEvery) {
			if err = d.refresh(ctx, since); err == nil {
				refreshed, since = began, now.Add(-skew)
			}
		}
		if err == nil && began.Sub(forgot) >= forgetEvery {
			if err = d.forget(ctx); err == nil {
				forgot = began
			}
		}
		if err == nil && d.away.CompareAndSwap(true, false) {
			d.log.Info("data keys can be had again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// failed has nobody ask the store before Run has reached it again.
func (d *DataKeys) failed(err error) error {
	if errors.Is(err, context.Canceled) {
		return err // whoever asked has gone, or the node stops
	}
	if d.away.CompareAndSwap(false, true) {
		d.log.Warn("data keys cannot be had; where none is at hand the key ring itself seals", "error", err)
	}
	return err
}

// want has Run make a key.
func (d *DataKeys) want(at slot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.wanted) < maxWanted {
		d.wanted[at] = true
	}
}

// makeWanted makes what is wanted. What nobody can have, as of a queue that is
// not there, is not tried twice: whoever needs it wants it again.
func (d *DataKeys) makeWanted(ctx context.Context) error {
	d.mu.Lock()
	all := slices.Collect(maps.Keys(d.wanted))
	d.mu.Unlock()
	for part := range slices.Chunk(all, atOnce) {
		if err := d.patiently(ctx, func(ctx context.Context) error { return d.ensure(ctx, part) }); err != nil {
			return err
		}
		d.mu.Lock()
		for _, at := range part {
			delete(d.wanted, at)
		}
		d.mu.Unlock()
	}
	return nil
}

// patiently bounds one call of Run to the store.
func (d *DataKeys) patiently(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*keyWithin)
	defer cancel()
	return do(ctx)
}

// refresh has the keys at hand that were made since then, by any node.
func (d *DataKeys) refresh(ctx context.Context, since time.Time) error {
	return d.patiently(ctx, func(ctx context.Context) error {
		rows, err := d.store.RecentDataKeys(ctx, since, maxDataKeys/2)
		if err != nil {
			return d.failed(err)
		}
		d.take(rows)
		return nil
	})
}

// forget drops keys that are not kept any more.
func (d *DataKeys) forget(ctx context.Context) error {
	for part := range slices.Chunk(d.keep.ids(), atOnce) {
		err := d.patiently(ctx, func(ctx context.Context) error {
			rows, err := d.store.DataKeys(ctx, part)
			if err != nil {
				return d.failed(err)
			}
			there := make(map[KeyID]bool, len(rows))
			for _, row := range rows {
				there[row.ID] = true
			}
			for _, id := range part {
				if !there[id] {
					d.keep.drop(id)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ensure makes what is missing of some keys.
func (d *DataKeys) ensure(ctx context.Context, slots []slot) error {
	fresh := make([]WrappedKey, len(slots))
	for i, at := range slots {
		fresh[i] = d.ring.newDataKey(at, d.now())
	}
	rows, err := d.store.EnsureDataKeys(ctx, fresh)
	if err != nil {
		return d.failed(err)
	}
	d.take(rows)
	for _, at := range slots {
		if key, _ := d.keep.forSlot(at, d.now()); key == nil {
			d.keep.missSlot(at, d.now())
		}
	}
	return nil
}

// load has some keys at hand.
func (d *DataKeys) load(ctx context.Context, ids []KeyID) error {
	rows, err := d.store.DataKeys(ctx, ids)
	if err != nil {
		return d.failed(err)
	}
	d.take(rows)
	for _, id := range ids {
		if key, why := d.keep.named(id, d.now()); key == nil && why == nil {
			d.keep.miss(id, ErrNoDataKey, d.now())
		}
	}
	return nil
}

// take unwraps keys that are not at hand.
func (d *DataKeys) take(rows []WrappedKey) {
	for _, row := range rows {
		if d.keep.has(row.ID) {
			continue
		}
		key, err := d.ring.open(row)
		if err != nil {
			d.keep.miss(row.ID, err, d.now())
			continue
		}
		d.keep.put(key)
	}
}
