package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"nowserving/persistence"
	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

const (
	// rewrapAtOnce is how many data keys one transaction wraps anew: nodes get in between.
	rewrapAtOnce = 200
	// historyAtOnce is how many finished tickets are looked at in one statement.
	historyAtOnce = 2_000
	// takenWithin is for nodes to read a ring's file again, and for those to be
	// forgotten that have ended without a word.
	takenWithin = time.Minute
)

// rotation is one run of keys rotate.
type rotation struct {
	*program
	directory *directory.Directory
	ring      *seal.Ring
	file      string // the ring in the data dir; empty: the ring is of another file or given as such
	before    []directory.RingKey

	wrapped, lost, resealed int
	history                 map[string]int // finished tickets that keys of the ring sealed themselves
	rows                    sealedRows     // users and webhooks that they sealed
}

// SubKey derives from the ring as it is then: a rotation may begin with a new key.
func (r *rotation) SubKey(purpose string) []seal.Key { return r.ring.SubKey(purpose) }

// keys rotates the key ring, beside running nodes or without any.
func (p *program) keys(args []string) error {
	if len(args) == 0 || args[0] != "rotate" {
		return usage("keys rotate is needed")
	}
	c, show, err := p.readKeysFlags(args[1:])
	if errors.Is(err, errHelp) {
		return p.help()
	}
	if err != nil {
		return err
	}
	r := &rotation{program: p, ring: c.DataKeys, history: make(map[string]int)}
	if r.ring == nil {
		r.file = filepath.Join(c.DataDir, dataKeysFile)
		if _, err := os.Stat(r.file); err != nil { // a lock is not left where nothing is
			return usage("--data-dir: %w", err)
		}
		// Of two new keys made at once, one would be lost.
		lock, err := persistence.LockFile(r.file + ".lock")
		if err != nil {
			return err
		}
		defer lock.Close()
		if r.ring, err = seal.ReadRing(r.file, true); err != nil {
			return usage("--data-dir: %w", err)
		}
	}
	ctx := context.Background()
	if r.directory, err = directory.Open(ctx, directory.Options{Dir: c.DataDir, DatabaseURL: c.DatabaseURL, Keys: r}); err != nil {
		return err
	}
	return errors.Join(r.run(ctx, show), r.directory.Close())
}

func (p *program) readKeysFlags(args []string) (c Config, show bool, err error) {
	stores := slices.DeleteFunc(slices.Clone(settings), func(s setting) bool {
		return s.name != "data-dir" && s.name != "database-url" && s.name != "data-keys"
	})
	flags, err := parseFlags("keys rotate", args, stores, func(set *flag.FlagSet) { set.BoolVar(&show, "show", false, "") })
	if err == nil {
		err = applySettings(&c, stores, flags, p.getenv)
	}
	return c, show, err
}

func (r *rotation) run(ctx context.Context, show bool) (err error) {
	if err := r.directory.CheckRing(ctx, r.ring.Proofs()); err != nil {
		return usage("--data-keys: %w", err)
	}
	if r.before, err = r.directory.RingKeys(ctx); err != nil {
		return err
	}
	if show {
		return r.tell(ctx)
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.audit(ctx); err != nil {
		return err
	}
	if err := r.rewrap(ctx); err != nil {
		return err
	}
	if err := r.resealHistory(ctx); err != nil {
		return err
	}
	users, closed, err := r.directory.ResealUsers(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.stdout, "%d users were sealed anew, %d cannot be opened with this ring.\n", users, closed)
	hooks, closedHooks, err := r.directory.ResealWebhooks(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.stdout, "%d webhooks were sealed anew, %d cannot be opened with this ring.\n", hooks, closedHooks)
	fmt.Fprintf(r.stdout, "%d data keys were wrapped anew, %d finished tickets sealed anew.\n", r.wrapped, r.resealed)
	if r.lost > 0 {
		fmt.Fprintf(r.stdout, "%d data keys cannot be opened with this ring.\n", r.lost)
	}
	return r.tell(ctx)
}

// begin sees to it that every node that runs has the key that wraps from now on.
func (r *rotation) begin(ctx context.Context) (err error) {
	if r.file == "" {
		nodes, err := r.directory.RingNodes(ctx)
		if err != nil {
			return err
		}
		if node := lacking(nodes, r.ring.IDs()[0]); node != nil {
			return fmt.Errorf("the node %s does not have the key %s: put it at the end of every node's ring first; nothing was changed", node.Name, r.ring.IDs()[0])
		}
		return nil
	}
	if r.unfinished() {
		return r.awaitTaken(ctx)
	}
	if r.ring, err = seal.AddKey(r.file, r.now()); err != nil {
		return err
	}
	return r.awaitTaken(ctx)
}

// audit keeps who wrapped with what: somebody at the command line.
func (r *rotation) audit(ctx context.Context) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	return r.directory.AddAudit(ctx, directory.AuditEntry{ID: id, At: r.now(), Action: "keys.rotated", Target: r.ring.IDs()[0]})
}

// unfinished tells whether a rotation before this one stopped half way: then
// there is a new key already.
func (r *rotation) unfinished() bool {
	ids := r.ring.IDs()
	return slices.ContainsFunc(r.before, func(k directory.RingKey) bool { return k.DataKeys > 0 && slices.Contains(ids[1:], k.ID) })
}

func (r *rotation) awaitTaken(ctx context.Context) error {
	first := r.ring.IDs()[0]
	tick := time.NewTicker(ringEvery / 4)
	defer tick.Stop()
	for until := time.Now().Add(takenWithin); ; <-tick.C {
		nodes, err := r.directory.RingNodes(ctx)
		if err != nil {
			return err
		}
		node := lacking(nodes, first)
		if node == nil {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("the node %s has not read %s again; run this once more when it has", node.Name, r.file)
		}
	}
}

// rewrap goes on until a round finds nothing: a node may still have made a data
// key under the key before.
func (r *rotation) rewrap(ctx context.Context) error {
	first := r.ring.IDs()[0]
	for {
		done, lost, after := 0, 0, seal.KeyID{}
		for {
			rows, err := r.directory.DataKeysNotUnder(ctx, first, after, rewrapAtOnce)
			if err != nil {
				return err
			}
			if len(rows) == 0 {
				break
			}
			after = rows[len(rows)-1].ID
			anew := make([]seal.WrappedKey, 0, len(rows))
			for _, row := range rows {
				k, err := r.ring.Rewrap(row)
				if err != nil {
					lost++
					continue
				}
				anew = append(anew, k)
			}
			if err := r.directory.PutRewrapped(ctx, anew); err != nil {
				return err
			}
			done += len(anew)
		}
		r.wrapped, r.lost = r.wrapped+done, lost
		if done == 0 {
			return nil
		}
	}
}

// tell lists the keys: how old they are, and which are still in use.
func (r *rotation) tell(ctx context.Context) error {
	keys, err := r.directory.RingKeys(ctx)
	if err != nil {
		return err
	}
	if r.rows, err = rowsSealed(ctx, r.directory); err != nil {
		return err
	}
	ids, now := r.ring.IDs(), r.now()
	for _, id := range ids { // one that no node has had yet
		if !slices.ContainsFunc(keys, func(k directory.RingKey) bool { return k.ID == id }) {
			keys = append(keys, directory.RingKey{ID: id})
		}
	}
	w := tabwriter.NewWriter(r.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tFIRST SEEN\tLAST THE FIRST\tDATA KEYS\tOF VISITS\tSTATE")
	for _, key := range keys {
		if key.DataKeys == 0 && r.history[key.ID] == 0 && r.rows.by(key.ID) == 0 && !slices.Contains(ids, key.ID) {
			continue // it has left, and nobody needs it
		}
		visits := "-"
		if key.Oldest > 0 {
			visits = onDay(key.Oldest) + " to " + onDay(key.Newest)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", key.ID, moment(key.First, now), moment(key.Led, now), key.DataKeys, visits, r.state(key, now))
	}
	return w.Flush()
}

// state says what may be done with a key.
func (r *rotation) state(key directory.RingKey, now time.Time) string {
	ids := r.ring.IDs()
	switch why := needed(key, r.rows, now); {
	case !slices.Contains(ids, key.ID):
		return "missing in this ring: what it protects cannot be opened"
	case key.ID == ids[0]:
		return "the first key: it wraps"
	case r.history[key.ID] > 0:
		return fmt.Sprintf("needed: it sealed %d finished tickets", r.history[key.ID])
	case why != "":
		return "needed: " + why
	}
	return "may be taken out of every ring"
}

func onDay(day int64) string { return time.Unix(day*86_400, 0).UTC().Format(time.DateOnly) }

func moment(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%s (%d d)", t.UTC().Format(time.DateOnly), int(now.Sub(t)/(24*time.Hour)))
}
