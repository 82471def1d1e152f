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

// ringKeeper has a node's ring follow its file. It takes no step with which what
// is kept would be lost: a key that is still needed stays, and a key comes to the
// front only when every node that runs has it.
type ringKeeper struct {
	ring    *seal.Ring
	kind    ringKind
	path    string // empty: the ring was given as such and stays
	private bool   // the file is in the data dir
	used    func() // told that the ring has other keys, or another first one
	log     *slog.Logger

	file     *seal.Ring // what the file says
	said     string     // what was logged last
	reported time.Time
}

// ringKind is what a ring's keys are for, and where nodes tell of theirs.
type ringKind interface {
	name() string
	// check refuses another key than others have under the same id.
	check(ctx context.Context, keys []seal.Proof) error
	// report tells the other nodes of the ring.
	report(ctx context.Context, ring *seal.Ring) error
	// nodes are those that run.
	nodes(ctx context.Context) ([]directory.RingNode, error)
	// mayGo refuses to let go of keys without which something could not be opened.
	mayGo(ctx context.Context, gone []string) error
	// tellLost says what cannot be opened for want of a key.
	tellLost(ctx context.Context, ring *seal.Ring) error
}

// openRings is for when there is a directory.
func (n *Node) openRings(ctx context.Context) error {
	n.sealer = seal.NewDataKeys(n.dataKeys, n.directory, n.log, n.config.Now)
	name := n.URL()
	if n.config.ClusterProvider == providerRedis { // several may be at one URL, each in a container of its own
		name += " at " + n.config.ClusterAddr
	}
	node := ringNode{n.directory, rand.Text(), name}
	keeper := func(ring, configured *seal.Ring, kind ringKind, path, own string) *ringKeeper {
		k := &ringKeeper{ring: ring, kind: kind, path: path, log: n.log, file: ring.Leading(""), used: func() {}}
		if configured == nil {
			k.path, k.private = filepath.Join(n.config.DataDir, own), true
		}
		n.ringKeepers = append(n.ringKeepers, k)
		return k
	}
	keeper(n.dataKeys, n.config.DataKeys, &dataRing{ringNode: node, sealer: n.sealer, log: n.log}, n.config.DataKeysFile, dataKeysFile)
	// It tells of the node that the other one has told of.
	keeper(n.tokenKeys, n.config.TokenKeys, tokenRing{node}, n.config.TokenKeysFile, tokenKeysFile).used = n.useTokenKeys
	for _, k := range n.ringKeepers {
		err := (&waiting{node: n}).await(ctx, "database", k.begin)
		if errors.Is(err, directory.ErrOtherKey) {
			return usage("--%s-keys: %w", k.kind.name(), err)
		}
		if err != nil {
			return err
		}
	}
	n.closing(node.end)
	return (&waiting{node: n}).await(ctx, "database", func(ctx context.Context) error {
		keys, err := n.sealer.Named(ctx, "customer-index")
		n.indexKeys = nil
		for _, key := range keys {
			n.indexKeys = append(n.indexKeys, gateway.TokenKey(key))
		}
		return err
	})
}

// useTokenKeys has the gateway sign and verify with the ring as it is now.
func (n *Node) useTokenKeys() {
	if n.gateway == nil { // it will take them when it is made
		return
	}
	err := n.gateway.UseTokenKeys(tokenKeys(n.tokenKeys, "access-token"), tokenKeys(n.tokenKeys, "ticket-link"), tokenKeys(n.tokenKeys, "oidc-state"))
	if err != nil {
		n.log.Error("tokens are signed with the keys of before", "error", err)
	}
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
	return k.kind.tellLost(ctx, k.ring)
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
		k.log.Warn("the key ring is not as its file says yet", "file", k.path, "ring", k.kind.name(), "keys", strings.Join(k.ring.IDs(), ","), "error", err)
	}
	k.said = text
}

func (k *ringKeeper) step(ctx context.Context) error {
	// First, whatever becomes of the file: others wait for what this node lacks
	// for as long as they hear of it.
	if time.Since(k.reported) >= reportEvery {
		if err := k.report(ctx); err != nil {
			return err
		}
	}
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
	k.used()
	k.log.Info("the key ring has been read again", "file", k.path, "ring", k.kind.name(), "keys", strings.Join(k.ring.IDs(), ","))
	if err := k.report(ctx); err != nil {
		return err
	}
	return k.kind.tellLost(ctx, k.ring)
}

// mayTake refuses a ring with which something could not be opened any more.
func (k *ringKeeper) mayTake(ctx context.Context, fresh *seal.Ring) error {
	if err := k.kind.check(ctx, fresh.Proofs()); err != nil {
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
	return k.kind.mayGo(ctx, gone)
}

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
		k.used()
		k.log.Info("the key ring has another first key", "ring", k.kind.name(), "key", id)
	}
}

// common gives the first key of a ring that every node that runs has.
func (k *ringKeeper) common(ctx context.Context, r *seal.Ring) (string, error) {
	nodes, err := k.kind.nodes(ctx)
	if err != nil {
		return "", err
	}
	for _, id := range r.IDs() {
		if lacking(nodes, id) == nil {
			return id, nil
		}
	}
	k.log.Error("no key of the ring is in the ring of every node; what one seals others cannot open", "ring", k.kind.name(), "keys", strings.Join(r.IDs(), ","))
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

func (k *ringKeeper) report(ctx context.Context) error {
	if err := k.kind.report(ctx, k.ring); err != nil {
		return err
	}
	k.reported = time.Now()
	return nil
}
