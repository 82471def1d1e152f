-- +goose Up
-- The keys that seal customer data, one for each queue and UTC day of visits,
-- each sealed by a key of the ring. What one of them sealed goes with its row.
CREATE TABLE IF NOT EXISTS data_keys (
    id         BINARY(16)     NOT NULL PRIMARY KEY, -- random, stands in sealed values
    queue_id   VARCHAR(64)    NOT NULL,
    day        INT            NOT NULL, -- counted from 1970
    ring_key   VARCHAR(32)    NOT NULL, -- id of the ring's key
    wrapped    VARBINARY(128) NOT NULL,
    created_ms BIGINT         NOT NULL,
    UNIQUE KEY data_keys_slot (queue_id, day),
    KEY data_keys_created (created_ms),
    KEY data_keys_ring_key (ring_key, day)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The ring's keys that nodes have had.
CREATE TABLE IF NOT EXISTS ring_keys (
    id        VARCHAR(32) NOT NULL PRIMARY KEY,
    proof     BINARY(16)  NOT NULL, -- tells whether another ring's key of this id is the same
    first_ms  BIGINT      NOT NULL, -- when a node first had it
    led_ms    BIGINT      NOT NULL, -- when a node last wrapped with it, 0: never
    direct_ms BIGINT      NOT NULL  -- until when it may have sealed values itself, 0: never
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The nodes that run, and the rings that they have.
CREATE TABLE IF NOT EXISTS ring_nodes (
    node     VARCHAR(64)   NOT NULL PRIMARY KEY,
    name     VARCHAR(255)  NOT NULL, -- for people
    key_ids  VARCHAR(2048) NOT NULL, -- the first key first
    seen_ms  BIGINT        NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS ring_nodes;
DROP TABLE IF EXISTS ring_keys;
DROP TABLE IF EXISTS data_keys;
