package persistence

// redisKeys makes every key that the Redis journal uses. All keys of one queue
// share the hash tag {queue}, so they are in one slot of a Redis Cluster and
// one script may touch them together.
type redisKeys struct{ prefix string }

// head of a queue: a string of 16 bytes owner, 16 bytes operation, and the
// version in decimal digits. One string, not a hash, so that the fence is one
// GET and one comparison, and a check of ownership one GETRANGE.
func (k redisKeys) head(queue string) string { return k.prefix + ":{" + queue + "}:head" }

// log of a queue: a stream of its entries. The id is <Last>-0; the fields are
// a (the version before the entry's first), o (operation) and d (data).
func (k redisKeys) log(queue string) string { return k.prefix + ":{" + queue + "}:log" }

// snapshot of a queue: a list of its header ("<version> <save> <bytes>", see
// snapshotHeader) and then its data in chunks. A list, because RPUSHX adds to
// one that is there and never makes one anew.
func (k redisKeys) snapshot(queue string) string { return k.prefix + ":{" + queue + "}:snapshot" }

// staging of a snapshot that an owner is saving: a list like snapshot, with a
// time to live. Each save has one of its own, so that nothing that is late of
// another owner's, or of a save given up, gets into it.
func (k redisKeys) staging(queue, owner, save string) string {
	return k.prefix + ":{" + queue + "}:staging:" + owner + ":" + save
}

// probe is a key that never is: to write nothing to it asks whether Redis takes writes.
func (k redisKeys) probe() string { return k.prefix + ":probe" }

// queues is the sorted set of all queue ids, each with score 0. It is in a slot
// of its own, which is why a claim writes it and no script does.
func (k redisKeys) queues() string { return k.prefix + ":queues" }

// pace of somebody: a list of when they did something lately, with a time to live.
func (k redisKeys) pace(by string) string { return k.prefix + ":pace:" + by }
