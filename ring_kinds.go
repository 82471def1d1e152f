package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

// ringNode is this node among those that tell of their rings.
type ringNode struct {
	directory *directory.Directory
	id        string // unique
	url       string // for people
}

// end has nobody wait for this node.
func (n ringNode) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ringWithin)
	defer cancel()
	if err := n.directory.ForgetRingNode(ctx, n.id); err != nil && !errors.Is(err, directory.ErrUnavailable) {
		return err
	}
	return nil // a database that is away will find out by itself
}

// dataRing wraps data keys, and seals what has none.
type dataRing struct {
	ringNode
	sealer *seal.DataKeys
	log    *slog.Logger
	direct uint64 // values sealed without a data key that were reported
	led    string // the first key when they were
}

func (*dataRing) name() string { return "data" }

func (r *dataRing) check(ctx context.Context, keys []seal.Proof) error {
	return r.directory.CheckRing(ctx, keys)
}

func (r *dataRing) nodes(ctx context.Context) ([]directory.RingNode, error) {
	return r.directory.RingNodes(ctx)
}

// report tells of values that the ring sealed itself, too.
func (r *dataRing) report(ctx context.Context, ring *seal.Ring) error {
	told := directory.RingReport{Node: r.id, Name: r.url, Keys: ring.Proofs()}
	direct := r.sealer.Direct()
	if direct != r.direct {
		told.Direct = []string{r.led, told.Keys[0].ID}
	}
	if err := r.directory.ReportRing(ctx, told); err != nil {
		return err
	}
	r.direct, r.led = direct, told.Keys[0].ID
	return nil
}

func (r *dataRing) mayGo(ctx context.Context, gone []string) error {
	keys, err := r.directory.RingKeys(ctx)
	if err != nil {
		return err
	}
	rows, err := rowsSealed(ctx, r.directory)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if why := needed(key, rows, time.Now()); slices.Contains(gone, key.ID) && why != "" {
			return fmt.Errorf("the key %s is not in it any more, and is needed: %s", key.ID, why)
		}
	}
	return nil
}

func (r *dataRing) tellLost(ctx context.Context, ring *seal.Ring) error {
	keys, err := r.directory.RingKeys(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key.DataKeys > 0 && !slices.Contains(ring.IDs(), key.ID) {
			r.log.Error("a key is missing in the ring; what it protects is shown as null", "key", key.ID, "data_keys", key.DataKeys)
		}
	}
	return nil
}

// sealedRows counts what the keys of the ring have sealed themselves, by their ids.
type sealedRows struct{ users, webhooks map[string]int }

func rowsSealed(ctx context.Context, d *directory.Directory) (rows sealedRows, err error) {
	if rows.users, err = d.UserRingKeys(ctx); err != nil {
		return rows, err
	}
	rows.webhooks, err = d.WebhookRingKeys(ctx)
	return rows, err
}

func (s sealedRows) by(key string) int { return s.users[key] + s.webhooks[key] }

// needed says why a key may not leave the ring; empty where it may.
func needed(key directory.RingKey, rows sealedRows, now time.Time) string {
	switch users, webhooks := rows.users[key.ID], rows.webhooks[key.ID]; {
	case key.DataKeys > 0:
		return fmt.Sprintf("it wraps %d data keys; nowserving keys rotate wraps them anew", key.DataKeys)
	case users > 0:
		return fmt.Sprintf("it seals %d users; nowserving keys rotate seals them anew", users)
	case webhooks > 0:
		return fmt.Sprintf("it seals %d webhooks; nowserving keys rotate seals them anew", webhooks)
	case !key.Direct.IsZero():
		return "values that it sealed itself may be left, until " + key.Direct.UTC().Format(time.DateTime)
	case now.Sub(key.Led) < fingerprintsLast:
		return "repeated requests of the last 24 hours are known by it; it was the first key until " + key.Led.UTC().Format(time.DateTime)
	}
	return ""
}

// fingerprintsLast is how long idempotency keys are remembered.
const fingerprintsLast = 24 * time.Hour

// tokenRing signs tokens. A key of it may go at any time: its tokens end with it,
// which is what an operator wants whose key was stolen.
type tokenRing struct{ ringNode }

func (tokenRing) name() string { return "token" }

func (r tokenRing) check(ctx context.Context, keys []seal.Proof) error {
	return r.directory.CheckTokenRing(ctx, keys)
}

func (r tokenRing) nodes(ctx context.Context) ([]directory.RingNode, error) {
	return r.directory.TokenRingNodes(ctx)
}

func (r tokenRing) report(ctx context.Context, ring *seal.Ring) error {
	return r.directory.ReportTokenRing(ctx, r.id, ring.Proofs())
}

func (tokenRing) mayGo(context.Context, []string) error { return nil }

func (tokenRing) tellLost(context.Context, *seal.Ring) error { return nil }
