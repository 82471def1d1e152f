package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nowserving/gateway"
	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

const (
	// ringEvery is how often a node looks at the file of its ring, and at the
	// other nodes' while it waits for them.
	ringEvery = time.Second
	// reportEvery is how often it tells of its ring.
	reportEvery = 10 * time.Second
	// ringWithin bounds one look at the directory.
	ringWithin = 5 * time.Second
)

// ringKeeper has a node's ring of data keys follow its file. It takes no step with
// which data would be lost: a key that is still needed stays, and a key comes to
// the front only when every node that runs has it.
type ringKeeper struct {
	ring      *seal.Ring
	tokens    *seal.Ring // the other one, of which is told with this one
	path      string     // empty: the ring was given as such and stays
	private   bool       // the file is in the data dir
	directory *directory.Directory
	sealer    *seal.DataKeys
	node      string // unique
	name      string // for people
	log       *slog.Logger

	file     *seal.Ring // what the file says
	said     string     // what was logged last
	direct   uint64     // values sealed without a data key that were reported
	led      string     // the first key when they were
	reported time.Time
}

// openDataKeys is for when there is a directory.
func (n *Node) openDataKeys(ctx context.Context) error {
	n.sealer = seal.NewDataKeys(n.dataKeys, n.directory, n.log, n.config.Now)
	n.ringKeeper = &ringKeeper{
		ring: n.dataKeys, tokens: n.tokenKeys, path: n.config.DataKeysFile, directory: n.directory, sealer: n.sealer,
		node: rand.Text(), name: n.URL(), log: n.log, file: n.dataKeys.Leading(""),
	}
	if n.config.DataKeys == nil {
		n.ringKeeper.path, n.ringKeeper.private = filepath.Join(n.config.DataDir, dataKeysFile), true
	}
	err := (&waiting{node: n}).await(ctx, "database", n.ringKeeper.begin)
	if errors.Is(err, directory.ErrOtherKey) {
		return usage("%w", err)
	}
	if err != nil {
		return err
	}
	n.closing(n.ringKeeper.end)
	return (&waiting{node: n}).await(ctx, "database", func(ctx context.Context) error {
		keys, err := n.sealer.Named(ctx, "customer-index")
		n.indexKeys = nil
		for _, key := range keys {
			n.indexKeys = append(n.indexKeys, gateway.TokenKey(key))
		}
		return err
	})
}

// begin chooses the first key, for those who hold the ring already.
func (k *ringKeeper) begin(ctx context.Context) error {
	if err := k.report(ctx); err != nil {
		return err
	}
	first, err := k.common(ctx, k.file)
	if err != nil {
		return err
	}
	k.lead(first)
	return k.tellLost(ctx)
}

// end has nobody wait for this node.
func (k *ringKeeper) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ringWithin)
	defer cancel()
	if err := k.directory.ForgetRingNode(ctx, k.node); err != nil && !errors.Is(err, directory.ErrUnavailable) {
		return err
	}
	return nil // a database that is away will find out by itself
}

// Run follows the file until ctx is over. It gives nil.
func (k *ringKeeper) Run(ctx context.Context) error {
	tick := time.NewTicker(ringEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		work, cancel := context.WithTimeout(ctx, ringWithin)
		err := k.step(work)
		cancel()
		if ctx.Err() == nil {
			k.say(err)
		}
	}
}

// say logs what is in the way of the ring that the file holds, once.
func (k *ringKeeper) say(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != k.said && text != "" {
		k.log.Warn("the key ring is not as its file says yet", "file", k.path, "keys", strings.Join(k.ring.IDs(), ","), "error", err)
	}
	k.said = text
}

func (k *ringKeeper) step(ctx context.Context) error {
	if k.path != "" {
		fresh, err := seal.ReadRing(k.path, k.private)
		if err != nil {
			return err
		}
		if !slices.Equal(fresh.Proofs(), k.file.Proofs()) {
			if err := k.take(ctx, fresh); err != nil {
				return err
			}
		}
	}
	if time.Since(k.reported) >= reportEvery {
		if err := k.report(ctx); err != nil {
			return err
		}
	}
	return k.comeToFront(ctx)
}

// take has the keys that the file has, with the same first key as before.
func (k *ringKeeper) take(ctx context.Context, fresh *seal.Ring) error {
	if err := k.mayTake(ctx, fresh); err != nil {
		return err
	}
	first := k.ring.IDs()[0]
	if !slices.Contains(fresh.IDs(), first) {
		// It is needed no more, so another may be the first at once, if all have it.
		var err error
		if first, err = k.common(ctx, fresh); err != nil {
			return err
		}
	}
	k.file = fresh
	k.ring.Replace(fresh.Leading(first))
	k.log.Info("the key ring has been read again", "file", k.path, "keys", strings.Join(k.ring.IDs(), ","))
	if err := k.report(ctx); err != nil {
		return err
	}
	return k.tellLost(ctx)
}

// mayTake refuses a ring with which something could not be opened any more.
func (k *ringKeeper) mayTake(ctx context.Context, fresh *seal.Ring) error {
	if err := k.directory.CheckRing(ctx, fresh.Proofs()); err != nil {
		return err
	}
	var gone []string
	for _, id := range k.ring.IDs() {
		if !slices.Contains(fresh.IDs(), id) {
			gone = append(gone, id)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	keys, err := k.directory.RingKeys(ctx)
	if err != nil {
		return err
	}
	users, err := k.directory.UserRingKeys(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if why := needed(key, users[key.ID], time.Now()); slices.Contains(gone, key.ID) && why != "" {
			return fmt.Errorf("the key %s is not in it any more, and is needed: %s", key.ID, why)
		}
	}
	return nil
}

// needed says why a key, which has sealed so many users, may not leave the ring;
// empty where it may.
func needed(key directory.RingKey, users int, now time.Time) string {
	switch {
	case key.DataKeys > 0:
		return fmt.Sprintf("it wraps %d data keys; nowserving keys rotate wraps them anew", key.DataKeys)
	case users > 0:
		return fmt.Sprintf("it seals %d users; nowserving keys rotate seals them anew", users)
	case !key.Direct.IsZero():
		return "values that it sealed itself may be left, until " + key.Direct.UTC().Format(time.DateTime)
	case now.Sub(key.Led) < fingerprintsLast:
		return "repeated requests of the last 24 hours are known by it; it was the first key until " + key.Led.UTC().Format(time.DateTime)
	}
	return ""
}

// fingerprintsLast is how long idempotency keys are remembered.
const fingerprintsLast = 24 * time.Hour

// comeToFront has the first key that all nodes have be this node's first.
func (k *ringKeeper) comeToFront(ctx context.Context) error {
	want := k.file.IDs()[0]
	if k.ring.IDs()[0] == want {
		return nil
	}
	first, err := k.common(ctx, k.file)
	if err != nil {
		return err
	}
	if first != k.ring.IDs()[0] {
		k.lead(first)
		if err := k.report(ctx); err != nil {
			return err
		}
	}
	if first != want {
		return fmt.Errorf("not every node that runs has its first key %s", want)
	}
	return nil
}

func (k *ringKeeper) lead(id string) {
	if k.ring.IDs()[0] != id {
		k.ring.Replace(k.file.Leading(id))
		k.log.Info("the key ring has another first key", "key", id)
	}
}

// common gives the first key of a ring that every node that runs has.
func (k *ringKeeper) common(ctx context.Context, r *seal.Ring) (string, error) {
	nodes, err := k.directory.RingNodes(ctx)
	if err != nil {
		return "", err
	}
	for _, id := range r.IDs() {
		if lacking(nodes, id) == nil {
			return id, nil
		}
	}
	k.log.Error("no key of the ring is in the ring of every node; what one seals others cannot open", "keys", strings.Join(r.IDs(), ","))
	return r.IDs()[0], nil
}

// lacking gives a node that does not have a key, or nil.
func lacking(nodes []directory.RingNode, id string) *directory.RingNode {
	for i := range nodes {
		if !slices.Contains(nodes[i].Keys, id) {
			return &nodes[i]
		}
	}
	return nil
}

// report tells of the ring, and of values that it sealed itself.
func (k *ringKeeper) report(ctx context.Context) error {
	r := directory.RingReport{Node: k.node, Name: k.name, Keys: k.ring.Proofs()}
	direct := k.sealer.Direct()
	if direct != k.direct {
		r.Direct = []string{k.led, r.Keys[0].ID}
	}
	if err := k.directory.ReportRing(ctx, r); err != nil {
		return fmt.Errorf("--data-keys: %w", err)
	}
	k.direct, k.led, k.reported = direct, r.Keys[0].ID, time.Now()
	if err := k.directory.ReportTokenRing(ctx, k.node, k.tokens.Proofs()); err != nil {
		return fmt.Errorf("--token-keys: %w", err)
	}
	return nil
}

// tellLost says what cannot be opened for want of a key.
func (k *ringKeeper) tellLost(ctx context.Context) error {
	keys, err := k.directory.RingKeys(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key.DataKeys > 0 && !slices.Contains(k.ring.IDs(), key.ID) {
			k.log.Error("a key is missing in the ring; what it protects is shown as null", "key", key.ID, "data_keys", key.DataKeys)
		}
	}
	return nil
}
