-- +goose Up
-- The keys that seal customer data, one for each queue and UTC day of visits,
-- each sealed by a key of the ring. What one of them sealed goes with its row.
CREATE TABLE data_keys (
    id         BLOB    NOT NULL PRIMARY KEY, -- 16 random bytes, which stand in sealed values
    queue_id   TEXT    NOT NULL,
    day        INTEGER NOT NULL, -- counted from 1970
    ring_key   TEXT    NOT NULL, -- id of the ring's key
    wrapped    BLOB    NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX data_keys_slot ON data_keys (queue_id, day);
CREATE INDEX data_keys_created ON data_keys (created_ms);
CREATE INDEX data_keys_ring_key ON data_keys (ring_key, day);

-- The ring's keys that nodes have had.
CREATE TABLE ring_keys (
    id        TEXT    NOT NULL PRIMARY KEY,
    proof     BLOB    NOT NULL, -- tells whether another ring's key of this id is the same
    first_ms  INTEGER NOT NULL, -- when a node first had it
    led_ms    INTEGER NOT NULL, -- when a node last wrapped with it, 0: never
    direct_ms INTEGER NOT NULL  -- until when it may have sealed values itself, 0: never
) STRICT;

-- The nodes that run, and the rings that they have.
CREATE TABLE ring_nodes (
    node    TEXT    NOT NULL PRIMARY KEY,
    name    TEXT    NOT NULL, -- for people
    key_ids TEXT    NOT NULL, -- the first key first
    seen_ms INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE ring_nodes;
DROP TABLE ring_keys;
DROP TABLE data_keys;
