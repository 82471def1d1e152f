package seal

import "context"

// Forget is what Run does once a minute.
func (d *DataKeys) Forget(ctx context.Context) error { return d.forget(ctx) }

// AtHand counts the keys in memory.
func (d *DataKeys) AtHand() int { return len(d.keep.ids()) }
